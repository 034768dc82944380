/**
 * The order of evaluation. Tiers: existing before missing, then by order, those without one last,
 * then by name. Policies of a tier: by order, none counting as infinity, then by the text
 * `name/namespace/kind`.
 */
import type { ModelPolicy, ModelTier, PolicyKey } from "#model";
import type { PolicyId, TierInfo } from "#policy";
import { compareBytes } from "#std";

export interface PlacedPolicy {
  readonly key: PolicyKey;
  readonly policy: ModelPolicy;
}

export interface PlacedTier {
  readonly name: string;
  /** Absent: no such tier; its policies still apply. */
  readonly tier: ModelTier | undefined;
  readonly policies: readonly PlacedPolicy[];
}

export interface EndpointTiers {
  readonly normal: readonly TierInfo[];
  readonly untracked: readonly TierInfo[];
  readonly preDnat: readonly TierInfo[];
  readonly forward: readonly TierInfo[];
}

export function sortTiers(
  policies: Iterable<PlacedPolicy>,
  tiers: ReadonlyMap<string, ModelTier>,
): readonly PlacedTier[] {
  const byTier = new Map<string, PlacedPolicy[]>();
  for (const placed of policies) {
    const list = byTier.get(placed.policy.tier);
    if (list === undefined) byTier.set(placed.policy.tier, [placed]);
    else list.push(placed);
  }
  return [...byTier]
    .map(([name, list]) => ({
      name,
      tier: tiers.get(name),
      policies: list.sort(comparePolicies),
    }))
    .sort(compareTiers);
}

function compareTiers(a: PlacedTier, b: PlacedTier): number {
  if ((a.tier === undefined) !== (b.tier === undefined)) return a.tier === undefined ? 1 : -1;
  return compareOrders(a.tier?.order, b.tier?.order) || compareBytes(a.name, b.name);
}

function comparePolicies(a: PlacedPolicy, b: PlacedPolicy): number {
  return (
    compareOrders(a.policy.order, b.policy.order) || compareBytes(nameText(a.key), nameText(b.key))
  );
}

function nameText({ name, namespace, policyKind }: PolicyKey): string {
  return `${name}/${namespace}/${policyKind}`;
}

/** Not by subtraction: both may be infinite. */
function compareOrders(a = Number.POSITIVE_INFINITY, b = Number.POSITIVE_INFINITY): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Sorts policies to the places where they act. Tiers without a policy in a place are left out. */
export function splitTiers(tiers: readonly PlacedTier[]): EndpointTiers {
  const normal: TierInfo[] = [];
  const untracked: TierInfo[] = [];
  const preDnat: TierInfo[] = [];
  const forward: TierInfo[] = [];
  for (const { name, tier, policies } of tiers) {
    const defaultAction = tier?.defaultAction ?? "Deny";
    // Neither ends in a drop: what passes meets the normal policies later.
    addTier(untracked, name, "Pass", policies, ({ policy }) => policy.doNotTrack);
    addTier(preDnat, name, "Pass", policies, isPreDnat, true);
    addTier(normal, name, defaultAction, policies, isNormal);
    addTier(
      forward,
      name,
      defaultAction,
      policies,
      (one) => isNormal(one) && one.policy.applyOnForward,
    );
  }
  return { normal, untracked, preDnat, forward };
}

function isPreDnat({ policy }: PlacedPolicy): boolean {
  return policy.preDnat && !policy.doNotTrack;
}

function isNormal({ policy }: PlacedPolicy): boolean {
  return !policy.doNotTrack && !policy.preDnat;
}

function addTier(
  target: TierInfo[],
  name: string,
  defaultAction: TierInfo["defaultAction"],
  policies: readonly PlacedPolicy[],
  belongs: (placed: PlacedPolicy) => boolean,
  ingressOnly = false,
): void {
  const ingressPolicies: PolicyId[] = [];
  const egressPolicies: PolicyId[] = [];
  for (const placed of policies) {
    if (!belongs(placed)) continue;
    const { types } = placed.policy;
    const id = idOf(placed.key);
    if (types.includes("ingress")) ingressPolicies.push(id);
    if (types.includes("egress") && !ingressOnly) egressPolicies.push(id);
  }
  if (ingressPolicies.length + egressPolicies.length === 0) return;
  target.push({ name, ingressPolicies, egressPolicies, defaultAction });
}

export function idOf({ name, namespace, policyKind }: PolicyKey): PolicyId {
  return { name, namespace, kind: policyKind };
}
