import assert from "node:assert/strict";
import { test } from "node:test";
import { counter, enableExposition, gauge, histogram } from "#metrics";

test("instruments count before and after the library is loaded", async () => {
  const writes = counter("t_writes", "Writes.");
  const states = gauge("t_states", "Endpoints by state.", ["state"]);
  const latency = histogram("t_latency_seconds", "Latency.", [0.01, 0.1]);
  writes.inc();
  writes.inc(4);
  states.set(3, { state: "up" });
  states.set(1, { state: "down" });
  states.add(-1, { state: "down" });

  const exposition = await enableExposition({ processMetrics: false });
  latency.observe(0.05);
  const late = counter("t_late", "Declared after the first scrape.");
  late.inc(2);
  writes.inc();

  const text = await exposition.text();
  assert.match(text, /^# TYPE t_writes counter$/m);
  assert.match(text, /^t_writes 6$/m);
  assert.match(text, /^t_states\{state="up"\} 3$/m);
  assert.match(text, /^t_states\{state="down"\} 0$/m);
  assert.match(text, /^t_latency_seconds_bucket\{le="0.01"\} 0$/m);
  assert.match(text, /^t_latency_seconds_bucket\{le="0.1"\} 1$/m);
  assert.match(text, /^t_late 2$/m);
  assert.equal(writes.value(), 6);
  assert.match(await exposition.text(), /^t_writes 6$/m, "a second scrape gives the same");
});

test("the same name gives the same instrument, another kind is a bug", () => {
  counter("t_same", "x").inc();
  assert.equal(counter("t_same", "x").value(), 1);
  assert.throws(() => gauge("t_same", "x"), /declared twice/);
});
