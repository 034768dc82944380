/** Tiers, policies (enforced and staged), profiles. */
import type { Context } from "../context.ts";
import {
  bool,
  field,
  labelMap,
  list,
  object,
  oneOf,
  selector,
  text,
  type Fields,
  type FieldSpec,
  type ObjectRule,
  type ObjectSpec,
} from "../schema.ts";
import type { GlobalNetworkPolicySpec, V3Rule } from "../types.ts";
import { kubernetesRule, labelSelector } from "./kubernetes-rule.ts";
import { refuseGlobal, rule } from "./rule.ts";

const order: FieldSpec = field(
  "order",
  { kind: "float" },
  "evaluated in ascending order; without one last, then by name",
  { zero: "keep" },
);

export const tierSpec: ObjectSpec = object([
  order,
  field("defaultAction", oneOf("Deny", "Pass"), "what happens when no policy of the tier decides", {
    default: "Deny",
  }),
]);

const rules = list(rule, { maxItems: 1024 });

const common = {
  tier: field("tier", text, "the tier that the policy belongs to", { default: "default" }),
  order,
  ingress: field("ingress", rules, "rules for packets to the endpoint, in order"),
  egress: field("egress", rules, "rules for packets from the endpoint, in order"),
  selector: field("selector", selector, "the endpoints that the policy applies to; all when empty"),
  types: field(
    "types",
    list(oneOf("Ingress", "Egress"), { unique: true }),
    "directions the policy applies to; from its rules when absent",
    { computeDefault: defaultTypes },
  ),
  serviceAccountSelector: field(
    "serviceAccountSelector",
    selector,
    "limits the policy to endpoints whose service account matches",
  ),
  performanceHints: field(
    "performanceHints",
    list(oneOf("AssumeNeededOnEveryNode"), { unique: true }),
    "hints that change speed, not verdicts",
  ),
};
const globalOnly = {
  doNotTrack: field("doNotTrack", bool, "applied before connection tracking, to host endpoints"),
  preDNAT: field("preDNAT", bool, "applied before destination NAT, to host endpoints"),
  applyOnForward: field(
    "applyOnForward",
    bool,
    "also applied to forwarded packets of host endpoints",
  ),
  namespaceSelector: field(
    "namespaceSelector",
    selector,
    "limits the policy to namespaces by label",
  ),
};

/** As Calico derives it: Egress only when there are egress rules, Ingress unless there are only those. */
function defaultTypes(value: Fields): string[] {
  const has = (name: string): boolean => Array.isArray(value[name]) && value[name].length > 0;
  if (!has("egress")) return ["Ingress"];
  return has("ingress") ? ["Ingress", "Egress"] : ["Egress"];
}

const networkFields: readonly FieldSpec[] = [
  common.tier,
  common.order,
  common.ingress,
  common.egress,
  common.selector,
  common.types,
  common.serviceAccountSelector,
  common.performanceHints,
];
const globalFields: readonly FieldSpec[] = [
  common.tier,
  common.order,
  common.ingress,
  common.egress,
  common.selector,
  common.types,
  globalOnly.doNotTrack,
  globalOnly.preDNAT,
  globalOnly.applyOnForward,
  common.serviceAccountSelector,
  globalOnly.namespaceSelector,
  common.performanceHints,
];
const stagedAction: FieldSpec = field(
  "stagedAction",
  oneOf("Set", "Delete", "Learn", "Ignore"),
  "what enforcing the staged policy would do",
  { default: "Set" },
);

const policyRules: readonly ObjectRule[] = [
  { id: "services-placement", reads: ["ingress", "egress"], check: checkPlacement },
  {
    id: "global-selector",
    reads: ["selector", "serviceAccountSelector", "namespaceSelector"],
    check: (value, context) => {
      for (const name of ["selector", "serviceAccountSelector", "namespaceSelector"]) {
        refuseGlobal(value[name] as string | undefined, name, context);
      }
    },
  },
];
const globalRules: readonly ObjectRule[] = [
  ...policyRules,
  { id: "services-namespace", reads: ["ingress", "egress"], check: checkServiceNamespaces },
  {
    id: "untracked-or-prednat",
    reads: ["doNotTrack", "preDNAT", "applyOnForward", "egress", "types"],
    check: checkHostPolicy,
  },
];
const stagedRules: readonly ObjectRule[] = [
  {
    id: "staged-delete-empty",
    reads: ["stagedAction"],
    check: (value, context) => {
      if (value["stagedAction"] !== "Delete") return;
      const kept = new Set(["stagedAction", "tier", "types"]);
      for (const name of Object.keys(value).filter((one) => !kept.has(one))) {
        context.report("staged-delete-empty", {
          message: "a staged deletion has only its tier",
          hint: `remove ${name}`,
          at: [name],
        });
      }
    },
  },
];
/** A staged deletion says nothing about directions. */
const stagedTypes: FieldSpec = {
  ...common.types,
  computeDefault: (value) => (value["stagedAction"] === "Delete" ? undefined : defaultTypes(value)),
};
const withStagedTypes = (fields: readonly FieldSpec[]): FieldSpec[] =>
  fields.map((one) => (one === common.types ? stagedTypes : one));

export const networkPolicySpec: ObjectSpec = object(networkFields, policyRules);
export const globalNetworkPolicySpec: ObjectSpec = object(globalFields, globalRules);
export const stagedNetworkPolicySpec: ObjectSpec = object(
  [stagedAction, ...withStagedTypes(networkFields)],
  [...policyRules, ...stagedRules],
);
export const stagedGlobalNetworkPolicySpec: ObjectSpec = object(
  [stagedAction, ...withStagedTypes(globalFields)],
  [...globalRules, ...stagedRules],
);
export const stagedKubernetesNetworkPolicySpec: ObjectSpec = object(
  [
    stagedAction,
    field("podSelector", labelSelector, "the pods that the policy applies to; all when empty", {
      zero: "always",
      computeDefault: () => ({}),
    }),
    field("ingress", list(kubernetesRule("from")), "what the pods accept"),
    field("egress", list(kubernetesRule("to")), "what the pods may send"),
    field(
      "policyTypes",
      list(oneOf("Ingress", "Egress"), { unique: true }),
      "directions the policy applies to",
    ),
  ],
  [
    {
      id: "staged-delete-empty",
      reads: ["stagedAction", "podSelector", "ingress", "egress", "policyTypes"],
      manifestsOnly: true,
      check: (value, context) => {
        if (value["stagedAction"] !== "Delete") return;
        for (const name of ["podSelector", "ingress", "egress", "policyTypes"]) {
          const given = value[name];
          if (Object.keys(given ?? {}).length === 0) continue;
          context.report("staged-delete-empty", {
            message: "a staged deletion has only its action",
            hint: `remove ${name}`,
            at: [name],
          });
        }
      },
    },
  ],
);

export const profileSpec: ObjectSpec = object(
  [
    field(
      "ingress",
      list(rule),
      "rules for packets to the endpoint, after every tier has passed them",
    ),
    field(
      "egress",
      list(rule),
      "rules for packets from the endpoint, after every tier has passed them",
    ),
    field("labelsToApply", labelMap, "labels that endpoints with this profile inherit"),
  ],
  [{ id: "services-placement", reads: ["ingress", "egress"], check: checkPlacement }],
);

/** A service is matched where its endpoints are the peer: egress to it, ingress from it. */
function checkPlacement(value: Fields, context: Context): void {
  const { ingress = [], egress = [] } = value as unknown as Directions;
  for (const [index, one] of egress.entries()) {
    if (one.source?.services !== undefined) {
      reportPlacement("egress", index, "source", context);
    }
    if (one.http !== undefined) {
      context.report("http-placement", {
        message: "an HTTP match in an egress rule",
        allowed: "HTTP matches only in ingress rules",
        at: ["egress", index, "http"],
      });
    }
  }
  for (const [index, one] of ingress.entries()) {
    if (one.destination?.services !== undefined) {
      reportPlacement("ingress", index, "destination", context);
    }
  }
}

interface Directions {
  readonly ingress?: readonly V3Rule[];
  readonly egress?: readonly V3Rule[];
}

function reportPlacement(
  direction: "ingress" | "egress",
  index: number,
  side: "source" | "destination",
  context: Context,
): void {
  const other = side === "source" ? "destination" : "source";
  context.report("services-placement", {
    message: `services in the ${side} of an ${direction} rule`,
    hint: `did you mean ${other}?`,
    at: [direction, index, side, "services"],
  });
}

function checkServiceNamespaces(value: Fields, context: Context): void {
  const { ingress = [], egress = [] } = value as unknown as Directions;
  const check = (direction: "ingress" | "egress", side: "source" | "destination") => {
    for (const [index, one] of (direction === "ingress" ? ingress : egress).entries()) {
      const services = one[side]?.services;
      if (services === undefined || (services.namespace ?? "") !== "") continue;
      context.report("services-namespace", {
        message: "the service's namespace is missing",
        allowed: "services: {name: …, namespace: …} in a global policy",
        at: [direction, index, side, "services", "namespace"],
      });
    }
  };
  check("egress", "destination");
  check("ingress", "source");
}

function checkHostPolicy(value: Fields, context: Context): void {
  const spec = value as unknown as GlobalNetworkPolicySpec;
  if (spec.doNotTrack === true && spec.preDNAT === true) {
    context.report("untracked-or-prednat", {
      message: "doNotTrack and preDNAT are both set",
      hint: "use two policies",
      at: ["preDNAT"],
    });
  }
  if (spec.preDNAT === true && spec.egress !== undefined) {
    context.report("prednat-no-egress", {
      message: "a preDNAT policy has egress rules",
      hint: "move them to a policy without preDNAT",
      at: ["egress"],
    });
  }
  if (spec.preDNAT === true && spec.egress === undefined && spec.types.includes("Egress")) {
    context.report("prednat-no-egress", {
      message: "a preDNAT policy applies to egress",
      allowed: "types: [Ingress]",
      at: ["types"],
    });
  }
  if (spec.applyOnForward !== true && (spec.doNotTrack === true || spec.preDNAT === true)) {
    context.report("needs-apply-on-forward", {
      message: `${spec.preDNAT === true ? "preDNAT" : "doNotTrack"} needs applyOnForward: true`,
      hint: "add applyOnForward: true",
      at: ["applyOnForward"],
    });
  }
}
