/**
 * Interval sets for the CIDRs and ports that rules list literally. A set is named after its
 * content and shared by every rule that lists the same; it lives as long as some chain uses it.
 */
import { cidrRange, formatCidr, OverlapSuppressor, type Cidr, type IpFamily } from "#ip";
import type { NftElement, NftSet, NftTable } from "#netlink";
import type { PortRange } from "#policy";
import { addressType, u16 } from "./bytes.ts";
import { literalSetName } from "./names.ts";

export interface LiteralSet {
  readonly set: NftSet;
  readonly elements: readonly NftElement[];
}

export class LiteralSets {
  readonly #table: NftTable;
  readonly #usersByName = new Map<string, number>();

  constructor(table: NftTable) {
    this.#table = table;
  }

  acquire(literals: Iterable<LiteralSet>): void {
    for (const { set, elements } of literals) {
      const users = this.#usersByName.get(set.name) ?? 0;
      this.#usersByName.set(set.name, users + 1);
      if (users === 0) this.#table.setSet(set, elements);
    }
  }

  release(literals: Iterable<LiteralSet>): void {
    for (const { set } of literals) {
      const users = (this.#usersByName.get(set.name) ?? 0) - 1;
      if (users > 0) {
        this.#usersByName.set(set.name, users);
        continue;
      }
      this.#usersByName.delete(set.name);
      this.#table.removeSet(set.name);
    }
  }
}

/** CIDRs of one family; those inside others are left out, for interval sets refuse overlaps. */
export function netsLiteral(family: IpFamily, cidrs: readonly Cidr[]): LiteralSet {
  const members = new OverlapSuppressor();
  for (const cidr of cidrs) members.add(cidr);
  const outermost = members.published();
  const content = outermost.map(formatCidr).join(" ");
  return {
    set: {
      name: literalSetName(family === 4 ? "nets4" : "nets6", content),
      key: [addressType(family)],
      interval: true,
    },
    elements: outermost.map(cidrElement),
  };
}

export function portsLiteral(ranges: readonly PortRange[]): LiteralSet {
  const merged = mergeRanges(ranges);
  const content = merged.map((range) => `${range.first}-${range.last}`).join(" ");
  return {
    set: { name: literalSetName("ports", content), key: ["inet_service"], interval: true },
    elements: merged.map(({ first, last }) =>
      last === 0xffff ? { key: u16(first) } : { key: u16(first), end: u16(last + 1) },
    ),
  };
}

export function cidrElement(cidr: Cidr): NftElement {
  const { first, end } = cidrRange(cidr);
  return end === undefined ? { key: first } : { key: first, end };
}

/** Sorted, with overlapping and touching ranges joined. */
export function mergeRanges(ranges: readonly PortRange[]): PortRange[] {
  const merged: { first: number; last: number }[] = [];
  for (const { first, last } of ranges.toSorted((a, b) => a.first - b.first)) {
    const previous = merged.at(-1);
    if (previous !== undefined && first <= previous.last + 1) {
      previous.last = Math.max(previous.last, last);
    } else {
      merged.push({ first, last });
    }
  }
  return merged;
}
