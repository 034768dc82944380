/** One address, two workloads: one of them has it, always the same, and nobody gets the other's policy. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { SameAddressResult } from "./inside/same-address.ts";

const FIRST = "cali00000000001 0a:00:00:00:00:01";
const SECOND = "cali00000000002 0a:00:00:00:00:02";
const YES = [true, true];
const NO = [false, false];

test("two workloads with one address", async (t) => {
  const script = fileURLToPath(new URL("inside/same-address.ts", import.meta.url));
  const result = await runInSandbox<SameAddressResult>(script, {}, 60_000);
  assert.deepEqual(result.errors, []);
  await t.test("the lowest name has it, in whatever order they come, and after a restart", () => {
    assert.deepEqual(result.owners, [FIRST, FIRST, FIRST]);
    assert.equal(result.restartWrites, 0);
  });
  await t.test("the other neither gets its packets nor sends in its name", () => {
    assert.deepEqual(result.whileFirst, { in: YES, first: YES, second: NO });
    assert.deepEqual(result.imposter, NO, "its own policy would let it");
  });
  await t.test("an interface that is down yields, and gets the address back", () => {
    assert.equal(result.afterDown, SECOND);
    assert.equal(result.afterUp, FIRST);
  });
  await t.test("who takes the address over has it under its own policy", () => {
    assert.deepEqual(result.takenOverClosed, { in: NO, first: NO, second: NO });
    assert.deepEqual(result.takenOverOpen, { in: YES, first: NO, second: YES });
  });
});
