/**
 * The way does not matter: whatever came before, in whatever order and portions, and whenever it was
 * flushed, the folded output is that of the final state fed at once. The sequencer's rules are
 * asserted on every message on the way.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CalcGraph, type ToDataplane } from "#calc";
import { modelKeyText, type ModelUpdate } from "#model";
import { RandomSource } from "../../support/random-source.ts";
import { emptyState, foldFlush, plain, type Folded } from "./fold.ts";
import { goldenNames, readGolden, readSessionState } from "./golden.ts";
import { HOST, kindsOf, randomCluster, type Cluster } from "./random-cluster.ts";

const RUNS = 300;
const golden = [...goldenNames().map(readGolden), readSessionState()].map(
  ({ host, updates }): Cluster => {
    assert.equal(host, HOST);
    return frozen({ updates, settings: {} });
  },
);

function deletion(update: ModelUpdate): ModelUpdate {
  return { key: update.key, value: null } as ModelUpdate;
}

/** Per key a story that ends as in `final`; stories are then told in a random interleaving. */
function story(
  final: readonly ModelUpdate[],
  noise: readonly ModelUpdate[],
  random: RandomSource,
): ModelUpdate[] {
  const stories = new Map<string, ModelUpdate[]>();
  const add = (update: ModelUpdate): void => {
    const key = modelKeyText(update.key);
    stories.set(key, [...(stories.get(key) ?? []), update]);
  };
  for (const update of noise) {
    if (random.chance(0.7)) add(update);
    if (random.chance(0.25)) add(deletion(update));
    if (random.chance(0.25)) add(update);
  }
  const wanted = new Set(final.map((update) => modelKeyText(update.key)));
  for (const update of noise) if (!wanted.has(modelKeyText(update.key))) add(deletion(update));
  for (const update of final) {
    if (random.chance(0.3)) {
      add(update);
      add(deletion(update));
    }
    add(update);
    if (random.chance(0.2)) add(update);
  }
  const open = [...stories.values()].map((updates) => updates.toReversed());
  const told: ModelUpdate[] = [];
  while (open.length > 0) {
    const index = random.int(0, open.length - 1);
    const next = open[index]?.pop();
    if (next === undefined) open.splice(index, 1);
    else told.push(next);
  }
  return told;
}

/** Of the updates of one key only the last is kept, as a queue does. */
function squash(updates: readonly ModelUpdate[]): ModelUpdate[] {
  return [...new Map(updates.map((update) => [modelKeyText(update.key), update])).values()];
}

/** Who keeps what it was given may rely on it, and nobody may write to what others gave. */
function frozen<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) frozen(inner);
  }
  return value;
}

/** The end state of a cluster that is there from the start. */
function endState({ updates, settings }: Cluster): Folded {
  const graph = new CalcGraph({ hostname: HOST, ...settings });
  graph.onUpdates(updates);
  graph.onStatus("in-sync");
  const state = emptyState();
  foldFlush(state, frozen(graph.flush()));
  return state;
}

/** A golden cluster or a random one, whole or with objects missing that others refer to. */
function anyCluster(random: RandomSource): Cluster {
  const cluster = random.chance(0.3) ? random.pick(golden) : frozen(randomCluster(random));
  if (random.chance(0.6)) return cluster;
  return { ...cluster, updates: cluster.updates.filter(() => random.chance(0.75)) };
}

function run(seed: number, seen: (updates: readonly ModelUpdate[], all: Folded) => void): void {
  const random = new RandomSource(seed);
  const target = anyCluster(random);
  const other = anyCluster(random);
  const expected = endState(target);
  seen(target.updates, expected);
  const graph = new CalcGraph({ hostname: HOST, ...other.settings });
  const actual = emptyState();
  const updates = story(target.updates, other.updates, random);
  const syncAt = random.int(0, updates.length);
  const settleAt = random.int(0, updates.length);
  for (let at = 0; at < updates.length;) {
    const portion = updates.slice(at, at + random.int(1, 12));
    if (at >= syncAt) graph.onStatus("in-sync");
    if (at >= settleAt) graph.configure(target.settings);
    at += portion.length;
    graph.onUpdates(random.chance(0.5) ? portion : squash(portion));
    if (random.chance(0.3)) foldFlush(actual, frozen(graph.flush()));
  }
  graph.configure(target.settings);
  graph.onStatus("in-sync");
  foldFlush(actual, frozen(graph.flush()));
  assert.deepEqual(plain(actual), plain(expected));
}

test(`${RUNS} random ways to a state give that state`, () => {
  const kinds = new Set<string>();
  const told = new Set<string>();
  for (let seed = 1; seed <= RUNS; seed++) {
    try {
      run(seed, (updates, { objects }) => {
        for (const kind of kindsOf(updates)) kinds.add(kind);
        for (const object of objects.keys()) told.add(object.replace(/\/.*/, ""));
      });
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
  const allKinds =
    "BGPConfiguration ClusterInformation EndpointSlice FelixConfiguration " +
    "GlobalNetworkPolicy HostEndpoint IPAMBlock IPPool KubernetesService LiveMigration NetworkPolicy " +
    "NetworkSet Node ProfileLabels ProfileRules StagedGlobalNetworkPolicy " +
    "StagedKubernetesNetworkPolicy StagedNetworkPolicy Tier WorkloadEndpoint";
  assert.equal([...kinds].toSorted().join(" "), allKinds, "a kind never came");
  const allObjects: readonly ToDataplane["case"][] | readonly string[] = [
    "encapsulation",
    "globalBgpConfigUpdate",
    "hostEndpoint",
    "hostMetadata",
    "ipamPool",
    "namespace",
    "policy",
    "profile",
    "route",
    "service",
    "serviceAccount",
    "vtep",
    "wireguardEndpoint",
    "workloadEndpoint",
  ];
  assert.deepEqual([...told].toSorted(), allObjects, "an object was never told");
});
