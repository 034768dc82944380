/** SIGKILL in mid-write: every acknowledged write is there, none is torn, and the history is whole. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { Engine, EtcdClient } from "#datastore";
import { RangeRequestSchema } from "../../../src/datastore/etcd/proto/rpc_pb.ts";
import { StoreProcess } from "./store-process.ts";

const KILLS = 50;
const WRITERS = 8;

describe("embedded store killed in mid-write", () => {
  it(`${KILLS} times: no acknowledged write lost, none torn`, async (t) => {
    const dir = mkdtempSync(join(tmpdir(), "mgy-crash-"));
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    const acknowledged = new Map<string, number>();
    const attempted = new Map<string, number>();
    let midWrite = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const store = await StoreProcess.start(dir);
      const client = new EtcdClient({ endpoints: [store.endpoint] });
      const writers = Array.from({ length: WRITERS }, (_, writer) =>
        writeUntilKilled(client, writer, acknowledged, attempted),
      );
      await sleep(20 + ((kill * 37) % 90));
      await store.end("SIGKILL");
      await Promise.all(writers);
      await client.close();
      midWrite += [...attempted].some(([key, n]) => (acknowledged.get(key) ?? 0) < n) ? 1 : 0;
      await verify(dir, acknowledged, attempted);
    }
    assert.ok(midWrite > KILLS / 2, `only ${midWrite} kills came in mid-write`);
    assert.ok([...acknowledged.values()].every((n) => n > KILLS / 5));
  });
});

/** Each transaction writes three keys with the same number: all of them or none. */
async function writeUntilKilled(
  client: EtcdClient,
  writer: number,
  acknowledged: Map<string, number>,
  attempted: Map<string, number>,
): Promise<void> {
  const name = `w${writer}`;
  let n = Math.max(attempted.get(name) ?? 0, acknowledged.get(name) ?? 0);
  try {
    for (;;) {
      n++;
      attempted.set(name, n);
      await client.txn({
        success: ["a", "b", "c"].map((part) => ({
          request: {
            case: "requestPut" as const,
            value: { key: Buffer.from(`/${name}/${part}`), value: body(n) },
          },
        })),
      });
      acknowledged.set(name, n);
    }
  } catch {
    // The store is dead; what was not acknowledged may be there or not.
  }
}

function body(n: number): Buffer {
  return Buffer.from(`${n}:${"x".repeat(n % 7000)}:${n}`);
}

/** Opens the files that the dead process left, and looks. */
async function verify(
  dir: string,
  acknowledged: ReadonlyMap<string, number>,
  attempted: ReadonlyMap<string, number>,
): Promise<void> {
  const engine = Engine.open(dir, { owner: "test" });
  try {
    for (const [name, last] of attempted) {
      const values = await Promise.all(
        ["a", "b", "c"].map(async (part) => {
          const key = Buffer.from(`/${name}/${part}`);
          const { kvs } = await engine.range(create(RangeRequestSchema, { key }));
          return kvs[0];
        }),
      );
      const numbers = values.map((kv) =>
        kv === undefined ? 0 : Number.parseInt(text(kv.value), 10),
      );
      const [n = 0] = numbers;
      assert.deepEqual(numbers, [n, n, n], `${name}: a torn transaction`);
      assert.ok(n >= (acknowledged.get(name) ?? 0), `${name}: ${n} was acknowledged later`);
      assert.ok(n <= last, `${name}: ${n} was never written`);
      assert.equal(new Set(values.map((kv) => kv?.modRevision)).size, 1);
      if (n > 0) assert.ok(values.every((kv) => text(kv!.value) === body(n).toString()));
    }
  } finally {
    await engine.close();
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}
