import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { BackendsResult } from "./inside/backends.ts";

test("margay node without BGP, for policy alone, and without margay node, on the embedded store", async () => {
  const script = fileURLToPath(new URL("inside/backends.ts", import.meta.url));
  const { policyOnly, vxlan, withoutFelix, byHand } = await runInSandbox<BackendsResult>(
    script,
    {},
    120_000,
  );
  assert.deepEqual(policyOnly.services, ["felix", "node-status-reporter"]);
  assert.doesNotMatch(policyOnly.node, /ipv4Address|TunnelAddr/, "others route");
  assert.equal(policyOnly.logDirectory, true);
  assert.equal(policyOnly.exit, 0, policyOnly.log);
  assert.deepEqual(vxlan.services, [
    "allocate-tunnel-addrs",
    "felix",
    "monitor-addresses",
    "node-status-reporter",
  ]);
  assert.match(vxlan.node, /"ipv4Address": "10\.0\.0\.11\/24"/);
  assert.match(vxlan.node, /"ipv4VXLANTunnelAddr": "192\.168\./);
  assert.match(withoutFelix, /^default/m, "the store outlives felix");
  assert.equal(vxlan.logDirectory, false);
  assert.match(vxlan.log, /"component":"felix/, "services print where margay node prints");
  assert.equal(vxlan.exit, 0, vxlan.log);
  assert.match(byHand.bird, /Daemon is up and running/);
  assert.deepEqual(byHand.states, [
    "allocate-tunnel-addrs run",
    "bird run",
    "bird6 run",
    "confd run",
    "felix run",
    "monitor-addresses run",
    "node-status-reporter run",
  ]);
});
