/**
 * Keeps the graph as the datastore is: lists each prefix, watches on from the list's revision, and
 * lists again when the history that it missed is gone. A lost connection is retried and resumed;
 * the graph keeps what it has meanwhile.
 *
 *   list ──▶ watch from revision + 1 ──compacted──▶ list, deletions of what vanished
 *                └── connection lost ──pause──▶ watch from the last revision + 1
 *
 * Events reach the callbacks in the turn of the event loop in which they arrive.
 */
import { setImmediate as turn, setTimeout as delay } from "node:timers/promises";
import type { Datastore, Revision, WatchBatch } from "#datastore";
import { logger } from "#log";
import type { ModelUpdate } from "#model";
import { Backoff, MargayError, messageOf } from "#std";
import { WATCHED_PREFIXES } from "./decode.ts";
import type { SyncCallbacks } from "./port.ts";
import { Tracker } from "./tracker.ts";

const log = logger("sync");

/** Objects of a list that are handed over before the event loop gets a turn. */
const CHUNK = 500;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 5000;

export interface SyncerOptions {
  readonly store: Datastore;
  readonly hostname: string;
  readonly callbacks: SyncCallbacks;
  readonly prefixes?: readonly string[];
  /** Uniform in [0, 1), for the jitter of pauses. */
  readonly random?: () => number;
}

export interface Syncer {
  /** Ends the watches; no callback comes after it resolves. Idempotent. */
  close(): Promise<void>;
}

export function startSyncer(options: SyncerOptions): Syncer {
  const { callbacks } = options;
  const stop = new AbortController();
  const prefixes = options.prefixes ?? WATCHED_PREFIXES;
  let listing = false;
  let waitingFor = prefixes.length;
  callbacks.onStatus("wait-for-datastore");
  const runs = prefixes.map((prefix) =>
    new PrefixSync(prefix, options, stop.signal, {
      onListing: () => {
        if (!listing) callbacks.onStatus("resync");
        listing = true;
      },
      onFirstSnapshot: () => {
        waitingFor -= 1;
        if (waitingFor === 0) callbacks.onStatus("in-sync");
      },
    }).run(),
  );
  return {
    close: async () => {
      stop.abort();
      await Promise.all(runs);
    },
  };
}

interface Milestones {
  /** The datastore answered; objects follow. */
  onListing(): void;
  onFirstSnapshot(): void;
}

class PrefixSync {
  readonly #prefix: string;
  readonly #options: SyncerOptions;
  readonly #signal: AbortSignal;
  readonly #milestones: Milestones;
  readonly #tracker: Tracker;
  readonly #backoff: Backoff;
  /** Everything up to here has been handed over; undefined: a list is due. */
  #revision: Revision | undefined;
  #highest: Revision = 0;
  #complete = false;

  constructor(prefix: string, options: SyncerOptions, signal: AbortSignal, milestones: Milestones) {
    this.#prefix = prefix;
    this.#options = options;
    this.#signal = signal;
    this.#milestones = milestones;
    this.#tracker = new Tracker((problem) => options.callbacks.onInvalid(problem));
    const random = options.random ?? Math.random;
    this.#backoff = new Backoff({ initialMs: FIRST_PAUSE_MS, maxMs: LONGEST_PAUSE_MS, random });
  }

  /** Never rejects; ends when the signal aborts. */
  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      try {
        if (this.#backoff.attempts > 0) await this.#checkHistory();
        if (this.#revision === undefined) await this.#list();
        else await this.#watch(this.#revision + 1);
      } catch (error) {
        if (this.#signal.aborted) return;
        this.#onError(error);
        await this.#pause();
      }
    }
  }

  /** A store that came back older (restored from a backup) would leave a resumed watch waiting for long. */
  async #checkHistory(): Promise<void> {
    const { revision } = await this.#options.store.get(this.#prefix);
    if (this.#revision !== undefined && revision < this.#revision) this.#revision = undefined;
  }

  async #list(): Promise<void> {
    const { kvs, revision } = await this.#options.store.list(this.#prefix);
    if (this.#signal.aborted) return;
    this.#milestones.onListing();
    if (revision < this.#highest) {
      log.warn("the datastore is older than before; reading all of it anew", {
        prefix: this.#prefix,
        revision,
        before: this.#highest,
      });
      this.#tracker.forgetRevisions();
    }
    this.#highest = revision;
    this.#deliver(this.#tracker.retainOnly(new Set(kvs.map((kv) => kv.key))));
    for (let i = 0; i < kvs.length; i += CHUNK) {
      this.#deliver(kvs.slice(i, i + CHUNK).flatMap((kv) => this.#tracker.put(kv)));
      await turn();
      if (this.#signal.aborted) return;
    }
    this.#revision = revision;
    this.#backoff.reset();
    if (this.#complete) return;
    this.#complete = true;
    this.#milestones.onFirstSnapshot();
  }

  async #watch(from: Revision): Promise<void> {
    for await (const batch of this.#options.store.watch(this.#prefix, from, this.#signal)) {
      if (this.#signal.aborted) return;
      this.#backoff.reset();
      this.#take(batch);
    }
    if (!this.#signal.aborted) {
      throw new MargayError("system", "unavailable", "the watch ended", { retryable: true });
    }
  }

  #take(batch: WatchBatch): void {
    this.#deliver(
      batch.events.flatMap((event) =>
        event.type === "put" ? this.#tracker.put(event.kv) : this.#tracker.delete(event.key),
      ),
    );
    this.#revision = batch.revision;
    this.#highest = Math.max(this.#highest, batch.revision);
  }

  #deliver(updates: readonly ModelUpdate[]): void {
    if (updates.length > 0) this.#options.callbacks.onUpdates(updates);
  }

  /** A lost connection resumes where it was; anything else is made good by a full list. */
  #onError(error: unknown): void {
    const passing = error instanceof MargayError && error.retryable;
    if (!passing) this.#revision = undefined;
    const fields = {
      prefix: this.#prefix,
      reason: messageOf(error),
      attempts: this.#backoff.attempts,
    };
    if (error instanceof MargayError && error.code === "compacted") {
      log.info("the datastore's history was compacted; listing again", fields);
    } else if (this.#backoff.attempts === 0 || !passing) {
      log.warn("the datastore does not answer; retrying", fields);
    }
  }

  async #pause(): Promise<void> {
    await delay(this.#backoff.nextMs(), undefined, { signal: this.#signal }).catch(() => undefined);
  }
}
