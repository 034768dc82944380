/** A small seeded generator: the same seed gives the same choices on every machine and Node. */

export class RandomSource {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** Uniform in [0, 1). Mulberry32. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  }

  /** Integer from `low` to `high`, both included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(values: readonly T[]): T {
    if (values.length === 0) throw new Error("nothing to pick from");
    return values[Math.floor(this.next() * values.length)] as T;
  }

  /** Repetition in the list is weight. */
  some<T>(values: readonly T[], low: number, high: number): T[] {
    return Array.from({ length: this.int(low, high) }, () => this.pick(values));
  }

  /** `make()` under its key with this probability, else nothing; to be spread into an object. */
  maybe<K extends string, V>(probability: number, key: K, make: () => V): Partial<Record<K, V>> {
    if (!this.chance(probability)) return {};
    const entry: Partial<Record<K, V>> = {};
    entry[key] = make();
    return entry;
  }
}
