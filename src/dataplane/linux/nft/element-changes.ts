/** Changes of a set's elements, gathered and then pushed at once. */
import { formatCidr, type Cidr, type OverlapChange } from "#ip";
import type { NftElement, NftTable } from "#netlink";
import { cidrElement } from "./literal-sets.ts";

export interface ElementDelta {
  readonly add: NftElement[];
  readonly remove: NftElement[];
}

export function newDelta(): ElementDelta {
  return { add: [], remove: [] };
}

/** An element in both is there afterwards. */
export function pushDelta(
  table: NftTable,
  set: string,
  { add, remove }: Readonly<Record<keyof ElementDelta, readonly NftElement[]>>,
): void {
  if (remove.length > 0) table.removeElements(set, remove);
  if (add.length > 0) table.addElements(set, add);
}

/** The last change of each outermost CIDR of an interval set. */
export class NetChanges {
  readonly #last = new Map<string, { readonly op: keyof ElementDelta; readonly cidr: Cidr }>();

  note({ publish, withdraw }: OverlapChange): void {
    for (const cidr of withdraw) this.#last.set(formatCidr(cidr), { op: "remove", cidr });
    for (const cidr of publish) this.#last.set(formatCidr(cidr), { op: "add", cidr });
  }

  push(table: NftTable, set: string): void {
    const delta = newDelta();
    for (const { op, cidr } of this.#last.values()) delta[op].push(cidrElement(cidr));
    pushDelta(table, set, delta);
  }

  clear(): void {
    this.#last.clear();
  }
}
