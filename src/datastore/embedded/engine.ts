/**
 * The embedded store: etcd's API for one node, on one SQLite file. What is acknowledged is on the
 * disk. It answers with etcd's messages, codes and words; the gRPC server and the adapter of this
 * process are thin layers above.
 *
 *     request ── check ── commit queue ── SQLite ── flush ── watch hub ── answer
 */
import { create } from "@bufbuild/protobuf";
import { crc32 } from "node:zlib";
import { faultError, FAULTS } from "../etcd/errors.ts";
import {
  CompactionResponseSchema,
  ResponseHeaderSchema,
  type CompactionRequest,
  type CompactionResponse,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  type PutRequest,
  type PutResponse,
  type RangeRequest,
  type RangeResponse,
  type ResponseHeader,
  type TxnRequest,
  type TxnResponse,
} from "../etcd/proto/rpc_pb.ts";
import { AutoCompactor } from "./auto-compactor.ts";
import { CommitQueue, type Written } from "./commit-queue.ts";
import { Database } from "./database.ts";
import { Leases } from "./leases.ts";
import {
  checkIgnored,
  checkLease,
  checkPut,
  checkRange,
  deleteRange,
  put,
  range,
  type WriteContext,
} from "./requests.ts";
import { MvccStore } from "./store.ts";
import { checkTxn, isReadOnly, txn } from "./txn.ts";
import { WatchHub } from "./watch-hub.ts";

export interface EngineOptions {
  /** Named to others that find the store in use. */
  readonly owner: string;
  /** Puts are refused above this many bytes in use; 0 is no limit. */
  readonly quotaBytes?: number;
  readonly maxTxnOps?: number;
  readonly maxRequestBytes?: number;
  readonly progressIntervalMs?: number;
  readonly autoCompaction?: AutoCompaction;
}

/** etcd's `--auto-compaction-mode` and `-retention`: keep so many revisions, or so long a time. */
export type AutoCompaction =
  | { readonly mode: "off" }
  | { readonly mode: "revision"; readonly revisions: number }
  | { readonly mode: "periodic"; readonly retentionMs: number };

export const DEFAULT_AUTO_COMPACTION: AutoCompaction = { mode: "revision", revisions: 10_000 };
export const DEFAULT_MAX_REQUEST_BYTES = 1.5 * 1024 * 1024;
const DEFAULT_MAX_TXN_OPS = 128;
const DEFAULT_PROGRESS_INTERVAL_MS = 10 * 60 * 1000;
/** A single node has no elections; etcd's clients expect a term that is not 0. */
const RAFT_TERM = 2n;
const PURGE_ROWS = 500;

export class Engine {
  readonly db: Database;
  readonly leases: Leases;
  readonly watches: WatchHub;
  private readonly store: MvccStore;
  private readonly queue: CommitQueue;
  private readonly quotaBytes: number;
  private readonly maxTxnOps: number;
  private readonly maxRequestBytes: number;
  private readonly compactor: AutoCompactor;
  private purging: Promise<void> | undefined;
  private closing = false;

  private constructor(db: Database, options: EngineOptions) {
    this.db = db;
    this.quotaBytes = options.quotaBytes ?? 0;
    this.maxTxnOps = options.maxTxnOps ?? DEFAULT_MAX_TXN_OPS;
    this.maxRequestBytes = options.maxRequestBytes ?? DEFAULT_MAX_REQUEST_BYTES;
    this.store = new MvccStore(db);
    this.watches = new WatchHub(this.store, {
      header: (revision) => this.header(revision),
      progressIntervalMs: options.progressIntervalMs ?? DEFAULT_PROGRESS_INTERVAL_MS,
      fragmentBytes: this.maxRequestBytes,
    });
    this.queue = new CommitQueue(db, this.store, (events) => this.watches.publish(events));
    this.leases = new Leases({
      db,
      queue: this.queue,
      store: this.store,
      header: () => this.header(),
    });
    const policy = options.autoCompaction ?? DEFAULT_AUTO_COMPACTION;
    this.compactor = new AutoCompactor(this, policy);
    // A purge that the last process left unfinished.
    if (this.store.compactRevision > 0) this.purgeInBackground();
  }

  /** Throws `unavailable` when another process has the store, `corrupt`, `no-space`. */
  static open(dir: string, options: EngineOptions): Engine {
    return new Engine(Database.open(dir, options.owner), options);
  }

  get revision(): number {
    return this.store.revision;
  }

  get compactRevision(): number {
    return this.store.compactRevision;
  }

  header(revision: number = this.store.revision): ResponseHeader {
    const header = create(ResponseHeaderSchema);
    header.clusterId = this.db.clusterId;
    header.memberId = this.db.memberId;
    header.revision = BigInt(revision);
    header.raftTerm = RAFT_TERM;
    return header;
  }

  range(request: RangeRequest): Promise<RangeResponse> {
    return this.queue.read(() => {
      checkRange(this.store, request);
      return range(this.store, request, this.header());
    });
  }

  async put(request: PutRequest): Promise<PutResponse> {
    checkPut(request);
    this.checkSize(request.key.length + request.value.length);
    return await this.write((context) => {
      this.checkQuota();
      checkLease(context, request);
      checkIgnored(context, request);
      return put(context, request, this.header(context.revision));
    });
  }

  async deleteRange(request: DeleteRangeRequest): Promise<DeleteRangeResponse> {
    if (request.key.length === 0) throw faultError(FAULTS.emptyKey);
    return await this.write((context) =>
      deleteRange(context, request, () =>
        this.header(context.events.length > 0 ? context.revision : this.store.revision),
      ),
    );
  }

  async txn(request: TxnRequest): Promise<TxnResponse> {
    checkTxn(request, this.maxTxnOps);
    this.checkSize(putBytes(request));
    if (isReadOnly(request)) {
      return await this.queue.read(() => txn(this.context(), request));
    }
    return await this.write((context) => {
      if (hasPut(request)) this.checkQuota();
      return txn(context, request);
    });
  }

  async compact(request: CompactionRequest): Promise<CompactionResponse> {
    await this.compactTo(Number(request.revision));
    if (request.physical) await this.purging;
    return create(CompactionResponseSchema, { header: this.header() });
  }

  /** Forgets the history before `revision`; removing it goes on in the background. */
  async compactTo(revision: number): Promise<void> {
    await this.queue.write(() => {
      if (revision <= this.store.compactRevision) throw faultError(FAULTS.compacted);
      if (revision > this.store.revision) throw faultError(FAULTS.futureRevision);
      this.db.writeMeta("compact_revision", String(revision));
      return { result: undefined, events: [], changed: true };
    });
    this.store.compactRevision = Math.max(this.store.compactRevision, revision);
    this.purgeInBackground();
  }

  /** A checksum of the live keys, their values and revisions, in key order. */
  hash(): Promise<number> {
    return this.queue.read(() => {
      let sum = 0;
      const all = { key: Uint8Array.of(0), end: null };
      const options = { revision: 0, limit: 0, withValues: true, countOnly: false };
      for (const kv of this.store.range(all, options).kvs) {
        sum = crc32(kv.value, crc32(String(kv.modRevision), crc32(kv.key, sum)));
      }
      return sum;
    });
  }

  /** Gives free space back to the file system; other requests wait. */
  defragment(): Promise<void> {
    return this.queue.read(() => this.db.vacuum());
  }

  /** Finishes what was accepted, ends the watches, releases the files. Idempotent. */
  async close(): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    this.compactor.close();
    this.leases.close();
    this.watches.close();
    await this.purging;
    await this.queue.close();
    this.db.close();
  }

  private context(): WriteContext {
    return {
      store: this.store,
      db: this.db,
      revision: this.store.revision + 1,
      events: [],
      header: (revision) => this.header(revision),
    };
  }

  private write<T>(run: (context: WriteContext) => T): Promise<T> {
    return this.queue.write((): Written<T> => {
      const context = this.context();
      const result = run(context);
      return { result, events: context.events, changed: context.events.length > 0 };
    });
  }

  private checkSize(bytes: number): void {
    if (bytes > this.maxRequestBytes) throw faultError(FAULTS.requestTooLarge);
  }

  private checkQuota(): void {
    if (this.quotaBytes > 0 && this.db.size().used > this.quotaBytes) {
      throw faultError(FAULTS.noSpace);
    }
  }

  private purgeInBackground(): void {
    this.purging ??= this.purge().finally(() => {
      this.purging = undefined;
    });
  }

  /** In small transactions, so that no request waits long; the next start goes on where it stopped. */
  private async purge(): Promise<void> {
    for (let more = true; more && !this.closing;) {
      try {
        more = await this.queue.write(() => ({
          result: this.store.purge(PURGE_ROWS),
          events: [],
          changed: false,
        }));
      } catch {
        // Without room for the purge itself the history stays until the next compaction.
        return;
      }
    }
  }
}

function hasPut(request: TxnRequest): boolean {
  return [...request.success, ...request.failure].some(
    ({ request: op }) => op.case === "requestPut" || (op.case === "requestTxn" && hasPut(op.value)),
  );
}

function putBytes(request: TxnRequest): number {
  let bytes = 0;
  for (const { request: op } of [...request.success, ...request.failure]) {
    if (op.case === "requestPut") bytes += op.value.key.length + op.value.value.length;
    if (op.case === "requestTxn") bytes += putBytes(op.value);
  }
  return bytes;
}
