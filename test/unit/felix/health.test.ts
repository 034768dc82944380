import assert from "node:assert/strict";
import { test } from "node:test";
import { Health } from "../../../src/felix/health.ts";
import { serveHealth } from "../../../src/felix/http-servers.ts";

test("a part is bad when it says so, and when it is silent for too long", () => {
  let now = 0;
  const health = new Health(() => now);
  health.register("Loop", { reports: { live: true, ready: true }, timeoutMs: 90_000 });
  health.register("Startup", { reports: { live: false, ready: true }, timeoutMs: 0 });

  assert.equal(health.summary("live").ok, true, "alive before its first report");
  assert.equal(health.summary("ready").ok, false, "not ready before its first report");
  health.report("Loop", { live: true, ready: true });
  health.report("Startup", { live: true, ready: true });
  assert.equal(health.summary("ready").ok, true);

  now = 90_001;
  assert.equal(health.summary("live").ok, false);
  assert.match(health.summary("live").text, /^Loop +bad +bad +no report for 90 s$/m);
  assert.match(health.summary("live").text, /^Startup +- +ok$/m);
  health.overrideTimeouts({ Loop: 100_000 });
  assert.equal(health.summary("live").ok, true);
  health.report("Loop", { live: false, ready: true, detail: "stuck" });
  assert.equal(health.summary("live").ok, false);
  assert.match(health.summary("live").text, /stuck/);
});

test("served over HTTP as 200 and 503; a port that is taken is retried", async (t) => {
  const health = new Health(() => 0);
  health.register("Loop", { reports: { live: true, ready: true }, timeoutMs: 0 });
  const first = serveHealth(health, "127.0.0.1", 0);
  t.after(() => first.close());
  while (first.port() === undefined) await new Promise((resolve) => setImmediate(resolve));
  const base = `http://127.0.0.1:${first.port()}`;
  const status = async (path: string): Promise<number> => (await fetch(base + path)).status;

  assert.equal(await status("/liveness"), 200);
  assert.equal(await status("/readiness"), 503);
  assert.equal(await status("/other"), 404);
  health.report("Loop", { live: true, ready: true });
  const ready = await fetch(`${base}/readiness`);
  assert.equal(ready.status, 200);
  assert.match(await ready.text(), /^Loop +ok +ok$/m);

  const second = serveHealth(health, "127.0.0.1", first.port() ?? 0);
  t.after(() => second.close());
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(second.port(), undefined);
  await first.close();
  const deadline = Date.now() + 5000;
  while (second.port() === undefined && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(await status("/readiness"), 200);
});
