/** Durations and deadlines go by a monotonic clock: nothing may depend on the date, which can jump. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const RESIDENT = ["felix", "dataplane", "netlink", "sync", "datastore", "metrics", "std", "calc"];
/** These write the date where people read it. */
const DATES = new Set(["src/felix/observers.ts", "src/felix/first-start.ts"]);
const WALL_CLOCK = /\bDate\.now\b|\bnew Date\(\)|performance\.timeOrigin/;

test("the agent and its store take no duration from the wall clock", () => {
  const files = RESIDENT.flatMap((name) => globSync(`src/${name}/**/*.ts`, { cwd: ROOT }));
  assert.ok(files.length > 100);
  const users = files.filter((file) => WALL_CLOCK.test(readFileSync(`${ROOT}${file}`, "utf8")));
  assert.deepEqual(new Set(users), DATES);
});
