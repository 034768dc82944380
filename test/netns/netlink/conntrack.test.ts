import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";

test("connections of addresses are forgotten, by filter and by dump", async () => {
  const script = fileURLToPath(new URL("inside/conntrack.ts", import.meta.url));
  const left = await runInSandbox<Record<string, string[]>>(script, {}, 30_000);
  const v4 = ["10.65.9.1", "10.65.9.2", "4000"];
  const v6 = ["fd65:9::1", "fd65:9::2", "4000"];
  assert.deepEqual(left, { few4: v4, few6: v6, many4: v4, many6: v6 });
});
