/**
 * The datastore port: an ordered key-value store with one global revision, compare-and-swap and
 * watches that resume from a revision (etcd v3's model). Keys are absolute paths such as
 * `/calico/resources/v3/…`; values are UTF-8 text, kept byte for byte.
 *
 * Contract (one suite, every adapter): a list and a watch from `list.revision + 1` together see
 * every change exactly once; events of one transaction arrive in one batch; a watch from a
 * compacted revision fails with code `compacted`, after which the caller lists again.
 */

/** Store-wide revision; etcd's int64, far below 2^53 in any real store. */
export type Revision = number;

export interface KeyValue {
  readonly key: string;
  readonly value: string;
  readonly modRevision: Revision;
  readonly createRevision: Revision;
}

export type WatchEvent =
  | { readonly type: "put"; readonly kv: KeyValue }
  | { readonly type: "delete"; readonly key: string; readonly modRevision: Revision };

export interface WatchBatch {
  /** Every event up to this revision has been delivered. Batches without events are progress marks. */
  readonly revision: Revision;
  readonly events: readonly WatchEvent[];
}

export interface PutOptions {
  /** Compare-and-swap: the key's current modRevision; 0 = the key must not exist. */
  readonly ifModRevision?: Revision;
  /** The key is deleted when this many seconds pass without another put. */
  readonly ttlSeconds?: number;
}

export interface Datastore {
  get(key: string): Promise<{ readonly kv: KeyValue | null; readonly revision: Revision }>;
  /** All keys with the prefix in byte order, at one revision. Pages internally. */
  list(prefix: string): Promise<{ readonly kvs: readonly KeyValue[]; readonly revision: Revision }>;
  /** Resolves with the new modRevision; rejects with code `conflict` or `exists` when the comparison fails. */
  put(key: string, value: string, options?: PutOptions): Promise<Revision>;
  /** Resolves false when the key was absent (without `ifModRevision`); rejects with `conflict` otherwise. */
  delete(key: string, options?: { readonly ifModRevision?: Revision }): Promise<boolean>;
  /**
   * Batches from `fromRevision` (inclusive) until `signal` aborts; then it returns. Throws
   * `compacted`, or `unavailable` when the connection is lost (the caller resumes or relists).
   */
  watch(prefix: string, fromRevision: Revision, signal: AbortSignal): AsyncIterable<WatchBatch>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** Codes of the errors that a datastore raises; `unavailable` and `timeout` are retryable. */
export type DatastoreErrorCode =
  | "conflict"
  | "exists"
  | "compacted"
  | "unavailable"
  | "timeout"
  | "no-space"
  | "unauthenticated"
  | "corrupt"
  | "invalid";
