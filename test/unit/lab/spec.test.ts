import assert from "node:assert/strict";
import { test } from "node:test";
import { describeSurprise, drawMatrix, measure, surprises } from "../../../src/lab/matrix.ts";
import { parseLabSpec } from "../../../src/lab/spec.ts";

const LAB = `kind: Lab
name: tiny
host: {name: h, addresses: [10.0.0.1/24, "2001:db8::1/64"]}
workloads:
- {name: a, addresses: [10.65.0.1, "fd65::1"], listen: [tcp:80]}
- {name: b, namespace: shop, addresses: [10.65.0.2]}
expect:
  default: deny
  allow: [b -> a tcp:80]
  deny: ["* -> a tcp:80 v6"]
`;

test("a lab file is parsed with defaults", () => {
  const spec = parseLabSpec(LAB, "tiny.yaml");
  assert.equal(spec.workloads[0]?.namespace, "default");
  assert.deepEqual(spec.workloads[1]?.profiles, ["kns.shop"]);
  assert.deepEqual(spec.workloads[0]?.listen, [{ protocol: "tcp", port: 80 }]);
  assert.equal(spec.expect?.lines.length, 2);
});

test("every fault of a lab file is named with its position", () => {
  const bad = LAB.replace("tcp:80]}", "tcp:99999]}")
    .replace("name: tiny", "name: Tiny")
    .replace("kind: Lab", "kind: Laboratory");
  assert.throws(
    () => parseLabSpec(bad, "bad.yaml"),
    (error: Error) => {
      assert.match(error.message, /bad\.yaml:1:7: kind/);
      assert.match(error.message, /bad\.yaml:2:7: name: lower-case/);
      assert.match(error.message, /bad\.yaml:5:\d+: workloads\.0\.listen\.0: a port is 1 to 65535/);
      return true;
    },
  );
});

test("names must be unique, and expectations must name what exists", () => {
  assert.throws(
    () => parseLabSpec(LAB.replace("{name: b,", "{name: a,"), "f"),
    /two peers are named a/,
  );
  assert.throws(
    () => parseLabSpec(LAB.replace("b -> a", "nobody -> a"), "f"),
    /expect names nobody/,
  );
  assert.throws(() => parseLabSpec(LAB.replace("name: tiny", "name: tiny\nfoo: 1"), "f"), /foo/);
});

test("the matrix asks for each common family and compares with the file", async () => {
  const spec = parseLabSpec(LAB, "tiny.yaml");
  const asked: string[] = [];
  const cells = await measure(spec, (from, targets) => {
    asked.push(...targets.map((t) => `${from} ${t.address}`));
    return Promise.resolve(targets.map((t) => t.family === 4));
  });
  assert.deepEqual(asked.toSorted(), ["b 10.65.0.1", "h 10.65.0.1", "h fd65::1"]);
  const wrong = surprises(cells);
  assert.deepEqual(wrong.map(describeSurprise), [
    "h -> a tcp:80 v4: reached it; the file expects deny",
  ]);
  assert.equal(
    drawMatrix(cells, { colour: false }),
    ["FROM \\ TO  a", "           tcp:80", "b          yes", "h          v4!"].join("\n"),
  );
});
