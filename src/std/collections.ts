/** Two indexes that remember no empty entries: key → set of values, and key → count. */
import { bug } from "./errors.ts";

const EMPTY: ReadonlySet<never> = new Set<never>();

export class MultiMap<K, V> {
  readonly #sets = new Map<K, Set<V>>();

  /** Number of keys. */
  get size(): number {
    return this.#sets.size;
  }

  /** Returns whether the pair is new. */
  add(key: K, value: V): boolean {
    const set = this.#sets.get(key);
    if (!set) {
      this.#sets.set(key, new Set([value]));
      return true;
    }
    if (set.has(value)) return false;
    set.add(value);
    return true;
  }

  /** Returns whether the pair was there. */
  delete(key: K, value: V): boolean {
    const set = this.#sets.get(key);
    if (!set?.delete(value)) return false;
    if (set.size === 0) this.#sets.delete(key);
    return true;
  }

  deleteKey(key: K): boolean {
    return this.#sets.delete(key);
  }

  /** Live and possibly empty; copy it before changing the key's values in a loop. */
  get(key: K): ReadonlySet<V> {
    return this.#sets.get(key) ?? EMPTY;
  }

  has(key: K, value?: V): boolean {
    const set = this.#sets.get(key);
    return set !== undefined && (value === undefined || set.has(value));
  }

  keys(): MapIterator<K> {
    return this.#sets.keys();
  }

  entries(): MapIterator<[K, ReadonlySet<V>]> {
    return this.#sets.entries();
  }

  clear(): void {
    this.#sets.clear();
  }
}

export class RefCounts<K> {
  readonly #counts = new Map<K, number>();

  /** Number of keys with a count above zero. */
  get size(): number {
    return this.#counts.size;
  }

  /** Returns true when this is the first reference. */
  increment(key: K): boolean {
    const count = this.#counts.get(key) ?? 0;
    this.#counts.set(key, count + 1);
    return count === 0;
  }

  /** Returns true when this was the last reference. A reference that was never taken is a bug. */
  decrement(key: K): boolean {
    const count = this.#counts.get(key);
    if (count === undefined) throw bug("reference released that was never taken", { key });
    if (count === 1) return this.#counts.delete(key);
    this.#counts.set(key, count - 1);
    return false;
  }

  get(key: K): number {
    return this.#counts.get(key) ?? 0;
  }

  has(key: K): boolean {
    return this.#counts.has(key);
  }

  keys(): MapIterator<K> {
    return this.#counts.keys();
  }
}
