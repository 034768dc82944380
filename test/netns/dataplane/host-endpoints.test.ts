/** Policy of the host's own interfaces, with packets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { HostEndpointResult } from "./inside/host-endpoints.ts";

const ALL = ["in:22", "in:23", "in:68", "out:53", "out:54", "out:6443"];
/** tcp 22 and udp 68 to the host, udp 53 and tcp 6443 from it; not tcp 23, not udp 54. */
const FAILSAFE = ["in:22", "in:68", "out:53", "out:6443"];

test("host endpoints", async (t) => {
  const script = fileURLToPath(new URL("inside/host-endpoints.ts", import.meta.url));
  const result = await runInSandbox<HostEndpointResult>(script, {}, 90_000);
  const { passed } = result;

  await t.test("nobody can be locked out: failsafe ports hold whatever policy says", () => {
    assert.deepEqual(passed["no host endpoint"], ALL);
    assert.deepEqual(passed["no policy"], FAILSAFE);
    assert.deepEqual(passed["everything denied"], FAILSAFE);
    assert.deepEqual(passed["everything denied on all interfaces"], FAILSAFE);
    assert.deepEqual(passed["and denied again"], FAILSAFE);
    assert.deepEqual(passed["after a restart"], FAILSAFE);
  });

  await t.test("failsafe ports are those of the settings, by network where they say so", () => {
    assert.deepEqual(passed["port 23 is the only failsafe port"], ["in:23"]);
    assert.deepEqual(passed["port 23 is one for others alone"], []);
    assert.deepEqual(passed["port 23 is one for the network of the caller"], ["in:23"]);
  });

  await t.test("the endpoint for all interfaces has lo too, unless another has it", () => {
    const { loopback } = result;
    const open = ["open", "open", "open", "open"];
    assert.deepEqual(loopback["everything denied on eth0"], open);
    assert.deepEqual(loopback["everything denied on all interfaces"], [
      "timeout",
      "open",
      "timeout",
      "open",
    ]);
    assert.deepEqual(loopback["lo has an endpoint that allows"], open);
  });

  await t.test("policy is there before its interface", () => {
    assert.deepEqual(passed["the interface comes after its endpoint"], FAILSAFE);
  });

  await t.test("a restart with nothing new writes nothing", () => {
    assert.equal(result.restartWrites, 0);
    assert.equal(result.idleWrites, 0);
  });

  await t.test("an interface is the alphabetically first endpoint's, and changes hands", () => {
    assert.deepEqual(passed["another endpoint has eth0"], ALL);
    assert.deepEqual(passed["the alphabetically first has eth0"], FAILSAFE);
    assert.deepEqual(passed["the first is gone"], ALL);
    assert.ok(result.statuses.includes("open error interface eth0 belongs to host endpoint a"));
  });

  await t.test("an endpoint has the interface on which its address is", () => {
    assert.deepEqual(passed["no interface has the address"], ALL);
    assert.deepEqual(passed["the address came"], FAILSAFE);
    assert.deepEqual(passed["the address went"], ALL);
    const told = result.statuses.filter((line) => line.startsWith("ip "));
    assert.deepEqual(told, [
      "ip error no interface has an expected address",
      "ip up",
      "ip error no interface has an expected address",
    ]);
  });

  await t.test("untracked policy lets its packets past conntrack and the other policy", () => {
    assert.deepEqual(passed["untracked policy allows 23"], [...FAILSAFE, "in:23"].sort());
    assert.equal(result.tracked, 0);
  });

  await t.test("nothing is left of them", () => {
    assert.deepEqual(passed["all host endpoints are gone"], ALL);
    assert.deepEqual(result.left, []);
  });
});
