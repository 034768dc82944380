/** The label index against trying every selector on every item. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { parseSelector } from "#selector";
import { LabelIndex } from "../../../src/calc/label-index.ts";

const SELECTORS = [
  "all()",
  "!all()",
  "has(a)",
  "!has(a)",
  'a == "x"',
  'a != "x"',
  'a in {"x", "y"}',
  'a not in {"x"}',
  'b contains "x"',
  'a == "x" && b == "y"',
  'a == "x" || b == "y"',
  'a == "x" && a == "y"',
  '!(has(a) && b == "x")',
  "has(b) && !has(a)",
  "a in {}",
];
const labels = fc.dictionary(fc.constantFrom("a", "b"), fc.constantFrom("x", "y", "xy"), {
  noNullPrototype: true,
});
interface Labelled {
  readonly labels: Record<string, string>;
  readonly parents: readonly string[];
}

const item = fc.constantFrom("i1", "i2", "i3");
const parent = fc.constantFrom("p1", "p2");
const step = fc.oneof(
  fc.record({
    op: fc.constant("item" as const),
    id: item,
    labels,
    parents: fc.uniqueArray(parent, { maxLength: 2 }),
  }),
  fc.record({ op: fc.constant("noItem" as const), id: item }),
  fc.record({ op: fc.constant("parent" as const), id: parent, labels: fc.option(labels) }),
  fc.record({
    op: fc.constant("selector" as const),
    id: fc.constantFrom(1, 2, 3, 4),
    text: fc.constantFrom(...SELECTORS),
  }),
  fc.record({ op: fc.constant("noSelector" as const), id: fc.constantFrom(1, 2, 3, 4) }),
);

test("matches are those of brute force, and told exactly when they change", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.nat({ max: 40 }), (steps, crowd) => {
      // Match → the data that were told last with it.
      const told = new Map<string, number>();
      const index = new LabelIndex<number, string, number>({
        onMatchStarted: (selector, id, data) => {
          assert.ok(!told.has(`${selector} ${id}`), "started twice");
          told.set(`${selector} ${id}`, data);
        },
        onMatchStopped: (selector, id, data) => {
          assert.equal(told.get(`${selector} ${id}`), data);
          told.delete(`${selector} ${id}`);
        },
        onDataChanged: (selector, id, before, after) => {
          assert.equal(told.get(`${selector} ${id}`), before);
          told.set(`${selector} ${id}`, after);
        },
      });
      // Selectors of labels that nobody has; many of them make the index shelve all labels.
      for (let i = 0; i < crowd; i++) index.setSelector(100 + i, parseSelector(`has(other-${i})`));
      const items = new Map<string, Labelled & { readonly at: number }>();
      const parents = new Map<string, Record<string, string>>();
      const selectors = new Map<number, string>();
      for (const [at, one] of steps.entries()) {
        switch (one.op) {
          case "item":
            assert.equal(index.setItem(one.id, one.labels, one.parents, at), !items.has(one.id));
            items.set(one.id, { ...one, at });
            break;
          case "noItem":
            assert.equal(index.deleteItem(one.id), items.delete(one.id));
            break;
          case "parent":
            if (one.labels === null) parents.delete(one.id);
            else parents.set(one.id, one.labels);
            index.setParent(one.id, one.labels);
            break;
          case "selector":
            selectors.set(one.id, one.text);
            index.setSelector(one.id, parseSelector(one.text));
            break;
          case "noSelector":
            selectors.delete(one.id);
            index.deleteSelector(one.id);
        }
        index.deleteSelector(100 + at);
        const expected: string[] = [];
        for (const [id, item_] of items) assert.equal(index.dataOf(id), item_.at);
        for (const [selector, text] of selectors) {
          for (const [id, own] of items) {
            // Own labels win, then the first parent that has the label.
            const inherited = own.parents.toReversed().map((name) => parents.get(name) ?? {});
            const effective = Object.assign({}, ...inherited, own.labels) as Record<string, string>;
            if (!parseSelector(text).matches(effective)) continue;
            expected.push(`${selector} ${id} ${own.at}`);
          }
        }
        const seen = [...told].map(([match, data]) => `${match} ${data}`);
        assert.deepEqual(seen.toSorted(), expected.toSorted());
      }
    }),
    { numRuns: 500 },
  );
});

/** An index with the selectors that match now. */
function indexWithMatches(): {
  readonly index: LabelIndex<number, string>;
  readonly matches: Set<number>;
} {
  const matches = new Set<number>();
  const index = new LabelIndex<number, string>({
    onMatchStarted: (selector) => void matches.add(selector),
    onMatchStopped: (selector) => void matches.delete(selector),
  });
  return { index, matches };
}

test("a selector goes where few others are, whatever its text says first", () => {
  const { index, matches } = indexWithMatches();
  let evaluated = 0;
  for (let i = 0; i < 1000; i++) {
    const selector = parseSelector(`(ns == "n") && (app == "a${i}")`);
    const matchesWith = selector.matchesWith.bind(selector);
    selector.matchesWith = (labels) => {
      evaluated++;
      return matchesWith(labels);
    };
    index.setSelector(i, selector);
  }
  index.setItem("i", { ns: "n", app: "a7" }, [], undefined);
  assert.deepEqual([...matches], [7]);
  assert.ok(evaluated < 5, `${evaluated} of 1000 selectors were evaluated`);
});

test("labels named like what every object has are labels like others", () => {
  const { index, matches } = indexWithMatches();
  index.setSelector(1, parseSelector("has(constructor)"));
  index.setSelector(2, parseSelector("!has(toString)"));
  index.setItem("plain", { a: "x" }, ["p"], undefined);
  assert.deepEqual([...matches], [2]);
  index.setParent("p", { constructor: "c", toString: "t" });
  assert.deepEqual([...matches], [1]);
});

test("items that list the same parents anew hear of the labels that they have now", () => {
  const { index, matches } = indexWithMatches();
  index.setSelector(1, parseSelector("has(late)"));
  // Keeps the first parent while the second goes and comes.
  index.setItem("other", {}, ["a"], undefined);
  for (let round = 0; round < 2; round++) {
    index.setItem("i", {}, ["a", "b"], undefined);
    assert.deepEqual([...matches], []);
    index.setParent("b", { late: "yes" });
    assert.deepEqual([...matches], [1]);
    index.deleteItem("i");
    index.setParent("b", null);
  }
});

test("a thousand items with one label's value: each is found, whichever leave or change", () => {
  const COUNT = 1200;
  const expected = new Set<number>();
  const found = new Set<number>();
  const byItem = new LabelIndex<string, number>({
    onMatchStarted: (_, item) => {
      assert.ok(!found.has(item));
      found.add(item);
    },
    onMatchStopped: (_, item) => assert.ok(found.delete(item)),
  });
  byItem.setSelector("first", parseSelector("a == 'x'"));
  const set = (item: number, value: string): void => {
    // Two parents have the label alike, and the items of a parent are many, too.
    byItem.setItem(item, { a: value }, ["p", "q"], undefined);
    if (value === "x") expected.add(item);
    else expected.delete(item);
  };
  for (let item = 0; item < COUNT; item++) set(item, "x");
  for (let item = 0; item < COUNT; item += 3) set(item, "y");
  for (let item = 1; item < COUNT; item += 5) {
    byItem.deleteItem(item);
    expected.delete(item);
  }
  for (let item = 0; item < 100; item++) set(item, "x");
  assert.deepEqual(found, expected);
  // A selector that comes later finds them on the shelf; one that goes leaves none behind.
  byItem.deleteSelector("first");
  assert.equal(found.size, 0);
  byItem.setSelector("second", parseSelector("a == 'x'"));
  assert.deepEqual(found, expected);
  byItem.setParent("q", { b: "z" });
  byItem.setSelector("second", parseSelector("b == 'z'"));
  assert.equal(found.size, byItem.statistics().items);
  byItem.setParent("q", null);
  assert.equal(found.size, 0);
});
