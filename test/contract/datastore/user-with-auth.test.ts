/** A user of a real etcd whose tokens live for a second: nothing that asks for one may get stuck. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { EtcdClient, EtcdDatastore, type WatchEvent } from "#datastore";
import { EtcdServer } from "./etcd-server.ts";

const TTL_SECONDS = 1;
/** etcd looks for expired tokens once a second. */
const EXPIRED_MS = (TTL_SECONDS + 2) * 1000;
const LIMIT_MS = 10_000;

describe("a user where authentication is on", () => {
  it("goes on when its token has expired, in a watch too", () =>
    withUser(async ({ store, admin }) => {
      const revision = await store.put("/calico/a", "1");
      const running = nextKey(store, revision + 1);
      await sleep(EXPIRED_MS);
      admin("put", "/calico/b", "2");
      assert.equal(await running, "/calico/b", "a watch that was open");
      assert.equal(await nextKey(store, revision + 1), "/calico/b", "a new watch, before any call");
      await sleep(EXPIRED_MS);
      assert.equal((await store.get("/calico/b")).kv?.value, "2");
      await sleep(EXPIRED_MS);
      await store.put("/calico/c", "3");
    }));

  it("goes on when etcd has forgotten all tokens", () =>
    withUser(async ({ store, server }) => {
      const revision = await store.put("/calico/a", "1");
      await store.put("/calico/b", "2");
      await server.kill();
      await server.run();
      assert.equal(await nextKey(store, revision + 1), "/calico/b");
    }));

  it("goes on when the users have changed since the token was given", () =>
    withUser(async ({ store, admin }) => {
      const revision = await store.put("/calico/a", "1");
      admin("user", "add", "other:word");
      admin("put", "/calico/b", "2");
      assert.equal(await nextKey(store, revision + 1), "/calico/b");
      admin("role", "add", "more");
      await store.put("/calico/c", "3");
    }));

  it("hears of what it may not read, and of a wrong password", () =>
    withUser(async ({ store, server }) => {
      await assert.rejects(store.get("/other/a"), /permission denied/);
      await assert.rejects(nextKey(store, 1, "/other/"), /permission denied/);
      const settings = { endpoints: [server.endpoint], username: "calico", password: "wrong" };
      const stranger = new EtcdDatastore(new EtcdClient(settings));
      await assert.rejects(stranger.get("/calico/a"), /authentication failed/);
      await stranger.close();
    }));
});

interface World {
  readonly server: EtcdServer;
  /** May do everything below `/calico/`. */
  readonly store: EtcdDatastore;
  readonly admin: (...args: string[]) => string;
}

async function withUser(body: (world: World) => Promise<void>): Promise<void> {
  const server = await EtcdServer.start(undefined, ["--auth-token-ttl", String(TTL_SECONDS)]);
  const settings = { endpoints: [server.endpoint], username: "calico", password: "secret" };
  const store = new EtcdDatastore(new EtcdClient(settings));
  try {
    server.ctl("user", "add", "root:root");
    server.ctl("user", "grant-role", "root", "root");
    server.ctl("role", "add", "calico");
    server.ctl("role", "grant-permission", "calico", "--prefix=true", "readwrite", "/calico/");
    server.ctl("user", "add", "calico:secret");
    server.ctl("user", "grant-role", "calico", "calico");
    server.ctl("auth", "enable");
    const admin = (...args: string[]): string => server.ctl("--user", "root:root", ...args);
    await body({ server, store, admin });
  } finally {
    await store.close();
    await server.stop();
  }
}

/** The key of the first event since `from`. */
async function nextKey(
  store: EtcdDatastore,
  from: number,
  prefix = "/calico/",
): Promise<string | undefined> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  for await (const { events } of store.watch(prefix, from, signal)) {
    const [event] = events;
    if (event !== undefined) return keyOf(event);
  }
  return undefined;
}

function keyOf(event: WatchEvent): string {
  return event.type === "put" ? event.kv.key : event.key;
}
