/**
 * Map from CIDR blocks to values with the questions that routing and policy ask: the longest block
 * around an address, all blocks around a block, all blocks inside a block. Path-compressed binary
 * trie for each family; every operation walks at most 32 or 128 nodes.
 *
 *     10.0.0.0/8 ─┬─ 10.65.0.0/16 ── 10.65.0.64/26     nodes without a value only where
 *                 └─ 10.66.0.0/16                       two branches part
 */
import { bitAt, cidrContains, cidrOf, commonPrefixLen, type Cidr } from "./cidr.ts";
import type { Ip, IpFamily } from "./address.ts";

export interface TrieEntry<V> {
  readonly cidr: Cidr;
  readonly value: V;
}

interface Node<V> {
  readonly cidr: Cidr;
  /** Undefined: the node only joins two branches. */
  entry: TrieEntry<V> | undefined;
  children: [Node<V> | undefined, Node<V> | undefined];
}

export class PrefixTrie<V> {
  readonly #roots: Record<IpFamily, Node<V> | undefined> = { 4: undefined, 6: undefined };
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Returns whether the block is new. */
  set(cidr: Cidr, value: V): boolean {
    const before = this.#size;
    this.#roots[cidr.family] = this.#insert(this.#roots[cidr.family], { cidr, value });
    return this.#size > before;
  }

  /** Exact match. */
  get(cidr: Cidr): V | undefined {
    return this.#find(cidr)?.entry?.value;
  }

  has(cidr: Cidr): boolean {
    return this.#find(cidr)?.entry !== undefined;
  }

  /** Returns whether the block was there. */
  delete(cidr: Cidr): boolean {
    const before = this.#size;
    const root = this.#roots[cidr.family];
    if (root) this.#roots[cidr.family] = this.#remove(root, cidr);
    return this.#size < before;
  }

  clear(): void {
    this.#roots[4] = undefined;
    this.#roots[6] = undefined;
    this.#size = 0;
  }

  /** The longest block that contains the address or block (itself included). */
  longestMatch(target: Ip | Cidr): TrieEntry<V> | undefined {
    const goal = toCidr(target);
    let best: TrieEntry<V> | undefined;
    let node = this.#roots[goal.family];
    while (node && cidrContains(node.cidr, goal)) {
      best = node.entry ?? best;
      if (node.cidr.prefixLen === goal.prefixLen) break;
      node = node.children[bitAt(goal, node.cidr.prefixLen)];
    }
    return best;
  }

  /** Blocks that contain the address or block (itself included), the widest first. */
  *lookupPath(target: Ip | Cidr): Generator<TrieEntry<V>, undefined> {
    const goal = toCidr(target);
    let node = this.#roots[goal.family];
    while (node && cidrContains(node.cidr, goal)) {
      if (node.entry) yield node.entry;
      if (node.cidr.prefixLen === goal.prefixLen) return;
      node = node.children[bitAt(goal, node.cidr.prefixLen)];
    }
  }

  /** Blocks inside `cidr` (itself included), in order of address, the wider first. */
  *subTree(cidr: Cidr): Generator<TrieEntry<V>, undefined> {
    const top = this.#top(cidr);
    if (top) yield* walk(top);
  }

  /** Blocks strictly inside `cidr` that no other block strictly inside it contains. */
  *closestDescendants(cidr: Cidr): Generator<TrieEntry<V>, undefined> {
    const top = this.#top(cidr);
    if (!top) return;
    if (top.cidr.prefixLen > cidr.prefixLen) yield* outermost(top);
    else for (const child of top.children) if (child) yield* outermost(child);
  }

  /** All blocks, IPv4 first, in order of address, the wider first. */
  *entries(): Generator<TrieEntry<V>, undefined> {
    for (const root of [this.#roots[4], this.#roots[6]]) if (root) yield* walk(root);
  }

  #find(cidr: Cidr): Node<V> | undefined {
    const node = this.#top(cidr);
    return node?.cidr.prefixLen === cidr.prefixLen ? node : undefined;
  }

  /** The outermost node inside `cidr`. */
  #top(cidr: Cidr): Node<V> | undefined {
    let node = this.#roots[cidr.family];
    while (node && node.cidr.prefixLen < cidr.prefixLen) {
      if (!cidrContains(node.cidr, cidr)) return undefined;
      node = node.children[bitAt(cidr, node.cidr.prefixLen)];
    }
    return node && cidrContains(cidr, node.cidr) ? node : undefined;
  }

  #insert(node: Node<V> | undefined, entry: TrieEntry<V>): Node<V> {
    const { cidr } = entry;
    if (!node) {
      this.#size++;
      return { cidr, entry, children: [undefined, undefined] };
    }
    const limit = Math.min(node.cidr.prefixLen, cidr.prefixLen);
    const shared = commonPrefixLen(node.cidr, cidr, limit);
    if (shared === node.cidr.prefixLen) {
      if (shared === cidr.prefixLen) {
        if (!node.entry) this.#size++;
        node.entry = entry;
        return node;
      }
      const bit = bitAt(cidr, shared);
      node.children[bit] = this.#insert(node.children[bit], entry);
      return node;
    }
    const parent: Node<V> = {
      cidr: shared === cidr.prefixLen ? cidr : cidrOf(cidr, shared),
      entry: undefined,
      children: [undefined, undefined],
    };
    parent.children[bitAt(node.cidr, shared)] = node;
    return this.#insert(parent, entry);
  }

  #remove(node: Node<V>, cidr: Cidr): Node<V> | undefined {
    if (!cidrContains(node.cidr, cidr)) return node;
    if (node.cidr.prefixLen === cidr.prefixLen) {
      if (node.entry) this.#size--;
      node.entry = undefined;
    } else {
      const bit = bitAt(cidr, node.cidr.prefixLen);
      const child = node.children[bit];
      if (child) node.children[bit] = this.#remove(child, cidr);
    }
    const [zero, one] = node.children;
    return node.entry || (zero && one) ? node : (zero ?? one);
  }
}

function toCidr(target: Ip | Cidr): Cidr {
  return "prefixLen" in target ? target : cidrOf(target, target.family === 4 ? 32 : 128);
}

function* walk<V>(node: Node<V>): Generator<TrieEntry<V>, undefined> {
  if (node.entry) yield node.entry;
  for (const child of node.children) if (child) yield* walk(child);
}

function* outermost<V>(node: Node<V>): Generator<TrieEntry<V>, undefined> {
  if (node.entry) yield node.entry;
  else for (const child of node.children) if (child) yield* outermost(child);
}
