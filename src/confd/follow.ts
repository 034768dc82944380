/** A node's BGP objects in the datastore: read once, or followed for good. */
import type { Datastore } from "#datastore";
import { bgpPrefixes, BgpState } from "#bgp";
import { logger } from "#log";
import { messageOf } from "#std";
import { PrefixFollower } from "#sync";

const log = logger("confd");

/** Objects that are not valid count as absent and are logged. */
export async function readState(store: Datastore, node: string): Promise<BgpState> {
  const state = new BgpState(node);
  for (const prefix of bgpPrefixes(node)) {
    const { kvs } = await store.list(prefix);
    for (const { key, value } of kvs) take(state, key, value);
  }
  return state;
}

export interface FollowOptions {
  readonly store: Datastore;
  readonly node: string;
  readonly signal: AbortSignal;
  /** After the first full reading, and after every change from then on. */
  readonly onChange: (state: BgpState) => void;
}

/** Resolves when the signal aborts. */
export async function followState(options: FollowOptions): Promise<void> {
  const { store, node, signal, onChange } = options;
  const state = new BgpState(node);
  const prefixes = bgpPrefixes(node);
  let missing = prefixes.length;
  const changed = (): void => {
    if (missing === 0) onChange(state);
  };
  await Promise.all(
    prefixes.map((prefix) =>
      new PrefixFollower({
        store,
        prefix,
        signal,
        initialPauseMs: 100,
        maxPauseMs: 5000,
        random: Math.random,
        onChanges: (changes) => {
          for (const { path, value } of changes) take(state, path, value);
          changed();
        },
        onReachable: () => undefined,
        onComplete: () => {
          missing -= 1;
          changed();
        },
      }).run(),
    ),
  );
}

function take(state: BgpState, path: string, value: string | null): void {
  try {
    state.put(path, value);
  } catch (error) {
    log.warn("an object is not valid and counts as absent", { path, error: messageOf(error) });
  }
}
