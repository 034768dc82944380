/** The client of a real etcd that dies, comes back, hangs or moves. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { describe, it } from "node:test";
import { EtcdClient, EtcdDatastore } from "#datastore";
import { EtcdServer } from "../../contract/datastore/etcd-server.ts";
import { collect, hasCode } from "../../contract/datastore/suite.ts";

describe("etcd outages", () => {
  it("killed and back: watches say so at once, calls work again, nothing is missed", async (t) => {
    const server = await EtcdServer.start();
    t.after(() => server.stop());
    const store = new EtcdDatastore(new EtcdClient({ endpoints: [server.endpoint] }));
    t.after(() => store.close());
    const first = await store.put("/k/a", "1");
    const watch = collect(store, "/k/", first);
    await watch.until((events) => events.length === 1);

    const killedAt = performance.now();
    await server.kill();
    await assert.rejects(watch.done, hasCode("unavailable"));
    assert.ok(performance.now() - killedAt < 2000, "told within two seconds");
    await assert.rejects(store.get("/k/a"), hasCode("unavailable"));

    await server.run();
    assert.equal((await store.get("/k/a")).kv?.value, "1");
    const second = await store.put("/k/a", "2");
    const again = collect(store, "/k/", first + 1);
    await again.until((events) => events.length === 1);
    assert.equal(again.batches[0]?.revision, second);
    await again.stop();
  });

  it("a peer that hangs is noticed by its silence", async (t) => {
    const server = await EtcdServer.start();
    t.after(() => server.stop());
    const store = new EtcdDatastore(
      new EtcdClient({ endpoints: [server.endpoint], keepaliveMs: 1000, callTimeoutMs: 3000 }),
    );
    t.after(() => store.close());
    const first = await store.put("/k/a", "1");
    const watch = collect(store, "/k/", first);
    await watch.until((events) => events.length === 1);
    server.freeze();
    t.after(() => server.thaw());
    await assert.rejects(store.get("/k/a"), hasCode("timeout"));
    await assert.rejects(watch.done, hasCode("unavailable"));
    server.thaw();
    assert.equal((await store.get("/k/a")).kv?.value, "1");
  });

  it("a machine that is off costs a moment, not the time of a dial", async (t) => {
    const server = await EtcdServer.start();
    t.after(() => server.stop());
    // Takes connections and never says a word, as a host does that is off behind a router.
    const silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    t.after(() => silent.close());
    const { port } = silent.address() as AddressInfo;
    const endpoints = [`https://127.0.0.1:${port}`, server.endpoint];
    const client = new EtcdClient({ endpoints, dialTimeoutMs: 4000 });
    const store = new EtcdDatastore(client);
    t.after(() => store.close());
    const started = performance.now();
    await store.put("/k/a", "1");
    assert.ok(performance.now() - started < 2000, "the second was dialled meanwhile");
    assert.equal((await store.get("/k/a")).kv?.value, "1");
  });

  it("one of two endpoints dies: the other takes over", async (t) => {
    const one = await EtcdServer.start();
    const two = await EtcdServer.start();
    t.after(() => Promise.all([one.stop(), two.stop()]));
    const endpoints = [one.endpoint, two.endpoint];
    const store = new EtcdDatastore(new EtcdClient({ endpoints }));
    t.after(() => store.close());
    // Two separate stores, so that the answer tells which one it was.
    const other = new EtcdDatastore(new EtcdClient({ endpoints: [two.endpoint] }));
    t.after(() => other.close());
    await store.put("/who", "one");
    await other.put("/who", "two");
    assert.equal((await store.get("/who")).kv?.value, "one");
    await one.kill();
    assert.equal((await store.get("/who")).kv?.value, "two");
  });
});
