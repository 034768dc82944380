/** The whole Linux dataplane on a real kernel: policy, routes and packets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { LifeResult } from "./inside/life.ts";
import type { PacketsResult } from "./inside/packets.ts";

const script = (name: string): string => fileURLToPath(new URL(`inside/${name}`, import.meta.url));

test("messages become packets that pass or drop", async () => {
  const result = await runInSandbox<PacketsResult>(script("packets.ts"), {}, 60_000);
  assert.deepEqual(result.errors, []);
  assert.deepEqual(result.statuses, { "default/pod1": "up", "default/pod2": "up" });
  assert.deepEqual(result.before, ["timeout", "timeout"], "empty set: nobody may");
  assert.deepEqual(result.allowed, ["open", "open"], "members may");
  assert.deepEqual(result.otherPort, ["timeout", "timeout"], "on the rule's port only");
  assert.deepEqual(result.afterRemoval, ["timeout", "timeout"], "removed again");
  assert.ok(result.flushedMs < 100 && result.deletedMs < 100, JSON.stringify(result));
  assert.deepEqual(result.reverse, ["open", "open"], "a profile allows the other way");
});

test("routes, neighbours, sysctls and status through a life", async (t) => {
  const result = await runInSandbox<LifeResult>(script("life.ts"), {}, 60_000);
  await t.test("nothing before in-sync, then all of it", () => {
    assert.ok(result.untouchedBeforeInSync);
    assert.match(
      result.routes,
      /^10\.65\.0\.1 dev cali00000000001 proto 80 scope link metric 1024 $/m,
    );
    assert.match(result.routes6, /^fd65::1 dev cali00000000001 proto 80 metric 1024 pref medium$/m);
    assert.deepEqual(
      result.neighbours
        .trim()
        .split("\n")
        .map((line) => line.trim())
        .sort(),
      [
        "10.65.0.1 dev cali00000000001 lladdr 0a:00:00:00:00:01 PERMANENT proto 80",
        "fd65::1 dev cali00000000001 lladdr 0a:00:00:00:00:01 PERMANENT proto 80",
      ],
    );
    assert.deepEqual(result.sysctls, {
      "ipv4/conf/IF/route_localnet": "1",
      "ipv4/neigh/IF/proxy_delay": "0",
      "ipv4/conf/IF/proxy_arp": "1",
      "ipv4/conf/IF/forwarding": "1",
      "ipv6/conf/IF/proxy_ndp": "1",
      "ipv6/conf/IF/forwarding": "1",
      "ipv6/conf/IF/accept_ra": "0",
    });
    assert.deepEqual(result.forwarding, ["1", "1"]);
    assert.equal(result.statusWithoutInterface, "down");
  });
  await t.test("drift is repaired and interfaces may come and go", () => {
    const { repairedMs, repaired6Ms, replacedMs } = result;
    assert.ok(Math.max(repairedMs, repaired6Ms, replacedMs) < 100, JSON.stringify(result));
  });
  await t.test("a restart with nothing new writes nothing", () => {
    assert.equal(result.restartWrites, 0);
    assert.doesNotMatch(result.restartMonitor, /10\.65|fd65|169\.254/);
  });
  await t.test("what is stale goes, what is another's stays", () => {
    assert.ok(result.staleRemoved);
    assert.ok(result.foreignKept);
    assert.ok(result.gatewayYields && result.gatewayReturns);
    assert.doesNotMatch(result.removed, /10\.65|fd65|169\.254|default/);
  });
});
