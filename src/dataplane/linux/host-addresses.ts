/**
 * Which addresses the host's interfaces have: host endpoints may be declared by them, and tunnels
 * begin at the interface that has the node's.
 */
import { formatIp, type Ip } from "#ip";
import type { InterfaceAddress, Link, RouteKernel } from "#netlink";
import type { Interfaces } from "./interfaces.ts";

export class HostAddresses {
  readonly #interfaces: Interfaces;
  readonly #byIndex = new Map<number, Map<string, InterfaceAddress>>();
  #changed = true;
  #known = false;

  constructor(interfaces: Interfaces) {
    this.#interfaces = interfaces;
  }

  /** Since the last `take`. */
  get changed(): boolean {
    return this.#changed;
  }

  /** False until all were read once: then no conclusion may be drawn from what is not there. */
  get known(): boolean {
    return this.#known;
  }

  /** Reads all; throws, and then what was known stays. */
  resync(kernel: RouteKernel): void {
    const found = new Map<number, Map<string, InterfaceAddress>>();
    for (const entry of kernel.addresses()) {
      let addresses = found.get(entry.ifindex);
      if (addresses === undefined) found.set(entry.ifindex, (addresses = new Map()));
      addresses.set(formatIp(entry.address), entry);
    }
    if (!this.#known || !sameAddresses(this.#byIndex, found)) this.#changed = true;
    this.#byIndex.clear();
    for (const [index, addresses] of found) this.#byIndex.set(index, addresses);
    this.#known = true;
  }

  update(entry: InterfaceAddress, present: boolean): void {
    const { ifindex, address } = entry;
    let addresses = this.#byIndex.get(ifindex);
    if (addresses === undefined) this.#byIndex.set(ifindex, (addresses = new Map()));
    const text = formatIp(address);
    if (addresses.has(text) === present) return;
    if (present) addresses.set(text, entry);
    else addresses.delete(text);
    this.#changed = true;
  }

  of(ifindex: number): InterfaceAddress[] {
    return [...(this.#byIndex.get(ifindex)?.values() ?? [])];
  }

  /** The interface that has the address; of several the first that is up. */
  interfaceWith(address: Ip): Link | undefined {
    const text = formatIp(address);
    let found: Link | undefined;
    for (const [index, addresses] of this.#byIndex) {
      const link = addresses.has(text) ? this.#interfaces.byIndex(index) : undefined;
      if (link === undefined) continue;
      const better = found === undefined || (link.adminUp && !found.adminUp);
      if (better || (link.adminUp === found?.adminUp && link.index < found.index)) found = link;
    }
    return found;
  }

  /** An interface came, went or has another name. */
  interfaceChanged(): void {
    this.#changed = true;
  }

  /** By the name of the interface. */
  take(): ReadonlyMap<string, readonly string[]> {
    this.#changed = false;
    const byName = new Map<string, readonly string[]>();
    for (const [index, addresses] of this.#byIndex) {
      const link = this.#interfaces.byIndex(index);
      if (link !== undefined && addresses.size > 0) byName.set(link.name, [...addresses.keys()]);
    }
    return byName;
  }
}

type Addresses = ReadonlyMap<number, ReadonlyMap<string, InterfaceAddress>>;

/** An interface may have lost its last one. */
function sameAddresses(before: Addresses, after: Addresses): boolean {
  for (const [index, addresses] of before) {
    const now = after.get(index);
    if ((now?.size ?? 0) !== addresses.size) return false;
    for (const text of addresses.keys()) if (now?.has(text) !== true) return false;
  }
  for (const index of after.keys()) if (!before.has(index)) return false;
  return true;
}
