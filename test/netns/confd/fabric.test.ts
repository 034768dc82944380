/** BIRD with a reflector, passwords, filters and a router that is not ours. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { FabricResult } from "./inside/fabric.ts";

test("a reflector, its clients and a router of somebody else's", async (t) => {
  const result = await runInSandbox<FabricResult>(
    fileURLToPath(new URL("inside/fabric.ts", import.meta.url)),
    {},
    150_000,
  );
  await t.test("clients learn of each other, with the other as next hop", () => {
    assert.match(
      result.reflected,
      /^10\.65\.3\.0\/26 via 10\.0\.0\.3 dev eth0 proto bird metric 1024/,
    );
    assert.match(result.reflectedSix, /^fd65::2:0\/122 via fd00::2 dev eth0 proto bird/);
  });
  await t.test(
    "a session with a password: not with a wrong one; the right one counts at once",
    () => {
      assert.match(result.withoutPassword, /Node_10_0_0_9/);
      assert.doesNotMatch(result.withoutPassword, /Established/);
      assert.equal(result.mode, 0o600);
      assert.equal(result.told, false, "the password is in a log");
    },
  );
  await t.test("filters: what is told, with communities and path; what is not", () => {
    const two = /^10\.65\.2\.0\/26 .*?(?=^\S)/ms.exec(`${result.tor}\nend`)?.[0] ?? "";
    assert.match(two, /BGP\.as_path: 64512 64513/);
    assert.match(two, /BGP\.community: \(64512,9\)/);
    assert.match(result.tor, /^10\.65\.1\.0\/26/m);
    assert.doesNotMatch(result.tor, /10\.65\.3\.0/);
    assert.match(result.torSix, /^fd65::1:0\/122/m);
    assert.doesNotMatch(result.torSix, /fd65::3:0/);
  });
  await t.test("imports: only what the filter lets in, and not passed on to the cluster", () => {
    assert.match(result.learned, /^198\.18\.0\.0\/15 via 10\.0\.0\.9 /);
    assert.equal(result.notLearned, "");
    assert.equal(result.notPassedOn, "");
  });
  await t.test("services are announced, and not in the kernel", () => {
    assert.match(result.tor, /^10\.96\.0\.0\/12/m);
    assert.equal(result.serviceInKernel, "");
  });
  await t.test("disk full: the old configuration stays, and the new one is taken later", () => {
    assert.deepEqual(result.full, { kept: true, told: true, taken: true });
  });
  t.diagnostic(`from password to session ${Math.round(result.passwordMs)} ms`);
});
