/**
 * Reads what the graph is computed from and follows its changes. Objects that are not valid count as
 * absent, policies deny, and all are reported; one bad object never hides the others.
 */
import type { Datastore } from "#datastore";
import { isModelPath, ModelConverter, SYNC_PREFIXES, type ModelUpdate } from "#model";
import { MargayError, messageOf } from "#std";
import type { SyncCallbacks, SyncStatus } from "./port.ts";
import { PrefixFollower, type Change } from "./prefix-follower.ts";

export interface SyncerOptions {
  readonly store: Datastore;
  readonly callbacks: SyncCallbacks;
  /** First pause after the store was lost; default 100 ms. */
  readonly initialPauseMs?: number;
  /** Longest pause; default 5 s. */
  readonly maxPauseMs?: number;
  /** Uniform in [0, 1), for the jitter of pauses. */
  readonly random?: () => number;
}

export interface Syncer {
  /** Resolves when nothing more will be called back. Idempotent. The store stays open. */
  close(): Promise<void>;
}

/**
 * Never throws for what the store does; a callback that throws ends it with an unhandled rejection. Status is said in order, each once: wait-for-datastore at
 * once, resync when the store answers, in-sync after the first snapshot of every prefix is told.
 */
export function startSyncer(options: SyncerOptions): Syncer {
  const {
    store,
    callbacks,
    initialPauseMs = 100,
    maxPauseMs = 5000,
    random = Math.random,
  } = options;
  const abort = new AbortController();
  const converter = new ModelConverter();
  const invalid = new Set<string>();
  let status: SyncStatus | undefined;
  let incomplete = SYNC_PREFIXES.length;
  const say = (next: SyncStatus): void => {
    status = next;
    callbacks.onStatus(next);
  };
  const onChanges = (changes: readonly Change[]): void => {
    try {
      const before = invalid.size;
      const updates = changes.flatMap((change) => convert(change, converter, callbacks, invalid));
      if (updates.length > 0) callbacks.onUpdates(updates);
      if (invalid.size !== before) callbacks.onInvalidCount(invalid.size);
    } catch (error) {
      // Not the store's fault, and not to be retried: what was lost here would stay lost.
      throw new MargayError("bug", "bug", `updates were not taken: ${messageOf(error)}`, {
        cause: error,
      });
    }
  };
  say("wait-for-datastore");
  const runs = SYNC_PREFIXES.map((prefix) =>
    new PrefixFollower({
      store,
      prefix,
      signal: abort.signal,
      initialPauseMs,
      maxPauseMs,
      random,
      onChanges,
      onReachable: () => {
        if (status === "wait-for-datastore") say("resync");
      },
      onComplete: () => {
        incomplete -= 1;
        if (incomplete === 0) say("in-sync");
      },
    }).run(),
  );
  const done = Promise.all(runs);
  return {
    async close() {
      abort.abort();
      await done;
    },
  };
}

function convert(
  { path, value }: Change,
  converter: ModelConverter,
  callbacks: SyncCallbacks,
  invalid: Set<string>,
): readonly ModelUpdate[] {
  try {
    if (!isModelPath(path)) return [];
    const updates = converter.convert(path, value);
    invalid.delete(path);
    return updates;
  } catch (error) {
    const message = messageOf(error);
    invalid.add(path);
    callbacks.onInvalid({ path, message });
    return converter.convertInvalid(path, value, message);
  }
}
