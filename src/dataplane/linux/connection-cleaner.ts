/**
 * An address that goes to another workload, or away, must not leave established connections behind:
 * the policy table lets established flows pass.
 *
 * Looking through all connections takes milliseconds. For an address that somebody has again that
 * cannot wait; for one that nobody has, it is done in a moment, for all of them together.
 */
import { formatCidr, isHostCidr, type Cidr } from "#ip";
import type { ConntrackKernel } from "#netlink";
import { logger } from "#log";
import { messageOf } from "#std";

const log = logger("dataplane.conntrack");

const DELAY_MS = 50;

export class ConnectionCleaner {
  readonly #conntrack: ConntrackKernel;
  /** Address → endpoint that has it. */
  readonly #holders = new Map<string, string>();
  readonly #pending = new Map<string, Cidr>();
  #timer: NodeJS.Timeout | undefined;

  constructor(conntrack: ConntrackKernel) {
    this.#conntrack = conntrack;
  }

  /** `holder` undefined: nobody has it. */
  setHolder(address: Cidr, holder: string | undefined): void {
    const text = formatCidr(address);
    const before = this.#holders.get(text);
    if (before === holder) return;
    if (holder === undefined) this.#holders.delete(text);
    else this.#holders.set(text, holder);
    if (before !== undefined) this.forget(address);
  }

  forget(address: Cidr): void {
    if (!isHostCidr(address)) return;
    this.#pending.set(formatCidr(address), address);
    this.#timer ??= setTimeout(() => this.#cleanRest(), DELAY_MS).unref();
  }

  /** Before addresses that are in use again get their routes. */
  cleanHeld(): void {
    if (this.#pending.size === 0) return;
    this.#clean(
      [...this.#pending].flatMap(([text, each]) => (this.#holders.has(text) ? each : [])),
    );
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#clean([...this.#pending.values()]);
    this.#conntrack.close();
  }

  #cleanRest(): void {
    this.#timer = undefined;
    // One family in a turn of the event loop.
    const [first] = this.#pending.values();
    if (first === undefined) return;
    this.#clean([...this.#pending.values()].filter(({ family }) => family === first.family));
    if (this.#pending.size > 0) this.#timer = setTimeout(() => this.#cleanRest(), 0).unref();
  }

  /** Best effort: entries end by themselves in time, so a failure is told and not repeated. */
  #clean(addresses: readonly Cidr[]): void {
    if (addresses.length === 0) return;
    for (const address of addresses) this.#pending.delete(formatCidr(address));
    try {
      this.#conntrack.forget(addresses);
    } catch (error) {
      log.warn("connections of addresses that moved could not be removed", {
        addresses: addresses.length,
        reason: messageOf(error),
      });
    }
  }
}
