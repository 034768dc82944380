/** What every operation works with, and how it tries again when somebody else was first. */
import type { Cidr, Ip } from "#ip";
import { cidrContainsIp, cidrsOverlap } from "#ip";
import { Backoff, MargayError, systemError } from "#std";
import type { Records } from "./records-store.ts";

export interface IpamContext {
  readonly records: Records;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  /** Told of every write that lost a race. */
  readonly onConflict: () => void;
}

/** As Calico: enough for hundreds of hosts at once. */
const ATTEMPTS = 100;
const FIRST_DELAY_MS = 2;
const MAX_DELAY_MS = 100;

/**
 * Runs `attempt` again, after a pause that grows and is mostly chance, while it loses races. Throws
 * `contention` at last, which may be tried again later.
 */
export async function retrying<T>(
  context: IpamContext,
  what: string,
  attempt: () => Promise<T>,
): Promise<T> {
  const backoff = new Backoff({
    initialMs: FIRST_DELAY_MS,
    maxMs: MAX_DELAY_MS,
    factor: 1.5,
    jitter: 0.9,
    random: context.random,
  });
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isLostRace(error)) throw error;
      context.onConflict();
      if (backoff.attempts >= ATTEMPTS) {
        throw systemError("contention", `${what}: too many writers at once, gave up`, {
          cause: error,
          retryable: true,
        });
      }
      await context.sleep(backoff.nextMs());
    }
  }
}

/** The write was refused, for certain, since the record is no longer as it was read. */
export function isLostRace(error: unknown): boolean {
  return error instanceof MargayError && (error.code === "conflict" || error.code === "exists");
}

/** For one block: most have no reserved address, and then nothing is compared. */
export function reservedIn(reservations: readonly Cidr[], block: Cidr): (ip: Ip) => boolean {
  const near = reservations.filter((cidr) => cidrsOverlap(cidr, block));
  if (near.length === 0) return () => false;
  return (ip) => near.some((cidr) => cidrContainsIp(cidr, ip));
}
