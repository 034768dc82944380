/** What survives: the agent killed, etcd gone, the kernel changed by others. Real processes, real packets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../support/sandbox.ts";
import type { DriftResult } from "./inside/drift.ts";
import type { EmbeddedKillResult } from "./inside/embedded.ts";
import type { EtcdResult } from "./inside/etcd.ts";
import type { RivalsResult } from "./inside/rivals.ts";
import type { RestartResult } from "./inside/restart.ts";

const WHOLE_AT_ONCE = [
  "flushed",
  "tableDeleted",
  "ruleDeleted",
  "elementDeleted",
  "routeDeleted",
] as const;
const LONG = process.env["MARGAY_TEST_LONG"] !== undefined;

function inside<T>(script: string, argument: unknown): Promise<T> {
  return runInSandbox<T>(fileURLToPath(new URL(`inside/${script}`, import.meta.url)), argument);
}

test("20 SIGKILLs under 1,000 packets a second lose none, and a restart writes nothing", async () => {
  const result = await inside<RestartResult>("restart.ts", { times: 20 });
  assert.ok(result.sent > 2000, `only ${result.sent} packets were sent`);
  assert.equal(result.sent - result.received, 0, `${result.sent - result.received} packets lost`);
  assert.equal(result.ruleset, "", "the restarted agent changed the ruleset");
  assert.equal(result.network, "", "the restarted agent changed the host's network");
  assert.ok(result.connectionKept, "the restarted agent forgot an established connection");
});

test("etcd killed, away, and compacted: no packet lost, and the state converges", async () => {
  const result = await inside<EtcdResult>("etcd.ts", { awayMs: LONG ? 60_000 : 5000 });
  assert.equal(result.lostWhileAway, 0, result.log);
  assert.ok(result.convergedAfterReturn, `not after etcd's return\n${result.log}`);
  assert.ok(result.convergedAfterCompaction, `not after compaction\n${result.log}`);
  assert.ok(result.convergedAfterRestore, `not after a restore\n${result.log}`);
  assert.ok(result.convergedAfterOvertaking, `not after a restore and writes\n${result.log}`);
  assert.ok(result.agentSurvived, result.log);
});

test("a second agent on the host leaves the first alone, and follows it when it dies", async () => {
  const result = await inside<RivalsResult>("rivals.ts", {});
  assert.equal(result.secondExit, 1, result.log);
  assert.ok(result.namesFirst, result.log);
  assert.equal(result.writes, "", "the ruleset changed while two agents ran");
  assert.ok(result.firstAlive, result.log);
  assert.ok(result.tookOver, result.log);
  assert.ok(result.goesOnBesideStranger, result.log);
});

test("what others change is whole again at once, and invalid objects count as absent", async () => {
  const result = await inside<DriftResult>("drift.ts", {});
  for (const what of WHOLE_AT_ONCE) {
    assert.ok(result[what] < 100, `${what}: whole again after ${result[what].toFixed(0)} ms`);
  }
  assert.ok(
    result.renamedAndBack < 1000,
    `an interface that was renamed and came back: ${result.renamedAndBack} ms`,
  );
  assert.ok(result.recreated < 1000, `a new interface in its place: ${result.recreated} ms`);
  // Not watched for; looked at every second here, and the kernel asks by ARP meanwhile.
  assert.ok(result.neighbourDeleted < 2000, `a neighbour: ${result.neighbourDeleted} ms`);
  assert.ok(result.repairs >= 4, `only ${result.repairs} repairs were counted`);
  assert.ok(result.foreignTableUntouched);
  assert.ok(result.invalidTreatedAsAbsent, result.log);
  assert.equal(result.invalidSaid, 1, `an invalid object is said once\n${result.log}`);
  assert.ok(result.invalidEndpointDrops, "the interface of an invalid endpoint lets packets pass");
  assert.equal(result.endpointSaid, 1, `an invalid endpoint is said once\n${result.log}`);
  assert.ok(result.mendedEndpointWorks);
});

test("the agent on its embedded store killed while commands write: nothing acknowledged is lost", async () => {
  const result = await inside<EmbeddedKillResult>("embedded.ts", { times: LONG ? 50 : 8 });
  assert.ok(result.acknowledged > 8, `only ${result.acknowledged} writes\n${result.log}`);
  assert.deepEqual(result.lost, [], result.log);
  assert.ok(result.enforced, result.log);
});
