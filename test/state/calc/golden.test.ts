/** The graph against what the real Felix sent for the same datastore, state by state. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CalcGraph, type GraphSettings } from "#calc";
import { emptyState, fold, plain } from "./fold.ts";
import { goldenNames, readGolden, readSessionState, type GoldenState } from "./golden.ts";

function check(golden: GoldenState, settings: GraphSettings = {}): void {
  const expected = emptyState();
  for (const message of golden.messages) fold(expected, message);
  const graph = new CalcGraph({ hostname: golden.host, ...settings });
  graph.onUpdates(golden.updates);
  assert.deepEqual(graph.flush(), [], "nothing before in-sync");
  graph.onStatus("in-sync");
  const actual = emptyState();
  for (const message of graph.flush()) fold(actual, message);
  assert.deepEqual(plain(actual), plain(expected));
  assert.deepEqual(graph.flush(), [], "in-sync is said once");
  assert.equal(actual.inSync, 1);
}

for (const name of goldenNames()) {
  test(`state ${name} gives what Felix gives`, () => check(readGolden(name)));
}

test("so does the state of the recorded session of calicoctl", () => {
  // Its FelixConfiguration says so.
  check(readSessionState(), { ipipEnabled: false });
});
