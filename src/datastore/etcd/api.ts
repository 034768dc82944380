/**
 * The calls of etcd's API that the adapter needs. Two ways to reach them: `EtcdClient` over the
 * network, and the embedded engine in this process. Errors are raised as datastore errors.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  LeaseGrantRequestSchema,
  LeaseGrantResponse,
  RangeRequestSchema,
  RangeResponse,
  TxnRequestSchema,
  TxnResponse,
  WatchCreateRequestSchema,
  WatchResponse,
} from "./proto/rpc_pb.ts";

export interface EtcdApi {
  range(request: MessageInitShape<typeof RangeRequestSchema>): Promise<RangeResponse>;
  txn(request: MessageInitShape<typeof TxnRequestSchema>): Promise<TxnResponse>;
  leaseGrant(
    request: MessageInitShape<typeof LeaseGrantRequestSchema>,
  ): Promise<LeaseGrantResponse>;
  /** Responses of one watcher until `signal` aborts. Throws `unavailable` when the stream is lost. */
  watch(
    request: MessageInitShape<typeof WatchCreateRequestSchema>,
    signal: AbortSignal,
  ): AsyncIterable<WatchResponse>;
  /** Idempotent. */
  close(): Promise<void>;
}
