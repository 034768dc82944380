/**
 * Eight processes assign and release at once, against the embedded store over its socket and against
 * etcd. Afterwards no address was held twice, and handles, blocks and affinities agree.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  DatastoreServer,
  embeddedSocketPath,
  Engine,
  EtcdClient,
  EtcdDatastore,
  openDatastore,
  type Datastore,
} from "#datastore";
import { formatIp } from "#ip";
import { audit, readSnapshot } from "#ipam";
import { EtcdServer } from "../datastore/etcd-server.ts";
import { IpamWorld } from "../../support/ipam-world.ts";

const WRITER = fileURLToPath(new URL("../../support/ipam-writer.ts", import.meta.url));
const WRITERS = 8;
const EACH = process.env["MARGAY_TEST_LONG"] === "1" ? 250 : 40;

interface Told {
  readonly kept: readonly (readonly [ip: string, handle: string])[];
  readonly released: number;
  readonly conflicts: number;
}

async function writer(url: string, index: number): Promise<Told> {
  // Two processes on each host: half of the races are for one block.
  const host = `host-${index % (WRITERS / 2)}`;
  const child = spawn(process.execPath, [WRITER, url, host, `w${index}`, String(EACH)], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 120_000,
  });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  const [code] = (await once(child, "close")) as [number];
  assert.equal(code, 0, out);
  return JSON.parse(out) as Told;
}

async function race(store: Datastore, url: string): Promise<void> {
  const world = new IpamWorld(store);
  await world.pool("p4", "10.0.0.0/20", { blockSize: EACH > 100 ? 27 : 28 });
  for (let host = 0; host < WRITERS / 2; host++) await world.node(`host-${host}`);
  const writers = Array.from({ length: WRITERS }, (_, index) => writer(url, index));
  // One may fail, but none outlives the store.
  await Promise.allSettled(writers);
  const told = await Promise.all(writers);

  const kept = told.flatMap((one) => one.kept);
  assert.equal(new Set(kept.map(([ip]) => ip)).size, kept.length, "an address was given twice");
  assert.equal(kept.length + told.reduce((sum, one) => sum + one.released, 0), WRITERS * EACH);
  const { allocations, problems } = audit(await readSnapshot(store));
  assert.deepEqual(
    allocations.map(({ ip, attribute }) => `${formatIp(ip)} ${attribute.handle}`).toSorted(),
    kept.map(([ip, handle]) => `${ip} ${handle}`).toSorted(),
  );
  assert.deepEqual(
    problems.filter(({ kind }) => kind !== "leaked"),
    [],
  );
  assert.ok(
    told.some(({ conflicts }) => conflicts > 0),
    "the writers never met",
  );
}

test("eight processes on the embedded store", async () => {
  const dir = mkdtempSync(join(tmpdir(), "mgy-ipam-"));
  const engine = Engine.open(dir, { owner: "test" });
  const url = `unix://${embeddedSocketPath(dir)}`;
  const server = await DatastoreServer.start(engine, { listenUrls: [url] });
  try {
    const store = await openDatastore({ type: "embedded", embedded: { dataDir: dir } });
    await race(store, url);
    await store.close();
  } finally {
    await server.close();
    await engine.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

test("eight processes on etcd", async () => {
  const server = await EtcdServer.start();
  try {
    const store = new EtcdDatastore(new EtcdClient({ endpoints: [server.endpoint] }));
    await race(store, server.endpoint);
    await store.close();
  } finally {
    await server.stop();
  }
});
