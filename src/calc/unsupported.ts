/**
 * What rules ask for and this build cannot decide, as v3 field paths. Ignoring a condition of an
 * Allow rule allows too much; and a Deny or Pass rule whose set of service endpoints is empty, since
 * no Kubernetes API fills it, lets go on what it should have stopped. An Allow rule with such a set
 * matches nothing, which is safe.
 */
import type { ModelRule } from "#model";
import type { ModelRuleLists } from "./rule-scanner.ts";

export function unsupportedFields(lists: ModelRuleLists): readonly string[] {
  return [...ofRules("ingress", lists.inboundRules), ...ofRules("egress", lists.outboundRules)];
}

function ofRules(direction: string, rules: readonly ModelRule[]): readonly string[] {
  return rules.flatMap(({ action, http, source, destination, unknownFields = [] }, index) => {
    const decides = action === "deny" || action === "next-tier";
    const fields = [
      http !== undefined && "http",
      decides && source.service !== undefined && "source.services",
      decides && destination.service !== undefined && "destination.services",
      ...unknownFields,
    ];
    return fields.flatMap((field) =>
      field === false ? [] : `spec.${direction}[${index}].${field}`,
    );
  });
}
