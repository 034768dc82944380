/** Manifests: places of faults, documents, lists, JSON. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { formatManifestError, parseManifest } from "#resource";

const told = (text: string): string[] =>
  parseManifest(text, "f.yaml").errors.map((error) => formatManifestError(error));

test("all faults of all documents are told at their places", () => {
  const faults = told(`# a comment
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: Web_Front}
spec:
  selctor: app == 'x'
  selector: app = 'x'
  ingress:
  - action: allow
    protocol: tcp
    source:
      nets: [10.0.0.0/33, 10.0.0.1]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolcy
metadata: {name: x}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: x}
spec:
  blockSize: 26
`);
  assert.deepEqual(
    faults.map((fault) => fault.split(": ").slice(0, 2).join(" ")),
    [
      "f.yaml:4:18 metadata.name",
      "f.yaml:6:3 spec.selctor",
      "f.yaml:7:13 spec.selector",
      "f.yaml:9:13 spec.ingress[0].action",
      "f.yaml:10:15 spec.ingress[0].protocol",
      "f.yaml:12:14 spec.ingress[0].source.nets[0]",
      "f.yaml:12:27 spec.ingress[0].source.nets[1]",
      "f.yaml:15:7 kind",
      "f.yaml:22:3 spec.cidr",
    ],
  );
  for (const [index, fix] of [
    [0, "did you mean web-front?"],
    [1, "did you mean selector?"],
    [2, "did you mean ==?"],
    [3, "did you mean Allow?"],
    [4, "did you mean TCP?"],
    [6, "did you mean 10.0.0.1/32?"],
    [7, "did you mean GlobalNetworkPolicy?"],
  ] as const) {
    assert.ok(faults[index]?.includes(fix) === true, faults[index] ?? "none");
  }
});

test("a key given twice and a broken line are told at their places", () => {
  const head = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: a}\n";
  assert.match(told(`${head}spec:\n  order: 1\n  order: 2\n`)[0] ?? "", /^f\.yaml:6:3: .*unique/i);
  assert.match(told(`${head}spec:\n  order: 1\n defaultAction: Deny\n`)[0] ?? "", /^f\.yaml:6:/);
  assert.match(told(`${head}spec: !secret {order: 1}\n`)[0] ?? "", /^f\.yaml:4:7: .*tag/i);
  assert.match(told("a: [1, 2\n")[0] ?? "", /^f\.yaml:/);
  assert.match(told("a: b\tc: d\n\tx: y\n")[0] ?? "", /^f\.yaml:\d+:\d+: /);
});

test("a broken document does not hide the faults of the next", () => {
  const faults = told("a: [1\n---\napiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {}\n");
  assert.ok(faults.some((fault) => fault.startsWith("f.yaml:1:") || fault.startsWith("f.yaml:2:")));
  assert.ok(faults.some((fault) => fault.includes("metadata.name: is missing")));
});

test("an alias is followed to the place of its text", () => {
  const faults = told(`apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: x, annotations: &a {note: 5}}
spec: {nets: [10.0.0.0/8]}
`);
  assert.match(faults[0] ?? "", /^f\.yaml:3:44: metadata\.annotations\.note: .*quotes/);
});

const SET = {
  apiVersion: "projectcalico.org/v3",
  kind: "GlobalNetworkSet",
  metadata: { name: "x" },
};

test("JSON, kind List and bare lists hold resources; empty documents hold none", () => {
  const names = (text: string): string[] => {
    const { errors, resources } = parseManifest(text, "f");
    assert.deepEqual(errors, []);
    return resources.map((one) => one.resource.metadata.name);
  };
  const other = { ...SET, metadata: { name: "y" } };
  assert.deepEqual(names(JSON.stringify(SET, null, 2)), ["x"]);
  assert.deepEqual(names(JSON.stringify([SET, other])), ["x", "y"]);
  assert.deepEqual(names(JSON.stringify({ kind: "List", items: [SET, other] })), ["x", "y"]);
  assert.deepEqual(names(JSON.stringify({ kind: "GlobalNetworkSetList", items: [SET] })), ["x"]);
  assert.deepEqual(names("---\n# nothing\n---\n---\n"), []);
  const listed = parseManifest(
    JSON.stringify({ kind: "List", items: [{ ...SET, spec: { net: [] } }] }),
    "f",
  );
  assert.equal(listed.errors[0]?.path, "items[0].spec.net");
});

test("a namespace is filled in where the kind has one, and the name of an endpoint", () => {
  const policy = { ...SET, kind: "NetworkPolicy" };
  const [first] = parseManifest(JSON.stringify(policy), "f").resources;
  assert.equal(first?.resource.metadata.namespace, "default");
  const [named] = parseManifest(JSON.stringify(policy), "f", { namespace: "shop" }).resources;
  assert.equal(named?.resource.metadata.namespace, "shop");
  const [set] = parseManifest(JSON.stringify(SET), "f", { namespace: "shop" }).resources;
  assert.equal(set?.resource.metadata.namespace, undefined);
  const endpoint = {
    ...SET,
    kind: "WorkloadEndpoint",
    metadata: {},
    spec: {
      node: "a-b",
      orchestrator: "cni",
      containerID: "c1",
      endpoint: "eth0",
      interfaceName: "cali1",
    },
  };
  const [wep] = parseManifest(JSON.stringify(endpoint), "f").resources;
  assert.equal(wep?.resource.metadata.name, "a--b-cni-c1-eth0");
});

test("nesting by the hundred thousand is a fault, not a crash", () => {
  assert.match(told("[".repeat(100_000))[0] ?? "", /^f\.yaml:\d+:\d+: /);
  const head = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: a}\nspec: ";
  const deep = `${head}${"{a: ".repeat(2000)}1${"}".repeat(2000)}`;
  assert.ok(told(deep).length > 0);
  const { errors } = parseManifest(
    `${head}{order: 1}\nextra: ${"[".repeat(500)}${"]".repeat(500)}`,
    "f",
  );
  assert.equal(errors[0]?.path, "extra");
});

test("text of any kind is refused or read, never a crash", () => {
  const words = fc.constantFrom(
    "apiVersion: projectcalico.org/v3\n",
    "kind: ",
    "Tier",
    "NetworkPolicy",
    "\n",
    "  ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ":",
    "metadata:",
    "spec:",
    "ingress:",
    "name: x",
    "&a ",
    "*a ",
    "<<: *a",
    "\t",
    "'",
    '"',
    "---\n",
    "null",
    "1e400",
    "!!int ",
    "? ",
    "__proto__: {a: b}",
    "constructor: 1",
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(words, fc.string()), { maxLength: 20 }), (parts) => {
      const { errors, resources } = parseManifest(parts.join(""), "f");
      assert.ok(Array.isArray(errors) && Array.isArray(resources));
    }),
    { numRuns: 500 },
  );
});
