/** What the table does beside policy, on a real kernel, with real connections. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import { UPLINK } from "../../support/workload-host.ts";
import type { FloatingIpsResult } from "./inside/floating-ips.ts";
import type { NatOutgoingResult } from "./inside/nat-outgoing.ts";
import type { ServiceLoopResult } from "./inside/service-loop.ts";
import type { SpoofingResult } from "./inside/spoofing.ts";
import type { TunnelsResult } from "./inside/tunnels.ts";

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

test("floating addresses", async (t) => {
  const result = await runInSandbox<FloatingIpsResult>(script("floating-ips.ts"), {}, 60_000);
  const timeouts = ["timeout", "timeout"];
  assert.deepEqual(result.errors, []);
  await t.test("nothing while they are switched off", () => {
    assert.deepEqual(result.disabled.outside, timeouts);
    assert.doesNotMatch(result.disabledListing, /floating|type nat/);
  });
  await t.test("lead to the workload from everywhere", () => {
    assert.deepEqual(result.enabled, {
      outside: [UPLINK.outside.ipv4, UPLINK.outside.ipv6],
      neighbour: ["10.65.0.2", "fd65::2"],
      itself: ["192.0.2.50", "2001:db8:5::50"],
      host: [UPLINK.host.ipv4, UPLINK.host.ipv6],
    });
    assert.match(result.routes, /^192\.0\.2\.50 dev cali00000000001 /m);
    assert.match(result.routes, /^2001:db8:5::50 dev cali00000000001 /m);
  });
  await t.test("are listed readably", () => {
    for (const line of [
      "192.0.2.50 : 10.65.0.1",
      "2001:db8:5::50 : fd65::1",
      "10.65.0.1 . 10.65.0.1 : 192.0.2.50",
      "dnat ip to ip daddr map @floating-ips4",
      "snat ip6 to ip6 saddr . ip6 daddr map @floating-hairpin6",
    ]) {
      assert.ok(result.listing.includes(line), `${line}\nis not in\n${result.listing}`);
    }
  });
  await t.test("are translated before policy, and nobody's source", () => {
    assert.deepEqual(result.externalDenied, ["10.65.0.2", "fd65::2"]);
    assert.deepEqual(result.internalDenied, timeouts);
    assert.deepEqual(result.spoofed, timeouts);
  });
  await t.test("belong to one endpoint at a time, and go with it", () => {
    assert.equal(result.restartWrites, 0);
    assert.deepEqual(result.contested, [UPLINK.outside.ipv4, UPLINK.outside.ipv6]);
    assert.deepEqual(result.inherited, [UPLINK.outside.ipv4, UPLINK.outside.ipv6]);
    assert.doesNotMatch(result.removedListing, /floating|type nat|192\.0\.2\.50|db8:5::50/);
  });
});

test("service loops, and Reject", async (t) => {
  const result = await runInSandbox<ServiceLoopResult>(script("service-loop.ts"), {}, 60_000);
  const both = (outcome: string): string[] => [outcome, outcome];
  assert.deepEqual(result.errors, []);
  await t.test("service addresses go nowhere but to a service", () => {
    assert.deepEqual(result.unknown, both("open"));
    assert.deepEqual(result.dropped, both("timeout"));
    assert.deepEqual(result.besides, both("open"));
    assert.deepEqual(result.rejected, both("refused"));
    assert.deepEqual(result.disabled, both("open"));
    assert.match(result.listing, /ip daddr @service-nets4 counter drop/);
    assert.doesNotMatch(result.emptied, /service-/);
  });
  await t.test("Reject tells the caller, in both families", () => {
    assert.deepEqual(result.policyDrops, both("timeout"));
    assert.deepEqual(result.policyRejects, both("refused"));
    assert.deepEqual(result.udpDrops, both("timeout"));
    assert.deepEqual(result.udpRejects, both("refused"));
    assert.deepEqual(result.translated, both("open"), "without policy");
    assert.deepEqual(result.hostDrops, [both("timeout"), both("timeout"), both("timeout")]);
    // What somebody translated is asked at a hook that can only drop.
    assert.deepEqual(result.hostRejects, [both("refused"), both("refused"), both("timeout")]);
  });
});

test("tunnel packets", async (t) => {
  const result = await runInSandbox<TunnelsResult>(script("tunnels.ts"), {}, 60_000);
  assert.deepEqual(result.errors, []);
  const ordinary = ["host", "other", "far"].flatMap((name) => [
    ...[4, 6].flatMap((family) => [`udp${family} ${name}`, `to vxlan${family} ${name}`]),
    `to ipip ${name}`,
  ]);
  const of = (...names: string[]): string[] =>
    names.flatMap((name) => [`vxlan4 ${name}`, `vxlan6 ${name}`, `ipip ${name}`]);
  const sorted = (...titles: string[]): string[] => [...ordinary, ...titles].sort();
  await t.test("come from everywhere while there are no tunnels", () => {
    assert.deepEqual(result.off, sorted(...of("host", "other", "far")));
    assert.doesNotMatch(result.emptied, /tunnels|all-hosts|vxlan-hosts/);
  });
  await t.test("come from the cluster's hosts alone where there are", () => {
    assert.deepEqual(result.on, sorted(...of("host")));
    const vxlan = of("host", "other", "far").filter((title) => title.startsWith("vxlan"));
    assert.deepEqual(result.onIpipOnly, sorted("ipip host", ...vxlan));
    assert.deepEqual(result.external, sorted(...of("host"), "vxlan4 other", "ipip other"));
    assert.equal(result.restartWrites, 0);
  });
  await t.test("are not tracked, and carry the tunnel's address", () => {
    for (const line of [
      "type filter hook prerouting priority raw; policy accept;",
      "meta nfproto ipv4 udp dport 4789 fib daddr type local counter notrack",
      "meta nfproto ipv6 udp dport 4789 counter notrack",
      'oifname "vxlan.calico" fib saddr . oif type != local fib saddr type local counter masquerade fully-random',
      'oifname "tunl0" fib saddr . oif type != local fib saddr type local counter masquerade fully-random',
      "masquerade to :4790-65535 fully-random",
    ]) {
      assert.ok(result.listing.includes(line), `${line}\nis not in\n${result.listing}`);
    }
  });
  await t.test("need no policy of the host's", () => {
    const both = of("host").flatMap((title) => [title, `to ${title}`]);
    assert.deepEqual(result.policed, both.sort());
    assert.deepEqual(result.policedOff, []);
  });
});

test("sources that a workload may spoof", async () => {
  const result = await runInSandbox<SpoofingResult>(script("spoofing.ts"), {}, 60_000);
  assert.deepEqual(result.errors, []);
  assert.deepEqual(result.allowed, [...POD1, "10.7.1.1", "fd07::1"]);
  assert.deepEqual(result.disabled, POD1);
});
