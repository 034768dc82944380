/** The embedded engine of this process behind the same calls as a remote etcd. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { EtcdApi } from "../etcd/api.ts";
import { toDatastoreError } from "../etcd/errors.ts";
import {
  LeaseGrantRequestSchema,
  RangeRequestSchema,
  TxnRequestSchema,
  WatchCreateRequestSchema,
  WatchRequestSchema,
  type LeaseGrantResponse,
  type RangeResponse,
  type TxnResponse,
  type WatchResponse,
} from "../etcd/proto/rpc_pb.ts";
import { closedError } from "../errors.ts";
import type { Engine } from "./engine.ts";

const WHERE = "embedded store";

export class LocalApi implements EtcdApi {
  private readonly engine: Engine;
  private readonly onClose: () => Promise<void>;
  private readonly closed = new AbortController();

  /** `onClose` ends whatever owns the engine. */
  constructor(engine: Engine, onClose: () => Promise<void>) {
    this.engine = engine;
    this.onClose = onClose;
  }

  range(request: MessageInitShape<typeof RangeRequestSchema>): Promise<RangeResponse> {
    return this.call(() => this.engine.range(create(RangeRequestSchema, request)));
  }

  txn(request: MessageInitShape<typeof TxnRequestSchema>): Promise<TxnResponse> {
    return this.call(() => this.engine.txn(create(TxnRequestSchema, request)));
  }

  leaseGrant(
    request: MessageInitShape<typeof LeaseGrantRequestSchema>,
  ): Promise<LeaseGrantResponse> {
    return this.call(() => this.engine.leases.grant(create(LeaseGrantRequestSchema, request)));
  }

  async *watch(
    request: MessageInitShape<typeof WatchCreateRequestSchema>,
    signal: AbortSignal,
  ): AsyncGenerator<WatchResponse, void, undefined> {
    if (this.closed.signal.aborted) throw closedError();
    const stream = this.engine.watches.open();
    const stop = () => stream.close();
    const ended = AbortSignal.any([signal, this.closed.signal]);
    ended.addEventListener("abort", stop, { once: true });
    try {
      const value = create(WatchCreateRequestSchema, request);
      stream.handle(create(WatchRequestSchema, { requestUnion: { case: "createRequest", value } }));
      yield* stream.responses();
    } finally {
      ended.removeEventListener("abort", stop);
      stream.close();
    }
    if (!signal.aborted) throw closedError();
  }

  async close(): Promise<void> {
    if (this.closed.signal.aborted) return;
    this.closed.abort();
    await this.onClose();
  }

  private async call<T>(run: () => Promise<T>): Promise<T> {
    if (this.closed.signal.aborted) throw closedError();
    try {
      return await run();
    } catch (error) {
      throw toDatastoreError(error, WHERE);
    }
  }
}
