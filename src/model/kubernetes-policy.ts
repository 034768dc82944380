/**
 * StagedKubernetesNetworkPolicy → model, by way of the v3 rules that mean the same. Selectors are
 * written exactly as Calico writes them, since IP-set ids are hashes of them.
 */
import { parseCidr, formatCidr } from "#ip";
import {
  parsePort,
  type EntityRule,
  type StagedKubernetesNetworkPolicy,
  type V3Port,
  type V3Rule,
} from "#resource";
import { compareBytes, inputError } from "#std";
import { listOf, recordOf, textOf, textsOf, type Raw } from "./raw.ts";
import { modelRules } from "./rules.ts";
import { policySelector } from "./selectors.ts";
import type { ModelPolicy, ModelRule } from "./types.ts";

/** Of every policy that comes from Kubernetes; its users cannot say another. */
const ORDER = 1000;
const IS_POD = "projectcalico.org/orchestrator == 'k8s'";

/** A staged policy that stands for a deletion is none: `null`. Throws for a podSelector of another shape. */
export function modelStagedKubernetesPolicy(
  resource: StagedKubernetesNetworkPolicy,
): ModelPolicy | null {
  const { spec, metadata } = resource;
  if (spec.stagedAction === "Delete") return null;
  const namespace = metadata.namespace ?? "";
  const selector = policySelector({
    selector: podSelector(spec.podSelector),
    namespace,
    namespaceSelector: "",
    serviceAccountSelector: "",
  });
  const types = (spec.policyTypes ?? []).map((type) =>
    type === "Ingress" ? ("ingress" as const) : ("egress" as const),
  );
  return {
    tier: "default",
    order: ORDER,
    selector,
    originalSelector: selector,
    inboundRules: convertRules(spec.ingress, "from", namespace),
    outboundRules: convertRules(spec.egress, "to", namespace),
    types: types.length === 0 ? ["ingress"] : types,
    namespace,
    doNotTrack: false,
    preDnat: false,
    applyOnForward: false,
    staged: true,
    performanceHints: [],
  };
}

/** A rule that cannot be converted is left out: all rules allow. */
function convertRules(
  rules: readonly unknown[] | undefined,
  peers: "from" | "to",
  namespace: string,
): readonly ModelRule[] {
  return (rules ?? []).flatMap((rule) => {
    try {
      return modelRules(v3Rules(recordOf(rule), peers), namespace);
    } catch {
      return [];
    }
  });
}

/** One rule for each protocol and peer. */
function v3Rules(rule: Raw, side: "from" | "to"): readonly V3Rule[] {
  const peers = listOf(rule[side]);
  const entities = peers.length === 0 ? [{}] : peers.map((peer) => entity(recordOf(peer)));
  return portsByProtocol(listOf(rule["ports"])).flatMap(([protocol, ports]) =>
    entities.map((peer): V3Rule => {
      const matchesPorts = ports.length === 0 ? {} : { ports };
      const sides =
        side === "from"
          ? { source: peer, destination: matchesPorts }
          : { destination: { ...peer, ...matchesPorts } };
      return { action: "Allow", ...(protocol === "" ? {} : { protocol }), ...sides };
    }),
  );
}

/** Sorted by protocol; `""` when the rule names no port. No ports: every port of the protocol. */
function portsByProtocol(
  ports: readonly unknown[],
): readonly (readonly [protocol: string, ports: readonly V3Port[]])[] {
  if (ports.length === 0) return [["", []]];
  const byProtocol = new Map<string, V3Port[]>();
  const whole = new Set<string>();
  for (const one of ports) {
    const fields = recordOf(one);
    const protocol = textOf(fields["protocol"]) || "TCP";
    const known = byProtocol.get(protocol) ?? [];
    byProtocol.set(protocol, known);
    const port = v3Port(fields);
    if (port === undefined) whole.add(protocol);
    else known.push(port);
  }
  return [...byProtocol]
    .toSorted(([a], [b]) => compareBytes(a, b))
    .map(([protocol, list]) => [protocol, whole.has(protocol) ? [] : merged(list)] as const);
}

function v3Port({ port, endPort }: Raw): V3Port | undefined {
  if (port === undefined || port === null) return undefined;
  if (typeof port !== "number" && typeof port !== "string") throw malformed("port", port);
  return typeof endPort === "number" ? `${port}:${endPort}` : port;
}

interface Range {
  readonly first: number;
  last: number;
}

/** Names as they come, then numbers in as few ranges as possible. */
function merged(ports: readonly V3Port[]): readonly V3Port[] {
  const names: V3Port[] = [];
  const ranges: Range[] = [];
  for (const port of ports) {
    const parsed = parsePort(port);
    if (typeof parsed === "string") throw malformed("port", port);
    if ("name" in parsed) names.push(port);
    else ranges.push({ first: parsed.first, last: parsed.last });
  }
  const result: Range[] = [];
  for (const range of ranges.toSorted((a, b) => a.first - b.first)) {
    const previous = result.at(-1);
    if (previous !== undefined && range.first <= previous.last + 1) {
      previous.last = Math.max(previous.last, range.last);
    } else {
      result.push(range);
    }
  }
  return [
    ...names,
    ...result.map(({ first, last }) => (first === last ? first : `${first}:${last}`)),
  ];
}

function entity(peer: Raw): EntityRule {
  const block = recordOf(peer["ipBlock"]);
  if (block["cidr"] !== undefined) {
    const except = textsOf(block["except"]).map(masked);
    return { nets: [masked(textOf(block["cidr"]))], ...(except.length > 0 && { notNets: except }) };
  }
  const namespaces = namespaceSelector(peer["namespaceSelector"]);
  return {
    selector: podSelector(peer["podSelector"]),
    ...(namespaces !== "" && { namespaceSelector: namespaces }),
  };
}

function masked(text: string): string {
  return formatCidr(parseCidr(text));
}

function podSelector(selector: unknown): string {
  return [IS_POD, ...terms(recordOf(selector))].join(" && ");
}

/** None: the policy's own namespace; an empty one: all. */
function namespaceSelector(selector: unknown): string {
  if (selector === undefined || selector === null) return "";
  return terms(recordOf(selector)).join(" && ") || "all()";
}

function terms({ matchLabels, matchExpressions }: Raw): readonly string[] {
  const labels = Object.entries(recordOf(matchLabels))
    .toSorted(([a], [b]) => compareBytes(a, b))
    .map(([label, value]) => `${label} == ${quoted(value)}`);
  const expressions = listOf(matchExpressions).map((one) => {
    const { key, operator, values } = recordOf(one);
    const label = textOf(key);
    const list = listOf(values).map(quoted).join(", ");
    switch (operator) {
      case "In":
        return `${label} in { ${list} }`;
      case "NotIn":
        return `${label} not in { ${list} }`;
      case "Exists":
        return `has(${label})`;
      case "DoesNotExist":
        return `! has(${label})`;
      default:
        throw malformed("operator", operator);
    }
  });
  return [...labels, ...expressions];
}

/** A quote in it would end the text, and begin a condition of its own. */
function quoted(value: unknown): string {
  if (typeof value !== "string" || value.includes("'")) throw malformed("label value", value);
  return `'${value}'`;
}

function malformed(what: string, value: unknown): Error {
  return inputError("bad-kubernetes-policy", `${JSON.stringify(value)} is no ${what}`);
}
