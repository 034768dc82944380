/**
 * Every base state by every systematic way: as given, reversed and shuffled; told at once, flushed at
 * every point, squashed, with everything deleted and added again. The end is always the same set of
 * objects.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CalcGraph } from "#calc";
import { modelKeyText, type ModelUpdate } from "#model";
import { RandomSource } from "../../support/random-source.ts";
import { emptyState, foldFlush, plain } from "./fold.ts";
import { goldenNames, readGolden, readSessionState } from "./golden.ts";
import { HOST, randomCluster, type Cluster } from "./random-cluster.ts";

const RANDOM_STATES = 30;

const bases: readonly (readonly [name: string, cluster: Cluster])[] = [
  ...goldenNames().map(
    (name) => [name, { updates: readGolden(name).updates, settings: {} }] as const,
  ),
  ["session", { updates: readSessionState().updates, settings: { ipipEnabled: false } }],
  ...Array.from(
    { length: RANDOM_STATES },
    (_, i) => [`random ${i}`, randomCluster(new RandomSource(7000 + i))] as const,
  ),
];

type Updates = readonly ModelUpdate[];
const deletions = (updates: Updates): ModelUpdate[] =>
  updates.map(({ key }) => ({ key, value: null }) as ModelUpdate);

const ORDERS: Readonly<Record<string, (updates: Updates) => Updates>> = {
  given: (updates) => updates,
  reversed: (updates) => updates.toReversed(),
  shuffled: (updates) => {
    const random = new RandomSource(updates.length);
    const keyed = updates.map((update) => [random.next(), update] as const);
    return keyed.toSorted(([a], [b]) => a - b).map(([, update]) => update);
  },
};

/** Portions; each is followed by a flush. */
const PORTIONS: Readonly<Record<string, (updates: Updates) => readonly Updates[]>> = {
  "at once": (updates) => [updates],
  "flushed at every point": (updates) => updates.map((update) => [update]),
  "deleted and added again, at every point": (updates) =>
    updates.flatMap((update) => [[update], deletions([update]), [update]]),
  "deleted and added again in one": (updates) => [
    updates,
    updates.flatMap((update) => [...deletions([update]), update]),
  ],
  "all deleted, then added again": (updates) => [updates, deletions(updates), updates],
  "all deleted and added again, squashed": (updates) => {
    const all = [...updates, ...deletions(updates).toReversed(), ...updates];
    return [updates, [...new Map(all.map((one) => [modelKeyText(one.key), one])).values()]];
  },
  "halves deleted in turn": (updates) => {
    const half = updates.length >> 1;
    const [first, second] = [updates.slice(0, half), updates.slice(half)];
    return [updates, deletions(first), [...first, ...deletions(second)], second];
  },
};

function tell({ settings }: Cluster, portions: readonly Updates[], syncFirst: boolean): unknown {
  const graph = new CalcGraph({ hostname: HOST, ...settings });
  const state = emptyState();
  if (syncFirst) graph.onStatus("in-sync");
  for (const portion of portions) {
    graph.onUpdates(portion);
    foldFlush(state, graph.flush());
  }
  graph.onStatus("in-sync");
  foldFlush(state, graph.flush());
  assert.deepEqual(graph.flush(), [], "nothing is left to tell");
  return plain(state);
}

for (const [order, arrange] of Object.entries(ORDERS)) {
  for (const [way, cut] of Object.entries(PORTIONS)) {
    test(`${order}, ${way}`, () => {
      for (const [name, base] of bases) {
        const expected = tell(base, [base.updates], false);
        const portions = cut(arrange(base.updates));
        for (const syncFirst of [true, false]) {
          assert.deepEqual(tell(base, portions, syncFirst), expected, name);
        }
      }
    });
  }
}

test("everything deleted leaves nothing", () => {
  for (const [name, { updates, settings }] of bases) {
    const graph = new CalcGraph({ hostname: HOST, ...settings });
    const state = emptyState();
    graph.onStatus("in-sync");
    graph.onUpdates(updates);
    foldFlush(state, graph.flush());
    graph.onUpdates(deletions(updates));
    foldFlush(state, graph.flush());
    state.objects.delete("encapsulation");
    state.objects.delete("globalBgpConfigUpdate");
    assert.deepEqual([...state.objects.keys()], [], name);
    assert.deepEqual([...state.ipSets.keys()], [], name);
    const { activeLocalEndpoints, activeLocalPolicies, activeLocalSelectors } = graph.statistics();
    assert.deepEqual([activeLocalEndpoints, activeLocalSelectors], [0, 0]);
    assert.equal(activeLocalPolicies, 0);
  }
});
