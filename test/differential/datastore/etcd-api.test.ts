/** The same random requests to a real etcd and to the embedded store: equal answers, equal history. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { create, toJson, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { DatastoreServer, Engine } from "#datastore";
import { EtcdEndpoint } from "../../../src/datastore/etcd/endpoint.ts";
import { codeName, RpcError } from "../../../src/datastore/grpc/status.ts";
import { EventSchema } from "../../../src/datastore/etcd/proto/kv_pb.ts";
import {
  CompactionResponseSchema,
  DeleteRangeResponseSchema,
  LeaseGrantResponseSchema,
  LeaseLeasesResponseSchema,
  LeaseRevokeResponseSchema,
  LeaseTimeToLiveResponseSchema,
  PutResponseSchema,
  RangeResponseSchema,
  TxnResponseSchema,
  WatchRequestSchema,
} from "../../../src/datastore/etcd/proto/rpc_pb.ts";
import { EtcdServer } from "../../contract/datastore/etcd-server.ts";
import { RequestGenerator } from "./random-requests.ts";

const STEPS = Number(process.env["MARGAY_DIFFERENTIAL_STEPS"] ?? "2500");

describe("embedded store beside a real etcd", () => {
  const dir = mkdtempSync(join(tmpdir(), "mgy-diff-"));
  let etcd: EtcdServer;
  let engine: Engine;
  let server: DatastoreServer;
  let theirs: EtcdEndpoint;
  let ours: EtcdEndpoint;

  before(async () => {
    etcd = await EtcdServer.start();
    engine = Engine.open(dir, { owner: "test", autoCompaction: { mode: "off" } });
    const url = `unix://${join(dir, "s.sock")}`;
    server = await DatastoreServer.start(engine, { listenUrls: [url] });
    const options = { tls: {}, keepaliveMs: 10_000, dialTimeoutMs: 5000 };
    theirs = new EtcdEndpoint(etcd.endpoint, options);
    ours = new EtcdEndpoint(url, options);
  });
  after(async () => {
    theirs?.close();
    ours?.close();
    await server?.close();
    await engine?.close();
    await etcd?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Sends one request to both and compares answers or errors; returns whether it succeeded. */
  async function both<D extends DescMessage>(
    desc: D,
    what: string,
    send: (endpoint: EtcdEndpoint) => Promise<MessageShape<D>>,
  ): Promise<boolean> {
    const [expected, actual] = await Promise.all(
      [theirs, ours].map((endpoint) => answer(desc, send(endpoint))),
    );
    assert.deepEqual(actual, expected, what);
    return !("error" in expected!);
  }

  for (const seed of [1, 2, 3]) {
    it(`random requests, seed ${seed}: equal answers, then equal watches`, async () => {
      const random = new RequestGenerator(seed);
      for (const ID of [11n, 12n, 13n]) {
        await both(LeaseGrantResponseSchema, "grant", (e) => e.lease.leaseGrant({ ID, TTL: 600n }));
      }
      const outcomes = { ok: 0, failed: 0 };
      for (let step = 0; step < STEPS / 3; step++) {
        const ok = await oneStep(random, step);
        outcomes[ok ? "ok" : "failed"]++;
      }
      assert.ok(outcomes.ok > STEPS / 10, "most requests succeed");
      assert.ok(outcomes.failed > STEPS / 100, "some requests fail");
      await compareWatches(random);
    });
  }

  async function oneStep(random: RequestGenerator, step: number): Promise<boolean> {
    const current = engine.revision;
    const dice = random.below(100);
    if (dice < 35) {
      const request = random.put();
      return both(PutResponseSchema, show(step, request), (e) => e.kv.put(request));
    }
    if (dice < 55) {
      const request = random.range(current);
      return both(RangeResponseSchema, show(step, request), (e) => e.kv.range(request));
    }
    if (dice < 68) {
      const request = random.deleteRange();
      return both(DeleteRangeResponseSchema, show(step, request), (e) => e.kv.deleteRange(request));
    }
    if (dice < 93) {
      const request = random.txn(current);
      return both(TxnResponseSchema, show(step, request), (e) => e.kv.txn(request));
    }
    if (dice < 95) {
      const revision = BigInt(current - 20 + random.below(25));
      const what = `compact ${revision}`;
      return both(CompactionResponseSchema, what, (e) => e.kv.compact({ revision }));
    }
    return leaseStep(random);
  }

  async function leaseStep(random: RequestGenerator): Promise<boolean> {
    const ID = random.pick([11n, 12n, 13n, 99n]);
    switch (random.below(4)) {
      case 0:
        return both(LeaseGrantResponseSchema, "grant", (e) =>
          e.lease.leaseGrant({ ID, TTL: 600n }),
        );
      case 1:
        return both(LeaseRevokeResponseSchema, "revoke", (e) => e.lease.leaseRevoke({ ID }));
      case 2:
        return both(LeaseTimeToLiveResponseSchema, "ttl", (e) =>
          e.lease.leaseTimeToLive({ ID, keys: true }),
        );
      default:
        return both(LeaseLeasesResponseSchema, "leases", (e) => e.lease.leaseLeases({}));
    }
  }

  async function compareWatches(random: RequestGenerator): Promise<void> {
    const last = engine.revision + 1;
    const oldest = engine.compactRevision + 1;
    for (let i = 0; i < 12; i++) {
      const request = {
        key: random.key(),
        rangeEnd: random.rangeEnd(),
        startRevision: BigInt(i === 0 ? oldest - 5 : oldest + random.below(last - oldest)),
        prevKv: random.chance(50),
        filters: random.chance(30) ? [random.below(2)] : [],
      };
      const ends = [theirs, ours].map((endpoint) => watched(endpoint, request, BigInt(last)));
      await both(PutResponseSchema, "mark", (e) =>
        e.kv.put({ key: Buffer.from("zz"), value: Buffer.from("end") }),
      );
      const [expected, actual] = await Promise.all(ends);
      assert.deepEqual(actual, expected, show(i, request));
    }
  }
});

type Plain = Record<string, unknown>;

/** JSON without what differs between any two clusters. */
async function answer<D extends DescMessage>(
  desc: D,
  sent: Promise<MessageShape<D>>,
): Promise<Plain> {
  try {
    const json = toJson(desc, await sent) as Plain;
    return normalize(json) as Plain;
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    return { error: `${codeName(error.code)}: ${error.message}` };
  }
}

function normalize(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(normalize);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value as Plain)
    .filter(([name]) => !["clusterId", "memberId", "raftTerm", "TTL"].includes(name))
    .map(([name, inner]): [string, unknown] => {
      const plain = normalize(inner);
      // Ranges may be sorted by what is equal in many keys; leases by their remaining time.
      if ((name === "kvs" || name === "leases") && Array.isArray(plain)) {
        return [name, plain.map((kv) => JSON.stringify(kv)).sort((a, b) => (a < b ? -1 : 1))];
      }
      return [name, plain];
    });
  return Object.fromEntries(entries);
}

/** Events up to the revision, or the revision of the compaction that ended the watch. */
async function watched(
  endpoint: EtcdEndpoint,
  request: { key: Uint8Array; rangeEnd: Uint8Array; startRevision: bigint },
  until: bigint,
): Promise<unknown[]> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), 1000);
  const events: unknown[] = [];
  const ask = (async function* () {
    yield create(WatchRequestSchema, { requestUnion: { case: "createRequest", value: request } });
    await new Promise((resolve) => setTimeout(resolve, 400));
    yield create(WatchRequestSchema, { requestUnion: { case: "progressRequest", value: {} } });
    await new Promise(() => undefined);
  })();
  try {
    for await (const response of endpoint.watch.watch(ask, { signal: abort.signal })) {
      if (response.canceled) {
        events.push({ compacted: String(response.compactRevision) });
        break;
      }
      for (const event of response.events) {
        if ((event.kv?.modRevision ?? 0n) < until) events.push(toJson(EventSchema, event));
      }
      const idle = !response.created && response.events.length === 0;
      if (idle && (response.header?.revision ?? 0n) >= until) break;
    }
  } catch (error) {
    if (!abort.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
  return events;
}

/** The request in one line, with keys as text. */
function show(step: number, request: unknown): string {
  return `step ${step}: ${JSON.stringify(readable(request))}`;
}

function readable(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("latin1");
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]): [string, unknown] => [name, readable(inner)]),
  );
}
