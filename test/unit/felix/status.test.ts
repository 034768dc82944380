import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { EndpointState, FromDataplane, WorkloadEndpoint } from "#calc";
import { MemoryDatastore, type Datastore } from "#datastore";
import { felixStatusPrefix } from "#model";
import { systemError } from "#std";
import { EndpointStatusFiles, statusFileName } from "../../../src/felix/endpoint-files.ts";
import { EndpointStatusReporter } from "../../../src/felix/endpoint-status.ts";
import { ProcessStatusReporter } from "../../../src/felix/process-status.ts";

const PREFIX = felixStatusPrefix("", "node-a");
const id = (workloadId: string) => ({ orchestratorId: "k8s", workloadId, endpointId: "eth0" });
const update = (workload: string, status: EndpointState): FromDataplane => ({
  case: "workloadEndpointStatusUpdate",
  value: { id: id(workload), status },
});
const removal = (workload: string): FromDataplane => ({
  case: "workloadEndpointStatusRemove",
  value: { id: id(workload) },
});

async function until(done: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!(await done())) {
    assert.ok(Date.now() < deadline, `not within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function statuses(store: Datastore): Promise<Record<string, string>> {
  const { kvs } = await store.list(PREFIX);
  return Object.fromEntries(kvs.map(({ key, value }) => [key.slice(PREFIX.length), value]));
}

test("file names are Felix's", () => {
  assert.equal(statusFileName(id("ns/a b+c'(x)")), "k8s ns%2Fa%20b+c%27%28x%29 eth0");
});

test("endpoint status: written, changed, removed; leftovers swept; unchanged ones not written", async (t) => {
  const store = new MemoryDatastore();
  await store.put(`${PREFIX}workload/k8s/old/endpoint/eth0`, '{"status":"up"}');
  const same = await store.put(`${PREFIX}workload/k8s/same/endpoint/eth0`, '{"status":"up"}');
  const reporter = new EndpointStatusReporter(store, PREFIX, "node-a", 1);
  t.after(() => reporter.close());
  for (const message of [
    update("a", "down"),
    update("a", "up"),
    update("same", "up"),
    update("b", "error"),
  ])
    reporter.onStatus(message);
  reporter.sweepStale();
  const expected = {
    "workload/k8s/a/endpoint/eth0": '{"status":"up"}',
    "workload/k8s/b/endpoint/eth0": '{"status":"error"}',
    "workload/k8s/same/endpoint/eth0": '{"status":"up"}',
  };
  await until(
    async () => JSON.stringify(await statuses(store)) === JSON.stringify(expected),
    "written and swept",
  );
  const { kv } = await store.get(`${PREFIX}workload/k8s/same/endpoint/eth0`);
  assert.equal(kv?.modRevision, same, "what is there already is not written again");
  reporter.onStatus(removal("b"));
  await until(async () => Object.keys(await statuses(store)).length === 2, "removed");
});

test("endpoint status: a datastore that is away is retried, and the last state wins", async (t) => {
  const store = new MemoryDatastore();
  let away = true;
  let attempts = 0;
  const flaky: Datastore = Object.assign(Object.create(store) as Datastore, {
    put: (key: string, value: string) => {
      attempts += 1;
      if (away) return Promise.reject(systemError("unavailable", "away", { retryable: true }));
      return store.put(key, value);
    },
    delete: (key: string) => store.delete(key),
    list: (prefix: string) => store.list(prefix),
  });
  const reporter = new EndpointStatusReporter(flaky, PREFIX, "node-a", 1);
  t.after(() => reporter.close());
  reporter.onStatus(update("a", "down"));
  await until(() => attempts >= 2, "tried again");
  assert.deepEqual(await statuses(store), {});
  reporter.onStatus(update("a", "up"));
  away = false;
  await until(
    async () => (await statuses(store))["workload/k8s/a/endpoint/eth0"] === '{"status":"up"}',
    "written",
  );
});

test("endpoint files: one for each endpoint that is up", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "margay-status-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const endpoint: WorkloadEndpoint = {
    state: "active",
    name: "cali1",
    mac: "",
    profileIds: [],
    ipv4Nets: ["10.0.0.1/32"],
    ipv6Nets: [],
    tiers: [],
    ipv4Nat: [],
    ipv6Nat: [],
    allowSpoofedSourcePrefixes: [],
    annotations: {},
  };
  const files = new EndpointStatusFiles(dir, () => endpoint);
  await files.close();
  writeFileSync(join(dir, "endpoint-status", "k8s gone eth0"), "");
  for (const message of [update("a", "up"), update("b", "down"), update("c", "up"), removal("c")])
    files.onStatus(message);
  files.sweepStale();
  await files.close();
  assert.deepEqual(readdirSync(join(dir, "endpoint-status")), ["k8s a eth0"]);
  assert.deepEqual(JSON.parse(readFileSync(join(dir, "endpoint-status", "k8s a eth0"), "utf8")), {
    ifaceName: "cali1",
    mac: "",
    ipv4Nets: ["10.0.0.1/32"],
    ipv6Nets: [],
  });
});

test("process status: JSON as Calico's, one copy with a time to live", async (t) => {
  const store = new MemoryDatastore();
  const puts: [string, number | undefined][] = [];
  const watched: Datastore = Object.assign(Object.create(store) as Datastore, {
    put: (key: string, value: string, options?: { ttlSeconds?: number }) => {
      puts.push([key, options?.ttlSeconds]);
      return store.put(key, value, options);
    },
  });
  const reporter = new ProcessStatusReporter(watched, {
    prefix: PREFIX,
    intervalMs: 10,
    ttlMs: 90_000,
    now: () => new Date("2026-11-23T03:00:00.123Z"),
    uptimeSeconds: () => 1.5,
  });
  reporter.start();
  t.after(() => reporter.close());
  await until(() => puts.length >= 4, "reported twice");
  assert.deepEqual(puts.slice(0, 2), [
    [`${PREFIX}status`, 90],
    [`${PREFIX}last_reported_status`, undefined],
  ]);
  await reporter.close();
  assert.deepEqual(JSON.parse((await statuses(store))["last_reported_status"] ?? ""), {
    time: "2026-11-23T03:00:00Z",
    uptime: 1.5,
    first_update: false,
  });
});

test("host endpoint status: where Calico has it; leftovers swept", async (t) => {
  const store = new MemoryDatastore();
  const prefix = "/calico/felix/v1/host/node-a/endpoint/";
  await store.put(`${prefix}old`, '{"status":"up"}');
  await store.put("/calico/felix/v1/host/node-ab/endpoint/other", '{"status":"up"}');
  const reporter = new EndpointStatusReporter(store, PREFIX, "node-a", 1);
  t.after(() => reporter.close());
  const id = { endpointId: "eth0" };
  reporter.onStatus({ case: "hostEndpointStatusUpdate", value: { id, status: "up" } });
  reporter.sweepStale();
  const stored = async (): Promise<string[]> =>
    (await store.list("/calico/felix/v1/")).kvs.map(({ key, value }) => `${key} ${value}`);
  const other = '/calico/felix/v1/host/node-ab/endpoint/other {"status":"up"}';
  const expected = [`${prefix}eth0 {"status":"up"}`, other].join();
  await until(async () => (await stored()).join() === expected, "written and swept");
  reporter.onStatus({ case: "hostEndpointStatusRemove", value: { id } });
  await until(async () => (await stored()).join() === other, "removed");
});

test("process status of an external driver: the newest report, one write at a time", async () => {
  const store = new MemoryDatastore();
  const gate = Promise.withResolvers<void>();
  const written: string[] = [];
  const slow: Datastore = Object.assign(Object.create(store) as Datastore, {
    put: async (key: string, value: string) => {
      if (key.endsWith("/status")) written.push((JSON.parse(value) as { time: string }).time);
      await gate.promise;
      return store.put(key, value);
    },
  });
  const reporter = new ProcessStatusReporter(slow, {
    prefix: PREFIX,
    intervalMs: 0,
    ttlMs: 90_000,
    now: () => new Date(0),
    uptimeSeconds: () => 0,
  });
  for (const time of ["t1", "t2", "t3"]) reporter.report({ time, uptime: 1 });
  gate.resolve();
  await until(
    async () => written.length === 2 && (await statuses(store))["status"] !== undefined,
    "t3",
  );
  await reporter.close();
  assert.deepEqual(written, ["t1", "t3"]);
});
