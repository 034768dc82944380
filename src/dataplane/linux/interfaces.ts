/**
 * The host's interfaces as the kernel tells them: by name and by index, up, down or absent. A rename
 * is one interface that goes and one that comes; so is one that was deleted and made again.
 */
import type { Ip } from "#ip";
import type { Link, RouteKernel, VxlanSettings } from "#netlink";

export interface InterfaceChange {
  readonly before: Link | undefined;
  readonly after: Link | undefined;
  /** The device lives on under another name, with its routes. */
  readonly renamed?: boolean;
}

export class Interfaces {
  readonly #byIndex = new Map<number, Link>();
  readonly #byName = new Map<string, Link>();
  readonly #excluded: readonly RegExp[];
  readonly #onChange: (change: InterfaceChange) => void;

  /** `onChange`: per name, in the kernel's order; an interface that kept all it had is no change. */
  constructor(excluded: readonly RegExp[], onChange: (change: InterfaceChange) => void) {
    this.#excluded = excluded;
    this.#onChange = onChange;
  }

  byName(name: string): Link | undefined {
    return this.#byName.get(name);
  }

  all(): Iterable<Link> {
    return this.#byIndex.values();
  }

  byIndex(index: number): Link | undefined {
    return this.#byIndex.get(index);
  }

  /** Reads all; what was missed shows as changes. */
  resync(kernel: RouteKernel): void {
    const links = kernel.links();
    const present = new Set(links.map((link) => link.index));
    for (const link of this.#byIndex.values()) if (!present.has(link.index)) this.remove(link);
    // Names may have been swapped: all old ones go before new ones come.
    for (const link of links) {
      const known = this.#byIndex.get(link.index);
      if (known !== undefined && known.name !== link.name) this.#forget(known, true);
    }
    for (const link of links) this.update(link);
  }

  update(link: Link): void {
    const known = this.#byIndex.get(link.index);
    if (known !== undefined && known.name !== link.name) this.#forget(known, true);
    const namesake = this.#byName.get(link.name);
    if (namesake !== undefined && namesake.index !== link.index) this.#forget(namesake);
    if (this.#excluded.some((pattern) => pattern.test(link.name))) return;
    const before = this.#byName.get(link.name);
    if (before !== undefined && same(before, link)) return;
    this.#byIndex.set(link.index, link);
    this.#byName.set(link.name, link);
    this.#onChange({ before, after: link });
  }

  remove({ index }: Link): void {
    const known = this.#byIndex.get(index);
    if (known !== undefined) this.#forget(known);
  }

  #forget(link: Link, renamed = false): void {
    this.#byIndex.delete(link.index);
    this.#byName.delete(link.name);
    this.#onChange({ before: link, after: undefined, renamed });
  }
}

function same(a: Link, b: Link): boolean {
  return (
    a.index === b.index &&
    a.adminUp === b.adminUp &&
    a.operUp === b.operUp &&
    a.mac === b.mac &&
    a.mtu === b.mtu &&
    a.kind === b.kind &&
    sameVxlan(a.vxlan, b.vxlan)
  );
}

export function sameVxlan(a: VxlanSettings | undefined, b: VxlanSettings | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.vni === b.vni &&
    a.port === b.port &&
    a.parent === b.parent &&
    a.learning === b.learning &&
    a.checksum === b.checksum &&
    sameIp(a.local, b.local) &&
    sameIp(a.group, b.group)
  );
}

export function sameIp(a: Ip | undefined, b: Ip | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.w0 === b.w0 && a.w1 === b.w1 && a.w2 === b.w2 && a.w3 === b.w3;
}
