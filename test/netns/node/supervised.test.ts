import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { SupervisedResult } from "./inside/supervised.ts";

const SERVICES = [
  "allocate-tunnel-addrs",
  "bird",
  "bird6",
  "confd",
  "felix",
  "monitor-addresses",
  "node-status-reporter",
];

describe("margay node under Debian's runsvdir, two hosts with BGP and a real etcd", () => {
  let result: SupervisedResult;
  before(async () => {
    const script = fileURLToPath(new URL("inside/supervised.ts", import.meta.url));
    result = await runInSandbox<SupervisedResult>(script, {}, 240_000);
  });

  it("gives a working node: services, routes by BGP, policy in force, logs in files", () => {
    assert.deepEqual(result.services, SERVICES);
    assert.match(result.route, /via 10\.0\.1\.12 dev eth0 proto bird/);
    assert.deepEqual(result.policed, { allowed: true, denied: true });
    assert.deepEqual(result.logFiles, SERVICES);
  });

  it("brings every killed service back within two seconds", () => {
    assert.deepEqual(Object.keys(result.backMs), [...SERVICES, "runsv of felix"]);
    const { "runsv of felix": runsv = Infinity, ...services } = result.backMs;
    for (const [name, ms] of Object.entries(services)) {
      assert.ok(ms < 2000, `${name} is back after ${ms} ms`);
    }
    // felix itself went on meanwhile; runsvdir looks every five seconds.
    assert.ok(runsv < 8000, `${runsv} ms`);
  });

  it("loses no packet when a service, runsvdir or margay node is killed, nor at a restart", () => {
    assert.deepEqual(Object.keys(result.flows), [
      ...SERVICES,
      "runsv of felix",
      "margay node restarted",
      "margay node killed, and started",
      "runsvdir killed",
    ]);
    for (const [what, { sent, received }] of Object.entries(result.flows)) {
      assert.ok(sent > 100, `${what}: ${sent} packets`);
      assert.equal(received, sent, `${what}: ${sent - received} of ${sent} lost`);
    }
  });

  it("starts felix again at once when a setting asks for it, and counts that as no failure", () => {
    const { before: first, after, ms } = result.felixPid;
    assert.notEqual(first, after);
    assert.ok(ms < 2000, `${ms} ms`);
    assert.doesNotMatch(result.log, /"service":"felix","code":129/);
  });

  it("lets a service that ends at once wait longer each time, and says so", () => {
    const { starts, inARow, log } = result.flapping;
    assert.ok(starts >= 3 && starts <= 4, `${starts} starts in about 5 s`);
    assert.ok(inARow >= 3, `${inARow}`);
    assert.match(
      log,
      /"service":"confd","code":3,"signal":0,"inARow":3,"pauseSeconds":2,"msg":"a service keeps ending; it waits/,
    );
  });

  it("answers calico-node's probes", () => {
    const { well, frozen, felixFrozen, alone } = result.probes;
    assert.equal(well, "");
    assert.match(
      frozen,
      /^calico\/node is not ready: bird\/confd is not live: BIRD does not answer/,
    );
    assert.doesNotMatch(frozen, /bird6/, "the other family is well");
    assert.match(felixFrozen, /calico\/node is not ready: Felix is not live: http.*\/liveness/);
    assert.match(
      alone,
      /^calico\/node is not ready: BIRD is not ready: BGP not established with 10/,
    );
  });

  it("shows sessions and services, and which service does not stay up", () => {
    const { well, flapping } = result.status;
    assert.match(well, /^Calico process is running\.\n\nIPv4 BGP status\n/);
    assert.match(well, /\| 10\.0\.1\.11 +\| node-to-node mesh \| up/);
    assert.match(well, /^SERVICE +STATE +PID +SINCE +INFO +$/m);
    for (const name of SERVICES) {
      assert.match(well, new RegExp(`^${name} +up +\\d+ +20\\d\\d-\\S+Z`, "m"));
    }
    assert.doesNotMatch(well, /exit code/);
    assert.match(
      flapping,
      /^confd +(?:backing off|up) .*ended [34] times in a row, last by exit code 3 at/m,
    );
  });

  it("tells which nodes of the cluster are dead", () => {
    const { well, oneDead } = result.allNodes;
    assert.match(well, /^host-1 +10\.0\.1\.11\/24 .*alive +20\S+Z/m);
    assert.match(well, /^host-2 .*alive/m);
    assert.match(oneDead, /^host-1 .*DEAD +20\S+Z/m);
    assert.match(oneDead, /^host-2 .*alive[^]*exit code 1$/m);
  });

  it("follows the host's address", () => {
    assert.match(result.moved.node, /"ipv4Address":"10\.0\.1\.22\/24"/);
    assert.match(result.moved.route, /via 10\.0\.1\.22 dev eth0 proto bird/);
  });

  it("refuses to supervise a directory twice, and leaves nothing behind when it stops", () => {
    assert.match(result.second, /runs the services in .* already, as process \d+/);
    assert.deepEqual(result.left, []);
    assert.match(result.log, /"msg":"all services have stopped"/);
  });
});
