/** A trace in words, one line per step: the answer to "why was this dropped". */
import { unreachable } from "#std";
import { policyKey } from "./state.ts";
import type { Evaluation, RuleTrace, TraceStep } from "./evaluate.ts";

export function explain(evaluation: Evaluation): string[] {
  return evaluation.trace.map(explainStep);
}

function explainStep(step: TraceStep): string {
  switch (step.step) {
    case "disabled":
      return "endpoint is administratively down: deny";
    case "policy": {
      const name = policyKey(step.policy).replace("//", "/");
      const staged = step.staged ? " (staged, does not act)" : "";
      return `tier ${step.tier}, ${name}${staged}: ${explainResult(step, "policy")}`;
    }
    case "end-of-tier": {
      const reason = step.trigger
        ? `default of the tier, which applies by ${policyKey(step.trigger).replace("//", "/")}`
        : "no policy of the tier acts";
      return `tier ${step.tier}, end: ${step.action} (${reason})`;
    }
    case "profile":
      return `profile ${step.profile}: ${explainResult(step, "profile")}`;
    case "default":
      return "no profile matched: deny";
    default:
      return unreachable(step);
  }
}

function explainResult(
  step: Extract<TraceStep, { readonly step: "policy" | "profile" }>,
  what: string,
): string {
  if (step.result === "unsupported") {
    return `deny: cannot be enforced: ${(step.unsupported ?? []).join(", ")}`;
  }
  if (step.result === "missing") return `deny: the ${what} is missing`;
  return explainRules(step.result, step.rules);
}

function explainRules(result: string, rules: readonly RuleTrace[]): string {
  const last = rules.at(-1);
  if (!last) return "no rules, no match";
  const { match } = last;
  switch (match.matched) {
    case "undecidable":
      return `deny: rule ${last.index} names the unknown IP set ${match.ipSetId}`;
    case true: {
      const on = match.fields.length === 0 ? "matches everything" : match.fields.join(", ");
      if (result !== "no-match") return `${result} by rule ${last.index} (${on})`;
      return `no match; rule ${last.index} only logs`;
    }
    case false:
      return `no match (${rules.map(explainMiss).filter(Boolean).join("; ")})`;
    default:
      return unreachable(match);
  }
}

function explainMiss(rule: RuleTrace): string {
  return rule.match.matched === false ? `rule ${rule.index}: ${rule.match.failed}` : "";
}
