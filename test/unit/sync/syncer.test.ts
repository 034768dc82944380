/** The syncer over the in-memory datastore, whose faults come on request. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { MemoryDatastore, type Datastore } from "#datastore";
import { modelKeyText, type ModelUpdate } from "#model";
import { resourcePath } from "#resource";
import { startSyncer, type SyncStatus } from "#sync";

class Seen {
  readonly statuses: SyncStatus[] = [];
  readonly invalid: { path: string; message: string }[] = [];
  readonly state = new Map<string, ModelUpdate["value"]>();
  readonly order: string[] = [];
  updates = 0;

  readonly callbacks = {
    onStatus: (status: SyncStatus): void => {
      this.statuses.push(status);
    },
    onUpdates: (updates: readonly ModelUpdate[]): void => {
      for (const { key, value } of updates) {
        this.updates += 1;
        this.order.push(modelKeyText(key));
        if (value === null) this.state.delete(modelKeyText(key));
        else this.state.set(modelKeyText(key), value);
      }
    },
    onInvalidCount: (): void => undefined,
    onInvalid: (problem: { readonly path: string; readonly message: string }): void => {
      this.invalid.push(problem);
    },
  };
}

const keyOf = (name: string): string => modelKeyText({ kind: "Tier", name });
const tierPath = (name: string): string => resourcePath("Tier", name);
function tier(name: string, order = 10): string {
  return JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind: "Tier",
    metadata: { name },
    spec: { order },
  });
}

async function until(done: () => boolean): Promise<void> {
  for (let i = 0; !done(); i++) {
    assert.ok(i < 1000, "timed out");
    await delay(5);
  }
}

async function start(t: TestContext, store: MemoryDatastore): Promise<Seen> {
  const seen = new Seen();
  const syncer = startSyncer({ store, callbacks: seen.callbacks, random: () => 1 });
  t.after(() => syncer.close());
  await until(() => seen.statuses.at(-1) === "in-sync");
  return seen;
}

test("a snapshot, then changes, in-sync said once and after everything", async (t) => {
  const store = new MemoryDatastore();
  for (let i = 0; i < 1200; i++) await store.put(tierPath(`t${i}`), tier(`t${i}`));
  const seen = new Seen();
  let sizeAtInSync = -1;
  const syncer = startSyncer({
    store,

    callbacks: {
      ...seen.callbacks,
      onStatus: (status) => {
        if (status === "in-sync") sizeAtInSync = seen.state.size;
        seen.callbacks.onStatus(status);
      },
    },
  });
  t.after(() => syncer.close());
  await until(() => seen.statuses.at(-1) === "in-sync");
  assert.equal(sizeAtInSync, 1200);
  await store.put(tierPath("late"), tier("late"));
  await store.delete(tierPath("t0"));
  await until(() => !seen.state.has(keyOf("t0")));
  assert.ok(seen.state.has(keyOf("late")));
  store.breakWatches();
  await store.put(tierPath("later"), tier("later"));
  await until(() => seen.state.has(keyOf("later")));
  assert.deepEqual(seen.statuses, ["wait-for-datastore", "resync", "in-sync"]);
  assert.equal(seen.updates, 1203, "nothing is handed over twice");
});

test("in-sync does not come while the datastore is away", async (t) => {
  const store = new MemoryDatastore();
  store.setFault("unavailable");
  const seen = new Seen();
  const syncer = startSyncer({ store, callbacks: seen.callbacks });
  t.after(() => syncer.close());
  await delay(120);
  assert.deepEqual(seen.statuses, ["wait-for-datastore"]);
  store.setFault(undefined);
  await until(() => seen.statuses.at(-1) === "in-sync");
});

test("history lost while away: what vanished is deleted, what came is added, the rest is not repeated", async (t) => {
  const store = new MemoryDatastore();
  for (const name of ["stays", "goes", "changes"]) await store.put(tierPath(name), tier(name));
  const seen = await start(t, store);
  seen.order.length = 0;
  store.setFault("unavailable");
  store.breakWatches();
  await delay(20);
  store.setFault(undefined);
  await store.delete(tierPath("goes"));
  await store.put(tierPath("comes"), tier("comes"));
  await store.put(tierPath("changes"), tier("changes", 99));
  store.compact();
  store.breakWatches("compacted");
  await until(() => seen.state.has(keyOf("comes")) && !seen.state.has(keyOf("goes")));
  assert.deepEqual(seen.order.toSorted(), ["changes", "comes", "goes"].map(keyOf));
  assert.equal((seen.state.get(keyOf("changes")) as { order?: number }).order, 99);
});

test("an invalid object counts as absent, is said once, and hides what was valid before", async (t) => {
  const store = new MemoryDatastore();
  await store.put(tierPath("a"), tier("a"));
  await store.put(tierPath("torn"), '{"kind": "Tier", ');
  await store.put(tierPath("wrong"), tier("other-name"));
  await store.put("/calico/resources/v3/projectcalico.org/unknownkinds/x", "{}");
  const seen = await start(t, store);
  assert.deepEqual(
    seen.invalid
      .map((p) => p.path)
      .toSorted()
      .slice(0, 2),
    [tierPath("torn"), tierPath("wrong")],
  );
  const before = seen.invalid.length;
  await store.put(tierPath("a"), tier("a").replace("10", '"ten"'));
  await until(() => !seen.state.has(keyOf("a")));
  assert.equal(seen.invalid.length, before + 1);
  assert.match(seen.invalid.at(-1)?.message ?? "", /order/);
  store.breakWatches("compacted");
  await delay(120);
  assert.equal(seen.invalid.length, before + 1, "said once per revision, also after a new list");
  await store.put(tierPath("a"), tier("a"));
  await until(() => seen.state.has(keyOf("a")));
});

test("close ends the callbacks", async () => {
  const store = new MemoryDatastore();
  const seen = new Seen();
  const syncer = startSyncer({ store, callbacks: seen.callbacks });
  await until(() => seen.statuses.at(-1) === "in-sync");
  await syncer.close();
  await store.put(tierPath("x"), tier("x"));
  await delay(30);
  assert.equal(seen.state.size, 0);
  await syncer.close();
});

for (const { what, writes } of [
  { what: "went back in time", writes: 0 },
  { what: "went back in time, and was written to until its revision had passed ours", writes: 30 },
]) {
  test(`a store that ${what} is read anew`, async (t) => {
    const before = new MemoryDatastore();
    for (const name of ["a", "b", "c"]) await before.put(tierPath(name), tier(name));
    const after = new MemoryDatastore();
    await after.put(tierPath("a"), tier("a", 77));
    for (let i = 0; i < writes; i++) await after.put("/elsewhere", String(i));
    let current = before;
    const store: Datastore = {
      get: (key) => current.get(key),
      list: (prefix) => current.list(prefix),
      put: (key, value, options) => current.put(key, value, options),
      delete: (key, options) => current.delete(key, options),
      watch: (prefix, from, signal) => current.watch(prefix, from, signal),
      close: () => current.close(),
    };
    const seen = new Seen();
    const syncer = startSyncer({ store, callbacks: seen.callbacks });
    t.after(() => syncer.close());
    await until(() => seen.state.size === 3 && seen.statuses.at(-1) === "in-sync");
    current = after;
    before.breakWatches();
    await until(() => seen.state.size === 1);
    assert.equal((seen.state.get(keyOf("a")) as { order?: number } | undefined)?.order, 77);
  });
}

test("updates that are not taken end the syncer instead of being lost", async () => {
  const store = new MemoryDatastore();
  await store.put(tierPath("a"), tier("a"));
  const seen = new Seen();
  let closing: Promise<unknown> | undefined;
  const syncer = startSyncer({
    store,

    callbacks: {
      ...seen.callbacks,
      onUpdates: () => {
        closing = syncer.close().then(() => "closed", String);
        throw new TypeError("broken");
      },
    },
  });
  await until(() => closing !== undefined);
  assert.match(String(await closing), /broken/);
  assert.notEqual(seen.statuses.at(-1), "in-sync");
});

test("a key that is nothing neither holds back nor loses what lies beside it", async (t) => {
  const store = new MemoryDatastore();
  const block = (name: string): string => `/calico/ipam/v2/assignment/ipv4/block/${name}`;
  const value = JSON.stringify({ cidr: "10.65.0.0/30", allocations: [] });
  await store.put(block("10.65.0.0-30"), value);
  for (const name of ["zzz-24", "10.0.0.0-99", "-1"]) await store.put(block(name), value);
  await store.put(tierPath("a"), tier("a"));
  const seen = await start(t, store);
  assert.equal(seen.state.size, 2);
  await store.put(block("nonsense-30"), value);
  await store.put(block("10.65.0.4-30"), JSON.stringify({ cidr: "10.65.0.4/30" }));
  await until(() => seen.state.size === 3);
});
