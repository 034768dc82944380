/** A user's name and password for a cluster that has authentication off: it serves all the same. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { DatastoreServer, Engine, EtcdClient, EtcdDatastore } from "#datastore";
import { EtcdServer } from "./etcd-server.ts";

describe("a user where authentication is off", () => {
  it("etcd", async () => {
    const server = await EtcdServer.start();
    try {
      await writeAndRead(server.endpoint);
    } finally {
      await server.stop();
    }
  });

  it("margay datastore", async () => {
    const dir = mkdtempSync(join(tmpdir(), "mgy-user-"));
    const engine = Engine.open(dir, { owner: "test" });
    const server = await DatastoreServer.start(engine, { listenUrls: ["http://127.0.0.1:0"] });
    try {
      await writeAndRead(server.urls[0] ?? "");
    } finally {
      await server.close();
      await engine.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

async function writeAndRead(endpoint: string): Promise<void> {
  const settings = { endpoints: [endpoint], username: "calico", password: "secret" };
  const store = new EtcdDatastore(new EtcdClient(settings));
  try {
    await store.put("/x", "1");
    assert.equal((await store.get("/x")).kv?.value, "1");
  } finally {
    await store.close();
  }
}
