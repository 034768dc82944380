/**
 * Forwarding entries of the VXLAN devices: a MAC at the far end → the host that it is on. Everything
 * on our devices is ours: what is not wanted there goes, whoever made it.
 */
import { formatIp, type Ip, type Mac } from "#ip";
import {
  NUD_PERMANENT,
  refusalError,
  type ForwardingEntry,
  type RouteChange,
  type RouteKernel,
} from "#netlink";
import { DeltaTracker } from "#std";
import { NOTHING_DONE, type DriverResult } from "../driver.ts";
import { sameIp } from "../interfaces.ts";

export class ForwardingDriver {
  readonly #kernel: RouteKernel;
  readonly #tracker = new DeltaTracker<string, ForwardingEntry>({
    equal: (a, b) => a.state === b.state && sameIp(a.host, b.host),
  });
  /** Devices that were read. */
  readonly #devices = new Set<number>();

  constructor(kernel: RouteKernel) {
    this.#kernel = kernel;
  }

  /** `host` undefined: no entry. */
  set(ifindex: number, mac: Mac, host: Ip | undefined): void {
    const key = keyOf({ ifindex, mac });
    if (host === undefined) this.#tracker.deleteDesired(key);
    else this.#tracker.setDesired(key, { ifindex, mac, host, state: NUD_PERMANENT });
  }

  /** These are our devices now: reads those that are new, forgets those that went. */
  setDevices(indexes: readonly number[]): void {
    for (const index of this.#devices) {
      if (indexes.includes(index)) continue;
      this.#devices.delete(index);
      for (const entries of [this.#tracker.desired, this.#tracker.actual]) {
        for (const [key, { ifindex }] of entries) if (ifindex === index) this.#forget(key);
      }
    }
    for (const index of indexes) {
      if (this.#devices.has(index)) continue;
      for (const [key, entry] of this.#read(index)) this.#tracker.setActual(key, entry);
      this.#devices.add(index);
    }
  }

  #forget(key: string): void {
    this.#tracker.deleteDesired(key);
    this.#tracker.deleteActual(key);
  }

  /** Reads all back. */
  resync(): void {
    this.#tracker.replaceActual([...this.#devices].flatMap((index) => [...this.#read(index)]));
  }

  /** An entry that leads to several hosts is told once for each; it is none that we would want. */
  #read(ifindex: number): Map<string, ForwardingEntry> {
    const found = new Map<string, ForwardingEntry>();
    for (const { mac, state, ...entry } of this.#kernel.forwarding(ifindex)) {
      const key = keyOf({ ifindex, mac });
      found.set(key, found.has(key) ? { ifindex, mac, state } : { ...entry, mac, state });
    }
    return found;
  }

  /** What somebody changed. */
  observe(entry: ForwardingEntry, present: boolean): void {
    if (!this.#devices.has(entry.ifindex)) return;
    if (present) this.#tracker.setActual(keyOf(entry), entry);
    else this.#tracker.deleteActual(keyOf(entry));
  }

  get dirty(): boolean {
    return !this.#tracker.inSync;
  }

  apply(): DriverResult {
    if (this.#tracker.inSync) return NOTHING_DONE;
    const changes: RouteChange[] = [];
    for (const [key, entry] of this.#tracker.pendingUpdates) {
      // The kernel's replacement leaves the other hosts of an entry that has several.
      const wrong = this.#tracker.actual.get(key);
      if (wrong !== undefined) changes.push({ kind: "deleteForwarding", entry: wrong });
      changes.push({ kind: "replaceForwarding", entry });
    }
    for (const key of this.#tracker.pendingDeletions) {
      const entry = this.#tracker.actual.get(key);
      if (entry !== undefined) changes.push({ kind: "deleteForwarding", entry });
    }
    const refusals = this.#kernel.write(changes);
    const errors: Error[] = [];
    for (const [index, change] of changes.entries()) {
      if (change.kind !== "replaceForwarding" && change.kind !== "deleteForwarding") continue;
      const { entry } = change;
      const refusal = refusals.get(index);
      const deletion = change.kind === "deleteForwarding";
      // Its device is gone: a notification is on its way, and everything is made anew.
      if (refusal?.errno === "ENODEV") continue;
      if (refusal !== undefined && !(deletion && refusal.errno === "ENOENT")) {
        const to = entry.host === undefined ? "" : ` to ${formatIp(entry.host)}`;
        const what = `${deletion ? "delete" : "set"} forwarding entry ${entry.mac}${to}`;
        errors.push(refusalError(what, refusal));
      } else if (deletion) this.#tracker.deleteActual(keyOf(entry));
      else this.#tracker.setActual(keyOf(entry), entry);
    }
    return { writes: changes.length - refusals.size, errors };
  }
}

function keyOf({ ifindex, mac }: Pick<ForwardingEntry, "ifindex" | "mac">): string {
  return `${ifindex} ${mac}`;
}
