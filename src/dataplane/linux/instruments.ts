/** What the Linux dataplane counts. */
import { counter, gauge } from "#metrics";
import type { NftCounts } from "#netlink";

export const rulesetRepairs = counter(
  "margay_ruleset_repairs",
  "Times the policy table was found changed by others and made whole again.",
);
export const kernelWrites = counter(
  "margay_kernel_writes",
  "Changes written to the kernel, by part of the dataplane.",
  ["part"],
);
export const partFailures = counter(
  "margay_kernel_write_failures",
  "Rounds in which a part of the dataplane could not write all it had to.",
  ["part"],
);
export const workloadRoutes = gauge(
  "felix_route_table_num_routes",
  "Routes of the agent in the kernel.",
);
export const unenforcedPolicies = gauge(
  "margay_policies_unenforced",
  "Policies and profiles in use that deny because they cannot be enforced.",
);
export const nftCalls = counter("felix_nft_calls", "Transactions sent to nf_tables.");
export const nftErrors = counter("felix_nft_errors", "Transactions that nf_tables refused.");
export const nftObjects: Readonly<Record<keyof NftCounts, ReturnType<typeof gauge>>> = {
  chains: gauge("felix_nft_chains", "Chains in the policy table."),
  rules: gauge("felix_nft_rules", "Rules in the policy table."),
  sets: gauge("felix_nft_sets", "Sets in the policy table."),
  maps: gauge("felix_nft_maps", "Maps in the policy table."),
};
