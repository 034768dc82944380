/**
 * Joins the selectors of a v3 resource into the one selector that endpoints are matched with. The
 * texts are built exactly as Calico builds them, because IP-set ids are hashes of what a parser
 * makes of the whole text: a part that was rendered and is parsed again loses a double negation.
 */
import { parseComposedSelector, prefixLabels } from "#selector";
import { inputError } from "#std";

export const NAMESPACE_LABEL = "projectcalico.org/namespace";
export const SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount";
const HAS_NAMESPACE = `has(${NAMESPACE_LABEL})`;
const HAS_SERVICE_ACCOUNT = `has(${SERVICE_ACCOUNT_LABEL})`;

/** Labels that a namespace or service account gives to its endpoints through a profile. */
export const NAMESPACE_PREFIX = "pcns.";
export const SERVICE_ACCOUNT_PREFIX = "pcsa.";

export function namespaceClause(namespace: string): string {
  return `${NAMESPACE_LABEL} == '${namespace}'`;
}

function prefixed(text: string, prefix: string): string {
  return prefixLabels(parseComposedSelector(text), prefix).canonical;
}

/** A rule's namespaceSelector over the labels that endpoints inherit. */
export function ruleNamespaceSelector(text: string): string {
  return prefixed(text, NAMESPACE_PREFIX)
    .replaceAll("all()", HAS_NAMESPACE)
    .replaceAll("global()", `!${HAS_NAMESPACE}`);
}

export function serviceAccountSelector(
  names: readonly string[],
  selector: string,
): string | undefined {
  const quote = names.find((name) => name.includes("'"));
  if (quote !== undefined) {
    // Between quotes it would end the text, and begin a condition of its own.
    throw inputError("bad-service-account", `${JSON.stringify(quote)} is no service account`);
  }
  const byName =
    names.length === 0
      ? undefined
      : `${SERVICE_ACCOUNT_LABEL} in { ${names.map((name) => `'${name}'`).join(", ")} }`;
  if (selector === "") return byName;
  const byLabel = prefixed(selector, SERVICE_ACCOUNT_PREFIX).replaceAll(
    "all()",
    HAS_SERVICE_ACCOUNT,
  );
  return byName === undefined ? byLabel : `(${byLabel}) && (${byName})`;
}

export interface PolicySelectors {
  readonly selector: string;
  /** "" for a global policy. */
  readonly namespace: string;
  readonly namespaceSelector: string;
  readonly serviceAccountSelector: string;
}

/** Canonical text of what a policy applies to. */
export function policySelector(parts: PolicySelectors): string {
  let text = parts.selector;
  if (parts.namespace !== "") text = appended(text, namespaceClause(parts.namespace));
  if (parts.serviceAccountSelector !== "") {
    const accounts = prefixed(parts.serviceAccountSelector, SERVICE_ACCOUNT_PREFIX);
    text = appended(text, accounts.replaceAll("all()", HAS_SERVICE_ACCOUNT));
  }
  if (parts.namespaceSelector !== "") {
    // As in Calico, this also turns an all() of the policy's own selector.
    text = appended(text, prefixed(parts.namespaceSelector, NAMESPACE_PREFIX)).replaceAll(
      "all()",
      HAS_NAMESPACE,
    );
  }
  return parseComposedSelector(text).canonical;
}

function appended(current: string, more: string): string {
  return current === "" ? more : `(${current}) && ${more}`;
}
