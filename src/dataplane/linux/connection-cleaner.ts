/**
 * An address that goes to another workload, or away, must not leave established connections behind:
 * the policy table lets established flows pass.
 */
import { formatCidr, isHostCidr, type Cidr } from "#ip";
import type { ConntrackKernel } from "#netlink";
import { logger } from "#log";
import { messageOf } from "#std";

const log = logger("dataplane.conntrack");

export class ConnectionCleaner {
  readonly #conntrack: ConntrackKernel;
  /** Address → endpoint that has it. */
  readonly #holders = new Map<string, string>();
  readonly #pending = new Map<string, Cidr>();

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
    if (isHostCidr(address)) this.#pending.set(formatCidr(address), address);
  }

  /** Best effort: entries end by themselves in time, so a failure is told and not repeated. */
  apply(): void {
    if (this.#pending.size === 0) return;
    const addresses = [...this.#pending.values()];
    this.#pending.clear();
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
