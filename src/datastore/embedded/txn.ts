/**
 * etcd's transaction: comparisons choose a branch, also in nested transactions, all of them against
 * the state before; then the operations of the chosen branches run in order, at one revision.
 */
import { create } from "@bufbuild/protobuf";
import { faultError, FAULTS } from "../etcd/errors.ts";
import {
  Compare_CompareResult,
  Compare_CompareTarget,
  ResponseHeaderSchema,
  ResponseOpSchema,
  TxnResponseSchema,
  type Compare,
  type RequestOp,
  type ResponseHeader,
  type ResponseOp,
  type TxnRequest,
  type TxnResponse,
} from "../etcd/proto/rpc_pb.ts";
import { compareKeys, EMPTY_BYTES } from "../keys.ts";
import {
  checkIgnored,
  checkLease,
  checkPut,
  checkRevision,
  deleteRange,
  keyRange,
  put,
  range,
  type WriteContext,
} from "./requests.ts";
import { contains, type KeyRange, type MvccStore, type StoredKv } from "./store.ts";

/** The chosen branch of a transaction, and those of its nested ones in order. */
interface Path {
  readonly succeeded: boolean;
  readonly ops: readonly RequestOp[];
  readonly nested: readonly Path[];
}

const ABSENT: StoredKv = {
  key: EMPTY_BYTES,
  value: EMPTY_BYTES,
  createRevision: 0,
  modRevision: 0,
  version: 0,
  lease: 0n,
};

/** The checks that need no store. Throws etcd's faults. */
export function checkTxn(request: TxnRequest, maxOps: number): void {
  checkOps(request, maxOps);
  checkDuplicates(request.success);
  checkDuplicates(request.failure);
}

export function isReadOnly(request: TxnRequest): boolean {
  return [...request.success, ...request.failure].every(({ request: op }) => {
    if (op.case === "requestTxn") return isReadOnly(op.value);
    return op.case === "requestRange" || op.case === undefined;
  });
}

export function txn(context: WriteContext, request: TxnRequest): TxnResponse {
  const path = choose(context.store, request);
  checkPath(context, path);
  const response = run(context, path);
  const wrote = context.events.length > 0;
  response.header = context.header(wrote ? context.revision : context.store.revision);
  return response;
}

function checkOps(request: TxnRequest, maxOps: number): void {
  const { compare, success, failure } = request;
  if (compare.length > maxOps || success.length > maxOps || failure.length > maxOps) {
    throw faultError(FAULTS.tooManyOps);
  }
  for (const { key } of compare) if (key.length === 0) throw faultError(FAULTS.emptyKey);
  for (const { request: op } of [...success, ...failure]) {
    switch (op.case) {
      case "requestRange":
      case "requestDeleteRange":
        if (op.value.key.length === 0) throw faultError(FAULTS.emptyKey);
        break;
      case "requestPut":
        checkPut(op.value);
        break;
      case "requestTxn":
        checkOps(op.value, maxOps - Math.max(compare.length, success.length, failure.length));
        break;
      case undefined:
        throw faultError(FAULTS.keyNotFound);
    }
  }
}

interface Touched {
  readonly puts: Map<string, Uint8Array>;
  readonly deletes: KeyRange[];
}

/** A transaction may put a key only once, and not beside a delete of it. */
function checkDuplicates(ops: readonly RequestOp[]): Touched {
  const deletes: KeyRange[] = [];
  const puts = new Map<string, Uint8Array>();
  for (const { request: op } of ops) {
    if (op.case === "requestDeleteRange") {
      const { key, rangeEnd } = op.value;
      // Like etcd's check, which takes an open end (the byte 0) literally: it overlaps no put.
      deletes.push({ key, end: rangeEnd.length === 0 ? undefined : rangeEnd });
    }
  }
  for (const { request: op } of ops) {
    if (op.case !== "requestTxn") continue;
    const success = checkDuplicates(op.value.success);
    const failure = checkDuplicates(op.value.failure);
    for (const [name, key] of success.puts) addPut(puts, deletes, name, key, undefined);
    // Only one of the two branches runs, so that both may put the same key.
    for (const [name, key] of failure.puts) addPut(puts, deletes, name, key, success.puts);
    deletes.push(...success.deletes, ...failure.deletes);
  }
  for (const { request: op } of ops) {
    if (op.case !== "requestPut") continue;
    addPut(puts, deletes, Buffer.from(op.value.key).toString("latin1"), op.value.key, undefined);
  }
  return { puts, deletes };
}

function addPut(
  puts: Map<string, Uint8Array>,
  deletes: readonly KeyRange[],
  name: string,
  key: Uint8Array,
  exclusive: ReadonlyMap<string, Uint8Array> | undefined,
): void {
  const twice = puts.has(name) && exclusive?.has(name) !== true;
  if (twice || deletes.some((range) => contains(range, key))) {
    throw faultError(FAULTS.duplicateKey);
  }
  puts.set(name, key);
}

function choose(store: MvccStore, request: TxnRequest): Path {
  const succeeded = request.compare.every((compare) => holds(store, compare));
  const ops = succeeded ? request.success : request.failure;
  const nested = ops.flatMap(({ request: op }) =>
    op.case === "requestTxn" ? [choose(store, op.value)] : [],
  );
  return { succeeded, ops, nested };
}

function holds(store: MvccStore, compare: Compare): boolean {
  const options = {
    revision: 0,
    limit: 0,
    withValues: compare.target === Compare_CompareTarget.VALUE,
    countOnly: false,
  };
  const { kvs } = store.range(keyRange(compare.key, compare.rangeEnd), options);
  if (kvs.length > 0) return kvs.every((kv) => compareOne(compare, kv));
  // An absent key has revisions and a version of 0, but no value, not even an empty one.
  return compare.target !== Compare_CompareTarget.VALUE && compareOne(compare, ABSENT);
}

function compareOne(compare: Compare, kv: StoredKv): boolean {
  const order = orderOf(compare, kv);
  switch (compare.result) {
    case Compare_CompareResult.EQUAL:
      return order === 0;
    case Compare_CompareResult.NOT_EQUAL:
      return order !== 0;
    case Compare_CompareResult.GREATER:
      return order > 0;
    case Compare_CompareResult.LESS:
      return order < 0;
    default:
      return true;
  }
}

function orderOf(compare: Compare, kv: StoredKv): number {
  const { target, targetUnion } = compare;
  if (target === Compare_CompareTarget.VALUE) {
    return compareKeys(kv.value, targetUnion.case === "value" ? targetUnion.value : EMPTY_BYTES);
  }
  const { actual, field } = subject(target, kv);
  // A value for another target than the one that is compared counts as none, which is 0.
  const wanted =
    targetUnion.case === field && typeof targetUnion.value === "bigint" ? targetUnion.value : 0n;
  return actual < wanted ? -1 : actual > wanted ? 1 : 0;
}

interface Subject {
  readonly actual: bigint;
  readonly field: Compare["targetUnion"]["case"];
}

function subject(target: Compare_CompareTarget, kv: StoredKv): Subject {
  switch (target) {
    case Compare_CompareTarget.CREATE:
      return { actual: BigInt(kv.createRevision), field: "createRevision" };
    case Compare_CompareTarget.MOD:
      return { actual: BigInt(kv.modRevision), field: "modRevision" };
    case Compare_CompareTarget.LEASE:
      return { actual: kv.lease, field: "lease" };
    case Compare_CompareTarget.VERSION:
    case Compare_CompareTarget.VALUE:
    default:
      return { actual: BigInt(kv.version), field: "version" };
  }
}

/** Whatever may fail does so here, before the first operation changed anything. */
function checkPath(context: WriteContext, path: Path): void {
  for (const { request: op } of path.ops) {
    if (op.case !== "requestPut") continue;
    checkIgnored(context, op.value);
    checkLease(context, op.value);
  }
  for (const { request: op } of path.ops) {
    if (op.case === "requestRange") checkRevision(context.store, op.value);
  }
  for (const nested of path.nested) checkPath(context, nested);
}

function run(context: WriteContext, path: Path): TxnResponse {
  const response = create(TxnResponseSchema, { succeeded: path.succeeded });
  let nested = 0;
  for (const op of path.ops) {
    const inner = op.request.case === "requestTxn" ? path.nested[nested++] : undefined;
    response.responses.push(runOp(context, op, inner));
  }
  return response;
}

function runOp(context: WriteContext, { request: op }: RequestOp, nested?: Path): ResponseOp {
  const message = create(ResponseOpSchema);
  switch (op.case) {
    case "requestRange": {
      const value = range(context.store, op.value, innerHeader(currentRevision(context)));
      message.response = { case: "responseRange", value };
      break;
    }
    case "requestPut": {
      const value = put(context, op.value, innerHeader(context.revision));
      message.response = { case: "responsePut", value };
      break;
    }
    case "requestDeleteRange": {
      const value = deleteRange(context, op.value, () => innerHeader(currentRevision(context)));
      message.response = { case: "responseDeleteRange", value };
      break;
    }
    case "requestTxn":
      if (nested !== undefined) {
        const value = run(context, nested);
        value.header = innerHeader(0);
        message.response = { case: "responseTxn", value };
      }
      break;
    case undefined:
      break;
  }
  return message;
}

/** The revision that a reader inside the transaction sees: its own once it wrote something. */
function currentRevision(context: WriteContext): number {
  return context.events.length > 0 ? context.revision : context.store.revision;
}

/** Inside a transaction etcd fills only the revision. */
function innerHeader(revision: number): ResponseHeader {
  return create(ResponseHeaderSchema, { revision: BigInt(revision) });
}
