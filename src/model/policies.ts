/** Policies, tiers and profiles of the v3 API → model. */
import type {
  GlobalNetworkPolicySpec,
  GlobalNetworkPolicy,
  NetworkPolicy,
  Profile,
  StagedGlobalNetworkPolicy,
  StagedNetworkPolicy,
  Tier,
} from "#resource";
import { policySelector } from "./selectors.ts";
import { modelRules } from "./rules.ts";
import type { ModelPolicy, ModelUpdate } from "./types.ts";

type AnyPolicy =
  | GlobalNetworkPolicy
  | NetworkPolicy
  | StagedGlobalNetworkPolicy
  | StagedNetworkPolicy;

/** A staged policy that stands for a deletion is none: `null`. */
export function modelPolicy(resource: AnyPolicy): ModelPolicy | null {
  const spec: GlobalNetworkPolicySpec = resource.spec;
  const staged = "stagedAction" in resource.spec;
  if ("stagedAction" in resource.spec && resource.spec.stagedAction === "Delete") return null;
  const namespace = resource.metadata.namespace ?? "";
  const selector = policySelector({
    selector: spec.selector ?? "",
    namespace,
    namespaceSelector: spec.namespaceSelector ?? "",
    serviceAccountSelector: spec.serviceAccountSelector ?? "",
  });
  return {
    tier: spec.tier === "" ? "default" : spec.tier,
    ...(spec.order === undefined ? {} : { order: spec.order }),
    selector,
    originalSelector: selector,
    inboundRules: modelRules(spec.ingress, namespace),
    outboundRules: modelRules(spec.egress, namespace),
    types: typesOf(spec),
    namespace,
    doNotTrack: spec.doNotTrack ?? false,
    preDnat: spec.preDNAT ?? false,
    applyOnForward: spec.applyOnForward ?? false,
    staged,
    performanceHints: spec.performanceHints ?? [],
  };
}

function typesOf(spec: GlobalNetworkPolicySpec): ModelPolicy["types"] {
  const given = spec.types.map((type) => (type === "Ingress" ? "ingress" : "egress"));
  if (given.length > 0) return given;
  if ((spec.egress ?? []).length === 0) return ["ingress"];
  return (spec.ingress ?? []).length === 0 ? ["egress"] : ["ingress", "egress"];
}

export function profileUpdates(name: string, { spec }: Profile): readonly ModelUpdate[] {
  return [
    {
      key: { kind: "ProfileRules", name },
      value: {
        inboundRules: modelRules(spec.ingress, ""),
        outboundRules: modelRules(spec.egress, ""),
      },
    },
    {
      key: { kind: "ProfileLabels", name },
      value: spec.labelsToApply ?? {},
    },
  ];
}

export function tierUpdate(name: string, { spec }: Tier): ModelUpdate {
  const { order, defaultAction } = spec;
  return {
    key: { kind: "Tier", name },
    value: { ...(order === undefined ? {} : { order }), defaultAction },
  };
}
