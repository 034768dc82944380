/**
 * What etcd and gRPC say, as errors of the port. The only file that reads etcd's error texts, and
 * the list of those that our server answers with: clients compare code and text.
 */
import { MargayError, messageOf } from "#std";
import { datastoreError } from "../errors.ts";
import { Code, codeName, RpcError } from "../grpc/status.ts";
import type { DatastoreErrorCode } from "../port.ts";
import type { WatchResponse } from "./proto/rpc_pb.ts";

interface EtcdFault {
  readonly code: Code;
  readonly message: string;
}

/** Codes and texts of etcd's API; each is `etcdserver: ` and the words below. */
export const FAULTS = {
  emptyKey: fault(Code.InvalidArgument, "key is not provided"),
  keyNotFound: fault(Code.InvalidArgument, "key not found"),
  valueProvided: fault(Code.InvalidArgument, "value is provided"),
  leaseProvided: fault(Code.InvalidArgument, "lease is provided"),
  tooManyOps: fault(Code.InvalidArgument, "too many operations in txn request"),
  duplicateKey: fault(Code.InvalidArgument, "duplicate key given in txn request"),
  compacted: fault(Code.OutOfRange, "mvcc: required revision has been compacted"),
  futureRevision: fault(Code.OutOfRange, "mvcc: required revision is a future revision"),
  noSpace: fault(Code.ResourceExhausted, "mvcc: database space exceeded"),
  leaseNotFound: fault(Code.NotFound, "requested lease not found"),
  leaseExists: fault(Code.FailedPrecondition, "lease already exists"),
  leaseTtlTooLarge: fault(Code.OutOfRange, "too large lease TTL"),
  requestTooLarge: fault(Code.InvalidArgument, "request is too large"),
  authNotEnabled: fault(Code.FailedPrecondition, "authentication is not enabled"),
  corrupt: fault(Code.DataLoss, "corrupt cluster"),
  stopped: fault(Code.Unavailable, "server stopped"),
} as const satisfies Record<string, EtcdFault>;

function fault(code: Code, words: string): EtcdFault {
  return { code, message: `etcdserver: ${words}` };
}

export function faultError(which: EtcdFault, cause?: unknown): RpcError {
  return new RpcError(which.code, which.message, cause);
}

/** etcd goes on refusing writes after there is space again, until the alarm is disarmed. */
const NO_SPACE_REMEDY = "; make room (etcdctl compact, etcdctl defrag), then: etcdctl alarm disarm";

/** `where` names the endpoint or data directory, for the message. */
export function toDatastoreError(error: unknown, where: string): MargayError {
  if (error instanceof MargayError) return error;
  const rpc =
    error instanceof RpcError ? error : new RpcError(Code.Unknown, messageOf(error), error);
  const code = portCode(rpc);
  const remedy = code === "no-space" ? NO_SPACE_REMEDY : "";
  return datastoreError(code, `${where}: ${describe(rpc)}${remedy}`, {
    cause: error,
    fields: { where, grpcCode: codeName(rpc.code) },
  });
}

function portCode(error: RpcError): DatastoreErrorCode {
  const text = error.message;
  switch (error.code) {
    case Code.DeadlineExceeded:
      return "timeout";
    case Code.OutOfRange:
      return text === FAULTS.compacted.message ? "compacted" : "invalid";
    case Code.ResourceExhausted:
      return text === FAULTS.noSpace.message ? "no-space" : "unavailable";
    case Code.Unauthenticated:
    case Code.PermissionDenied:
      return "unauthenticated";
    case Code.InvalidArgument:
      return /auth|user name|password/i.test(text) ? "unauthenticated" : "invalid";
    case Code.FailedPrecondition:
      return /auth/i.test(text) ? "unauthenticated" : "invalid";
    case Code.DataLoss:
      return "corrupt";
    case Code.NotFound:
    case Code.AlreadyExists:
    case Code.Unimplemented:
      return "invalid";
    case Code.Canceled:
    case Code.Unknown:
    case Code.Aborted:
    case Code.Internal:
    case Code.Unavailable:
      return "unavailable";
    default:
      return "unavailable";
  }
}

/** The innermost cause is the one that says what happened: `connect ECONNREFUSED 127.0.0.1:2379`. */
function describe(error: RpcError): string {
  let inner: unknown = error;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  return messageOf(inner);
}

const WANTS_TOKEN = /invalid auth token|revision of auth store is old|user name is empty/;

/**
 * The call needs a new token of user and password: the old one expired, was lost with a restart, is
 * from before a change of the users, or there was none because authentication was off until now.
 */
export function needsNewToken(error: unknown): boolean {
  return error instanceof RpcError && WANTS_TOKEN.test(error.message);
}

/**
 * The same of a watch, which is refused by a message on its stream. Some versions of etcd call every
 * reason for it `permission denied`.
 */
export function refusesToken({ canceled, cancelReason }: WatchResponse): boolean {
  return canceled && (WANTS_TOKEN.test(cancelReason) || /permission denied/.test(cancelReason));
}

/** The cluster knows no users, so that it wants no token either. */
export function isAuthNotEnabled(error: unknown): boolean {
  return error instanceof RpcError && error.message === FAULTS.authNotEnabled.message;
}
