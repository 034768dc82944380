/**
 * What an endpoint's policy decides about a packet, and why.
 *
 *     tier ─ policy ─ rule ─ … ─ allow / deny: decided
 *       │                    └── pass: next tier
 *       └─ no rule matched: the tier's default, if a policy that acts applies here
 *     after the last tier: profiles; after the last profile: deny
 *
 * Missing referents and what this build cannot enforce deny, and the trace says so.
 */
import type { Flow } from "./flow.ts";
import { matchRule, type IpSetLookup, type MatchResult } from "./match.ts";
import type { IpSetId, Policy, PolicyId, Profile, Rule, RuleAction, TierInfo } from "./types.ts";

export type Verdict = "allow" | "deny";

/** Where an endpoint's program finds what it refers to. */
export interface PolicyLookups {
  policy(id: PolicyId): Policy | undefined;
  profile(name: string): Profile | undefined;
  readonly ipSet: IpSetLookup;
}

export interface EndpointProgram {
  readonly tiers: readonly TierInfo[];
  readonly profileIds: readonly string[];
  readonly lookups: PolicyLookups;
  /** Administratively down: everything is denied. */
  readonly disabled?: boolean;
}

export interface RuleTrace {
  /** From 0, within its direction. */
  readonly index: number;
  readonly ruleId: string;
  readonly action: RuleAction;
  readonly match: MatchResult;
}

/** How a list of rules ended. `undecidable`: an IP set is unknown. */
export type RulesResult = "allow" | "deny" | "next-tier" | "no-match" | "undecidable";

export type TraceStep =
  | { readonly step: "disabled" }
  | {
      readonly step: "policy";
      readonly tier: string;
      readonly policy: PolicyId;
      /** Staged policies are traced but never act. */
      readonly staged: boolean;
      readonly result: RulesResult | "missing" | "unsupported";
      readonly rules: readonly RuleTrace[];
      /** For `unsupported`: the v3 field paths. */
      readonly unsupported?: readonly string[];
    }
  | {
      readonly step: "end-of-tier";
      readonly tier: string;
      readonly action: "deny" | "pass";
      /** `no-policy-acts`: all policies of the tier that apply are staged. */
      readonly because: "default-action" | "no-policy-acts";
      /** The policy by which the tier applies at all: the last that acts. */
      readonly trigger?: PolicyId;
    }
  | {
      readonly step: "profile";
      readonly profile: string;
      readonly result: RulesResult | "missing" | "unsupported";
      readonly rules: readonly RuleTrace[];
      readonly unsupported?: readonly string[];
    }
  /** No profile decided. */
  | { readonly step: "default"; readonly action: "deny" };

export interface Evaluation {
  readonly verdict: Verdict;
  /** In order of evaluation; the last step decided. */
  readonly trace: readonly TraceStep[];
}

/** Never acts: `StagedGlobalNetworkPolicy` and its kin. */
export function isStagedKind(kind: string): boolean {
  return kind.startsWith("Staged");
}

export function evaluate(program: EndpointProgram, flow: Flow): Evaluation {
  if (program.disabled === true) return { verdict: "deny", trace: [{ step: "disabled" }] };
  const { verdict, trace } = evaluateTiers(program.tiers, program.lookups, flow);
  if (verdict !== "pass") return { verdict, trace };
  return { verdict: evaluateProfiles(program, flow, trace), trace };
}

/** Tiers alone: `pass` if none of them decides. */
export function evaluateTiers(
  tiers: readonly TierInfo[],
  lookups: PolicyLookups,
  flow: Flow,
): { readonly verdict: Verdict | "pass"; readonly trace: TraceStep[] } {
  const trace: TraceStep[] = [];
  for (const tier of tiers) {
    const verdict = evaluateTier(tier, lookups, flow, trace);
    if (verdict !== "pass") return { verdict, trace };
  }
  return { verdict: "pass", trace };
}

function evaluateTier(
  tier: TierInfo,
  lookups: PolicyLookups,
  flow: Flow,
  trace: TraceStep[],
): Verdict | "pass" {
  const ids = flow.direction === "ingress" ? tier.ingressPolicies : tier.egressPolicies;
  if (ids.length === 0) return "pass";
  let trigger: PolicyId | undefined;
  for (const id of ids) {
    const step = tracePolicy(tier.name, id, lookups, flow);
    trace.push(step);
    if (step.staged) continue;
    trigger = id;
    if (step.result === "next-tier") return "pass";
    if (step.result === "no-match") continue;
    return step.result === "allow" ? "allow" : "deny";
  }
  const action = trigger && tier.defaultAction === "Deny" ? "deny" : "pass";
  trace.push({
    step: "end-of-tier",
    tier: tier.name,
    action,
    because: trigger ? "default-action" : "no-policy-acts",
    ...(trigger ? { trigger } : {}),
  });
  return action;
}

function tracePolicy(
  tier: string,
  id: PolicyId,
  lookups: PolicyLookups,
  flow: Flow,
): Extract<TraceStep, { readonly step: "policy" }> {
  const base = { step: "policy", tier, policy: id, staged: isStagedKind(id.kind) } as const;
  const policy = lookups.policy(id);
  if (!policy) return { ...base, result: "missing", rules: [] };
  const { unsupported } = policy;
  if (unsupported && unsupported.length > 0) {
    return { ...base, result: "unsupported", rules: [], unsupported };
  }
  return { ...base, ...runRules(rulesOf(policy, flow), flow, lookups.ipSet) };
}

/** A Pass in a profile ends that profile only: there is no tier to go to. */
function evaluateProfiles(program: EndpointProgram, flow: Flow, trace: TraceStep[]): Verdict {
  for (const name of program.profileIds) {
    const profile = program.lookups.profile(name);
    if (!profile) {
      trace.push({ step: "profile", profile: name, result: "missing", rules: [] });
      return "deny";
    }
    const { unsupported } = profile;
    if (unsupported && unsupported.length > 0) {
      trace.push({ step: "profile", profile: name, result: "unsupported", rules: [], unsupported });
      return "deny";
    }
    const outcome = runRules(rulesOf(profile, flow), flow, program.lookups.ipSet);
    trace.push({ step: "profile", profile: name, ...outcome });
    if (outcome.result === "allow") return "allow";
    if (outcome.result === "deny" || outcome.result === "undecidable") return "deny";
  }
  trace.push({ step: "default", action: "deny" });
  return "deny";
}

function rulesOf(rules: Policy | Profile, flow: Flow): readonly Rule[] {
  return flow.direction === "ingress" ? rules.inboundRules : rules.outboundRules;
}

function runRules(
  rules: readonly Rule[],
  flow: Flow,
  ipSet: IpSetLookup,
): { readonly result: RulesResult; readonly rules: readonly RuleTrace[] } {
  const traced: RuleTrace[] = [];
  for (const [index, rule] of rules.entries()) {
    const match = matchRule(rule, flow, ipSet);
    traced.push({ index, ruleId: rule.ruleId, action: rule.action, match });
    if (match.matched === "undecidable") return { result: "undecidable", rules: traced };
    if (match.matched && rule.action !== "log") return { result: rule.action, rules: traced };
  }
  return { result: "no-match", rules: traced };
}

/** The IP set because of which an evaluation could not be decided, if there is one. */
export function undecidedBy(evaluation: Evaluation): IpSetId | undefined {
  const last = evaluation.trace.at(-1);
  if (last?.step !== "policy" && last?.step !== "profile") return undefined;
  const match = last.rules.at(-1)?.match;
  return match?.matched === "undecidable" ? match.ipSetId : undefined;
}
