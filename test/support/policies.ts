/** Short ways to write policies and rules as the policy engine has them, and a packet for them. */
import { parsePacket, type Policy, type PolicyId, type Rule, type RuleAction } from "#policy";

export const gnp = (name: string): PolicyId => ({
  kind: "GlobalNetworkPolicy",
  namespace: "",
  name,
});

export function rule(action: RuleAction, fields: Partial<Rule> = {}): Rule {
  return { action, ruleId: `${action}-${JSON.stringify(fields)}`, ...fields };
}

export function policy(rules: readonly Rule[], more: Partial<Policy> = {}): Policy {
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

/** TCP to port 80. */
export const packet = parsePacket({
  protocol: "tcp",
  src: "10.65.0.1",
  dst: "10.65.0.2",
  srcPort: 40000,
  dstPort: 80,
});
