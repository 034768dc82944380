/** Objects that every datastore has: the built-in tiers and the profile that allows everything. */

export const DEFAULT_TIERS = [
  { name: "default", order: 1_000_000, defaultAction: "Deny" },
  { name: "kube-admin", order: 1_000, defaultAction: "Pass" },
  { name: "kube-baseline", order: 10_000_000, defaultAction: "Pass" },
] as const;

/** Not stored: every reader behaves as if it were there. */
export const DEFAULT_ALLOW_PROFILE = "projectcalico-default-allow";
