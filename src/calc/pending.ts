/**
 * What one kind of object has to tell: at most one message per object between two flushes. An object
 * that comes and goes unseen leaves no trace, and neither does one that returns to what was told.
 */
import type { IpSetId } from "#policy";
import type { IpSetType } from "./messages.ts";
import { bug } from "#std";
import { sameData } from "./equal.ts";

export class Pending<K, V> {
  readonly #told = new Map<K, V>();
  readonly #updates = new Map<K, V>();
  readonly #removes = new Set<K>();

  update(key: K, value: V): void {
    this.#removes.delete(key);
    if (this.#told.has(key) && sameData(this.#told.get(key), value)) this.#updates.delete(key);
    else this.#updates.set(key, value);
  }

  remove(key: K): void {
    this.#updates.delete(key);
    if (this.#told.has(key)) this.#removes.add(key);
  }

  flushUpdates(emit: (key: K, value: V) => void): void {
    for (const [key, value] of this.#updates) {
      this.#told.set(key, value);
      emit(key, value);
    }
    this.#updates.clear();
  }

  /** `emit` gets what was told last. */
  flushRemoves(emit: (key: K, last: V) => void): void {
    for (const key of this.#removes) {
      const last = this.#told.get(key);
      this.#told.delete(key);
      if (last !== undefined) emit(key, last);
    }
    this.#removes.clear();
  }
}

interface Fresh {
  readonly type: IpSetType;
  readonly members: () => Iterable<string>;
}

interface Delta {
  readonly added: Set<string>;
  readonly removed: Set<string>;
}

/**
 * The same for IP sets, whose members come and go one by one. Those of a set that was never told are
 * asked for when it is.
 */
export class PendingIpSets {
  readonly #told = new Set<IpSetId>();
  readonly #live = new Set<IpSetId>();
  readonly #fresh = new Map<IpSetId, Fresh>();
  readonly #deltas = new Map<IpSetId, Delta>();
  readonly #removes = new Set<IpSetId>();

  add(id: IpSetId, type: IpSetType, members: () => Iterable<string>): void {
    if (this.#live.has(id)) throw bug("IP set added twice", { id });
    this.#live.add(id);
    // A set that was to be removed is told anew as a whole instead.
    this.#removes.delete(id);
    this.#fresh.set(id, { type, members });
  }

  remove(id: IpSetId): void {
    if (!this.#live.delete(id)) throw bug("IP set removed that is not there", { id });
    this.#fresh.delete(id);
    this.#deltas.delete(id);
    if (this.#told.has(id)) this.#removes.add(id);
  }

  addMember(id: IpSetId, member: string): void {
    if (this.#fresh.has(id)) return;
    const delta = this.#delta(id);
    if (!delta.removed.delete(member)) delta.added.add(member);
  }

  removeMember(id: IpSetId, member: string): void {
    if (this.#fresh.has(id)) return;
    const delta = this.#delta(id);
    if (!delta.added.delete(member)) delta.removed.add(member);
  }

  flushFresh(emit: (id: IpSetId, type: IpSetType, members: readonly string[]) => void): void {
    for (const [id, { type, members }] of this.#fresh) {
      this.#told.add(id);
      emit(id, type, [...members()]);
    }
    this.#fresh.clear();
  }

  flushDeltas(
    emit: (id: IpSetId, added: readonly string[], removed: readonly string[]) => void,
  ): void {
    for (const [id, { added, removed }] of this.#deltas) {
      if (added.size + removed.size > 0) emit(id, [...added], [...removed]);
    }
    this.#deltas.clear();
  }

  flushRemoves(emit: (id: IpSetId) => void): void {
    for (const id of this.#removes) {
      this.#told.delete(id);
      emit(id);
    }
    this.#removes.clear();
  }

  #delta(id: IpSetId): Delta {
    if (!this.#live.has(id)) throw bug("member of an IP set that is not there", { id });
    let delta = this.#deltas.get(id);
    if (delta === undefined) {
      delta = { added: new Set(), removed: new Set() };
      this.#deltas.set(id, delta);
    }
    return delta;
  }
}
