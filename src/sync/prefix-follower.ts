/**
 * Follows one prefix of the datastore for good: list, then watch from there. A lost watch resumes
 * where it stopped; when that history is gone, or the store has gone back in time (restored from a
 * backup), the prefix is listed again and what vanished meanwhile is told as deleted.
 */
import { setImmediate as nextTurn, setTimeout as delay } from "node:timers/promises";
import type { Datastore, Revision, WatchEvent } from "#datastore";
import { logger } from "#log";
import { Backoff, MargayError, messageOf } from "#std";

const log = logger("sync");

/** Objects told between two turns of the event loop. */
const CHUNK = 1000;

/** `value` null: deleted. */
export interface Change {
  readonly path: string;
  readonly value: string | null;
}

interface Told {
  readonly path: string;
  readonly revision: Revision;
  readonly present: boolean;
}

export interface FollowerOptions {
  readonly store: Datastore;
  readonly prefix: string;
  readonly signal: AbortSignal;
  readonly initialPauseMs: number;
  readonly maxPauseMs: number;
  readonly random: () => number;
  readonly onChanges: (changes: readonly Change[]) => void;
  /** The store has answered for the first time. */
  readonly onReachable: () => void;
  /** After the first full list has been told. Once. */
  readonly onComplete: () => void;
}

export class PrefixFollower {
  readonly #options: FollowerOptions;
  readonly #backoff: Backoff;
  /** What was told and is there: path → its revision. */
  readonly #known = new Map<string, Revision>();
  /** The newest of all that was told: what the store must still know after it was away. */
  #newest: Told | undefined;
  /** The revision to watch from; undefined: list first. */
  #next: Revision | undefined;
  #complete = false;
  #complaint = "";

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#backoff = new Backoff({
      initialMs: options.initialPauseMs,
      maxMs: options.maxPauseMs,
      random: options.random,
    });
  }

  /** Resolves when the signal aborts; rejects for bugs only, never for what a store may do. */
  async run(): Promise<void> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      try {
        const from = this.#next ?? (await this.#list());
        if (from === undefined) return;
        await this.#watch(from);
        if (!signal.aborted && this.#next !== undefined) await this.#pause("the watch ended");
      } catch (error) {
        if (error instanceof MargayError && error.kind === "bug") throw error;
        if (signal.aborted) return;
        if (codeOf(error) === "compacted") this.#next = undefined;
        else await this.#pause(messageOf(error));
      }
    }
  }

  /** Undefined when aborted meanwhile. */
  async #list(): Promise<Revision | undefined> {
    const { store, prefix, signal, onChanges, onReachable, onComplete } = this.#options;
    const { kvs, revision } = await store.list(prefix);
    if (signal.aborted) return undefined;
    onReachable();
    const gone = new Set(this.#known.keys());
    let chunk: Change[] = [];
    for (const { key, value, modRevision } of kvs) {
      gone.delete(key);
      if (modRevision > (this.#newest?.revision ?? 0)) {
        this.#newest = { path: key, revision: modRevision, present: true };
      }
      if (this.#known.get(key) === modRevision) continue;
      this.#known.set(key, modRevision);
      chunk.push({ path: key, value });
      if (chunk.length < CHUNK) continue;
      onChanges(chunk);
      chunk = [];
      await nextTurn();
      if (signal.aborted) return undefined;
    }
    for (const path of gone) {
      this.#known.delete(path);
      chunk.push({ path, value: null });
    }
    if (chunk.length > 0) onChanges(chunk);
    this.#recovered();
    if (!this.#complete) {
      this.#complete = true;
      onComplete();
    }
    this.#next = revision + 1;
    return this.#next;
  }

  async #watch(from: Revision): Promise<void> {
    const { store, prefix, signal, onChanges } = this.#options;
    if (this.#complaint !== "") {
      if (!(await this.#sameHistory(from))) {
        log.warn("the datastore has gone back in time; reading it anew", { prefix, from });
        this.#forget();
        return;
      }
      this.#recovered();
    }
    for await (const { revision, events } of store.watch(prefix, from, signal)) {
      if (signal.aborted) return;
      const changes = events.map((event) => this.#note(event, revision));
      if (changes.length > 0) onChanges(changes);
      this.#next = revision + 1;
    }
  }

  /**
   * A store that was restored from a backup has lost what came after it. Its revision may be lower
   * than ours, or past it again when others have written meanwhile; then it does not have the newest
   * that we saw. A change of just that since then may look the same, which costs one more list.
   */
  async #sameHistory(from: Revision): Promise<boolean> {
    const { store, prefix } = this.#options;
    const { kv, revision } = await store.get(this.#newest?.path ?? prefix);
    if (revision + 1 < from) return false;
    if (this.#newest === undefined || (kv !== null && kv.modRevision >= from)) return true;
    return this.#newest.present ? kv?.modRevision === this.#newest.revision : kv === null;
  }

  #note(event: WatchEvent, revision: Revision): Change {
    const path = event.type === "delete" ? event.key : event.kv.key;
    this.#newest = { path, revision, present: event.type !== "delete" };
    if (event.type === "delete") {
      this.#known.delete(event.key);
      return { path: event.key, value: null };
    }
    this.#known.set(event.kv.key, event.kv.modRevision);
    return { path: event.kv.key, value: event.kv.value };
  }

  /** Revisions of another history mean nothing: everything is told again. */
  #forget(): void {
    this.#next = undefined;
    this.#newest = undefined;
    for (const path of this.#known.keys()) this.#known.set(path, -1);
  }

  async #pause(reason: string): Promise<void> {
    const { signal, prefix } = this.#options;
    if (reason !== this.#complaint) log.warn("datastore lost; retrying", { prefix, reason });
    this.#complaint = reason;
    await delay(this.#backoff.nextMs(), undefined, { signal }).catch(() => undefined);
  }

  #recovered(): void {
    if (this.#complaint !== "") log.info("datastore back", { prefix: this.#options.prefix });
    this.#complaint = "";
    this.#backoff.reset();
  }
}

function codeOf(error: unknown): string {
  return error instanceof MargayError ? error.code : "";
}
