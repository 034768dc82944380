import assert from "node:assert/strict";
import test from "node:test";
import * as fc from "fast-check";
import {
  andSelectors,
  isUnsatisfiable,
  notSelector,
  parseSelector,
  prefixLabels,
  Selector,
  type Labels,
  type SelectorNode,
} from "#selector";

const TABLE: readonly (readonly [selector: string, labels: Labels, matches: boolean])[] = [
  ["", {}, true],
  ["all()", {}, true],
  ["global()", {}, true],
  ["has(a)", { a: "" }, true],
  ["has(a)", { b: "" }, false],
  ["a == 'x'", { a: "x" }, true],
  ["a == 'x'", { a: "y" }, false],
  ["a == 'x'", {}, false],
  ["a == ''", {}, false],
  ["a != 'x'", { a: "x" }, false],
  ["a != 'x'", { a: "y" }, true],
  ["a != 'x'", {}, true],
  ["a in {'x', 'y'}", { a: "y" }, true],
  ["a in {'x', 'y'}", { a: "z" }, false],
  ["a in {'x', 'y'}", {}, false],
  ["a in {}", { a: "" }, false],
  ["a not in {'x', 'y'}", { a: "y" }, false],
  ["a not in {'x', 'y'}", { a: "z" }, true],
  ["a not in {'x', 'y'}", {}, true],
  ["a not in {}", { a: "x" }, true],
  ["a contains 'b'", { a: "abc" }, true],
  ["a contains 'b'", { a: "ac" }, false],
  ["a contains ''", {}, false],
  ["a starts with 'ab'", { a: "abc" }, true],
  ["a starts with 'bc'", { a: "abc" }, false],
  ["a starts with ''", {}, false],
  ["a ends with 'bc'", { a: "abc" }, true],
  ["a ends with 'ab'", { a: "abc" }, false],
  ["a ends with 'ab'", {}, false],
  ["!has(a)", {}, true],
  ["!a == 'x' && has(b)", { b: "" }, true],
  ["!(a == 'x' && has(b))", { a: "x", b: "" }, false],
  ["has(a) && has(b) && has(c)", { a: "", b: "", c: "" }, true],
  ["has(a) && has(b) && has(c)", { a: "", b: "" }, false],
  ["has(a) || has(b) || has(c)", { c: "" }, true],
  ["has(a) || has(b) || has(c)", {}, false],
  ["has(a) || has(b) && has(c)", { a: "" }, true],
  ["(has(a) || has(b)) && has(c)", { a: "" }, false],
  ["has(constructor)", {}, false],
  ["constructor != 'x'", {}, true],
  ["has(__proto__)", {}, false],
  ["has(constructor)", Object.fromEntries([["constructor", "x"]]), true],
];

test("matching, from records and through a getter", () => {
  const kinds = new Set<string>();
  for (const [text, labels, expected] of TABLE) {
    const selector = parseSelector(text);
    assert.equal(selector.matches(labels), expected, `${text} on ${JSON.stringify(labels)}`);
    // At first by walking the tree, later by closures.
    for (let round = 0; round < 20; round++) {
      assert.equal(selector.matchesWith(new Map(Object.entries(labels))), expected, text);
    }
    kinds.add(selector.node.kind);
  }
  const all: Record<SelectorNode["kind"], true> = {
    all: true,
    global: true,
    has: true,
    eq: true,
    ne: true,
    contains: true,
    startsWith: true,
    endsWith: true,
    in: true,
    notIn: true,
    not: true,
    and: true,
    or: true,
  };
  assert.deepEqual(
    [...kinds].sort(),
    Object.keys(all).sort(),
    "every kind of node is in the table",
  );
});

const label = fc.constantFrom("a", "b", "c");
const value = fc.constantFrom("", "x", "y", "xy");
const leaf: fc.Arbitrary<SelectorNode> = fc.oneof(
  fc.record({ kind: fc.constantFrom("all" as const, "global" as const) }),
  fc.record({ kind: fc.constant("has" as const), label }),
  fc.record({
    kind: fc.constantFrom(...(["eq", "ne", "contains", "startsWith", "endsWith"] as const)),
    label,
    value,
  }),
  fc.record({
    kind: fc.constantFrom("in" as const, "notIn" as const),
    label,
    values: fc.subarray(["", "x", "xy", "y"]),
  }),
);
const node: fc.Arbitrary<SelectorNode> = fc.letrec<{ node: SelectorNode }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4 },
    leaf,
    fc.record({ kind: fc.constant("not" as const), operand: tie("node") }),
    fc.record({
      kind: fc.constantFrom("and" as const, "or" as const),
      operands: fc.array(tie("node"), { minLength: 2, maxLength: 3 }),
    }),
  ),
})).node;

const LABEL_SETS: readonly Labels[] = [undefined, "", "x", "y", "xy"].flatMap((a) =>
  [undefined, "", "x", "y", "xy"].flatMap((b) =>
    [undefined, "x", "z"].map((c) => ({
      ...(a === undefined ? {} : { a }),
      ...(b === undefined ? {} : { b }),
      ...(c === undefined ? {} : { c }),
    })),
  ),
);

/** The language's meaning, written as plainly as possible. */
function meaning(tree: SelectorNode, labels: Labels): boolean {
  if ("operand" in tree) return !meaning(tree.operand, labels);
  if (tree.kind === "and") return tree.operands.every((child) => meaning(child, labels));
  if (tree.kind === "or") return tree.operands.some((child) => meaning(child, labels));
  if (!("label" in tree)) return true;
  const actual = labels[tree.label];
  switch (tree.kind) {
    case "has":
      return actual !== undefined;
    case "eq":
      return actual === tree.value;
    case "ne":
      return actual !== tree.value;
    case "in":
      return actual !== undefined && tree.values.includes(actual);
    case "notIn":
      return actual === undefined || !tree.values.includes(actual);
    case "contains":
      return actual !== undefined && actual.includes(tree.value);
    case "startsWith":
      return actual !== undefined && actual.startsWith(tree.value);
    case "endsWith":
      return actual !== undefined && actual.endsWith(tree.value);
    default:
      return assert.fail();
  }
}

test("canonical text parses to the same selector, which means what its tree means", () => {
  fc.assert(
    fc.property(node, (tree) => {
      const built = new Selector(tree);
      const parsed = parseSelector(built.canonical);
      for (const labels of LABEL_SETS) {
        const expected = meaning(tree, labels);
        assert.equal(built.matches(labels), expected);
        assert.equal(parsed.matches(labels), expected);
      }
    }),
    { numRuns: 300 },
  );
});

test("whatever matches keeps the restrictions, and depends on used labels only", () => {
  let restricted = 0;
  fc.assert(
    fc.property(node, (tree) => {
      const selector = new Selector(tree);
      restricted += selector.restrictions.size;
      for (const labels of LABEL_SETS) {
        const used = Object.entries(labels).filter(([name]) => selector.usedLabels.has(name));
        assert.equal(selector.matches(Object.fromEntries(used)), selector.matches(labels));
        if (!selector.matches(labels)) continue;
        for (const [name, restriction] of selector.restrictions) {
          const actual = labels[name];
          assert.ok(!isUnsatisfiable(restriction), selector.canonical);
          if (restriction.mustBePresent) assert.notEqual(actual, undefined, selector.canonical);
          if (restriction.mustBeAbsent) assert.equal(actual, undefined, selector.canonical);
          const values = restriction.mustHaveOneOfValues;
          if (values) assert.ok(values.includes(actual ?? "?"), selector.canonical);
        }
      }
    }),
    { numRuns: 300 },
  );
  assert.ok(restricted > 50, "restrictions were derived at all");
});

test("restrictions of the common shapes", () => {
  const of = (text: string): unknown => Object.fromEntries(parseSelector(text).restrictions);
  const present = { mustBePresent: true, mustBeAbsent: false };
  const absent = { mustBePresent: false, mustBeAbsent: true };
  assert.deepEqual(of("all()"), {});
  assert.deepEqual(of("a != 'x'"), {});
  assert.deepEqual(of("a contains 'x'"), { a: present });
  assert.deepEqual(of("a == 'x' && has(b)"), {
    a: { ...present, mustHaveOneOfValues: ["x"] },
    b: present,
  });
  assert.deepEqual(of("a in {'x', 'y'} && a in {'y', 'z'}"), {
    a: { ...present, mustHaveOneOfValues: ["y"] },
  });
  assert.deepEqual(of("a == 'y' || a == 'x' && has(b)"), {
    a: { ...present, mustHaveOneOfValues: ["x", "y"] },
  });
  assert.deepEqual(of("a == 'x' || has(b)"), {});
  assert.deepEqual(of("!has(a)"), { a: absent });
  assert.deepEqual(of("!(has(a) || b != 'x')"), {
    a: absent,
    b: { ...present, mustHaveOneOfValues: ["x"] },
  });
  const impossible = parseSelector("a in {}").restrictions.get("a");
  assert.ok(impossible && isUnsatisfiable(impossible));
});

test("combining and prefixing", () => {
  const a = parseSelector("a == 'x'");
  const b = parseSelector("has(b) || all()");
  assert.equal(andSelectors(a).canonical, 'a == "x"');
  assert.equal(andSelectors(a, b).canonical, '(a == "x" && (has(b) || all()))');
  assert.equal(notSelector(notSelector(a)).canonical, '!!a == "x"');
  assert.equal(prefixLabels(b, "pcns.").canonical, "(has(pcns.b) || all())");
  const options = {
    all: parseSelector("has(projectcalico.org/namespace)"),
    global: parseSelector("!has(projectcalico.org/namespace)"),
  };
  assert.equal(
    prefixLabels(parseSelector("all() && !b in {'x'}"), "pcns.", options).canonical,
    '(has(projectcalico.org/namespace) && !pcns.b in {"x"})',
  );
  assert.equal(
    prefixLabels(parseSelector("global()"), "pcns.", options).canonical,
    "!has(projectcalico.org/namespace)",
  );
});
