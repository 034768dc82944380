/** The systemd unit, as systemd itself reads it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

const ROOT = new URL("../../../", import.meta.url).pathname;
const UNIT = readFileSync(join(ROOT, "service/margay-node.service"), "utf8");

/** What systemd says of it; it must find the program. */
function verified(t: TestContext, unit: string): { code: number | null; said: string } {
  const dir = mkdtempSync(join(tmpdir(), "margay-unit-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "margay-node.service");
  writeFileSync(file, unit.replace("/usr/bin/margay", join(ROOT, "bin/margay")));
  const run = spawnSync("systemd-analyze", ["verify", "--man=no", file], { encoding: "utf8" });
  assert.equal(run.error, undefined);
  return { code: run.status, said: run.stdout + run.stderr };
}

test("systemd has nothing against the unit, and would say so", (t) => {
  assert.deepEqual(verified(t, UNIT), { code: 0, said: "" });
  const { said } = verified(t, UNIT.replace("KillMode=mixed", "KillMode=sometimes"));
  assert.match(said, /sometimes/);
});
