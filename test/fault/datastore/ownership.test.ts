/** Who owns an embedded store, and what the others get. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { embeddedSocketPath, Engine, openDatastore, type Datastore } from "#datastore";
import { collect, hasCode } from "../../contract/datastore/suite.ts";
import { StoreProcess } from "./store-process.ts";

const MAIN = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));

function makeDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "mgy-own-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function open(dir: string, options = {}): Promise<Datastore> {
  return openDatastore({ type: "embedded", embedded: { dataDir: dir } }, options);
}

describe("owner of an embedded store", () => {
  it("without a daemon each command opens, works and leaves; the data stays", async (t) => {
    const dir = makeDir(t);
    const first = await open(dir);
    await first.put("/k", "1");
    await first.close();
    const second = await open(dir);
    assert.equal((await second.get("/k")).kv?.value, "1");
    await second.close();
    assert.ok(!existsSync(embeddedSocketPath(dir)));
  });

  it("two at once: the second waits until the first leaves", async (t) => {
    const dir = makeDir(t);
    const holder = Engine.open(dir, { owner: "margay apply" });
    const waiting = open(dir);
    setTimeout(() => void holder.close(), 200);
    const store = await waiting;
    await store.put("/k", "1");
    await store.close();
  });

  it("a holder that stays is named", async (t) => {
    const dir = makeDir(t);
    const holder = Engine.open(dir, { owner: "margay lab" });
    t.after(() => holder.close());
    await assert.rejects(open(dir, { lockTimeoutMs: 100 }), (error: Error) => {
      assert.match(error.message, /in use by margay lab \(pid \d+\)/);
      return hasCode("unavailable")(error);
    });
  });

  it("a long-lived owner serves the socket; others see its changes live", async (t) => {
    const dir = makeDir(t);
    const owner = await open(dir, { serve: true, owner: "margay felix" });
    const other = await open(dir);
    const revision = await owner.put("/k/a", "1");
    const watch = collect(owner, "/k/", revision + 1);
    await other.put("/k/b", "2");
    await watch.until((events) => events.length === 1);
    await watch.stop();
    await other.close();
    await owner.close();
    assert.ok(!existsSync(embeddedSocketPath(dir)));
    const next = await open(dir);
    assert.equal((await next.list("/k/")).kvs.length, 2);
    await next.close();
  });

  it("a second daemon on the directory ends with the holder's name", async (t) => {
    const dir = makeDir(t);
    const store = await StoreProcess.start(dir);
    t.after(() => store.end("SIGKILL"));
    const second = spawn(process.execPath, [MAIN, "datastore", "--data-dir", dir]);
    let err = "";
    second.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
    const [code] = (await once(second, "close")) as [number];
    assert.equal(code, 1);
    assert.match(err, new RegExp(`in use by margay datastore \\(pid ${store.child.pid}\\)`));
    assert.equal(await store.end("SIGTERM"), 0);
    assert.ok(!existsSync(store.socketPath));
  });

  it("what a killed daemon left behind stops nobody", async (t) => {
    const dir = makeDir(t);
    const store = await StoreProcess.start(dir);
    const client = await open(dir);
    await client.put("/k", "1");
    await store.end("SIGKILL");
    await assert.rejects(client.get("/k"), hasCode("unavailable"));
    await client.close();
    assert.ok(existsSync(store.socketPath), "the stale socket is the case to test");
    const next = await open(dir, { serve: true });
    assert.equal((await next.get("/k")).kv?.value, "1");
    await next.close();
  });

  it("a damaged file is refused as corrupt", async (t) => {
    const dir = makeDir(t);
    const { writeFileSync } = await import("node:fs");
    writeFileSync(join(dir, "margay.db"), "this is no database at all, ".repeat(500));
    await assert.rejects(open(dir), hasCode("corrupt"));
  });
});
