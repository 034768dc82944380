/** What strains a server: many watches on one stream, large messages, slow readers, deadlines. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, constants } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { DatastoreServer, Engine } from "#datastore";
import { EtcdEndpoint } from "../../../src/datastore/etcd/endpoint.ts";
import { Code, RpcError } from "../../../src/datastore/grpc/status.ts";
import {
  DeleteRangeRequestSchema,
  PutRequestSchema,
  WatchCreateRequestSchema,
  WatchRequestSchema,
  type WatchResponse,
} from "../../../src/datastore/etcd/proto/rpc_pb.ts";

type WatchRequestInit = MessageInitShape<typeof WatchRequestSchema>;

describe("datastore server under strain", () => {
  const dir = mkdtempSync(join(tmpdir(), "mgy-srv-"));
  let engine: Engine;
  let server: DatastoreServer;
  let endpoint: EtcdEndpoint;

  before(async () => {
    engine = Engine.open(dir, {
      owner: "test",
      maxRequestBytes: 32 * 1024 * 1024,
      progressIntervalMs: 100,
    });
    server = await DatastoreServer.start(engine, {
      listenUrls: ["http://127.0.0.1:0"],
      maxRequestBytes: 32 * 1024 * 1024,
    });
    endpoint = new EtcdEndpoint(server.urls[0] ?? "", {
      tls: {},
      keepaliveMs: 10_000,
      dialTimeoutMs: 5000,
    });
  });
  after(async () => {
    endpoint?.close();
    await server?.close();
    await engine?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it("a message of 16 MB goes in, comes back and is watched", async () => {
    const key = Buffer.from("/large");
    const value = Buffer.alloc(16 * 1024 * 1024, "0123456789abcdef");
    const startRevision = BigInt(engine.revision + 1);
    await endpoint.kv.put({ key, value });
    const { kvs } = await endpoint.kv.range({ key });
    assert.ok(Buffer.from(kvs[0]?.value ?? []).equals(value));
    const abort = new AbortController();
    for await (const response of endpoint.watch.watch(
      asking(abort.signal, { createRequest: { key, startRevision } }),
      { signal: abort.signal },
    )) {
      if (response.created) continue;
      assert.ok(Buffer.from(response.events[0]?.kv?.value ?? []).equals(value));
      break;
    }
    abort.abort();
    await endpoint.kv.deleteRange({ key });
  });

  it("a revision larger than a message is split for who allows it, and only then", async () => {
    const value = Buffer.alloc(2 * 1024 * 1024, "x");
    const small = Engine.open(mkdtempSync(join(dir, "frag-")), {
      owner: "test",
      maxRequestBytes: 3 * 1024 * 1024,
    });
    try {
      for (const name of ["/f/1", "/f/2", "/f/3"]) {
        await small.put(create(PutRequestSchema, { key: Buffer.from(name), value }));
      }
      const all = { key: Buffer.from("/f/"), rangeEnd: Buffer.from("/f0") };
      await small.deleteRange(create(DeleteRangeRequestSchema, all));
      for (const fragment of [false, true]) {
        const stream = small.watches.open();
        const startRevision = BigInt(small.revision);
        const request = { ...all, startRevision, prevKv: true, fragment };
        stream.handle(
          create(WatchRequestSchema, {
            requestUnion: {
              case: "createRequest",
              value: create(WatchCreateRequestSchema, request),
            },
          }),
        );
        const seen: WatchResponse[] = [];
        for await (const response of stream.responses()) {
          if (!response.created) seen.push(response);
          if (seen.reduce((n, r) => n + r.events.length, 0) === 3) break;
        }
        assert.deepEqual(
          seen.map((response) => response.fragment),
          fragment ? [true, true, false] : [false],
        );
        stream.close();
      }
    } finally {
      await small.close();
    }
  });

  it("1,000 watches on one stream: each its own events; canceled ones fall silent", async () => {
    const count = 1000;
    const abort = new AbortController();
    const send = channel(abort.signal);
    for (let i = 0; i < count; i++) {
      const key = Buffer.from(`/many/${i}/`);
      const rangeEnd = Buffer.from(`/many/${i}0`);
      send.push({
        requestUnion: { case: "createRequest", value: { key, rangeEnd, watchId: BigInt(i + 1) } },
      });
    }
    const events = new Map<bigint, string[]>();
    let created = 0;
    let canceled = 0;
    const reading = (async () => {
      for await (const response of endpoint.watch.watch(send, { signal: abort.signal })) {
        if (response.created) created++;
        if (response.canceled) canceled++;
        for (const event of response.events) {
          const list = events.get(response.watchId) ?? [];
          list.push(Buffer.from(event.kv?.key ?? []).toString());
          events.set(response.watchId, list);
        }
      }
    })().catch(() => undefined);
    await until(() => created === count);
    for (let i = 0; i < count; i += 2) {
      const watchId = BigInt(i + 1);
      send.push({ requestUnion: { case: "cancelRequest", value: { watchId } } });
    }
    await until(() => canceled === count / 2);
    await Promise.all(
      Array.from({ length: count }, (_, i) =>
        endpoint.kv.put({ key: Buffer.from(`/many/${i}/k`), value: Buffer.from("v") }),
      ),
    );
    await until(() => events.size === count / 2);
    await sleep(50);
    for (let i = 0; i < count; i++) {
      assert.deepEqual(events.get(BigInt(i + 1)), i % 2 === 0 ? undefined : [`/many/${i}/k`]);
    }
    abort.abort();
    await reading;
  });

  it("a client that does not read costs no memory and misses nothing", async () => {
    const stream = engine.watches.open();
    stream.handle(
      create(WatchRequestSchema, {
        requestUnion: {
          case: "createRequest",
          value: { key: Buffer.from("/slow/"), rangeEnd: Buffer.from("/slow0") },
        },
      }),
    );
    const writes = 6000;
    for (let done = 0; done < writes;) {
      // One at a time, so that each is a response of its own.
      const request = { key: Buffer.from(`/slow/${done % 5}`), value: Buffer.from(String(done)) };
      await engine.put(create(PutRequestSchema, request));
      done++;
    }
    const values: number[] = [];
    let most = 0;
    for await (const response of stream.responses()) {
      most = Math.max(most, response.events.length);
      for (const { kv } of response.events) values.push(Number(Buffer.from(kv?.value ?? [])));
      if (values.at(-1) === writes - 1) break;
    }
    assert.deepEqual(
      values,
      Array.from({ length: writes }, (_, i) => i),
    );
    assert.ok(most > 1, "the rest came from the history, in portions");
    stream.close();
  });

  it("progress: asked for, and by itself for who wants it", async () => {
    const abort = new AbortController();
    const send = channel(abort.signal);
    const key = Buffer.from("/quiet");
    send.push({ requestUnion: { case: "createRequest", value: { key, progressNotify: true } } });
    send.push({ requestUnion: { case: "progressRequest", value: {} } });
    const ids = new Set<bigint>();
    for await (const response of endpoint.watch.watch(send, { signal: abort.signal })) {
      if (response.created) continue;
      assert.equal(response.events.length, 0);
      assert.equal(Number(response.header?.revision), engine.revision);
      ids.add(response.watchId);
      if (ids.size === 2) break;
    }
    assert.deepEqual(ids, new Set([-1n, 0n]));
    abort.abort();
  });

  it("a call's deadline is answered with DEADLINE_EXCEEDED by the server itself", async () => {
    const session = connect(server.urls[0] ?? "");
    const stream = session.request({
      ":method": "POST",
      ":path": "/etcdserverpb.KV/Range",
      "content-type": "application/grpc",
      "grpc-timeout": "50m",
    });
    // The request is announced but never sent.
    stream.write(Buffer.from([0, 0, 0, 0, 9]));
    const [headers] = await Promise.race([
      new Promise<[Record<string, string>]>((resolve) => {
        stream.on("response", (h) => resolve([h as Record<string, string>]));
      }),
      sleep(2000).then(() => assert.fail("no answer")),
    ]);
    assert.equal(headers["grpc-status"], String(Code.DeadlineExceeded));
    session.destroy(undefined, constants.NGHTTP2_CANCEL);
  });

  it("too long a message and a call that makes no sense are refused with a status", async () => {
    await assert.rejects(
      endpoint.kv.put({ key: Buffer.from("/x"), value: Buffer.alloc(40 * 1024 * 1024) }),
      (error: unknown) =>
        error instanceof RpcError &&
        (error.code === Code.ResourceExhausted || error.code === Code.InvalidArgument),
    );
    await assert.rejects(
      endpoint.auth.authenticate({ name: "a", password: "b" }),
      (error: unknown) => error instanceof RpcError && error.code === Code.FailedPrecondition,
    );
  });
});

/** One request, then silence until the signal. */
async function* asking(
  signal: AbortSignal,
  { createRequest }: { createRequest: { key: Uint8Array; startRevision: bigint } },
): AsyncGenerator<WatchRequestInit> {
  yield { requestUnion: { case: "createRequest", value: createRequest } };
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}

function channel(signal: AbortSignal): AsyncIterable<WatchRequestInit> & {
  push(request: WatchRequestInit): void;
} {
  const waiting: WatchRequestInit[] = [];
  let wake: () => void = () => undefined;
  signal.addEventListener("abort", () => wake(), { once: true });
  return {
    push(request) {
      waiting.push(request);
      wake();
    },
    async *[Symbol.asyncIterator]() {
      while (!signal.aborted) {
        yield* waiting.splice(0);
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (waiting.length > 0 || signal.aborted) resolve();
        });
      }
    },
  };
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (condition()) return;
    await sleep(10);
  }
  assert.fail("not within 10 s");
}
