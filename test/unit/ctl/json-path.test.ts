/** `-o jsonpath=…`: what is taken, what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseJsonPath, printJsonPath } from "../../../src/ctl/json-path.ts";
import { Ctl } from "./harness.ts";

const DOCUMENT = {
  kind: "List",
  items: [
    {
      metadata: { name: "a", labels: { "x.y/z": "1", plain: "2" } },
      spec: { order: 10, on: false },
    },
    { metadata: { name: "b" }, spec: { nets: ["10.0.0.0/8", "fd00::/8"] } },
  ],
};

const CASES: readonly (readonly [string, string])[] = [
  ["{.kind}", "List"],
  ["{$.kind}", "List"],
  ["kind: {.kind}.", "kind: List."],
  ["{.items[0].metadata.name}", "a"],
  ["{.items[-1].metadata.name}", "b"],
  ["{.items[*].metadata.name}", "a b"],
  ["{.items[5].metadata.name}", ""],
  ["{.nothing.at.all}", ""],
  ["{.constructor}{.__proto__}", ""],
  ["{.items[0].metadata.labels['x.y/z']}", "1"],
  ["{.items[0].metadata.labels.x\\.y/z}", "1"],
  ["{.items[0].metadata.labels.*}", "1 2"],
  ["{.items[0].spec}", '{"order":10,"on":false}'],
  ["{.items[0].spec.on}", "false"],
  ["{.items[1].spec.nets}", '["10.0.0.0/8","fd00::/8"]'],
  ['{"}\\t\\""}', '}\t"'],
  ['{range .items[*]}{.metadata.name}={.spec.order}{"\\n"}{end}', "a=10\nb=\n"],
  [
    "{range .items[*]}{range .spec.nets[*]}<{@}>{end}{$.kind},{end}",
    "List,<10.0.0.0/8><fd00::/8>List,",
  ],
];

test("paths, ranges and texts", () => {
  for (const [template, wanted] of CASES) {
    assert.equal(printJsonPath(parseJsonPath(template), DOCUMENT), wanted, template);
  }
});

test("what is not understood is refused", () => {
  for (const [template, message] of [
    ["{.a", /no \} for/],
    ["{}", /an empty path/],
    ["{..a}", /is not understood/],
    ["{.items[?(@.x)]}", /is not understood/],
    ["{.items[0:2]}", /is not understood/],
    ["{range .items[*]}x", /\{range\} without \{end\}/],
    ["x{end}", /\{end\} without \{range\}/],
  ] as const) {
    assert.throws(() => parseJsonPath(template), { code: "bad-option", message }, template);
  }
});

test("get prints by path: one object, or a list", async () => {
  const ctl = new Ctl();
  await ctl.applyGolden();
  const one = await ctl.run(["get", "tier", "default", "-o", "jsonpath={.spec.order}"]);
  assert.deepEqual(one, { code: 0, out: "1000000", err: "" });
  const all = await ctl.run([
    "get",
    "nodes",
    "-o",
    'jsonpath={range .items[*]}{.kind}{"\\n"}{end}',
  ]);
  assert.match(all.out, /^(?:Node\n)+$/);
  assert.equal((await ctl.run(["get", "nodes", "-o", "jsonpath={.a"])).code, 1);
});
