/** The routes and tunnels between hosts, with real agents over a shared store and real packets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { ClusterResult } from "./inside/cluster.ts";

test("three hosts in two subnets: VXLAN across, plain routes within", async (t) => {
  const script = fileURLToPath(new URL("inside/cluster.ts", import.meta.url));
  const result = await runInSandbox<ClusterResult>(script, {}, 240_000);
  const { log, state } = result;
  const lines = (text: string | undefined): string[] =>
    (text ?? "")
      .split("\n")
      .flatMap((line) => line.trim().replaceAll(/ +/g, " ") || [])
      .sort();
  await t.test("every workload reaches every other, on IPv4 and IPv6", () => {
    assert.deepEqual(result.unreached, [], log);
    assert.deepEqual(result.across, { tunnel4: 2, tunnel6: 2, plain: 0 });
    // Bridges may count as routers (br_netfilter): plain packets say nothing here.
    assert.deepEqual([result.within.tunnel4, result.within.tunnel6], [0, 0]);
  });
  await t.test("a host's own packets go and come through the tunnel, which is not tracked", () => {
    assert.equal(result.fromHost.match(/ 0% packet loss/g)?.length, 2, result.fromHost);
    assert.deepEqual(result.hostAcross, { tunnel4: 2, tunnel6: 2, plain: 0 });
    assert.equal(result.trackedTunnels, "");
  });
  await t.test("with Felix's routes, devices and entries", () => {
    assert.deepEqual(lines(state["routes"]), [
      "10.65.1.1 dev cali00000000001 scope link metric 1024",
      "10.65.2.0 via 10.0.1.12 dev eth0 metric 1024 onlink",
      "10.65.2.0/26 via 10.0.1.12 dev eth0 metric 1024 onlink",
      "10.65.3.0 dev vxlan.calico scope link metric 1024 mtu 1450",
      "10.65.3.0/26 via 10.65.3.0 dev vxlan.calico metric 1024 onlink mtu 1450",
      "blackhole 10.65.1.0/26 metric 1024",
    ]);
    assert.deepEqual(lines(state["routes6"]), [
      "blackhole fd65:1::/122 dev lo metric 1024 pref medium",
      "fd65:1::1 dev cali00000000001 metric 1024 pref medium",
      "fd65:2:: via fd00:1::12 dev eth0 metric 1024 onlink pref medium",
      "fd65:2::/122 via fd00:1::12 dev eth0 metric 1024 onlink pref medium",
      "fd65:3:: dev vxlan-v6.calico metric 1024 mtu 1430 pref medium",
      "fd65:3::/122 via fd65:3:: dev vxlan-v6.calico metric 1024 onlink mtu 1430 pref medium",
    ]);
    assert.deepEqual(lines(state["forwarding"]), [
      "66:53:2f:9f:72:97 dst 10.0.1.12 self permanent",
      "66:5b:45:5b:a8:2f dst 10.0.2.13 self permanent",
    ]);
    assert.deepEqual(lines(state["forwarding6"]), [
      "66:bd:6e:6d:9e:a5 dst fd00:1::12 self permanent",
      "66:c7:33:ef:ca:e7 dst fd00:2::13 self permanent",
    ]);
    assert.match(
      state["neighbours"] ?? "",
      /^10\.65\.3\.0 dev vxlan\.calico lladdr 66:5b:45:5b:a8:2f PERMANENT proto 80 *$/m,
    );
    assert.match(state["device"] ?? "", /mtu 1450 .*link\/ether 66:35:54:e6:28:19/s);
    assert.match(
      state["device"] ?? "",
      /vxlan id 4096 local 10\.0\.1\.11 dev eth0 .*dstport 4789 nolearning .*noudpcsum/,
    );
    assert.match(state["device6"] ?? "", /mtu 1430 .*vxlan id 4096 local fd00:1::11 dev eth0/s);
    assert.match(state["address"] ?? "", /inet 10\.65\.1\.0\/32 scope global vxlan\.calico/);
    assert.equal(result.mtuFile, "1430", "what fits through the IPv6 tunnel too");
  });
  await t.test("a device that Calico made is taken over, and what is stale on it goes", () => {
    assert.match(result.takenOver, /^10\.65\.3\.0\/26 via 10\.65\.3\.0 dev vxlan\.calico/m);
    assert.doesNotMatch(result.takenOver, /10\.65\.9\.|10\.0\.9\.9/);
  });
  await t.test("whatever others break is repaired without waiting for a timer", () => {
    const slow = Object.entries(result.repairs).filter(([, ms]) => ms > 3000);
    assert.deepEqual(slow, [], log);
    assert.equal(Object.keys(result.repairs).length, 17);
    assert.ok(result.checkedMs < 13_000, "nor for longer than ten seconds where nothing tells");
    assert.deepEqual(result.unreachedAfterRepairs, [], log);
    assert.doesNotMatch(log, /"level":"error"/, "nor tried in vain");
  });
  await t.test("an agent that dies or stops and starts loses no packet and changes nothing", () => {
    for (const [what, { received, sent }] of Object.entries(result.flow)) {
      assert.ok(sent > 300, what);
      assert.equal(received, sent, `${what}: ${sent - received} of ${sent} lost`);
    }
    const learned = / (?:PROBE|REACHABLE|STALE|DELAY) *$/;
    const changes = lines(result.restartMonitor).filter((line) => !learned.test(line));
    assert.deepEqual(changes, [], "nothing is written");
  });
  await t.test("a borrowed address goes to who has it, and a removed node leaves nothing", () => {
    assert.match(result.borrowed, /^10\.65\.3\.5 via 10\.0\.1\.12 dev eth0 metric 1024 onlink/m);
    assert.doesNotMatch(result.afterNodeRemoved, /10\.65\.2\.|fd65:2:|10\.0\.1\.12|fd00:1::12/);
    assert.equal(result.others, "", "the others still reach each other");
  });
  await t.test("without pools there are no devices and no routes but the workload's", () => {
    assert.deepEqual(lines(result.afterPoolsRemoved), [
      "10.65.1.1 dev cali00000000001 scope link metric 1024",
      "fd65:1::1 dev cali00000000001 metric 1024 pref medium",
    ]);
  });
});
