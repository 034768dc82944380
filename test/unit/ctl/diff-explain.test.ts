/** `margay diff` and `margay explain`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { array, assert as check, constantFrom, property } from "fast-check";
import { KINDS } from "#resource";
import { unifiedDiff } from "../../../src/ctl/unified-diff.ts";
import { Ctl } from "./harness.ts";

const set = (nets: string): string => `
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: blocklist, labels: {color: red}}
spec: {nets: [${nets}]}
`;

test("diff shows what apply would change, and then nothing", async () => {
  const ctl = new Ctl();
  const created = await ctl.run(["diff", "-f", "-"], set("192.0.2.0/24"));
  assert.equal(created.code, 1);
  assert.match(
    created.out,
    /^--- \/dev\/null\n\+\+\+ GlobalNetworkSet\(blocklist\)\n@@ -0,0 \+1,9 @@\n\+apiVersion/,
  );
  assert.deepEqual((await ctl.store.list("/")).kvs, [], "nothing was written");
  await ctl.run(["apply", "-f", "-"], set("192.0.2.0/24"));
  const same = await ctl.run(["diff", "-f", "-"], set("192.0.2.0/24"));
  assert.deepEqual(same, { code: 0, out: "", err: "" });
  const changed = await ctl.run(["diff", "-f", "-"], set("192.0.2.0/24, 198.51.100.0/24"));
  assert.equal(changed.code, 1);
  assert.equal(
    changed.out,
    `--- stored GlobalNetworkSet(blocklist)
+++ GlobalNetworkSet(blocklist)
@@ -7,3 +7,4 @@
 spec:
   nets:
   - 192.0.2.0/24
+  - 198.51.100.0/24
`,
  );
});

test("diff of everything that was just applied is empty", async () => {
  const ctl = new Ctl();
  await ctl.applyGolden();
  const files = ["01-tiers-policies", "02-nodes-endpoints", "03-pools-bgp-config"];
  const args = files.flatMap((file) => ["-f", `test/golden/calicoctl/${file}.yaml`]);
  assert.deepEqual(await ctl.run(["diff", ...args]), { code: 0, out: "", err: "" });
});

test("an error of diff is no difference: exit code 2", async () => {
  const ctl = new Ctl();
  assert.equal((await ctl.run(["diff", "-f", "-"], set("10.0.0.0/33"))).code, 2);
  assert.equal((await ctl.run(["diff"])).code, 2);
  assert.equal((await ctl.run(["diff", "--no-such-option"])).code, 2);
});

/** Applies hunks, as patch(1) does. */
function patched(before: string, diff: string): string {
  const lines = before === "" ? [] : before.replace(/\n$/, "").split("\n");
  const result: string[] = [];
  let at = 0;
  for (const line of diff.split("\n").slice(0, -1)) {
    const head = /^@@ -(\d+),(\d+) /.exec(line);
    if (head !== null) {
      const start = Number(head[1]) - (head[2] === "0" ? 0 : 1);
      result.push(...lines.slice(at, start));
      at = start;
    } else if (line.startsWith("+")) result.push(line.slice(1));
    else {
      assert.equal(lines[at], line.slice(1));
      if (line.startsWith(" ")) result.push(line.slice(1));
      at++;
    }
  }
  return [...result, ...lines.slice(at)].map((line) => `${line}\n`).join("");
}

test("a diff that is applied gives the second text", () => {
  const text = array(constantFrom("a", "b", "c", "d"), { maxLength: 40 }).map((lines) =>
    lines.map((line) => `${line}\n`).join(""),
  );
  check(
    property(text, text, (before, after) => {
      const diff = unifiedDiff(before, after);
      assert.equal(patched(before, diff), after);
      assert.equal(diff === "", before === after);
    }),
    { numRuns: 500 },
  );
  const many = (prefix: string): string =>
    Array.from({ length: 1200 }, (_, i) => `${prefix}${i}\n`).join("");
  assert.equal(patched(many("a"), unifiedDiff(many("a"), many("b"))), many("b"));
});

test("explain shows a kind, a field, and the way to a misspelt one", async () => {
  const ctl = new Ctl();
  const kind = await ctl.run(["explain", "tier"]);
  assert.equal(kind.code, 0);
  assert.match(kind.out, /^KIND: {4}Tier\nVERSION: projectcalico\.org\/v3\nNAMES: {3}tiers/);
  assert.match(kind.out, /\nFIELDS:\n {2}kind <string>/);
  const field = await ctl.run(["explain", "gnp.spec.ingress[0].action"]);
  assert.match(field.out, /FIELD: {3}spec\.ingress\[0\]\.action <string>/);
  assert.match(field.out, /One of: Allow, Deny, Log, Pass/);
  const wrong = await ctl.run(["explain", "gnp.spec.ingres"]);
  assert.equal(wrong.code, 1);
  assert.match(
    wrong.err,
    /GlobalNetworkPolicy\.spec has no field "ingres"; did you mean ingress\?/,
  );
  assert.equal((await ctl.run(["explain", "nopolicy"])).code, 1);
  assert.equal(ctl.connections, 0, "no datastore is needed");
});

test("every kind is explained", async () => {
  for (const { kind } of KINDS) {
    const { code, out } = await new Ctl().run(["explain", `${kind}.spec`]);
    assert.equal(code, 0);
    assert.match(out, new RegExp(`^KIND: {4}${kind}\n`));
  }
});
