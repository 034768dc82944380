/** The compiled table in the real kernel: accepted, listed by nft, obeyed by packets, kept on restart. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { PolicyTableResult } from "./inside/policy-table.ts";

test("the policy table in the kernel", async (t) => {
  const result = await runInSandbox<PolicyTableResult>(
    fileURLToPath(new URL("inside/policy-table.ts", import.meta.url)),
    {},
    60_000,
  );

  await t.test("nft lists it, readably, and reads its own listing again", () => {
    assert.ok(result.json);
    assert.ok(result.rereadable);
    for (const line of [
      "type filter hook prerouting priority raw; policy accept;",
      'iifname "cali*" goto from-workload',
      'iifname "cali*" iifname . ip saddr . ether saddr @workload-source-mac4 accept',
      'ct state established,related oifname "cali*" oifname @workload-interfaces accept',
      'meta mark vmap @from-class-chain comment "Key: iifname map @from-class"',
      "iifname . ether saddr @workload-mac goto workload-source-other",
      '"cali00000000000" . 10.65.0.16',
      'comment "End of tier second. Drop if no policies passed packet"',
      'comment "GlobalNetworkPolicy none is not known"',
      'limit rate 5/second burst 9 packets log prefix "t=default k=gnp n=all p=all: " level notice',
      'tcp dport 80-90 ip saddr @s-a.4 counter packets 0 bytes 0 accept comment "GlobalNetworkPolicy web ingress rule 1"',
    ]) {
      assert.ok(result.listing.includes(line), `${line}\nis not in\n${result.listing}`);
    }
    const strange = result.listing
      .split("\n")
      .filter((line) => /\[invalid|unknown|@nh|@th|@ll/.test(line));
    assert.deepEqual(strange, []);
  });

  await t.test("packets obey it", () => {
    assert.deepEqual(result.arrived, [1, 2, 5, 6, 8, 13]);
    assert.deepEqual(result.afterMember, [104, 105]);
  });

  await t.test("only what changed goes down", () => {
    assert.ok(result.first > 50);
    assert.equal(result.idle, 0);
    assert.equal(result.restart, 0);
    assert.ok(result.member <= 3, `one member: ${result.member} messages`);
    assert.ok(result.endpoint <= 12, `one endpoint: ${result.endpoint} messages`);
    assert.ok(result.policy <= 8, `one policy: ${result.policy} messages`);
  });
});
