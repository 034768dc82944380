/** BIRD on three hosts, from our configuration. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { MeshResult } from "./inside/mesh.ts";

test("three hosts with BIRD: a mesh, its changes and its faults", async (t) => {
  const result = await runInSandbox<MeshResult>(
    fileURLToPath(new URL("inside/mesh.ts", import.meta.url)),
    {},
    150_000,
  );
  await t.test("blocks are in every kernel, with a blackhole behind one's own", () => {
    assert.deepEqual(result.routes["host-1"]?.toSorted(), [
      "10.65.2.0/26 via 10.0.0.2 dev eth0 proto bird metric 1024",
      "10.65.3.0/26 via 10.0.0.3 dev eth0 proto bird metric 1024",
      "blackhole 10.65.1.0/26 proto bird metric 65535",
      "blackhole fd65::1:0/122 dev lo proto bird metric 65535 pref medium",
      "fd65::2:0/122 via fd00::2 dev eth0 proto bird metric 1024 pref medium",
      "fd65::3:0/122 via fd00::3 dev eth0 proto bird metric 1024 pref medium",
    ]);
    assert.deepEqual(result.pings, ["0%", "0%"]);
    assert.equal(result.mode, 0o640);
  });
  await t.test("a borrowed address is announced by itself, one of an own block is not", () => {
    assert.match(result.borrowed, /^10\.65\.2\.9 via 10\.0\.0\.1 /);
    assert.equal(result.ownAddressAnnounced, false);
  });
  await t.test("a workload that is moving: its address at its metric", () => {
    assert.match(result.moving, /^10\.65\.1\.8 via 10\.0\.0\.1 .* metric 512\b/);
  });
  await t.test("a change arrives without a flap or a lost packet, in its own family only", () => {
    assert.deepEqual(result.sinceAfter, result.sinceBefore);
    assert.equal(result.lossDuringReload, "0%");
    assert.ok(result.reloadedOnlyOne);
  });
  await t.test("a refused configuration: the old one stays, and the next is taken", () => {
    const { kept, told, sessions, taken } = result.refused;
    assert.deepEqual({ kept, told, taken }, { kept: true, told: true, taken: true });
    assert.match(sessions, /Mesh_10_0_0_2 .*Established/);
  });
  await t.test("a filter stops one route to one peer, until it goes", () => {
    assert.equal(result.filtered.atTwo, "");
    assert.match(result.filtered.atThree, /via 10\.0\.0\.1/);
    assert.match(result.filtered.back, /via 10\.0\.0\.1/);
  });
  await t.test("BIRD killed: the routes stay, and no packet is lost", () => {
    assert.match(result.killed.kernel, /via 10\.0\.0\.3/);
    assert.equal(result.killed.loss, "0%");
  });
  await t.test("margay bgp shows sessions and routes", () => {
    assert.match(result.show, /^Mesh_10_0_0_1 +64512 +iBGP +mesh, host-1 .*Established since/m);
    assert.match(result.show, /^announced: 10\.65\.2\.0\/26 \(block of this node\)$/m);
    const [head = "", announced = "", withheld = ""] = result.routesOut.split("\n\n");
    assert.match(head, /^Mesh_10_0_0_1, 10\.0\.0\.1: Established/);
    assert.match(announced, /^announced:\n(?:.*\n)*10\.65\.2\.0\/26 +- +blocks/);
    assert.match(withheld, /^10\.0\.0\.0\/24 +dev eth0 +direct1 +outside of every IPPool/m);
    assert.match(
      withheld,
      /^10\.65\.1\.0\/26 +via 10\.0\.0\.1 dev eth0 +Mesh_10_0_0_1 +the peer told it/m,
    );
    assert.match(withheld, /^10\.65\.3\.0\/26 .* from iBGP to iBGP only a route reflector/m);
    assert.doesNotMatch(withheld, /the export filter/);
  });
  t.diagnostic(
    `sessions ${Math.round(result.establishedMs)} ms, a change at the peer ${Math.round(result.communityMs)} ms`,
  );
});
