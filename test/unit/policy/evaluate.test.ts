import assert from "node:assert/strict";
import test from "node:test";
import { parseIp } from "#ip";
import {
  ALWAYS_ALLOWED_ICMPV6_TYPES,
  DEFAULT_FORWARD_OPTIONS,
  evaluate,
  evaluateForward,
  explain,
  parsePacket,
  PolicyState,
  undecidedBy,
  type Direction,
  type EndpointProgram,
  type Flow,
  type FlowEnd,
  type HostEndpointPolicy,
  type InterfacePolicy,
  type PacketText,
  type Policy,
  type PolicyId,
  type Rule,
  type RuleAction,
  type TierInfo,
} from "#policy";

const gnp = (name: string): PolicyId => ({ kind: "GlobalNetworkPolicy", namespace: "", name });
const staged = (name: string): PolicyId => ({
  kind: "StagedGlobalNetworkPolicy",
  namespace: "",
  name,
});

function rule(action: RuleAction, fields: Partial<Rule> = {}): Rule {
  return { action, ruleId: `${action}-${JSON.stringify(fields)}`, ...fields };
}

const OTHER_PROTOCOL: Partial<Rule> = { protocol: { name: "sctp" } };

function policy(rules: readonly Rule[], more: Partial<Policy> = {}): Policy {
  return {
    inboundRules: rules,
    outboundRules: [],
    untracked: false,
    preDnat: false,
    namespace: "",
    originalSelector: "all()",
    perfHints: [],
    tier: "default",
    ...more,
  };
}

const packet = parsePacket({
  protocol: "tcp",
  src: "10.65.0.1",
  dst: "10.65.0.2",
  srcPort: 40000,
  dstPort: 80,
});
const flow = (direction: Direction = "ingress"): Flow => ({ ...packet, direction });

const state = new PolicyState();
state.setPolicy(gnp("allow"), policy([rule("allow")]));
state.setPolicy(gnp("deny"), policy([rule("deny")]));
state.setPolicy(gnp("pass"), policy([rule("next-tier"), rule("deny")]));
state.setPolicy(gnp("log"), policy([rule("log")]));
state.setPolicy(gnp("log-allow"), policy([rule("log"), rule("allow")]));
state.setPolicy(gnp("empty"), policy([]));
state.setPolicy(gnp("miss"), policy([rule("allow", OTHER_PROTOCOL), rule("deny", OTHER_PROTOCOL)]));
state.setPolicy(gnp("unsupported"), policy([rule("allow")], { unsupported: ["spec.doNotTrack"] }));
state.setPolicy(
  gnp("dangling"),
  policy([rule("deny", { srcIpSetIds: ["s:gone"] }), rule("allow")]),
);
state.setPolicy(gnp("egress-allow"), policy([], { outboundRules: [rule("allow")] }));
state.setPolicy(staged("deny"), policy([rule("deny")]));
state.setProfile("allow", { inboundRules: [rule("allow")], outboundRules: [rule("allow")] });
state.setProfile("deny", { inboundRules: [rule("deny")], outboundRules: [rule("deny")] });
state.setProfile("pass", { inboundRules: [rule("next-tier"), rule("deny")], outboundRules: [] });
state.setProfile("log", { inboundRules: [rule("log")], outboundRules: [] });
state.setProfile("empty", { inboundRules: [], outboundRules: [] });
state.setProfile("dangling", {
  inboundRules: [rule("allow", { dstIpSetIds: ["s:gone"] })],
  outboundRules: [],
});

function tier(
  name: string,
  ids: readonly PolicyId[],
  defaultAction: TierInfo["defaultAction"] = "Deny",
): TierInfo {
  return { name, ingressPolicies: ids, egressPolicies: [], defaultAction };
}

function program(tiers: readonly TierInfo[], profileIds: readonly string[] = []): EndpointProgram {
  return { tiers, profileIds, lookups: state };
}

interface Case {
  readonly name: string;
  readonly tiers: readonly TierInfo[];
  readonly profiles?: readonly string[];
  readonly verdict: "allow" | "deny";
  /** The last step in words. */
  readonly last: string | RegExp;
}

const CASES: readonly Case[] = [
  { name: "nothing applies", tiers: [], verdict: "deny", last: "no profile matched: deny" },
  {
    name: "a policy allows",
    tiers: [tier("default", [gnp("allow")])],
    verdict: "allow",
    last: "tier default, GlobalNetworkPolicy/allow: allow by rule 0 (matches everything)",
  },
  {
    name: "a policy denies although a profile would allow",
    tiers: [tier("default", [gnp("deny")])],
    profiles: ["allow"],
    verdict: "deny",
    last: /GlobalNetworkPolicy\/deny: deny by rule 0/,
  },
  {
    name: "the first policy that matches decides",
    tiers: [tier("default", [gnp("miss"), gnp("allow"), gnp("deny")])],
    verdict: "allow",
    last: /GlobalNetworkPolicy\/allow/,
  },
  {
    name: "a log rule goes on to the next rule",
    tiers: [tier("default", [gnp("log-allow")])],
    verdict: "allow",
    last: /allow by rule 1/,
  },
  {
    name: "no rule matches: the tier denies, profiles are not asked",
    tiers: [tier("default", [gnp("miss"), gnp("log")])],
    profiles: ["allow"],
    verdict: "deny",
    last: "tier default, end: deny (default of the tier, which applies by GlobalNetworkPolicy/log)",
  },
  {
    name: "an empty policy makes the tier apply",
    tiers: [tier("default", [gnp("empty")])],
    profiles: ["allow"],
    verdict: "deny",
    last: /applies by GlobalNetworkPolicy\/empty/,
  },
  {
    name: "a tier whose default is Pass goes on",
    tiers: [tier("a", [gnp("miss")], "Pass"), tier("b", [gnp("allow")])],
    verdict: "allow",
    last: /tier b/,
  },
  {
    name: "a tier without policies in this direction does not apply",
    tiers: [tier("a", []), tier("b", [gnp("allow")])],
    verdict: "allow",
    last: /tier b/,
  },
  {
    name: "Pass skips the rest of its tier",
    tiers: [tier("a", [gnp("pass"), gnp("deny")]), tier("b", [gnp("allow")])],
    verdict: "allow",
    last: /tier b/,
  },
  {
    name: "Pass in the last tier leads to the profiles",
    tiers: [tier("default", [gnp("pass")])],
    profiles: ["allow"],
    verdict: "allow",
    last: "profile allow: allow by rule 0 (matches everything)",
  },
  {
    name: "staged policies do not act",
    tiers: [tier("default", [staged("deny"), gnp("allow")])],
    verdict: "allow",
    last: /GlobalNetworkPolicy\/allow/,
  },
  {
    name: "a tier with staged policies only does not drop",
    tiers: [tier("default", [staged("deny")])],
    profiles: ["allow"],
    verdict: "allow",
    last: /profile allow/,
  },
  {
    name: "a staged policy after one that acts does not save the packet",
    tiers: [tier("default", [gnp("miss"), staged("deny")])],
    profiles: ["allow"],
    verdict: "deny",
    last: /applies by GlobalNetworkPolicy\/miss/,
  },
  {
    name: "a missing staged policy does not act either",
    tiers: [tier("default", [staged("gone")])],
    profiles: ["allow"],
    verdict: "allow",
    last: /profile allow/,
  },
  {
    name: "a missing policy fails closed",
    tiers: [tier("default", [gnp("gone"), gnp("allow")])],
    verdict: "deny",
    last: "tier default, GlobalNetworkPolicy/gone: deny: the policy is missing",
  },
  {
    name: "what cannot be enforced fails closed",
    tiers: [tier("default", [gnp("unsupported")])],
    verdict: "deny",
    last: /cannot be enforced: spec\.doNotTrack/,
  },
  {
    name: "an unknown IP set fails closed",
    tiers: [tier("default", [gnp("dangling")])],
    verdict: "deny",
    last: /deny: rule 0 names the unknown IP set s:gone/,
  },
  {
    name: "rules of the other direction do not count",
    tiers: [tier("default", [gnp("egress-allow")])],
    verdict: "deny",
    last: /end: deny/,
  },
  {
    name: "the first profile that matches decides",
    tiers: [],
    profiles: ["empty", "log", "deny", "allow"],
    verdict: "deny",
    last: /profile deny: deny by rule 0/,
  },
  {
    name: "Pass in a profile ends that profile",
    tiers: [],
    profiles: ["pass", "allow"],
    verdict: "allow",
    last: /profile allow/,
  },
  {
    name: "a missing profile fails closed",
    tiers: [],
    profiles: ["gone", "allow"],
    verdict: "deny",
    last: "profile gone: deny: the profile is missing",
  },
  {
    name: "a profile with an unknown IP set fails closed",
    tiers: [],
    profiles: ["dangling", "allow"],
    verdict: "deny",
    last: /unknown IP set s:gone/,
  },
  {
    name: "no profile matches",
    tiers: [],
    profiles: ["empty", "log"],
    verdict: "deny",
    last: "no profile matched: deny",
  },
];

test("tiers, policies and profiles", () => {
  for (const { name, tiers, profiles, verdict, last } of CASES) {
    const evaluation = evaluate(program(tiers, profiles), flow());
    const words = explain(evaluation).at(-1) ?? "";
    assert.equal(evaluation.verdict, verdict, name);
    if (typeof last === "string") assert.equal(words, last, name);
    else assert.match(words, last, name);
  }
});

test("the trace names the rule, and the first field that failed", () => {
  const tiers = [tier("default", [staged("deny"), gnp("miss"), gnp("log")])];
  const { trace } = evaluate(program(tiers), flow());
  assert.deepEqual(
    trace.map((step) => step.step),
    ["policy", "policy", "policy", "end-of-tier"],
  );
  const [first, second] = trace;
  assert.ok(first?.step === "policy" && first.staged);
  assert.equal(first.result, "deny", "what the staged policy would have done");
  assert.ok(second?.step === "policy" && !second.staged);
  assert.deepEqual(
    second.rules.map(({ index, action, match }) => ({ index, action, match })),
    [
      { index: 0, action: "allow", match: { matched: false, failed: "protocol" } },
      { index: 1, action: "deny", match: { matched: false, failed: "protocol" } },
    ],
  );
  assert.equal(second.rules[0]?.ruleId, rule("allow", OTHER_PROTOCOL).ruleId);
  assert.deepEqual(explain({ verdict: "deny", trace }), [
    "tier default, StagedGlobalNetworkPolicy/deny (staged, does not act): deny by rule 0 (matches everything)",
    "tier default, GlobalNetworkPolicy/miss: no match (rule 0: protocol; rule 1: protocol)",
    "tier default, GlobalNetworkPolicy/log: no match; rule 0 only logs",
    "tier default, end: deny (default of the tier, which applies by GlobalNetworkPolicy/log)",
  ]);
  const dangling = evaluate(program([tier("default", [gnp("dangling")])]), flow());
  assert.equal(undecidedBy(dangling), "s:gone");
  assert.equal(undecidedBy(evaluate(program([]), flow())), undefined);
});

test("a disabled endpoint denies everything", () => {
  const disabled = { ...program([tier("default", [gnp("allow")])]), disabled: true };
  const evaluation = evaluate(disabled, flow());
  assert.equal(evaluation.verdict, "deny");
  assert.deepEqual(explain(evaluation), ["endpoint is administratively down: deny"]);
});

test("policies and profiles can be replaced and removed", () => {
  const own = new PolicyState();
  const verdict = (): string =>
    evaluate({ tiers: [tier("t", [gnp("p")])], profileIds: [], lookups: own }, flow()).verdict;
  own.setPolicy(gnp("p"), policy([rule("allow")]));
  assert.equal(verdict(), "allow");
  own.setPolicy(gnp("p"), policy([rule("deny")]));
  assert.equal(verdict(), "deny");
  own.setPolicy(gnp("p"), policy([rule("allow")]));
  own.setPolicy({ ...gnp("p"), namespace: "ns" }, policy([rule("deny")]));
  assert.equal(verdict(), "allow");
  own.removePolicy(gnp("p"));
  assert.equal(verdict(), "deny");
  own.setProfile("x", { inboundRules: [rule("allow")], outboundRules: [] });
  own.removeProfile("x");
  assert.equal(own.profile("x"), undefined);
});

const open: FlowEnd = { kind: "workload", program: program([], ["allow"]) };
const shut: FlowEnd = { kind: "workload", program: program([], ["deny"]) };
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
