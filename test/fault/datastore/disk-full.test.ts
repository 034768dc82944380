/** A full disk: a clear error, nothing that was acknowledged is lost, and it goes on afterwards. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { MargayError } from "#std";
import { Engine, EtcdClient, EtcdDatastore, type Datastore } from "#datastore";
import { LocalApi } from "../../../src/datastore/embedded/local-api.ts";
import { StoreProcess } from "./store-process.ts";

const canMount = process.getuid?.() === 0;

describe("embedded store on a full disk", () => {
  it(
    "an 8 MB file system fills up: no-space, nothing lost, recovers",
    {
      skip: canMount ? false : "mounting a tmpfs needs root",
    },
    async (t) => {
      const dir = mkdtempSync(join(tmpdir(), "mgy-full-"));
      // The mount exists only in the server's own mount namespace; we see it through /proc.
      const mount = `mount -t tmpfs -o size=8m tmpfs ${dir} && exec "$@"`;
      const prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"];
      const socketDir = mkdtempSync(join(tmpdir(), "mgy-full-s-"));
      const outside = `unix://${join(socketDir, "s.sock")}`;
      t.after(() => {
        rmSync(dir, { recursive: true, force: true });
        rmSync(socketDir, { recursive: true, force: true });
      });
      const store = await StoreProcess.startAt(dir, join(socketDir, "s.sock"), {
        args: ["--listen-client-urls", outside],
        prefix,
      });
      t.after(() => store.end("SIGKILL"));
      const inside = join("/proc", String(store.child.pid), "root", dir);
      const client = new EtcdDatastore(new EtcdClient({ endpoints: [outside] }));
      t.after(() => client.close());
      const before = await client.put("/small", "before");

      const ballast = join(inside, "ballast");
      const kept = await fill(client);
      assert.ok(kept.size > 5, `only ${kept.size} writes went through`);
      await assert.rejects(client.put("/more", "y".repeat(500_000)), isNoSpace);
      await expectAll(client, kept);
      assert.equal((await client.get("/small")).kv?.modRevision, before);

      // Room comes back: the file system grows.
      inNamespace(store, ["mount", "-o", "remount,size=32m", dir]);
      const after = await client.put("/more", "z".repeat(200_000));
      kept.set("/more", "z".repeat(200_000));
      await expectAll(client, kept);

      // Full to the last byte by another program: even the smallest write is refused, none is lost.
      inNamespace(store, ["mount", "-o", "remount,size=34m", dir]);
      try {
        writeFileSync(ballast, Buffer.alloc(64 * 1024 * 1024));
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
      }
      const small = await fill(client, "/s/", 4000);
      for (const [key, value] of small) kept.set(key, value);
      await assert.rejects(client.put("/t", "y".repeat(100_000)), isNoSpace);
      await expectAll(client, kept);
      unlinkSync(ballast);
      assert.ok((await client.put("/t", "room again")) > after);
      kept.set("/t", "room again");
      await expectAll(client, kept);
      assert.equal(await store.end("SIGTERM"), 0);
    },
  );

  it("a quota refuses puts, lets deletes and compaction through, and recovers", async (t) => {
    const dir = mkdtempSync(join(tmpdir(), "mgy-quota-"));
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    const engine = Engine.open(dir, {
      owner: "test",
      quotaBytes: 4_000_000,
      autoCompaction: { mode: "off" },
    });
    t.after(() => engine.close());
    const client = new EtcdDatastore(new LocalApi(engine, async () => undefined));
    const kept = await fill(client);
    await expectAll(client, kept);
    for (const key of kept.keys()) assert.equal(await client.delete(key), true);
    await engine.compactTo(engine.revision);
    for (let i = 0; ; i++) {
      try {
        await client.put("/again", "room again");
        break;
      } catch (error) {
        // The purge of the old values runs in the background.
        assert.ok(isNoSpace(error) && i < 200, String(error));
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  });
});

/** Writes until the store has no room, and returns what it acknowledged. */
async function fill(
  store: Datastore,
  prefix = "/k/",
  bytes = 200_000,
): Promise<Map<string, string>> {
  const kept = new Map<string, string>();
  for (let i = 0; i < 20_000; i++) {
    const key = `${prefix}${i}`;
    const value = `${i}:${"x".repeat(bytes)}`;
    try {
      await store.put(key, value);
      kept.set(key, value);
    } catch (error) {
      assert.ok(isNoSpace(error), String(error));
      return kept;
    }
  }
  return assert.fail("the disk never became full");
}

async function expectAll(store: Datastore, kept: ReadonlyMap<string, string>): Promise<void> {
  for (const [key, value] of kept) {
    assert.ok((await store.get(key)).kv?.value === value, `${key} is lost or changed`);
  }
}

function isNoSpace(error: unknown): boolean {
  return (
    error instanceof MargayError &&
    error.code === "no-space" &&
    error.message.includes("database space exceeded")
  );
}

function inNamespace(store: StoreProcess, command: readonly string[]): void {
  execFileSync("nsenter", ["--mount", "--target", String(store.child.pid), ...command]);
}
