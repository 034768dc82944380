/**
 * Damaged values of the datastore in the running graph: never a crash, an object that is refused
 * counts as absent, or denies, and when all is mended the graph has told the state of the undamaged objects.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { CalcGraph } from "#calc";
import { ModelConverter, type ModelPolicy, type ModelUpdate } from "#model";
import { MargayError } from "#std";
import { FUZZ_INPUTS, mutateJson } from "../../support/fuzz.ts";
import { RandomSource } from "../../support/random-source.ts";
import { emptyState, foldFlush, plain } from "./fold.ts";

const FLUSH_EVERY = 8;
const KEPT_DAMAGED = 5;

const texts = new Map(
  Object.entries(
    JSON.parse(
      readFileSync(new URL("../../golden/calicoctl/etcd.json", import.meta.url), "utf8"),
    ) as Record<string, string>,
  ),
);

/** As the syncer does it. */
function told(
  converter: ModelConverter,
  path: string,
  text: string,
): { readonly updates: readonly ModelUpdate[]; readonly refused: boolean } {
  try {
    return { updates: converter.convert(path, text), refused: false };
  } catch (error) {
    assert.ok(error instanceof MargayError && error.kind === "input", `${text}: ${String(error)}`);
    return { updates: converter.convertInvalid(path, text, error.message), refused: true };
  }
}

/** What stands in for a policy that was refused: the policy as written, or none of its rules. */
function assertNothingAllowed(value: object | null, text: string): void {
  if (value === null || !("broken" in value)) return;
  const { inboundRules, outboundRules } = value as ModelPolicy;
  assert.deepEqual([inboundRules, outboundRules], [[], []], text);
}

function start(): CalcGraph {
  const graph = new CalcGraph({ hostname: "host-a" });
  graph.onStatus("in-sync");
  return graph;
}

test("damaged values never break the graph, and leave nothing behind", () => {
  const random = new RandomSource(407);
  const converter = new ModelConverter();
  const graph = start();
  const state = emptyState();
  const flush = (): void => foldFlush(state, graph.flush());
  for (const [path, text] of texts) graph.onUpdates(told(converter, path, text).updates);
  flush();
  const paths = [...texts.keys()];
  const damaged: string[] = [];
  const mend = (path: string): void =>
    graph.onUpdates(told(converter, path, texts.get(path) ?? "").updates);
  let refusals = 0;
  for (let i = 0; i < FUZZ_INPUTS; i++) {
    const path = random.pick(paths);
    const text = JSON.stringify(mutateJson(JSON.parse(texts.get(path) ?? ""), random));
    const { updates, refused } = told(converter, path, text);
    if (refused) {
      refusals++;
      const left = [...converter.paths()].includes(path);
      const hasSubstitute = /\/(?:global)?network(?:policies|sets)\//.test(path);
      assert.ok(!left || hasSubstitute, `${path} is refused and still gives something: ${text}`);
      for (const { value } of updates) assertNothingAllowed(value, text);
    }
    graph.onUpdates(updates);
    damaged.push(path);
    if (i % FLUSH_EVERY === 0) flush();
    if (damaged.length > KEPT_DAMAGED) mend(damaged.shift() ?? "");
  }
  for (const path of damaged) mend(path);
  flush();
  assert.ok(refusals > FUZZ_INPUTS / 20 && refusals < FUZZ_INPUTS, `${refusals} refused`);

  const fresh = start();
  const expected = emptyState();
  const freshConverter = new ModelConverter();
  for (const [path, text] of texts) fresh.onUpdates(told(freshConverter, path, text).updates);
  foldFlush(expected, fresh.flush());
  assert.deepEqual(plain(state), plain(expected));
});
