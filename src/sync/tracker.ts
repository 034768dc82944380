/**
 * What the graph has been told, by path: so that a deletion, an invalid value or a path that vanished
 * between two lists withdraws exactly the keys that the path gave. O(1) per change.
 */
import { deletion, modelKeyText, type ModelKey, type ModelUpdate } from "#model";
import type { KeyValue, Revision } from "#datastore";
import { decode } from "./decode.ts";

interface Entry {
  readonly modRevision: Revision;
  readonly keys: readonly ModelKey[];
}

export type OnInvalid = (problem: { readonly path: string; readonly message: string }) => void;

export class Tracker {
  readonly #entries = new Map<string, Entry>();
  /** Which path speaks for a key: two objects may claim one, and the last to come holds it. */
  readonly #owners = new Map<string, string>();
  readonly #onInvalid: OnInvalid;

  constructor(onInvalid: OnInvalid) {
    this.#onInvalid = onInvalid;
  }

  /** Repeats of a revision that was seen yield nothing. */
  put(kv: KeyValue): readonly ModelUpdate[] {
    const before = this.#entries.get(kv.key);
    if (before?.modRevision === kv.modRevision) return [];
    const decoded = decode(kv.key, kv.value);
    if (!decoded.ok) this.#onInvalid({ path: kv.key, message: decoded.problem });
    const updates = decoded.ok ? decoded.updates : [];
    const keys = updates.map((update) => update.key);
    this.#entries.set(kv.key, { modRevision: kv.modRevision, keys });
    const texts = new Set(keys.map(modelKeyText));
    const withdrawn = this.#withdraw(kv.key, before?.keys ?? [], texts);
    for (const text of texts) this.#owners.set(text, kv.key);
    return withdrawn.length === 0 ? updates : [...withdrawn, ...updates];
  }

  delete(path: string): readonly ModelUpdate[] {
    const before = this.#entries.get(path);
    if (before === undefined) return [];
    this.#entries.delete(path);
    return this.#withdraw(path, before.keys, new Set());
  }

  /** Deletions of the paths that are not among those of a full list. */
  retainOnly(present: ReadonlySet<string>): readonly ModelUpdate[] {
    const gone = [...this.#entries.keys()].filter((path) => !present.has(path));
    return gone.flatMap((path) => this.delete(path));
  }

  /** After the store went back in time (restored from a backup) revisions say nothing any more. */
  forgetRevisions(): void {
    for (const [path, entry] of this.#entries) {
      this.#entries.set(path, { ...entry, modRevision: -1 });
    }
  }

  #withdraw(path: string, keys: readonly ModelKey[], kept: ReadonlySet<string>): ModelUpdate[] {
    const withdrawn: ModelUpdate[] = [];
    for (const key of keys) {
      const text = modelKeyText(key);
      if (kept.has(text) || this.#owners.get(text) !== path) continue;
      this.#owners.delete(text);
      withdrawn.push(deletion(key));
    }
    return withdrawn;
  }
}
