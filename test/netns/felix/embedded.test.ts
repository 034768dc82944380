import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { EmbeddedResult } from "./inside/embedded.ts";

test("the agent on an empty embedded store, with commands beside it", async () => {
  const result = await runInSandbox<EmbeddedResult>(
    fileURLToPath(new URL("inside/embedded.ts", import.meta.url)),
    {},
    60_000,
  );
  const { log } = result;
  assert.match(result.tiers, /^default +1000000\b/m, "the agent made the first objects");
  assert.match(result.route, /dev cali0a/, log);
  assert.equal(result.status, '{"status":"up"}', "endpoint status is on without being asked for");
  assert.match(result.printed, /^FelixHostname +host-a +environment variable$/m);
  assert.match(result.printed, /^ClusterGUID +[0-9a-f]{32} +datastore \(global\)$/m);
  assert.equal(result.exit, 0, log);
  assert.match(result.afterwards, /pod/, "commands work on without the agent");
  assert.match(log, /"msg":"stopped"/);
});
