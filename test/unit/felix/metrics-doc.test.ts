/** The list of metrics in the documentation against those that the code declares. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const read = (path: string): string => readFileSync(`${ROOT}${path}`, "utf8");

function* matches(text: string, pattern: RegExp): Generator<readonly [string, string]> {
  for (const [, first = "", second = ""] of text.matchAll(pattern)) yield [first, second];
}

test("docs/metrics.md names every metric with its kind, and no other", () => {
  const declared = globSync("src/**/*.ts", { cwd: ROOT })
    .flatMap((path) => [...matches(read(path), /\b(counter|gauge|histogram)\(\s*"(\w+)"/g)])
    .map(([kind, name]) => `${name} ${kind}`);
  const described = [...matches(read("docs/metrics.md"), /^\| `(\w+)` \| (\w+) \|/gm)].map(
    ([name, kind]) => `${name} ${kind}`,
  );
  assert.ok(declared.length > 20);
  assert.deepEqual(described.toSorted(), declared.toSorted());
});
