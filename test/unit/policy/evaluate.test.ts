import assert from "node:assert/strict";
import test from "node:test";
import {
  evaluate,
  explain,
  PolicyState,
  undecidedBy,
  type Direction,
  type EndpointProgram,
  type Flow,
  type PolicyId,
  type Rule,
  type TierInfo,
} from "#policy";
import { gnp, packet, policy, rule } from "../../support/policies.ts";

const staged = (name: string): PolicyId => ({
  kind: "StagedGlobalNetworkPolicy",
  namespace: "",
  name,
});

const OTHER_PROTOCOL: Partial<Rule> = { protocol: { name: "sctp" } };

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
