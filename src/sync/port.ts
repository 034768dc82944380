/**
 * Syncer → graph. Updates are eventually consistent: merged, repeated, reordered between keys. The
 * status goes wait-for-datastore → resync → in-sync; in-sync is said once, after the first full
 * snapshot of every watched prefix, and never early.
 */
import type { ModelUpdate } from "#model";

export type SyncStatus = "wait-for-datastore" | "resync" | "in-sync";

export interface SyncCallbacks {
  onStatus(status: SyncStatus): void;
  onUpdates(updates: readonly ModelUpdate[]): void;
  /** An object in the store that counts as absent, or denies; said once per key and revision. */
  onInvalid(problem: { readonly path: string; readonly message: string }): void;
  /** How many such objects there are; said when it changes. */
  onInvalidCount(count: number): void;
}
