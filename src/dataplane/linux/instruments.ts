/** What the Linux dataplane counts. */
import { counter, gauge } from "#metrics";

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
