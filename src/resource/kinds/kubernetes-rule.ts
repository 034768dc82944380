/**
 * The rules of a Kubernetes NetworkPolicy (`networking.k8s.io/v1`) and label selectors
 * (`meta/v1`), in the order of their Go structs.
 */
import {
  any,
  field,
  formatted,
  int,
  list,
  object,
  oneOf,
  text,
  textMap,
  type ObjectSpec,
} from "../schema.ts";

export const labelSelector: ObjectSpec = object([
  field("matchLabels", textMap, "labels with exactly these values"),
  field(
    "matchExpressions",
    list(
      object([
        field("key", text, "the label", { required: true }),
        field(
          "operator",
          oneOf("In", "NotIn", "Exists", "DoesNotExist"),
          "In, NotIn, Exists or DoesNotExist",
          { required: true },
        ),
        field("values", list(text), "the values of In and NotIn"),
      ]),
    ),
    "conditions on labels; all of them hold",
  ),
]);

const port = object([
  field("protocol", oneOf("TCP", "UDP", "SCTP"), "TCP when absent", { zero: "keep" }),
  field("port", any, "a number, or the name of a pod's port", { zero: "keep" }),
  field("endPort", int(1, 65535), "the last port of a range that port begins", { zero: "keep" }),
]);

const peer = object([
  field("podSelector", labelSelector, "pods by label", { zero: "keep" }),
  field("namespaceSelector", labelSelector, "namespaces by label", { zero: "keep" }),
  field(
    "ipBlock",
    object([
      field("cidr", formatted("cidr"), "a block of addresses", { required: true }),
      field("except", list(formatted("cidr")), "blocks inside it that do not match"),
    ]),
    "addresses; stands alone",
    { zero: "keep" },
  ),
]);

/** `from` in ingress rules, `to` in egress rules. */
export function kubernetesRule(peers: "from" | "to"): ObjectSpec {
  return object([
    field("ports", list(port), "ports; any of them matches, all when absent"),
    field(peers, list(peer), "peers; any of them matches, everybody when absent"),
  ]);
}
