/** What chains of endpoints have in common, of workloads and of hosts: tiers and jumps to policies. */
import type { NftChain, NftRule } from "#netlink";
import type { PolicyId, TierInfo } from "#policy";
import { denyExprs, dropExprs } from "./actions.ts";
import { passMarkBit, type NftPolicyConfig } from "./config.ts";
import { clearMarkBit, jump, markBitIsSet, returnToCaller, rule as nftRule } from "./exprs.ts";
import { tierChain, type Direction } from "./names.ts";
import type { PolicyUse } from "./policies.ts";
import type { PolicyForm, PolicyView } from "./policy-listing.ts";

/** A tier as it applies to an endpoint; tiers without policy that is enforced are not there. */
export interface AppliedTier {
  readonly name: string;
  readonly policies: readonly PolicyId[];
  readonly dropsAtEnd: boolean;
}

/** Staged policies are never enforced, and a tier of staged policies alone decides nothing. */
export function appliedTiers(direction: Direction, tierInfos: readonly TierInfo[]): AppliedTier[] {
  const tiers: AppliedTier[] = [];
  for (const info of tierInfos) {
    const ids = direction === "ingress" ? info.ingressPolicies : info.egressPolicies;
    const policies = ids
      .filter((id) => !id.kind.startsWith("Staged"))
      .map(({ kind, namespace, name }) => ({ kind, namespace, name }));
    if (policies.length === 0) continue;
    tiers.push({ name: info.name, policies, dropsAtEnd: info.defaultAction !== "Pass" });
  }
  return tiers;
}

/** What names policies, in one direction. */
export interface PolicyUser {
  readonly direction: Direction;
  readonly tiers: readonly AppliedTier[];
  readonly profileIds: readonly string[];
}

export function usePolicies<User extends PolicyUser>(
  policies: PolicyUse<User>,
  user: User,
  form: PolicyForm,
): void {
  const { direction, tiers, profileIds } = user;
  for (const id of tiers.flatMap((tier) => tier.policies)) {
    policies.usePolicy(id, direction, user, form);
  }
  for (const id of profileIds) policies.useProfile(id, direction, user);
}

export function unusePolicies<User extends PolicyUser>(
  policies: PolicyUse<User>,
  user: User,
): void {
  const { direction, tiers, profileIds } = user;
  for (const id of tiers.flatMap((tier) => tier.policies)) {
    policies.unusePolicy(id, direction, user);
  }
  for (const id of profileIds) policies.unuseProfile(id, direction, user);
}

/** A policy that is not known drops in its place. */
function jumpTo(view: PolicyView): NftRule {
  return view.chain === undefined
    ? nftRule(dropExprs(), view.problem)
    : nftRule([jump(view.chain)]);
}

/** The policy, and out of the tier if it passes the packet on. */
export function policyRules(view: PolicyView, config: NftPolicyConfig): NftRule[] {
  const rules = [jumpTo(view)];
  if (view.passes) rules.push(nftRule([...markBitIsSet(passMarkBit(config)), returnToCaller]));
  return rules;
}

export function endOfTierRules(tier: AppliedTier, config: NftPolicyConfig): NftRule[] {
  if (!tier.dropsAtEnd) return [];
  const comment = `End of tier ${tier.name}. Drop if no policies passed packet`;
  return [nftRule(denyExprs(config), comment)];
}

/** Behind all tiers: the profiles, and what none of them allowed is dropped. */
export function profileRules<User extends PolicyUser>(
  policies: PolicyUse<User>,
  { direction, profileIds }: User,
  config: NftPolicyConfig,
): { readonly rules: readonly NftRule[]; readonly problems: readonly string[] } {
  const views = profileIds.map((id) => policies.profile(id, direction));
  return {
    rules: [...views.map(jumpTo), nftRule(denyExprs(config), "Drop if no profiles matched")],
    problems: views.flatMap(({ problem }) => problem ?? []),
  };
}

/**
 * The rules of the tier at `index` within `chain`. If some policy may pass, they go into a chain of
 * the tier's own, out of which that policy can return.
 */
export function placeTier(
  chain: string,
  index: number,
  tier: AppliedTier,
  rules: readonly NftRule[],
  passes: boolean,
  config: NftPolicyConfig,
): { readonly rules: readonly NftRule[]; readonly chains: readonly NftChain[] } {
  if (!passes) return { rules, chains: [] };
  const name = tierChain(chain, index);
  const clear = clearMarkBit(passMarkBit(config));
  const around = [
    nftRule(clear, `Start of tier ${tier.name}`),
    nftRule([jump(name)]),
    nftRule(clear),
  ];
  return { rules: around, chains: [{ name, rules }] };
}
