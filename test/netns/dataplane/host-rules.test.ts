/** What the table does beside policy, on a real kernel, with real connections. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import { UPLINK } from "../../support/workload-host.ts";
import type { NatOutgoingResult } from "./inside/nat-outgoing.ts";

const script = (name: string): string => fileURLToPath(new URL(`inside/${name}`, import.meta.url));
const POD1 = ["10.65.0.1", "fd65::1"];
const HOST = [UPLINK.host.ipv4, UPLINK.host.ipv6];

test("outgoing NAT", async (t) => {
  const result = await runInSandbox<NatOutgoingResult>(script("nat-outgoing.ts"), {}, 60_000);
  assert.deepEqual(result.errors, []);
  await t.test("only while a pool wants it", () => {
    assert.equal(result.chainBefore, false);
    assert.deepEqual(result.withoutPool, POD1);
    assert.deepEqual(result.outside, HOST);
    assert.deepEqual(result.switchedOff, POD1);
    assert.equal(result.chainAfter, false);
  });
  await t.test("towards another pool a workload keeps its address", () => {
    assert.deepEqual(result.otherPool, POD1);
  });
  await t.test("is listed readably", () => {
    for (const line of [
      "type nat hook postrouting priority srcnat + 10; policy accept;",
      "ip saddr @nat-pools4 ip daddr != @ip-pools4 counter masquerade fully-random",
      "ip6 saddr @nat-pools6 ip6 daddr != @ip-pools6 counter masquerade fully-random",
      "elements = { 10.65.0.0/24, 10.66.0.0/16 }",
    ]) {
      assert.ok(result.listing.includes(line), `${line}\nis not in\n${result.listing}`);
    }
  });
  await t.test("outlives restarts and repairs", () => {
    assert.equal(result.restartWrites, 0);
    assert.ok(result.repairedMs < 100, `${result.repairedMs} ms`);
    assert.deepEqual(result.repaired, HOST);
  });
  await t.test("with ports, an address, an interface, exclusions", () => {
    assert.equal(result.ports.length, 10);
    const outside = result.ports.filter((port) => !(port >= 20_000 && port <= 20_009));
    assert.deepEqual(outside, []);
    assert.deepEqual(result.otherAddress, ["10.0.0.12", UPLINK.host.ipv6]);
    assert.deepEqual(result.otherInterface, POD1);
    assert.deepEqual(result.sameInterface, HOST);
    assert.deepEqual(result.toHost, POD1);
    assert.deepEqual(result.toHostForgotten, [POD1[0], HOST[1]], "IPv4 is another host's too");
  });
});
