/**
 * What rules ask for and this build cannot decide, as v3 field paths, or why they are not known. Ignoring a condition of an
 * Allow rule allows too much; and a Deny or Pass rule whose set of service endpoints is empty, since
 * the datastore has no endpoints of services at all, lets go on what it should have stopped. An
 * Allow rule with such a set matches nothing, which is safe.
 */
import type { ModelRule } from "#model";
import type { ModelRuleLists } from "./rule-scanner.ts";

export function unsupportedFields(
  lists: ModelRuleLists,
  knowsServices: boolean,
): readonly string[] {
  return [
    ...(lists.broken === undefined ? [] : [lists.broken]),
    ...ofRules("ingress", lists.inboundRules, knowsServices),
    ...ofRules("egress", lists.outboundRules, knowsServices),
  ];
}

/** Whether the answer depends on endpoints of services being known. */
export function decidesByService({ inboundRules, outboundRules }: ModelRuleLists): boolean {
  const decides = (rule: ModelRule): boolean => isDecision(rule) && hasService(rule);
  return inboundRules.some(decides) || outboundRules.some(decides);
}

function isDecision({ action }: ModelRule): boolean {
  return action === "deny" || action === "next-tier";
}

function hasService({ source, destination }: ModelRule): boolean {
  return source.service !== undefined || destination.service !== undefined;
}

function ofRules(
  direction: string,
  rules: readonly ModelRule[],
  knowsServices: boolean,
): readonly string[] {
  return rules.flatMap((rule, index) => {
    const { http, source, destination, unknownFields = [] } = rule;
    const openEnded = isDecision(rule) && !knowsServices;
    const fields = [
      http !== undefined && "http",
      openEnded && source.service !== undefined && "source.services",
      openEnded && destination.service !== undefined && "destination.services",
      ...unknownFields,
    ];
    return fields.flatMap((field) =>
      field === false ? [] : `spec.${direction}[${index}].${field}`,
    );
  });
}
