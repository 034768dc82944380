import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { ReplayResult } from "./inside/replay.ts";

test("a recorded stream leads an empty kernel to the same ruleset", async (t) => {
  const result = await runInSandbox<ReplayResult>(
    fileURLToPath(new URL("inside/replay.ts", import.meta.url)),
    {},
    90_000,
  );
  const { recorded, log } = result;
  assert.ok(recorded.ruleset.length > 30, log);
  await t.test("once", () => {
    assert.equal(result.replayExit, 0, log);
    assert.deepEqual(result.replayed, recorded);
    assert.ok(
      recorded.ruleset.some((line) => line.includes("here")),
      "the settings are the recorded agent's",
    );
  });
  await t.test("kept, and repaired", () => {
    assert.deepEqual(result.repaired, recorded);
    assert.equal(result.keptExit, 0, log);
  });
  await t.test("cut off: nothing is programmed", () => {
    assert.equal(result.cutOff.exit, 1);
    assert.match(result.cutOff.error, /it ends within a message, at byte \d+/);
    assert.equal(result.cutOff.tables, "");
  });
  await t.test("Felix's own, also where there is no route and no interface", () => {
    assert.equal(result.bare.exit, 0, log);
    assert.match(result.bare.tables, /inet margay/);
    assert.equal(result.felix.exit, 0, log);
    assert.match(result.felix.chains, /cali0123456789a/);
  });
});
