/** What a hostile workload may try: forged senders, fragments, extension headers, tags, tunnels. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { StrangePackets } from "./inside/strange-packets.ts";

test("of a workload's strange packets none gets past its policy", async () => {
  const script = fileURLToPath(new URL("inside/strange-packets.ts", import.meta.url));
  const results = await runInSandbox<StrangePackets>(script, {}, 60_000);
  const cases = Object.entries(results);
  assert.ok(cases.length > 30);
  const passed = cases.filter(([, result]) => result !== "dropped").map(([name]) => name);
  assert.deepEqual(passed, [
    "allowed IPv4",
    "allowed IPv6",
    "allowed after options",
    "allowed in fragments",
  ]);
});
