/** Debian's etcdctl against `margay datastore`: over the unix socket and over TCP. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { get as httpGet } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { DatastoreServer, Engine } from "#datastore";

const ENV = { ...process.env, ETCDCTL_API: "3" };

describe("etcdctl", () => {
  const dir = mkdtempSync(join(tmpdir(), "mgy-ctl-"));
  let engine: Engine;
  let server: DatastoreServer;

  before(async () => {
    engine = Engine.open(dir, { owner: "test" });
    const listenUrls = [`unix://${join(dir, "margay.sock")}`, "http://127.0.0.1:0"];
    server = await DatastoreServer.start(engine, { listenUrls, name: "one" });
  });
  after(async () => {
    await server?.close();
    await engine?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  async function run(endpoint: number, args: readonly string[], input = "") {
    const child = spawn("etcdctl", ["--endpoints", server.urls[endpoint] ?? "", ...args], {
      env: ENV,
      stdio: ["pipe", "pipe", "pipe"],
      timeout: 20_000,
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
    child.stdin.end(input);
    const [code] = (await once(child, "close")) as [number];
    return { out, err, code };
  }
  async function ok(args: readonly string[], input?: string): Promise<string> {
    const result = await run(0, args, input);
    assert.equal(result.code, 0, `${args.join(" ")}: ${result.err}`);
    return result.out;
  }

  it("put, get with prefix, range, revision, limit, order, keys only, JSON; del", async () => {
    assert.equal(await ok(["put", "/a", "1"]), "OK\n");
    const old = JSON.parse(await ok(["get", "/a", "-w", "json"])) as {
      header: { revision: number };
      kvs: { value: string }[];
    };
    assert.equal(Buffer.from(old.kvs[0]?.value ?? "", "base64").toString(), "1");
    assert.equal(await ok(["put", "/a", "2", "--prev-kv"]), "OK\n/a\n1\n");
    for (const key of ["/b", "/c", "/d"]) await ok(["put", key, `v${key}`]);
    assert.equal(await ok(["get", "/a", "--rev", String(old.header.revision)]), "/a\n1\n");
    assert.equal(await ok(["get", "/a", "/c"]), "/a\n2\n/b\nv/b\n");
    const keysOnly = ["get", "--prefix", "/", "--keys-only"];
    assert.equal(await ok([...keysOnly, "--order", "DESCEND", "--limit", "2"]), "/d\n\n/c\n\n");

    assert.equal(await ok(["get", "--from-key", "/c"]), "/c\nv/c\n/d\nv/d\n");
    assert.equal(await ok(["del", "/b", "/d", "--prev-kv"]), "2\n/b\nv/b\n/c\nv/c\n");
    assert.equal(await ok(["del", "--prefix", "/"]), "2\n");
  });

  it("txn", async () => {
    await ok(["put", "/t", "1"]);
    const script = 'value("/t") = "1"\n\nput /t 2\nget /t\n\nput /t 3\n\n';
    assert.match(await ok(["txn"], script), /^SUCCESS\n\nOK\n\n\/t\n2\n$/);
    assert.match(await ok(["txn"], script), /^FAILURE\n\nOK\n$/);
    const twice = await run(0, ["txn"], 'mod("/t") > "0"\n\nput /t 4\nput /t 5\n\n\n');
    assert.match(twice.err, /duplicate key given in txn request/);
    assert.equal(await ok(["get", "/t", "--print-value-only"]), "3\n");
  });

  it("watch: history from a revision, prefix, previous values, interactive", async () => {
    const revision = engine.revision + 1;
    await ok(["put", "/w/a", "1"]);
    await ok(["put", "/w/a", "2"]);
    await ok(["del", "/w/a"]);
    const watch = spawn("etcdctl", ["--endpoints", server.urls[0] ?? "", "watch", "-i"], {
      env: ENV,
      stdio: ["pipe", "pipe", "inherit"],
    });
    let out = "";
    watch.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    try {
      watch.stdin.write(`watch --prefix /w/ --rev ${revision} --prev-kv\n`);
      await until(() => out.includes("DELETE"));
      await ok(["put", "/w/b", "live"]);
      await until(() => out.includes("live"));
      watch.stdin.write("progress\n");
      await until(() => /progress notify: \d+/.test(out));
    } finally {
      watch.kill();
    }
    assert.deepEqual(
      out
        .split("\n")
        .filter((line) => line !== "")
        .slice(0, 15),
      [
        "PUT",
        "/w/a",
        "1",
        "PUT",
        "/w/a",
        "1",
        "/w/a",
        "2",
        "DELETE",
        "/w/a",
        "2",
        "/w/a",
        "PUT",
        "/w/b",
        "live",
      ],
    );
  });

  it("lease: grant, put, time to live, keep alive, list, revoke", async () => {
    const granted = await ok(["lease", "grant", "300"]);
    const id =
      /^lease (\S+) granted with TTL\(300s\)\n$/.exec(granted)?.[1] ?? assert.fail(granted);
    await ok(["put", "--lease", id, "/l", "x"]);
    const ttl = await ok(["lease", "timetolive", id, "--keys"]);
    assert.match(
      ttl,
      /granted with TTL\(300s\), remaining\((299|300)s\), attached keys\(\[\/l\]\)/,
    );
    assert.match(await ok(["lease", "keep-alive", "--once", id]), /keepalived with TTL\(300\)/);
    assert.match(await ok(["lease", "list"]), new RegExp(id));
    await ok(["lease", "revoke", id]);
    assert.equal(await ok(["get", "/l"]), "");
    assert.match((await run(0, ["lease", "revoke", id])).err, /requested lease not found/);
  });

  it("compact: older reads and watches are refused", async () => {
    await ok(["put", "/c", "1"]);
    await ok(["put", "/c", "2"]);
    const { revision } = engine;
    assert.equal(await ok(["compact", String(revision)]), `compacted revision ${revision}\n`);
    const read = await run(0, ["get", "/c", "--rev", String(revision - 1)]);
    assert.match(read.err, /required revision has been compacted/);
    const watch = await run(0, ["watch", "/c", "--rev", String(revision - 1)]);
    assert.match(watch.out + watch.err, /compact/);
    const future = await run(0, ["get", "/c", "--rev", String(revision + 100)]);
    assert.match(future.err, /required revision is a future revision/);
  });

  it("lock and elect", async () => {
    assert.match(await ok(["lock", "l1", "echo", "inside"]), /inside/);
    const holder = spawn("etcdctl", ["--endpoints", server.urls[0] ?? "", "lock", "l2"], {
      env: ENV,
      stdio: "pipe",
    });
    await once(holder.stdout, "data");
    const waiting = run(0, ["lock", "l2", "echo", "second"]);
    await sleep(200);
    const gone = once(holder, "exit");
    holder.kill("SIGINT");
    await gone;
    assert.match((await waiting).out, /second/);
    const elected = spawn("etcdctl", ["--endpoints", server.urls[1] ?? "", "elect", "e", "me"], {
      env: ENV,
      stdio: "pipe",
    });
    const [line] = (await once(elected.stdout, "data")) as [Buffer];
    assert.match(line.toString(), /^e\//);
    elected.kill();
  });

  it("member list, endpoint status and health, over both sockets", async () => {
    for (const endpoint of [0, 1]) {
      const members = await run(endpoint, ["member", "list"]);
      assert.match(members.out, /started, one, /, members.err);
      const status = await run(endpoint, ["endpoint", "status"]);
      assert.match(status.out, /, 3\.4\.\d+, .* true, false, /, status.err);
      const health = await run(endpoint, ["endpoint", "health"]);
      assert.match(health.out + health.err, /is healthy/);
    }
    assert.match(await ok(["alarm", "list"]), /^$/);
    assert.match(await ok(["defrag"]), /Finished defragmenting/);
  });

  it("what it does not do is UNIMPLEMENTED, at once", async () => {
    assert.match(
      (await run(0, ["auth", "enable"])).err,
      /unknown method AuthEnable for service etcdserverpb.Auth/,
    );
    assert.match(
      (await run(0, ["user", "list"])).err,
      /unknown method UserList for service etcdserverpb.Auth/,
    );
  });

  it("HTTP/1.1 on the same port: /health and /version", async () => {
    const page = async (path: string): Promise<string> => {
      const request = httpGet(`${server.urls[1] ?? ""}${path}`);
      const [response] = (await once(request, "response")) as [AsyncIterable<Buffer>];
      let text = "";
      for await (const chunk of response) text += chunk.toString();
      return text;
    };
    assert.equal(await page("/health"), '{"health":"true"}');
    assert.match(await page("/version"), /"etcdserver":"3\.4\./);
  });

  it("the socket and its directory are the owner's alone", () => {
    const { stdout } = spawnSync("stat", ["-c", "%a %F", dir, join(dir, "margay.sock")]);
    assert.equal(stdout.toString(), "700 directory\n600 socket\n");
  });
});

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (condition()) return;
    await sleep(10);
  }
  assert.fail("not within 5 s");
}
