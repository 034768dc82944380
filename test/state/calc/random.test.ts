/**
 * The way does not matter: whatever came before, in whatever order and portions, and whenever it was
 * flushed, the folded output is that of the final state fed at once. The order rules are asserted on
 * every message on the way.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CalcGraph } from "#calc";
import { modelKeyText, type ModelUpdate } from "#model";
import { emptyState, fold, plain } from "./fold.ts";
import { goldenNames, readGolden, type GoldenState } from "./golden.ts";

const RUNS = 240;
const golden = goldenNames().map((name) => frozen(readGolden(name)));

/** mulberry32: small, seeded, good enough to shuffle with. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function deletion(update: ModelUpdate): ModelUpdate {
  return { key: update.key, value: null } as ModelUpdate;
}

/** Per key a story that ends as in `final`; stories are then told in a random interleaving. */
function story(
  final: readonly ModelUpdate[],
  noise: readonly ModelUpdate[],
  random: (below: number) => number,
): ModelUpdate[] {
  const stories = new Map<string, ModelUpdate[]>();
  const add = (update: ModelUpdate): void => {
    const key = modelKeyText(update.key);
    stories.set(key, [...(stories.get(key) ?? []), update]);
  };
  for (const update of noise) {
    if (random(3) > 0) add(update);
    if (random(4) === 0) add(deletion(update));
    if (random(4) === 0) add(update);
  }
  const wanted = new Set(final.map((update) => modelKeyText(update.key)));
  for (const update of noise) if (!wanted.has(modelKeyText(update.key))) add(deletion(update));
  for (const update of final) {
    if (random(3) === 0) {
      add(update);
      add(deletion(update));
    }
    add(update);
    if (random(5) === 0) add(update);
  }
  const open = [...stories.values()].map((updates) => updates.toReversed());
  const told: ModelUpdate[] = [];
  while (open.length > 0) {
    const index = random(open.length);
    const next = open[index]?.pop();
    if (next === undefined) open.splice(index, 1);
    else told.push(next);
  }
  return told;
}

/** Of neighbouring updates of one key only the last is kept, as a queue does. */
function squash(updates: readonly ModelUpdate[]): ModelUpdate[] {
  return [...new Map(updates.map((update) => [modelKeyText(update.key), update])).values()];
}

/** Half of the targets are whole states; the others lack objects that some of the rest refer to. */
function targetOf(state: GoldenState, random: (below: number) => number): GoldenState {
  if (random(2) === 0) return state;
  return { ...state, updates: state.updates.filter(() => random(4) > 0) };
}

/** Who keeps what it was given may rely on it, and nobody may write to what others gave. */
function frozen<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) frozen(inner);
  }
  return value;
}

function run(seed: number): void {
  const random = randomOf(seed);
  const state = golden[random(golden.length)];
  const other = golden[random(golden.length)];
  assert.ok(state && other);
  const target = targetOf(state, random);
  const direct = new CalcGraph({ hostname: target.host });
  direct.onUpdates(target.updates);
  direct.onStatus("in-sync");
  const expected = emptyState();
  for (const message of direct.flush()) fold(expected, message);

  const graph = new CalcGraph({ hostname: target.host });
  const actual = emptyState();
  const updates = story(target.updates, other.updates, random);
  const syncAt = random(updates.length);
  for (let at = 0; at < updates.length;) {
    const portion = updates.slice(at, at + 1 + random(12));
    if (at >= syncAt) graph.onStatus("in-sync");
    at += portion.length;
    graph.onUpdates(random(2) === 0 ? portion : squash(portion));
    if (random(3) === 0) for (const message of graph.flush()) fold(actual, frozen(message));
  }
  graph.onStatus("in-sync");
  for (const message of graph.flush()) fold(actual, frozen(message));
  assert.deepEqual(plain(actual), plain(expected));
}

test(`${RUNS} random ways to a state give that state`, () => {
  for (let seed = 1; seed <= RUNS; seed++) {
    try {
      run(seed);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
});

test("everything deleted leaves nothing", () => {
  for (const { host, updates } of golden.slice(0, 20)) {
    const graph = new CalcGraph({ hostname: host });
    const state = emptyState();
    graph.onStatus("in-sync");
    graph.onUpdates(updates);
    for (const message of graph.flush()) fold(state, message);
    graph.onUpdates(updates.map(deletion));
    for (const message of graph.flush()) fold(state, message);
    state.objects.delete("encapsulation");
    assert.deepEqual([...state.objects.keys()], []);
    assert.deepEqual([...state.ipSets.keys()], []);
  }
});
