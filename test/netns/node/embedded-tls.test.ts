/** A cluster without etcd: one embedded store, served to the other hosts over mutual TLS. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { EmbeddedTlsResult } from "./inside/embedded-tls.ts";

test("nodes form a cluster over one embedded store with mutual TLS, and outlive it", async () => {
  const script = fileURLToPath(new URL("inside/embedded-tls.ts", import.meta.url));
  const result = await runInSandbox<EmbeddedTlsResult>(script, {}, 180_000);
  assert.match(result.status, /10\.0\.1\.12 +\| node-to-node mesh +\| up +\|.*Established/);
  assert.match(result.ipam, /10\.65\.1\.0\/26/);
  assert.deepEqual(result.reaches, { first: true, dead: true, denied: true });
  assert.notEqual(result.stranger.code, 0);
  assert.match(result.stranger.error, /certificate/i);
});
