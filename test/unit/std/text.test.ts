import assert from "node:assert/strict";
import test from "node:test";
import * as fc from "fast-check";
import {
  compareBytes,
  didYouMean,
  editDistance,
  escapeName,
  sortedUnique,
  unescapeName,
} from "#std";

test("compareBytes is the order of UTF-8 bytes", () => {
  const anyText = fc.string({ unit: "binary", maxLength: 6 });
  fc.assert(
    fc.property(anyText, anyText, (a, b) => {
      const expected = Buffer.compare(Buffer.from(a), Buffer.from(b));
      assert.equal(Math.sign(compareBytes(a, b)), expected);
    }),
  );
  assert.ok(compareBytes("\uffee", "𝄞") < 0, "supplementary planes come last");
  assert.deepEqual(["𝄞", "\uffee"].sort(), ["𝄞", "\uffee"], "which is not how strings sort");
});

test("sortedUnique sorts and drops repetitions", () => {
  assert.deepEqual(sortedUnique(["b", "a", "b", "A"]), ["A", "a", "b"]);
});

test("escapeName is reversible and leaves no slash", () => {
  assert.equal(escapeName("a/b%2f"), "a%2fb%252f");
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom("%", "/", "2", "5", "f", "a") }), (name) => {
      assert.ok(!escapeName(name).includes("/"));
      assert.equal(unescapeName(escapeName(name)), name);
    }),
  );
});

test("didYouMean finds slips and keeps silent otherwise", () => {
  const fields = ["selector", "ingress", "egress", "order", "types", "nets"];
  assert.equal(didYouMean("selectr", fields), "selector");
  assert.equal(didYouMean("Ingres", fields), "ingress");
  assert.equal(didYouMean("oredr", fields), "order");
  assert.equal(didYouMean("net", fields), "nets");
  assert.equal(didYouMean("banana", fields), undefined);
  assert.equal(didYouMean("x", []), undefined);
});

test("editDistance counts a swap of neighbours as one", () => {
  assert.equal(editDistance("ab", "ba"), 1);
  assert.equal(editDistance("", "abc"), 3);
  assert.equal(editDistance("kitten", "sitting"), 3);
});
