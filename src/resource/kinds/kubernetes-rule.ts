/**
 * The rules of a Kubernetes NetworkPolicy (`networking.k8s.io/v1`) and label selectors
 * (`meta/v1`), in the order of their Go structs, with the checks that Kubernetes makes.
 */
import { cidrContains, tryParseCidr } from "#ip";
import type { Context } from "../context.ts";
import { parsePort } from "../scalars.ts";
import {
  any,
  field,
  formatted,
  int,
  list,
  newLabelMap,
  newlyFormatted,
  object,
  oneOf,
  text,
  type Fields,
  type ObjectRule,
  type ObjectSpec,
} from "../schema.ts";

const OPERATORS = oneOf("In", "NotIn", "Exists", "DoesNotExist");

export const labelSelector: ObjectSpec = object([
  field("matchLabels", newLabelMap, "labels with exactly these values"),
  field(
    "matchExpressions",
    list(
      object(
        [
          field("key", newlyFormatted("label-key"), "the label", { required: true }),
          field("operator", OPERATORS, "In, NotIn, Exists or DoesNotExist", { required: true }),
          field("values", list(text), "the values of In and NotIn"),
        ],
        [manifestRule("label-selector", ["operator", "values"], checkValues)],
      ),
    ),
    "conditions on labels; all of them hold",
  ),
]);

function manifestRule(
  id: ObjectRule["id"],
  reads: readonly string[],
  check: ObjectRule["check"],
): ObjectRule {
  return { id, reads, manifestsOnly: true, check };
}

function checkValues({ operator, values }: Fields, context: Context): void {
  const wanted = operator === "In" || operator === "NotIn";
  if (wanted === (values !== undefined)) return;
  context.report("label-selector", {
    message: wanted ? `${operator} without values` : `${String(operator)} with values`,
    hint: wanted ? "add values" : "remove values",
    at: ["values"],
  });
}

const port = object(
  [
    field("protocol", oneOf("TCP", "UDP", "SCTP"), "TCP when absent", { zero: "keep" }),
    field("port", any, "a number, or the name of a pod's port", { zero: "keep" }),
    field("endPort", int(1, 65535), "the last port of a range that port begins", { zero: "keep" }),
  ],
  [manifestRule("kubernetes-port", ["port", "endPort"], checkRange)],
);

function checkRange({ port: first, endPort }: Fields, context: Context): void {
  const report = (message: string, at: string): void =>
    context.report("kubernetes-port", { message, at: [at] });
  if (first !== undefined && !isKubernetesPort(first)) {
    report(`${JSON.stringify(first)} is neither a number 1–65535 nor the name of a port`, "port");
  } else if (endPort === undefined) {
    return;
  } else if (typeof first !== "number") {
    report("a range needs the number of its first port", "port");
  } else if (Number(endPort) < first) {
    report(`the range begins at ${first} and ends at ${Number(endPort)}`, "endPort");
  }
}

/** Names as IANA has them: letters, digits, single dashes, at least one letter. */
function isKubernetesPort(value: unknown): boolean {
  if (typeof value === "number") return typeof parsePort(value) !== "string";
  return (
    typeof value === "string" &&
    /^[a-z0-9](?:-?[a-z0-9]){0,14}$/i.test(value) &&
    /[a-z]/i.test(value)
  );
}

const ipBlock = object(
  [
    field("cidr", formatted("cidr"), "a block of addresses", { required: true }),
    field("except", list(formatted("cidr")), "blocks inside it that do not match"),
  ],
  [manifestRule("kubernetes-except", ["cidr", "except"], checkExcept)],
);

function checkExcept({ cidr, except = [] }: Fields, context: Context): void {
  const block = tryParseCidr(String(cidr));
  for (const [index, one] of (except as readonly string[]).entries()) {
    const inner = tryParseCidr(one);
    if (block === undefined || inner === undefined) continue;
    if (cidrContains(block, inner) && inner.prefixLen > block.prefixLen) continue;
    context.report("kubernetes-except", {
      message: `${one} is not inside ${String(cidr)}`,
      value: one,
      allowed: `a smaller block of ${String(cidr)}`,
      at: ["except", index],
    });
  }
}

const PEERS = ["podSelector", "namespaceSelector", "ipBlock"] as const;

const peer = object(
  [
    field("podSelector", labelSelector, "pods by label", { zero: "keep" }),
    field("namespaceSelector", labelSelector, "namespaces by label", { zero: "keep" }),
    field("ipBlock", ipBlock, "addresses; stands alone", { zero: "keep" }),
  ],
  [manifestRule("kubernetes-peer", PEERS, checkPeer)],
);

function checkPeer(value: Fields, context: Context): void {
  const given = PEERS.filter((name) => value[name] !== undefined);
  if (given.length === 1 || (given.length === 2 && !given.includes("ipBlock"))) return;
  context.report("kubernetes-peer", {
    message: given.length === 0 ? "selects nothing" : `has ${given.join(" and ")}`,
    allowed: "ipBlock, or podSelector and namespaceSelector",
    hint: given.length === 0 ? "podSelector: {} selects every pod" : "write two peers",
  });
}

/** `from` in ingress rules, `to` in egress rules. */
export function kubernetesRule(peers: "from" | "to"): ObjectSpec {
  return object([
    field("ports", list(port), "ports; any of them matches, all when absent"),
    field(peers, list(peer), "peers; any of them matches, everybody when absent"),
  ]);
}
