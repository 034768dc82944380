/**
 * Ids of IP sets, as Felix computed them in 40 recorded states, recomputed from the selectors that
 * the same rules carry.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";
import { andSelectors, notSelector, parseSelector, prefixLabels, type Selector } from "#selector";

interface RecordedRule {
  readonly srcIpSetIds?: readonly string[];
  readonly dstIpSetIds?: readonly string[];
  readonly notSrcIpSetIds?: readonly string[];
  readonly notDstIpSetIds?: readonly string[];
  readonly srcServiceAccountMatch?: unknown;
  readonly dstServiceAccountMatch?: unknown;
  readonly originalSrcSelector?: string;
  readonly originalDstSelector?: string;
  readonly originalNotSrcSelector?: string;
  readonly originalNotDstSelector?: string;
  readonly originalSrcNamespaceSelector?: string;
  readonly originalDstNamespaceSelector?: string;
}

interface RecordedPolicy {
  readonly originalSelector: string;
  readonly inboundRules?: readonly RecordedRule[];
  readonly outboundRules?: readonly RecordedRule[];
}

interface RecordedState {
  readonly messages: readonly {
    readonly activePolicyUpdate?: {
      readonly id: { readonly namespace?: string };
      readonly policy: RecordedPolicy;
    };
  }[];
}

const STATES = new URL("../../golden/felix/states/", import.meta.url);
const IN_NAMESPACE = parseSelector("has(projectcalico.org/namespace)");
const NOT_NAMESPACED = parseSelector("!has(projectcalico.org/namespace)");

function* recordedPolicies(): Generator<{ namespace: string; policy: RecordedPolicy }> {
  for (const file of readdirSync(STATES)) {
    const state = JSON.parse(readFileSync(new URL(file, STATES), "utf8")) as RecordedState;
    for (const { activePolicyUpdate: update } of state.messages) {
      if (update) yield { namespace: update.id.namespace ?? "", policy: update.policy };
    }
  }
}

/** The selector of one side of a rule; facts: v3 to v1 conversion, then positive and negative merged. */
function sideSelector(
  namespace: string,
  positive: string,
  negative: string,
  namespaceSelector: string,
): Selector {
  const scope =
    namespaceSelector === ""
      ? namespace === ""
        ? undefined
        : parseSelector(`projectcalico.org/namespace == '${namespace}'`)
      : prefixLabels(parseSelector(namespaceSelector), "pcns.", {
          all: IN_NAMESPACE,
          global: NOT_NAMESPACED,
        });
  let selector = scope;
  if (positive !== "") {
    const parsed = parseSelector(positive);
    selector = selector ? andSelectors(selector, parsed) : parsed;
  }
  if (negative === "") return selector ?? parseSelector("");
  const excluded = notSelector(parseSelector(negative));
  return selector ? andSelectors(selector, excluded) : excluded;
}

test("ids of recorded rule selectors are recomputed exactly", () => {
  let checked = 0;
  const check = (namespace: string, rule: RecordedRule, side: "Src" | "Dst"): void => {
    const positive = rule[`original${side}Selector`] ?? "";
    const negative = rule[`originalNot${side}Selector`] ?? "";
    const ids = side === "Src" ? rule.srcIpSetIds : rule.dstIpSetIds;
    const account = side === "Src" ? rule.srcServiceAccountMatch : rule.dstServiceAccountMatch;
    const [id] = ids ?? [];
    if (id === undefined || account !== undefined || !id.startsWith("s:")) return;
    const namespaces = rule[`original${side}NamespaceSelector`] ?? "";
    const selector = sideSelector(namespace, positive, negative, namespaces);
    assert.equal(selector.uniqueId, id, selector.canonical);
    checked++;
  };
  for (const { namespace, policy } of recordedPolicies()) {
    for (const rule of [...(policy.inboundRules ?? []), ...(policy.outboundRules ?? [])]) {
      check(namespace, rule, "Src");
      check(namespace, rule, "Dst");
    }
  }
  assert.ok(checked > 100, `only ${checked} ids were recomputed`);
});

test("recorded policy selectors are canonical already", () => {
  const seen = new Set<string>();
  for (const { policy } of recordedPolicies()) seen.add(policy.originalSelector);
  for (const text of seen) assert.equal(parseSelector(text).canonical, text);
  assert.ok(seen.size > 40, `only ${seen.size} selectors`);
});
