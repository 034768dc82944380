/** Three members of etcd: one dies, the leader dies, one hangs, one is cut off, history goes, space runs out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { EtcdClusterResult } from "../inside/etcd-cluster.ts";

const LONG = process.env["MARGAY_TEST_LONG"] !== undefined;

test("a cluster of etcd whose members fail", async (t) => {
  const { faults, minorityReads, noSpace, afterCompaction, statusIsBack } =
    await runInSandbox<EtcdClusterResult>(
      fileURLToPath(new URL("../inside/etcd-cluster.ts", import.meta.url)),
      { settleMs: LONG ? 20_000 : 2000 },
      LONG ? 400_000 : 180_000,
    );
  for (const [name, { lost, backwards, written, longestPauseMs }] of Object.entries(faults)) {
    await t.test(`${name}: no update lost, none twice`, (one) => {
      assert.deepEqual({ lost, backwards }, { lost: 0, backwards: 0 });
      assert.ok(written > 40);
      // A dead connection is known at once, a silent one after keepalive and ping, an election takes 2 s.
      assert.ok(longestPauseMs < 12_000, `${longestPauseMs} ms without a write`);
      one.diagnostic(`longest pause ${Math.round(longestPauseMs)} ms, ${written} writes`);
    });
  }
  await t.test("a member without the others answers no read with what it had", () => {
    assert.match(minorityReads, /^(?:timeout|unavailable)$/);
  });
  await t.test("history compacted while away: read anew, nothing goes back", () => {
    assert.deepEqual(afterCompaction, { converged: true, backwards: 0 });
  });
  await t.test("a status whose lease was revoked is written again", () => {
    assert.ok(statusIsBack);
  });
  await t.test("no space: said with what to do, and over when it is done", () => {
    assert.equal(noSpace.code, "no-space");
    assert.match(noSpace.message, /etcdctl alarm disarm/);
    assert.ok(noSpace.told);
  });
});
