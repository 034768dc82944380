/**
 * Keeps a set of CIDR blocks publishable to a kernel whose interval sets refuse overlaps: only
 * blocks that no other member contains are published, so the published ones are disjoint and
 * cover the same addresses.
 */
import { cidrContains, type Cidr } from "./cidr.ts";
import { PrefixTrie } from "./trie.ts";

/** Apply withdrawals and publications in one transaction, or addresses are uncovered in between. */
export interface OverlapChange {
  readonly publish: readonly Cidr[];
  readonly withdraw: readonly Cidr[];
}

const NO_CHANGE: OverlapChange = { publish: [], withdraw: [] };

export class OverlapSuppressor {
  readonly #members = new PrefixTrie<true>();

  /** Number of members, published or not. */
  get size(): number {
    return this.#members.size;
  }

  has(cidr: Cidr): boolean {
    return this.#members.has(cidr);
  }

  /** Publishes the block unless a member contains it; withdraws what it contains. Idempotent. */
  add(cidr: Cidr): OverlapChange {
    const covered = this.#members.longestMatch(cidr) !== undefined;
    this.#members.set(cidr, true);
    return covered ? NO_CHANGE : { publish: [cidr], withdraw: this.#inside(cidr) };
  }

  /** Mirror of `add`. Idempotent. */
  remove(cidr: Cidr): OverlapChange {
    if (!this.#members.delete(cidr)) return NO_CHANGE;
    if (this.#members.longestMatch(cidr)) return NO_CHANGE;
    return { publish: this.#inside(cidr), withdraw: [cidr] };
  }

  /** What is published now, in order. */
  published(): Cidr[] {
    const result: Cidr[] = [];
    let outer: Cidr | undefined;
    for (const { cidr } of this.#members.entries()) {
      if (outer && cidrContains(outer, cidr)) continue;
      result.push(cidr);
      outer = cidr;
    }
    return result;
  }

  #inside(cidr: Cidr): Cidr[] {
    return Array.from(this.#members.closestDescendants(cidr), (entry) => entry.cidr);
  }
}
