/**
 * Desired state against actual state, and the difference kept at every change: each call costs
 * O(1) and an apply looks only at what is pending.
 *
 *     desired − actual          → pendingUpdates    (missing, or another value)
 *     actual's keys − desired's → pendingDeletions
 */

export interface DeltaTrackerOptions<V> {
  /** Whether an actual value is as good as the desired one. Default: `Object.is`. */
  readonly equal?: (desired: V, actual: V) => boolean;
}

export class DeltaTracker<K, V> {
  readonly #equal: (desired: V, actual: V) => boolean;
  readonly #desired = new Map<K, V>();
  readonly #actual = new Map<K, V>();
  readonly #pendingUpdates = new Map<K, V>();
  readonly #pendingDeletions = new Set<K>();

  constructor(options: DeltaTrackerOptions<V> = {}) {
    this.#equal = options.equal ?? Object.is;
  }

  get desired(): ReadonlyMap<K, V> {
    return this.#desired;
  }

  /** What the other side is known to hold. */
  get actual(): ReadonlyMap<K, V> {
    return this.#actual;
  }

  /** Desired values to write. A loop over it may call `markUpdated` for the entry it is at. */
  get pendingUpdates(): ReadonlyMap<K, V> {
    return this.#pendingUpdates;
  }

  /** Keys to delete. A loop over it may call `deleteActual` for the key it is at. */
  get pendingDeletions(): ReadonlySet<K> {
    return this.#pendingDeletions;
  }

  get inSync(): boolean {
    return this.#pendingUpdates.size === 0 && this.#pendingDeletions.size === 0;
  }

  setDesired(key: K, value: V): void {
    this.#desired.set(key, value);
    this.#compare(key);
  }

  deleteDesired(key: K): void {
    this.#desired.delete(key);
    this.#compare(key);
  }

  clearDesired(): void {
    for (const key of this.#desired.keys()) this.deleteDesired(key);
  }

  /** The other side holds this value, whether we wrote or found it. */
  setActual(key: K, value: V): void {
    this.#actual.set(key, value);
    this.#compare(key);
  }

  /** The other side does not hold the key, whether we deleted it or found it missing. */
  deleteActual(key: K): void {
    this.#actual.delete(key);
    this.#compare(key);
  }

  /** The desired value has been written. */
  markUpdated(key: K): void {
    const value = this.#pendingUpdates.get(key);
    if (value !== undefined || this.#pendingUpdates.has(key)) this.setActual(key, value as V);
  }

  /** A complete read-back: keys that are not in it are absent. */
  replaceActual(entries: Iterable<readonly [K, V]>): void {
    const found = new Map(entries);
    for (const key of this.#actual.keys()) if (!found.has(key)) this.deleteActual(key);
    for (const [key, value] of found) this.setActual(key, value);
  }

  #compare(key: K): void {
    if (!this.#desired.has(key)) {
      this.#pendingUpdates.delete(key);
      if (this.#actual.has(key)) this.#pendingDeletions.add(key);
      else this.#pendingDeletions.delete(key);
      return;
    }
    this.#pendingDeletions.delete(key);
    const desired = this.#desired.get(key) as V;
    const upToDate = this.#actual.has(key) && this.#equal(desired, this.#actual.get(key) as V);
    if (upToDate) this.#pendingUpdates.delete(key);
    else this.#pendingUpdates.set(key, desired);
  }
}
