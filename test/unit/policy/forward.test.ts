/** A packet's way through a host: workloads at its ends, stages of host endpoints, exceptions. */
import assert from "node:assert/strict";
import test from "node:test";
import { parseIp } from "#ip";
import {
  ALWAYS_ALLOWED_ICMPV6_TYPES,
  DEFAULT_FORWARD_OPTIONS,
  evaluateForward,
  parsePacket,
  PolicyState,
  type FlowEnd,
  type HostEndpointPolicy,
  type InterfacePolicy,
  type PacketText,
  type TierInfo,
} from "#policy";
import { gnp, packet, policy, rule } from "../../support/policies.ts";

const state = new PolicyState();
for (const action of ["allow", "deny"] as const) {
  state.setPolicy(gnp(action), policy([rule(action)]));
  state.setProfile(action, { inboundRules: [rule(action)], outboundRules: [rule(action)] });
}

const workload = (profile: string): FlowEnd => ({
  kind: "workload",
  program: { tiers: [], profileIds: [profile], lookups: state },
});
const open = workload("allow");
const shut = workload("deny");
const host: FlowEnd = { kind: "host" };
const outside: FlowEnd = { kind: "outside" };

test("both ends must accept what is forwarded", () => {
  const outcome = (from: FlowEnd, to: FlowEnd): readonly unknown[] => {
    const { verdict, reason, egress, ingress } = evaluateForward(packet, from, to);
    return [verdict, reason, egress?.verdict, ingress?.verdict];
  };
  assert.deepEqual(outcome(open, open), ["allow", "allowed", "allow", "allow"]);
  assert.deepEqual(outcome(open, shut), ["deny", "ingress-denied", "allow", "deny"]);
  assert.deepEqual(outcome(shut, open), ["deny", "egress-denied", "deny", undefined]);
  assert.deepEqual(outcome(open, outside), ["allow", "allowed", "allow", undefined]);
  assert.deepEqual(outcome(shut, outside), ["deny", "egress-denied", "deny", undefined]);
  assert.deepEqual(outcome(outside, open), ["allow", "allowed", undefined, "allow"]);
  assert.deepEqual(outcome(outside, shut), ["deny", "ingress-denied", undefined, "deny"]);
  assert.deepEqual(outcome(host, shut), ["allow", "allowed", undefined, undefined]);
  assert.deepEqual(outcome(outside, host), ["allow", "allowed", undefined, undefined]);
});

test("host endpoints decide stage by stage; what is allowed early passes the later ones", () => {
  const tiersOf = (name: string): TierInfo[] => [
    {
      name: "t",
      ingressPolicies: [gnp(name)],
      egressPolicies: [gnp(`${name}-both`)],
      defaultAction: "Pass",
    },
  ];
  for (const action of ["allow", "deny"] as const) {
    state.setPolicy(gnp(`${action}-both`), policy([], { outboundRules: [rule(action)] }));
  }
  const policyOf = (more: Partial<HostEndpointPolicy>): InterfacePolicy => {
    const base = { tiers: [], profileIds: [], untrackedTiers: [], preDnatTiers: [] };
    const main = { name: "hep", ...base, forwardTiers: [], lookups: state, ...more };
    return { main, untracked: main, preDnat: main };
  };
  const said = (interfacePolicy: InterfacePolicy, from: FlowEnd["kind"], to: FlowEnd["kind"]) => {
    const end = (kind: FlowEnd["kind"]): FlowEnd => {
      if (kind === "workload") return open;
      return kind === "host" ? { kind } : { kind, interfacePolicy };
    };
    const { reason, host: stages } = evaluateForward(packet, end(from), end(to));
    return [reason, ...stages.map(({ stage, outcome }) => `${stage} ${outcome}`)];
  };
  const nothing = ["untracked-in pass", "pre-dnat pass"];
  assert.deepEqual(said(policyOf({}), "outside", "host"), [
    "host-denied",
    ...nothing,
    "input deny",
  ]);
  assert.deepEqual(said(policyOf({ tiers: tiersOf("allow") }), "outside", "host"), [
    "allowed",
    ...nothing,
    "input allow",
  ]);
  assert.deepEqual(said(policyOf({ untrackedTiers: tiersOf("allow") }), "outside", "host"), [
    "allowed",
    "untracked-in allow",
  ]);
  assert.deepEqual(said(policyOf({ untrackedTiers: tiersOf("deny") }), "outside", "workload"), [
    "host-denied",
    "untracked-in deny",
  ]);
  assert.deepEqual(said(policyOf({ preDnatTiers: tiersOf("allow") }), "outside", "workload"), [
    "allowed",
    "untracked-in pass",
    "pre-dnat allow",
  ]);
  assert.deepEqual(said(policyOf({ forwardTiers: tiersOf("deny") }), "outside", "workload"), [
    "host-denied",
    ...nothing,
    "forward-in deny",
  ]);
  assert.deepEqual(said(policyOf({ forwardTiers: tiersOf("deny") }), "workload", "outside"), [
    "host-denied",
    "forward-out deny",
  ]);
  assert.deepEqual(said(policyOf({}), "host", "outside"), [
    "host-denied",
    "untracked-out pass",
    "output deny",
  ]);
  assert.deepEqual(said(policyOf({}), "host", "workload"), ["allowed"]);
});

test("a workload reaches its host by policy and by the host's action", () => {
  const outcome = (from: FlowEnd, endpointToHost: "drop" | "return" | "accept"): string =>
    evaluateForward(packet, from, host, { endpointToHost }).reason;
  assert.equal(outcome(open, "drop"), "endpoint-to-host-action");
  assert.equal(outcome(open, "accept"), "allowed");
  assert.equal(outcome(open, "return"), "allowed");
  assert.equal(outcome(shut, "accept"), "egress-denied");
  assert.equal(evaluateForward(packet, open, host).verdict, "deny");
});

test("ICMPv6 that routing needs is allowed to the host, whatever policy says", () => {
  const icmp6 = (icmpType: number) =>
    parsePacket({ protocol: "icmpv6", src: "fe80::1", dst: "ff02::2", icmpType, icmpCode: 0 });
  for (const type of ALWAYS_ALLOWED_ICMPV6_TYPES) {
    assert.equal(evaluateForward(icmp6(type), shut, host).reason, "always-allowed-icmpv6");
  }
  assert.equal(evaluateForward(icmp6(128), shut, host).reason, "egress-denied");
  assert.equal(evaluateForward(icmp6(134), shut, host).reason, "egress-denied");
  assert.equal(evaluateForward(icmp6(135), shut, outside).reason, "egress-denied");
  const v4 = parsePacket({ protocol: 58, src: "10.0.0.1", dst: "10.0.0.2", icmpType: 135 });
  assert.equal(evaluateForward(v4, shut, host).reason, "egress-denied");
});

test("workloads open no tunnels", () => {
  const ends = { src: "10.65.0.1", dst: "10.0.0.12" };
  const ipip = parsePacket({ protocol: "ipip", ...ends });
  const vxlan = parsePacket({ protocol: "udp", srcPort: 1, dstPort: 4789, ...ends });
  const reason = (one: typeof ipip, options = DEFAULT_FORWARD_OPTIONS): string =>
    evaluateForward(one, open, outside, options).reason;
  assert.equal(reason(ipip), "tunnel-from-workload");
  assert.equal(reason(vxlan), "tunnel-from-workload");
  assert.equal(evaluateForward(ipip, outside, open).reason, "allowed");
  assert.equal(reason(ipip, { endpointToHost: "drop", allowIpIpFromWorkloads: true }), "allowed");
  assert.equal(reason(vxlan, { endpointToHost: "drop" }), "allowed");
  assert.equal(reason(vxlan, { endpointToHost: "drop", deniedVxlanPort: 8472 }), "allowed");
  assert.equal(reason(packet), "allowed");
});

test("without IPv6 support nothing of it comes from workloads or goes to them", () => {
  const options = { endpointToHost: "accept", ipv6: false } as const;
  const six = parsePacket({
    protocol: "tcp",
    src: "fd65::1",
    dst: "fd65::2",
    srcPort: 1,
    dstPort: 2,
  });
  const reason = (one: typeof six, from: FlowEnd, to: FlowEnd): string =>
    evaluateForward(one, from, to, options).reason;
  assert.equal(reason(six, open, outside), "ipv6-off");
  assert.equal(reason(six, outside, open), "ipv6-off");
  assert.equal(reason(six, open, host), "ipv6-off");
  const ends = { src: "fe80::1", dst: "ff02::2" };
  const solicitation = parsePacket({ protocol: "icmpv6", icmpType: 135, icmpCode: 0, ...ends });
  assert.equal(reason(solicitation, open, host), "ipv6-off");
  assert.equal(reason(six, host, open), "allowed");
  assert.equal(reason(six, outside, host), "allowed");
  assert.equal(reason(packet, open, open), "allowed");
});

test("workloads of OpenStack get DHCP, DNS and metadata from their host", () => {
  const metadata = { address: parseIp("169.254.169.254"), port: 80 };
  const reason = (text: Omit<PacketText, "src">, openStack = {}): string => {
    const options = { endpointToHost: "drop", openStack } as const;
    return evaluateForward(parsePacket({ src: "10.65.0.1", ...text }), shut, host, options).reason;
  };
  const udp = { protocol: "udp", dst: "10.0.0.11" };
  assert.equal(reason({ ...udp, srcPort: 68, dstPort: 67 }), "openstack-service");
  assert.equal(reason({ ...udp, srcPort: 67, dstPort: 67 }), "egress-denied");
  assert.equal(reason({ ...udp, srcPort: 546, dstPort: 547 }), "egress-denied");
  assert.equal(reason({ ...udp, srcPort: 9, dstPort: 53 }), "openstack-service");
  const web = { protocol: "tcp", dst: "169.254.169.254", srcPort: 9, dstPort: 80 };
  assert.equal(reason(web), "egress-denied");
  assert.equal(reason(web, { metadata }), "openstack-service");
  assert.equal(reason({ ...web, dstPort: 81 }, { metadata }), "egress-denied");
  assert.equal(reason({ ...web, dst: "169.254.169.253" }, { metadata }), "egress-denied");
});

test("policy sees the translated address, pre-DNAT policy the one that was asked for", () => {
  state.setPolicy(
    gnp("for-floating"),
    policy([rule("allow", { dstNet: ["172.16.0.17/32"] }), rule("deny")]),
  );
  state.setPolicy(gnp("for-own"), policy([rule("allow", { dstNet: ["10.65.0.1/32"] })]));
  const tiersOf = (name: string): TierInfo[] => [
    { name: "t", ingressPolicies: [gnp(name)], egressPolicies: [], defaultAction: "Deny" },
  ];
  const asked = parsePacket({
    protocol: "tcp",
    src: "192.0.2.1",
    dst: "172.16.0.17",
    srcPort: 1,
    dstPort: 2,
  });
  const base = { profileIds: [], untrackedTiers: [], tiers: [], forwardTiers: [], lookups: state };
  const preDnat = { name: "hep", ...base, preDnatTiers: tiersOf("for-floating") };
  const from: FlowEnd = { kind: "outside", interfacePolicy: { preDnat } };
  const program = { tiers: tiersOf("for-own"), profileIds: [], lookups: state };
  const reason = (to: FlowEnd): string => evaluateForward(asked, from, to).reason;
  assert.equal(reason({ kind: "workload", program }), "ingress-denied");
  const translatedTo = parseIp("10.65.0.1");
  assert.equal(reason({ kind: "workload", program, translatedTo }), "allowed");
  const elsewhere = { ...asked, dst: parseIp("172.16.0.18") };
  const to: FlowEnd = { kind: "workload", program, translatedTo };
  assert.equal(evaluateForward(elsewhere, from, to).reason, "host-denied");
});
