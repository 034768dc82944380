/**
 * etcd's KV requests on the MVCC store: what each checks, in which order, and what it answers. All of
 * it is synchronous; a write runs inside the caller's SQLite transaction and either returns or throws
 * before it changed anything.
 */
import { create } from "@bufbuild/protobuf";
import { faultError, FAULTS } from "../etcd/errors.ts";
import { KeyValueSchema, type KeyValue } from "../etcd/proto/kv_pb.ts";
import {
  DeleteRangeResponseSchema,
  PutResponseSchema,
  RangeRequest_SortOrder,
  RangeRequest_SortTarget,
  RangeResponseSchema,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  type PutRequest,
  type PutResponse,
  type RangeRequest,
  type RangeResponse,
  type ResponseHeader,
} from "../etcd/proto/rpc_pb.ts";
import { compareKeys, EMPTY_BYTES } from "../keys.ts";
import type { Database } from "./database.ts";
import type { KeyRange, MvccStore, StoredEvent, StoredKv } from "./store.ts";

/** One write in progress: the store, the revision it will become, and its events so far. */
export interface WriteContext {
  readonly store: MvccStore;
  readonly db: Database;
  readonly revision: number;
  readonly events: StoredEvent[];
  readonly header: (revision: number) => ResponseHeader;
}

/** etcd: no end is the single key, the byte 0 is "to the end". */
export function keyRange(key: Uint8Array, rangeEnd: Uint8Array): KeyRange {
  if (rangeEnd.length === 0) return { key, end: undefined };
  if (rangeEnd.length === 1 && rangeEnd[0] === 0) return { key, end: null };
  return { key, end: rangeEnd };
}

export function checkRange(store: MvccStore, request: RangeRequest): void {
  if (request.key.length === 0) throw faultError(FAULTS.emptyKey);
  checkRevision(store, request);
}

export function checkRevision(store: MvccStore, request: RangeRequest): void {
  const revision = Number(request.revision);
  if (revision > store.revision) throw faultError(FAULTS.futureRevision);
  if (revision > 0 && revision < store.compactRevision) throw faultError(FAULTS.compacted);
}

export function range(
  store: MvccStore,
  request: RangeRequest,
  header: ResponseHeader,
): RangeResponse {
  const limit = Number(request.limit);
  const order = sortOrder(request);
  // As in etcd, an order that was not asked for sorts only what the limit has let through.
  const sorted = request.sortOrder !== RangeRequest_SortOrder.NONE || hasFilter(request);
  const result = store.range(keyRange(request.key, request.rangeEnd), {
    revision: Number(request.revision),
    // One more than asked for tells whether there is more.
    limit: sorted || limit <= 0 ? 0 : limit + 1,
    withValues: !request.keysOnly || request.sortTarget === RangeRequest_SortTarget.VALUE,
    countOnly: request.countOnly,
  });
  let kvs = result.kvs.filter((kv) => passes(kv, request));
  if (order !== RangeRequest_SortOrder.NONE) {
    const compare = comparator(request.sortTarget);
    const sign = order === RangeRequest_SortOrder.DESCEND ? -1 : 1;
    kvs.sort((a, b) => sign * compare(a, b));
  }
  const more = limit > 0 && kvs.length > limit;
  if (more) kvs = kvs.slice(0, limit);
  return create(RangeResponseSchema, {
    header,
    kvs: kvs.map((kv) => toWire(request.keysOnly ? { ...kv, value: EMPTY_BYTES } : kv)),
    more,
    count: BigInt(result.count),
  });
}

/** The checks that need no store, in etcd's order. */
export function checkPut(request: PutRequest): void {
  if (request.key.length === 0) throw faultError(FAULTS.emptyKey);
  if (request.ignoreValue && request.value.length > 0) throw faultError(FAULTS.valueProvided);
  if (request.ignoreLease && request.lease !== 0n) throw faultError(FAULTS.leaseProvided);
}

/** Checks against the state before the transaction. */
export function checkLease(context: WriteContext, request: PutRequest): void {
  if (request.lease !== 0n && !leaseExists(context.db, request.lease)) {
    throw faultError(FAULTS.leaseNotFound);
  }
}

export function checkIgnored(context: WriteContext, request: PutRequest): void {
  if (!request.ignoreValue && !request.ignoreLease) return;
  if (context.store.getNow(request.key) === undefined) throw faultError(FAULTS.keyNotFound);
}

export function put(
  context: WriteContext,
  request: PutRequest,
  header: ResponseHeader,
): PutResponse {
  const { store } = context;
  const needsPrevious = request.prevKv || request.ignoreValue || request.ignoreLease;
  const previous = needsPrevious ? store.getNow(request.key) : undefined;
  const value = request.ignoreValue ? (previous?.value ?? EMPTY_BYTES) : request.value;
  const lease = request.ignoreLease ? (previous?.lease ?? 0n) : request.lease;
  context.events.push(store.put(context.revision, request.key, value, lease));
  const response = create(PutResponseSchema, { header });
  if (request.prevKv && previous !== undefined) response.prevKv = toWire(previous);
  return response;
}

export function deleteRange(
  context: WriteContext,
  request: DeleteRangeRequest,
  header: () => ResponseHeader,
): DeleteRangeResponse {
  const range = keyRange(request.key, request.rangeEnd);
  const previous = request.prevKv
    ? context.store.range(range, { revision: 0, limit: 0, withValues: true, countOnly: false }).kvs
    : [];
  const events = context.store.deleteRange(context.revision, range);
  context.events.push(...events);
  return create(DeleteRangeResponseSchema, {
    header: header(),
    deleted: BigInt(events.length),
    prevKvs: previous.map(toWire),
  });
}

export function leaseExists(db: Database, lease: bigint): boolean {
  return db.prepare("SELECT 1 FROM lease WHERE id = ?").get(lease.toString()) !== undefined;
}

export function toWire(kv: StoredKv): KeyValue {
  const wire = create(KeyValueSchema);
  wire.key = kv.key;
  wire.value = kv.value;
  wire.createRevision = BigInt(kv.createRevision);
  wire.modRevision = BigInt(kv.modRevision);
  wire.version = BigInt(kv.version);
  wire.lease = kv.lease;
  return wire;
}

function sortOrder(request: RangeRequest): RangeRequest_SortOrder {
  const { sortOrder: order, sortTarget } = request;
  // Sorting by another target than the key is ascending when no order is asked for.
  if (order === RangeRequest_SortOrder.NONE && sortTarget !== RangeRequest_SortTarget.KEY) {
    return RangeRequest_SortOrder.ASCEND;
  }
  return order;
}

function hasFilter(request: RangeRequest): boolean {
  return (
    request.minModRevision !== 0n ||
    request.maxModRevision !== 0n ||
    request.minCreateRevision !== 0n ||
    request.maxCreateRevision !== 0n
  );
}

function passes(kv: StoredKv, request: RangeRequest): boolean {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  return (
    (maxModRevision === 0n || kv.modRevision <= maxModRevision) &&
    (minModRevision === 0n || kv.modRevision >= minModRevision) &&
    (maxCreateRevision === 0n || kv.createRevision <= maxCreateRevision) &&
    (minCreateRevision === 0n || kv.createRevision >= minCreateRevision)
  );
}

function comparator(target: RangeRequest_SortTarget): (a: StoredKv, b: StoredKv) => number {
  switch (target) {
    case RangeRequest_SortTarget.VERSION:
      return (a, b) => a.version - b.version;
    case RangeRequest_SortTarget.CREATE:
      return (a, b) => a.createRevision - b.createRevision;
    case RangeRequest_SortTarget.MOD:
      return (a, b) => a.modRevision - b.modRevision;
    case RangeRequest_SortTarget.VALUE:
      return (a, b) => compareKeys(a.value, b.value);
    case RangeRequest_SortTarget.KEY:
    default:
      return (a, b) => compareKeys(a.key, b.key);
  }
}
