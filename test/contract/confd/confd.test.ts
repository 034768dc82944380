/** Files, passwords and BIRD's control socket, as `margay confd` handles them. */
import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { birdRoutes } from "../../../src/confd/bird-routes.ts";
import { bgpSessions, birdCommand } from "../../../src/confd/birdc.ts";
import { compareModels } from "../../../src/confd/diff.ts";
import { secretsIn } from "../../../src/confd/secrets.ts";
import { ConfdService } from "../../../src/confd/service.ts";
import { publicModel } from "../../../src/confd/show.ts";
import { Target } from "../../../src/confd/target.ts";
import { bgpPeer, modelOf, node, stateOf } from "../../support/bgp.ts";

const VALID = "router id 192.0.2.1;\nprotocol device { }\n";

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "margay-confd-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

/** A BIRD that answers by a table; it tells every byte by itself. */
async function fakeBird(
  t: TestContext,
  dir: string,
  replies: Readonly<Record<string, string>>,
): Promise<string[]> {
  const asked: string[] = [];
  const server: Server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.write("0001 BIRD 2.0.12 ready.\n");
    socket.on("data", (chunk) => {
      const line = chunk.toString().trim();
      asked.push(line);
      const reply = replies[line] ?? replies["*"] ?? "9001 syntax error\n";
      for (const byte of reply) socket.write(byte);
    });
  });
  await new Promise<void>((resolve) => server.listen(join(dir, "bird.ctl"), resolve));
  t.after(() => server.close());
  return asked;
}

test("control socket: replies of several lines, in pieces", async (t) => {
  const dir = directory(t);
  await fakeBird(t, dir, {
    "show protocols all": [
      "2002-Name       Proto      Table      State  Since         Info",
      "1002-device1    Device     ---        up     08:00:00.000  ",
      "1006-",
      "1002-Mesh_10_0_0_2 BGP        ---        up     08:00:01.000  Established   ",
      "1006-  BGP state:          Established",
      "         Neighbor address: 10.0.0.2",
      "     Channel ipv4",
      "       Routes:         2 imported, 1 filtered, 3 exported, 2 preferred",
      "1002-Node_x     BGP        ---        start  2026-11-23 08:00  Active        Socket: Connection refused",
      "1006-  BGP state:          Active",
      "",
      "0000 ",
      "",
    ].join("\n"),
    "show route export Mesh_10_0_0_2 all": [
      "1007-Table master4:",
      " 10.65.0.0/26         unicast [kernel1 10:20:30.123] * (10)",
      " \tvia 10.0.0.2 on eth0 onlink",
      " \tvia 10.0.0.3 on eth1",
      "1008-\tType: inherit univ",
      "1012-\tKernel.source: 80",
      " \tKernel.metric: 1024",
      " \tBGP.local_pref: 100",
      " \tBGP.as_path: 64900 1",
      " \tBGP.community: (1,2) (3,4)",
      " \tBGP.large_community: (1, 2, 3)",
      "0000 ",
      "",
    ].join("\n"),
  });
  const path = join(dir, "bird.ctl");
  assert.deepEqual(await bgpSessions(path), [
    {
      name: "Mesh_10_0_0_2",
      state: "up",
      since: "08:00:01.000",
      info: "Established",
      bgpState: "Established",
      neighbor: "10.0.0.2",
      imported: 2,
      exported: 3,
    },
    {
      name: "Node_x",
      state: "start",
      since: "2026-11-23 08:00",
      info: "Active Socket: Connection refused",
      bgpState: "Active",
      neighbor: "",
      imported: 0,
      exported: 0,
    },
  ]);
  assert.deepEqual(await birdRoutes(path, "export Mesh_10_0_0_2"), [
    {
      destination: "10.65.0.0/26",
      protocol: "kernel1",
      since: "10:20:30.123",
      kind: "kernel",
      best: true,
      gateway: "10.0.0.2",
      interface: "eth0",
      kernelSource: 80,
      kernelMetric: 1024,
      localPref: 100,
      asPath: [64_900, 1],
      communities: ["1:2", "3:4", "1:2:3"],
    },
  ]);
});

test("control socket: what BIRD refuses, and a BIRD that is not there or silent", async (t) => {
  const dir = directory(t);
  await fakeBird(t, dir, {
    configure: "0002-Reading configuration\n8002 x.cfg:1:1 syntax error\n",
    slow: "1000-",
  });
  const path = join(dir, "bird.ctl");
  await assert.rejects(birdCommand(path, "configure"), {
    code: "bird-refused",
    message: /x\.cfg:1:1/,
  });
  await assert.rejects(birdCommand(path, "slow", 50), { code: "bird-timeout" });
  await assert.rejects(birdCommand(join(dir, "none.ctl"), "x"), { code: "bird-not-running" });
});

test("a file is replaced whole, after BIRD has accepted it; with passwords for its owner alone", async (t) => {
  const dir = directory(t);
  const target = new Target({ confDir: dir, runDir: dir, family: 4 });
  const mode = (): number => statSync(target.path).mode & 0o777;
  assert.equal(await target.write(VALID, false), true);
  assert.equal(mode(), 0o640);
  const { ino } = statSync(target.path);
  assert.equal(await target.write(VALID, false), false, "nothing to do");
  assert.equal(statSync(target.path).ino, ino);
  await assert.rejects(target.write("protocol nonsense", false), {
    code: "bird-rejects",
    message: /stays as it was: .*syntax error/,
  });
  assert.equal(readFileSync(target.path, "utf8"), VALID);
  assert.equal(await target.write("protocol nonsense", false), false, "told once");
  assert.equal(await target.write(`${VALID}# 2\n`, true), true);
  assert.equal(mode(), 0o600);
  assert.deepEqual(readdirSync(join(dir, "config")), ["bird.cfg"]);
});

test("keeping stage files; writing where nothing can be written; no program bird", async (t) => {
  const dir = directory(t);
  const kept = new Target({ confDir: dir, runDir: dir, family: 6, keepStageFile: true });
  await kept.write(VALID, true);
  const copy = join(dir, "config", "bird6.cfg.stage.kept");
  assert.equal(readFileSync(copy, "utf8"), VALID);
  assert.equal(statSync(copy).mode & 0o777, 0o600);
  writeFileSync(join(dir, "file"), "");
  const nowhere = new Target({ confDir: join(dir, "file"), runDir: dir, family: 4 });
  await assert.rejects(nowhere.write(VALID, false), { code: "cannot-write", retryable: true });
  const unchecked = new Target({ confDir: dir, runDir: dir, family: 4, bird: join(dir, "none") });
  assert.equal(await unchecked.write(VALID, false), true);
});

test("passwords: files of a directory, and none from outside of it", (t) => {
  const dir = directory(t);
  mkdirSync(join(dir, "secrets", "bgp"), { recursive: true });
  writeFileSync(join(dir, "secrets", "bgp", "tor"), "one\n");
  writeFileSync(join(dir, "outside"), "no");
  const look = secretsIn(join(dir, "secrets"));
  assert.equal(look("bgp", "tor"), "one");
  assert.equal(look("bgp", "none"), undefined);
  assert.equal(look("..", "outside"), undefined);
  assert.equal(look("bgp", "../../outside"), undefined);
  assert.equal(secretsIn(undefined)("bgp", "tor"), undefined);
});

test("the service: BIRD comes later, a password changes, a fault of one family leaves the other", async (t) => {
  const dir = directory(t);
  mkdirSync(join(dir, "bgp"));
  const secret = { password: { secretKeyRef: { name: "bgp", key: "tor" } } };
  const state = stateOf([node(1), bgpPeer("tor", { peerIP: "192.0.2.1", asNumber: 1, ...secret })]);
  const checker = join(dir, "check");
  writeFileSync(
    checker,
    '#!/bin/sh\ncase "$3" in *bird6*) exit 1;; esac\nPATH=$PATH:/usr/sbin exec bird "$@"\n',
  );
  chmodSync(checker, 0o755);
  const service = new ConfdService({
    confDir: dir,
    runDir: dir,
    bird: checker,
    retryMs: 20,
    model: { secrets: secretsIn(dir) },
  });
  const abort = new AbortController();
  const running = service.run(abort.signal);
  const file = join(dir, "config", "bird.cfg");
  try {
    service.changed(state);
    await soon(() => existsSync(file));
    assert.doesNotMatch(readFileSync(file, "utf8"), /Global_/, "no session without its password");
    const asked = await fakeBird(t, dir, { "*": "0003 Reconfigured\n" });
    await soon(() => asked.length === 1);
    assert.equal(asked[0], `configure "${file}"`);
    writeFileSync(join(dir, "bgp", "tor"), "one");
    await soon(() => asked.length === 2);
    assert.match(readFileSync(file, "utf8"), /password "one";/);
    await delay(100);
    assert.equal(asked.length, 2, "asked again without a change");
    assert.equal(existsSync(join(dir, "config", "bird6.cfg")), false);
  } finally {
    abort.abort();
    await running;
  }
});

test("what a change does, in words", () => {
  const tor = (spec: object) => bgpPeer("tor", { peerIP: "192.0.2.1", asNumber: 1, ...spec });
  const before = modelOf([node(1), node(2), tor({})]);
  const lines = (...given: Parameters<typeof modelOf>[0]): string[] =>
    compareModels(before, modelOf(given));
  assert.deepEqual(lines(node(1), node(2), tor({})), []);
  assert.deepEqual(lines(node(1), node(2), tor({ filters: ["f"] })), [
    "~ IPv4 peer Global_192_0_2_1 stays up: filters",
    "! IPv4: filter f lets nothing pass (import): BGPFilter f does not exist",
    "! IPv4: filter f lets nothing pass (export): BGPFilter f does not exist",
  ]);
  assert.deepEqual(lines(node(1), tor({ ttlSecurity: 2 })), [
    "~ IPv4 peer Global_192_0_2_1 restarts: ttlSecurityHops",
    "- IPv4 peer Mesh_10_0_0_2, AS 64512 (mesh)",
    "- IPv6 peer Mesh_fd00__2, AS 64512 (mesh)",
  ]);
});

test("a model without its passwords", () => {
  const password = { secretKeyRef: { name: "bgp", key: "tor" } };
  const model = modelOf([node(1), bgpPeer("tor", { peerIP: "192.0.2.1", asNumber: 1, password })], {
    secrets: () => "s3cret",
  });
  const text = JSON.stringify(publicModel(model));
  assert.doesNotMatch(text, /s3cret/);
  assert.match(text, /"password":\{"secret":"bgp","key":"tor"\}/);
});

async function soon(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, "timed out");
    await delay(10);
  }
}
