/**
 * Leases. What is granted is in the table; when it ends is in memory alone. A restart renews every
 * lease for its full time, as a new etcd leader does: a key may live longer, never shorter.
 */
import { randomBytes } from "node:crypto";

export interface LeaseState {
  readonly id: bigint;
  /** Granted time, seconds. */
  readonly ttl: number;
  /** On the clock of `now`, milliseconds. */
  expiresAt: number;
}

/** setTimeout counts in a signed 32-bit number of milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const RETRY_MS = 1000;

export class Lessor {
  private readonly leases = new Map<bigint, LeaseState>();
  private readonly expire: (id: bigint) => Promise<void>;
  private readonly now: () => number;
  private timer: NodeJS.Timeout | undefined;
  private closed = false;

  /** `expire` revokes the lease; when it fails, it is called again after a second. */
  constructor(expire: (id: bigint) => Promise<void>, now: () => number = () => performance.now()) {
    this.expire = expire;
    this.now = now;
  }

  add(id: bigint, ttl: number): void {
    this.leases.set(id, { id, ttl, expiresAt: this.now() + ttl * 1000 });
    this.arm();
  }

  remove(id: bigint): void {
    this.leases.delete(id);
  }

  get(id: bigint): LeaseState | undefined {
    return this.leases.get(id);
  }

  /** The granted seconds; undefined when there is no such lease. */
  renew(id: bigint): number | undefined {
    const lease = this.leases.get(id);
    if (lease === undefined) return undefined;
    lease.expiresAt = this.now() + lease.ttl * 1000;
    return lease.ttl;
  }

  /** Whole seconds left, rounded down. */
  remaining(lease: LeaseState): number {
    return Math.max(0, Math.floor((lease.expiresAt - this.now()) / 1000));
  }

  /** Soonest to end first. */
  list(): readonly LeaseState[] {
    return [...this.leases.values()].sort((a, b) => a.expiresAt - b.expiresAt);
  }

  /** A positive int64 that is not in use. */
  freeId(): bigint {
    for (;;) {
      const id = randomBytes(8).readBigUInt64BE() & 0x7fff_ffff_ffff_ffffn;
      if (id !== 0n && !this.leases.has(id)) return id;
    }
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
  }

  private arm(): void {
    clearTimeout(this.timer);
    if (this.closed) return;
    let soonest = Infinity;
    for (const lease of this.leases.values()) soonest = Math.min(soonest, lease.expiresAt);
    if (soonest === Infinity) return;
    const delay = Math.min(Math.max(1, soonest - this.now()), MAX_TIMER_MS);
    this.timer = setTimeout(() => this.sweep(), delay);
    // A lease alone keeps no process alive.
    this.timer.unref();
  }

  private sweep(): void {
    const now = this.now();
    for (const lease of this.leases.values()) {
      if (lease.expiresAt > now) continue;
      // Until the revocation is durable the lease stays; then `remove` takes it.
      lease.expiresAt = now + RETRY_MS;
      this.expire(lease.id).catch(() => undefined);
    }
    this.arm();
  }
}
