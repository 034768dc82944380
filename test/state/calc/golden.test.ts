/** The graph against what the real Felix sent for the same datastore, state by state. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CalcGraph } from "#calc";
import { emptyState, fold, plain } from "./fold.ts";
import { goldenNames, readGolden } from "./golden.ts";

for (const name of goldenNames()) {
  test(`state ${name} gives what Felix gives`, () => {
    const golden = readGolden(name);
    const expected = emptyState();
    for (const message of golden.messages) fold(expected, message);
    const graph = new CalcGraph({ hostname: golden.host });
    graph.onUpdates(golden.updates);
    assert.deepEqual(graph.flush(), [], "nothing before in-sync");
    graph.onStatus("in-sync");
    const actual = emptyState();
    for (const message of graph.flush()) fold(actual, message);
    assert.deepEqual(plain(actual), plain(expected));
    assert.deepEqual(graph.flush(), [], "in-sync is said once");
    assert.equal(actual.inSync, 1);
  });
}
