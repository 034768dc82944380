/** The agent as a process: real etcd, real interfaces, real packets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { LifeResult } from "./inside/life.ts";

test("the life of the agent: waits, enforces, reports, and ends as it should", async (t) => {
  const result = await runInSandbox<LifeResult>(
    fileURLToPath(new URL("inside/life.ts", import.meta.url)),
    {},
    120_000,
  );
  const { log } = result;
  await t.test("waits for the ready flag without touching the kernel", () => {
    assert.deepEqual(result.beforeReadyFlag, { readiness: 503, liveness: 200, table: false }, log);
  });
  await t.test("packets obey policy, and a label flips it", () => {
    assert.deepEqual(
      [result.allowed, result.deniedAfterRelabel, result.allowedAgain],
      [true, true, true],
      log,
    );
  });
  await t.test("says how it is: readiness, metrics, status where Calico writes it", () => {
    assert.match(result.readiness, /^InternalDataplaneMainLoop +ok +ok$/m);
    assert.match(result.metrics, /^felix_active_local_endpoints 2$/m);
    assert.match(result.metrics, /^felix_resync_state 2$/m);
    assert.match(result.metrics, /^margay_datastore_to_kernel_seconds_count [1-9]/m);
    assert.match(result.metrics, /^felix_nft_rules [1-9]/m);
    assert.match(result.metrics, /^felix_calc_graph_output_events [1-9]/m);
    assert.match(result.metrics, /^felix_int_dataplane_initial_resync_time_seconds 0\.\d/m);
    assert.match(result.metrics, /^felix_label_index_num_endpoints [1-9]/m);
    assert.equal(result.status["/workload/k8s/default%2fa/endpoint/eth0"], '{"status":"up"}');
    const own = JSON.parse(result.status["/status"] ?? "{}") as { first_update?: boolean };
    assert.equal(own.first_update, true);
    assert.equal(result.status["/last_reported_status"], result.status["/status"]);
    assert.ok(result.removedStatus, log);
  });
  await t.test("exit codes; the kernel keeps what was programmed", () => {
    assert.ok(result.liveChangeKeptPid, log);
    assert.equal(result.exitOnChange, 129, log);
    assert.ok(result.tableAfterExit);
    assert.equal(result.exitOnHup, 129, log);
    assert.equal(result.exitOnTerm, 0, log);
    assert.ok(result.tableAfterTerm && result.stillEnforcedAfterTerm);
    assert.ok(result.reexecKeptPid, log);
    assert.equal(result.exitOnNotReady, 1, log);
  });
});
