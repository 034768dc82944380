import assert from "node:assert/strict";
import test from "node:test";
import * as fc from "fast-check";
import { DeltaTracker } from "#std";

type Step =
  | { readonly kind: "setDesired" | "setActual"; readonly key: string; readonly value: number }
  | { readonly kind: "deleteDesired" | "deleteActual" | "markUpdated"; readonly key: string }
  | { readonly kind: "clearDesired" }
  | { readonly kind: "replaceActual"; readonly entries: readonly (readonly [string, number])[] };

const key = fc.constantFrom("a", "b", "c");
const value = fc.nat(2);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constantFrom("setDesired" as const, "setActual" as const), key, value }),
  fc.record({
    kind: fc.constantFrom(...(["deleteDesired", "deleteActual", "markUpdated"] as const)),
    key,
  }),
  fc.record({ kind: fc.constant("clearDesired" as const) }),
  fc.record({
    kind: fc.constant("replaceActual" as const),
    entries: fc.array(fc.tuple(key, value), { maxLength: 3 }),
  }),
);

function run(tracker: DeltaTracker<string, number>, one: Step): void {
  switch (one.kind) {
    case "setDesired":
    case "setActual":
      tracker[one.kind](one.key, one.value);
      return;
    case "deleteDesired":
    case "deleteActual":
    case "markUpdated":
      tracker[one.kind](one.key);
      return;
    case "clearDesired":
      tracker.clearDesired();
      return;
    case "replaceActual":
      tracker.replaceActual(one.entries);
  }
}

test("what is pending is the difference, after any steps", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const tracker = new DeltaTracker<string, number>();
      for (const one of steps) {
        run(tracker, one);
        const { desired, actual } = tracker;
        const updates = [...desired].filter(([k, v]) => actual.get(k) !== v);
        const deletions = [...actual.keys()].filter((k) => !desired.has(k));
        assert.deepEqual(tracker.pendingUpdates, new Map(updates));
        assert.deepEqual(tracker.pendingDeletions, new Set(deletions));
        assert.equal(tracker.inSync, updates.length + deletions.length === 0);
      }
      for (const pending of tracker.pendingUpdates.keys()) tracker.markUpdated(pending);
      for (const pending of tracker.pendingDeletions) tracker.deleteActual(pending);
      assert.ok(tracker.inSync, "an apply inside the loops reaches the desired state");
      assert.deepEqual(tracker.actual, tracker.desired);
    }),
    { numRuns: 300 },
  );
});

test("a custom comparison decides what is good enough", () => {
  const tracker = new DeltaTracker<string, { readonly mtu: number; readonly index?: number }>({
    equal: (desired, actual) => desired.mtu === actual.mtu,
  });
  tracker.setActual("eth0", { mtu: 1500, index: 7 });
  tracker.setDesired("eth0", { mtu: 1500 });
  assert.ok(tracker.inSync);
  tracker.setDesired("eth0", { mtu: 1450 });
  assert.deepEqual([...tracker.pendingUpdates], [["eth0", { mtu: 1450 }]]);
});

test("undefined is a value like any other", () => {
  const tracker = new DeltaTracker<string, undefined>();
  tracker.setDesired("a", undefined);
  assert.ok(!tracker.inSync);
  tracker.markUpdated("a");
  assert.ok(tracker.inSync);
  tracker.markUpdated("b");
  assert.ok(!tracker.actual.has("b"), "only what is pending can have been written");
});
