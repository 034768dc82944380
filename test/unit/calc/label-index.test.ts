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
      const told = new Set<string>();
      const index = new LabelIndex<number, string>({
        onMatchStarted: (selector, id) => {
          assert.ok(!told.has(`${selector} ${id}`), "started twice");
          told.add(`${selector} ${id}`);
        },
        onMatchStopped: (selector, id) => assert.ok(told.delete(`${selector} ${id}`)),
      });
      // Selectors of labels that nobody has; many of them make the index shelve all labels.
      for (let i = 0; i < crowd; i++) index.setSelector(100 + i, parseSelector(`has(other-${i})`));
      const items = new Map<string, { labels: Record<string, string>; parents: string[] }>();
      const parents = new Map<string, Record<string, string>>();
      const selectors = new Map<number, string>();
      for (const [at, one] of steps.entries()) {
        switch (one.op) {
          case "item":
            items.set(one.id, one);
            index.setItem(one.id, one.labels, one.parents);
            break;
          case "noItem":
            items.delete(one.id);
            index.deleteItem(one.id);
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
        for (const [selector, text] of selectors) {
          for (const [id, own] of items) {
            // Own labels win, then the first parent that has the label.
            const inherited = own.parents.toReversed().map((name) => parents.get(name) ?? {});
            const effective = Object.assign({}, ...inherited, own.labels) as Record<string, string>;
            if (parseSelector(text).matches(effective)) expected.push(`${selector} ${id}`);
          }
        }
        assert.deepEqual([...told].toSorted(), expected.toSorted());
      }
    }),
    { numRuns: 500 },
  );
});

test("a selector goes where few others are, whatever its text says first", () => {
  const index = new LabelIndex<number, string>({ onMatchStarted() {}, onMatchStopped() {} });
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
  index.setItem("i", { ns: "n", app: "a7" }, []);
  assert.deepEqual(index.matchesOfItem("i"), [7]);
  assert.ok(evaluated < 5, `${evaluated} of 1000 selectors were evaluated`);
});

test("labels named like what every object has are labels like others", () => {
  const index = new LabelIndex<number, string>({ onMatchStarted() {}, onMatchStopped() {} });
  index.setSelector(1, parseSelector("has(constructor)"));
  index.setSelector(2, parseSelector("!has(toString)"));
  index.setItem("plain", { a: "x" }, ["p"]);
  assert.deepEqual(index.matchesOfItem("plain"), [2]);
  index.setParent("p", { constructor: "c", toString: "t" });
  assert.deepEqual(index.matchesOfItem("plain"), [1]);
});
