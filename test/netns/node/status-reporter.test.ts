/** CalicoNodeStatus, from two real BIRDs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { StatusReporterResult } from "./inside/status-reporter.ts";

test("the status of a node is what its BIRDs say", async (t) => {
  const { reported, bird, agentOnly, without6, others, table, json } =
    await runInSandbox<StatusReporterResult>(
      fileURLToPath(new URL("inside/status-reporter.ts", import.meta.url)),
      {},
      120_000,
    );
  const { agent, bgp, routes, lastUpdated } = reported.status;
  await t.test("agent", () => {
    assert.match(lastUpdated, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const { state, version, routerID, lastBootTime, lastReconfigurationTime } = agent.birdV4;
    assert.deepEqual([state, routerID], ["Ready", "10.0.0.1"]);
    for (const each of [version, lastBootTime, lastReconfigurationTime]) {
      assert.ok(each !== undefined && each.length > 3 && bird.includes(each));
    }
    assert.equal(agent.birdV6["state"], "Ready");
  });
  await t.test("peers", () => {
    assert.deepEqual(
      [bgp["numberEstablishedV4"], bgp["numberNotEstablishedV4"], bgp["numberEstablishedV6"]],
      [1, 1, 1],
    );
    const peers = bgp.peersV4.map(({ peerIP, type, state }) => [
      peerIP,
      type,
      state === "Established",
    ]);
    assert.deepEqual(
      peers.toSorted(([a = ""], [b = ""]) => (String(a) < String(b) ? -1 : 1)),
      [
        ["10.0.0.2", "NodeMesh", true],
        ["10.0.0.99", "GlobalPeer", false],
      ],
    );
    assert.ok(bgp.peersV4.every(({ since }) => since !== undefined && since !== ""));
  });
  await t.test("routes", () => {
    const learned = { sourceType: "NodeMesh", peerIP: "10.0.0.2" };
    const mesh = {
      type: "FIB",
      destination: "10.65.2.0/26",
      learnedFrom: learned,
      gateway: "10.0.0.2",
      interface: "eth0",
    };
    assert.deepEqual(find(routes.routesV4, "10.65.2.0/26"), [mesh]);
    const [block] = find(routes.routesV4, "10.65.1.0/26");
    assert.deepEqual(block, {
      type: "FIB",
      destination: "10.65.1.0/26",
      learnedFrom: { sourceType: "Static" },
    });
    assert.deepEqual(
      find(routes.routesV6, "fd65::2:0/122").map((route) => route["learnedFrom"]),
      [{ sourceType: "NodeMesh", peerIP: "fd00::2" }],
    );
  });
  await t.test("what is not asked for is not reported, nor another node", () => {
    assert.equal(agentOnly.status.agent.birdV4["state"], "Ready");
    assert.deepEqual(agentOnly.status.routes, {});
    assert.match(others, /"lastUpdated": null/);
  });
  await t.test("node status", () => {
    const since = String.raw`\d\d:\d\d:\d\d\.\d+ `;
    const mesh = String.raw`\| 10\.0\.0\.2 +\| node-to-node mesh \| up    \| ${since}\| Established +\|`;
    assert.match(table, /^Calico process is running\.\n\nIPv4 BGP status\n\+-/);
    assert.match(table, /\| PEER ADDRESS \|     PEER TYPE     \| STATE \| {4}SINCE {5}\|/);
    assert.match(table, new RegExp(`\n${mesh}\n`));
    assert.match(table, /\n\| 10\.0\.0\.99  +\| global +\| start \|/);
    assert.match(table, /IPv6 BGP status\n\+-[^]*\| fd00::2 /);
    const { IPv6 } = JSON.parse(json) as Record<string, { peers: { address: string }[] }>;
    assert.deepEqual(
      IPv6?.peers.map(({ address }) => address),
      ["fd00::2"],
    );
  });
  await t.test("a BIRD that ended", () => {
    assert.deepEqual(without6.status.agent.birdV6, { state: "NotReady" });
    assert.equal(without6.status.bgp["numberEstablishedV4"], 1);
    assert.deepEqual(without6.status.routes.routesV6, []);
  });
});

function find(routes: readonly object[], destination: string) {
  return (routes as Readonly<Record<string, unknown>>[]).filter(
    (route) => route["destination"] === destination,
  );
}
