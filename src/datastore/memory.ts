/**
 * A datastore in memory, for tests and for the lab's fakes: the port's whole contract, plus faults on
 * request. Nothing is persisted; two instances share nothing.
 */
import { BatchQueue } from "./batch-queue.ts";
import { closedError, compactedError, comparisonFailed, datastoreError } from "./errors.ts";
import { compareKeys, encodeText } from "./keys.ts";
import type {
  Datastore,
  DatastoreErrorCode,
  KeyValue,
  PutOptions,
  Revision,
  WatchBatch,
  WatchEvent,
} from "./port.ts";

export interface MemoryClock {
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(timer: unknown): void;
}

interface Watcher {
  readonly prefix: string;
  readonly queue: BatchQueue<WatchBatch>;
}

interface HistoryEntry {
  readonly revision: Revision;
  readonly event: WatchEvent;
}

const systemClock: MemoryClock = {
  setTimeout: (callback, delayMs) => setTimeout(callback, delayMs).unref(),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
};

export class MemoryDatastore implements Datastore {
  private readonly kvs = new Map<string, KeyValue>();
  private readonly expiries = new Map<string, unknown>();
  private readonly watchers = new Set<Watcher>();
  private readonly clock: MemoryClock;
  private history: HistoryEntry[] = [];
  private revision: Revision = 1;
  private compactRevision: Revision = 0;
  private fault: DatastoreErrorCode | undefined;
  private closed = false;

  constructor(clock: MemoryClock = systemClock) {
    this.clock = clock;
  }

  async get(key: string): Promise<{ readonly kv: KeyValue | null; readonly revision: Revision }> {
    this.check();
    return { kv: this.kvs.get(key) ?? null, revision: this.revision };
  }

  async list(
    prefix: string,
  ): Promise<{ readonly kvs: readonly KeyValue[]; readonly revision: Revision }> {
    this.check();
    const kvs = [...this.kvs.values()]
      .filter((kv) => kv.key.startsWith(prefix))
      .map((kv) => ({ kv, bytes: encodeText(kv.key) }))
      .sort((a, b) => compareKeys(a.bytes, b.bytes))
      .map(({ kv }) => kv);
    return { kvs, revision: this.revision };
  }

  async put(key: string, value: string, options: PutOptions = {}): Promise<Revision> {
    this.check();
    if (key === "") throw datastoreError("invalid", "the key is empty");
    this.compare(key, options.ifModRevision);
    const modRevision = ++this.revision;
    const createRevision = this.kvs.get(key)?.createRevision ?? modRevision;
    const kv: KeyValue = Object.freeze({ key, value, modRevision, createRevision });
    this.kvs.set(key, kv);
    this.clearExpiry(key);
    if (options.ttlSeconds !== undefined) {
      const expire = () => void (this.kvs.get(key) === kv && this.remove(key));
      this.expiries.set(key, this.clock.setTimeout(expire, options.ttlSeconds * 1000));
    }
    this.emit({ type: "put", kv });
    return modRevision;
  }

  async delete(key: string, options: { readonly ifModRevision?: Revision } = {}): Promise<boolean> {
    this.check();
    this.compare(key, options.ifModRevision);
    if (!this.kvs.has(key)) return false;
    this.remove(key);
    return true;
  }

  async *watch(
    prefix: string,
    fromRevision: Revision,
    signal: AbortSignal,
  ): AsyncGenerator<WatchBatch, void, undefined> {
    this.check();
    if (signal.aborted) return;
    if (fromRevision <= this.compactRevision) {
      throw compactedError(fromRevision, this.compactRevision);
    }
    const watcher: Watcher = { prefix, queue: new BatchQueue() };
    for (const { revision, event } of this.history) {
      if (revision >= fromRevision && keyOf(event).startsWith(prefix)) {
        watcher.queue.push({ revision, events: [event] });
      }
    }
    const stop = () => watcher.queue.close();
    signal.addEventListener("abort", stop, { once: true });
    this.watchers.add(watcher);
    try {
      for await (const batch of watcher.queue) {
        if (signal.aborted) return;
        if (batch.revision >= fromRevision) yield batch;
      }
    } finally {
      signal.removeEventListener("abort", stop);
      this.watchers.delete(watcher);
    }
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    for (const key of this.expiries.keys()) this.clearExpiry(key);
    for (const watcher of this.watchers) watcher.queue.fail(closedError());
  }

  /** Drops the history before `revision`: later watches from before it fail with `compacted`. */
  compact(revision: Revision = this.revision): void {
    this.compactRevision = Math.min(revision, this.revision);
    this.history = this.history.filter((entry) => entry.revision > this.compactRevision);
  }

  /** Says to every watcher that it is up to date, as a server does from time to time. */
  emitProgress(): void {
    for (const watcher of this.watchers) {
      watcher.queue.push({ revision: this.revision, events: [] });
    }
  }

  /** Ends the running watches with `code`, as when the connection or a compaction takes them. */
  breakWatches(code: DatastoreErrorCode = "unavailable"): void {
    for (const watcher of this.watchers) {
      watcher.queue.fail(datastoreError(code, "the watch was lost"));
    }
  }

  /** Until it is called with undefined, every call fails with `code` and the watches are lost. */
  setFault(code: DatastoreErrorCode | undefined): void {
    this.fault = code;
    if (code !== undefined) this.breakWatches(code);
  }

  private check(): void {
    if (this.closed) throw closedError();
    if (this.fault !== undefined) throw datastoreError(this.fault, `fault set: ${this.fault}`);
  }

  private compare(key: string, expected: Revision | undefined): void {
    const actual = this.kvs.get(key)?.modRevision ?? 0;
    if (expected !== undefined && expected !== actual) {
      throw comparisonFailed(key, expected, actual);
    }
  }

  private remove(key: string): void {
    this.kvs.delete(key);
    this.clearExpiry(key);
    this.emit({ type: "delete", key, modRevision: ++this.revision });
  }

  private emit(event: WatchEvent): void {
    this.history.push({ revision: this.revision, event });
    const batch: WatchBatch = Object.freeze({ revision: this.revision, events: [event] });
    for (const watcher of this.watchers) {
      if (keyOf(event).startsWith(watcher.prefix)) watcher.queue.push(batch);
    }
  }

  private clearExpiry(key: string): void {
    const timer = this.expiries.get(key);
    if (timer === undefined) return;
    this.clock.clearTimeout(timer);
    this.expiries.delete(key);
  }
}

function keyOf(event: WatchEvent): string {
  return event.type === "put" ? event.kv.key : event.key;
}
