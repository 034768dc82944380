/** A clock that is set a day ahead and back, on a machine of its own. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { EmulatedMachine } from "../support/emulated-machine.ts";
import type { ClockStepResult } from "./inside/clock-step.ts";

const INSIDE = fileURLToPath(new URL("inside/clock-step.ts", import.meta.url));

it("a step of the clock ends no lease, keeps none alive and stops no timer", async () => {
  const machine = new EmulatedMachine({
    command: `${process.execPath} --disable-warning=ExperimentalWarning ${INSIDE} /run/store`,
    timeoutMs: 240_000,
  });
  try {
    const { steps } = JSON.parse(await machine.output()) as ClockStepResult;
    assert.equal(steps.length, 3);
    for (const { longLives, shortGoes, reports, told } of steps) {
      assert.deepEqual(
        { longLives, shortGoes, told },
        { longLives: true, shortGoes: true, told: true },
      );
      assert.ok(reports >= 3, `${reports} reports in 6 s`);
    }
  } finally {
    await machine.close();
  }
});
