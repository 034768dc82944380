/** etcd's services on the embedded engine; a method that is not here answers UNIMPLEMENTED. */
import { create, type DescMethod, type MessageShape } from "@bufbuild/protobuf";
import type { Engine } from "../embedded/engine.ts";
import { faultError, FAULTS } from "../etcd/errors.ts";
import {
  AlarmResponseSchema,
  Auth,
  Cluster,
  DefragmentResponseSchema,
  HashKVResponseSchema,
  KV,
  Lease,
  Maintenance,
  MemberListResponseSchema,
  MemberSchema,
  StatusResponseSchema,
  Watch,
  type LeaseKeepAliveRequest,
  type LeaseKeepAliveResponse,
  type MemberListResponse,
  type StatusResponse,
  type WatchRequest,
  type WatchResponse,
} from "../etcd/proto/rpc_pb.ts";
import type { Method, MethodTable } from "./grpc.ts";

/** The version of etcd's API that is spoken; etcd's clients read features from it. */
export const ETCD_API_VERSION = "3.4.23";

export interface MemberInfo {
  readonly name: string;
  readonly clientUrls: readonly string[];
}

export function etcdMethods(engine: Engine, member: MemberInfo): MethodTable {
  const { leases } = engine;
  return new Map([
    unary(KV.method.range, (request) => engine.range(request)),
    unary(KV.method.put, (request) => engine.put(request)),
    unary(KV.method.deleteRange, (request) => engine.deleteRange(request)),
    unary(KV.method.txn, (request) => engine.txn(request)),
    unary(KV.method.compact, (request) => engine.compact(request)),
    unary(Lease.method.leaseGrant, (request) => leases.grant(request)),
    unary(Lease.method.leaseRevoke, (request) => leases.revoke(request)),
    unary(Lease.method.leaseTimeToLive, (request) => leases.timeToLive(request)),
    unary(Lease.method.leaseLeases, () => leases.list()),
    stream(Lease.method.leaseKeepAlive, (requests) => keepAlive(engine, requests)),
    stream(Watch.method.watch, (requests, signal) => watch(engine, requests, signal)),
    unary(Cluster.method.memberList, async () => memberList(engine, member)),
    unary(Maintenance.method.status, async () => status(engine)),
    unary(Maintenance.method.alarm, async () =>
      create(AlarmResponseSchema, { header: engine.header() }),
    ),
    unary(Maintenance.method.hashKV, async () =>
      create(HashKVResponseSchema, {
        header: engine.header(),
        hash: await engine.hash(),
        compactRevision: BigInt(engine.compactRevision),
      }),
    ),
    // Clients that are given a user's name go on without a token when they hear this.
    unary(Auth.method.authenticate, async () => {
      throw faultError(FAULTS.authNotEnabled);
    }),
    unary(Maintenance.method.defragment, async () => {
      await engine.defragment();
      return create(DefragmentResponseSchema, { header: engine.header() });
    }),
  ]);
}

async function* watch(
  engine: Engine,
  requests: AsyncIterable<WatchRequest>,
  signal: AbortSignal,
): AsyncGenerator<WatchResponse, void, undefined> {
  const watches = engine.watches.open();
  const stop = () => watches.close();
  signal.addEventListener("abort", stop, { once: true });
  const listen = async () => {
    for await (const request of requests) watches.handle(request);
  };
  // When the client has no more to ask it is done with its watches too.
  const listening = listen().finally(stop);
  try {
    yield* watches.responses();
  } finally {
    stop();
  }
  await listening;
}

async function* keepAlive(
  engine: Engine,
  requests: AsyncIterable<LeaseKeepAliveRequest>,
): AsyncGenerator<LeaseKeepAliveResponse, void, undefined> {
  for await (const request of requests) yield await engine.leases.keepAlive(request);
}

function memberList(engine: Engine, member: MemberInfo): MemberListResponse {
  const self = create(MemberSchema, {
    ID: engine.db.memberId,
    name: member.name,
    clientURLs: [...member.clientUrls],
  });
  return create(MemberListResponseSchema, { header: engine.header(), members: [self] });
}

function status(engine: Engine): StatusResponse {
  const size = engine.db.size();
  const header = engine.header();
  return create(StatusResponseSchema, {
    header,
    version: ETCD_API_VERSION,
    dbSize: BigInt(size.total),
    dbSizeInUse: BigInt(size.used),
    leader: engine.db.memberId,
    raftIndex: header.revision,
    raftAppliedIndex: header.revision,
    raftTerm: header.raftTerm,
  });
}

function unary<D extends DescMethod>(
  desc: D,
  handle: (request: MessageShape<D["input"]>) => Promise<MessageShape<D["output"]>>,
): [string, Method] {
  return [pathOf(desc), { kind: "unary", desc, handle }];
}

function stream<D extends DescMethod>(
  desc: D,
  handle: (
    requests: AsyncIterable<MessageShape<D["input"]>>,
    signal: AbortSignal,
  ) => AsyncIterable<MessageShape<D["output"]>>,
): [string, Method] {
  return [pathOf(desc), { kind: "stream", desc, handle }];
}

function pathOf(desc: DescMethod): string {
  return `/${desc.parent.typeName}/${desc.name}`;
}
