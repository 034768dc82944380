/**
 * What is forwarded to a service's address although nobody translated it would go to the router and
 * come back from there: it ends here. Answers of connections that go already may pass.
 */
import type { IpFamily } from "#ip";
import type { NftChain } from "#netlink";
import { reject } from "./actions.ts";
import {
  accept,
  addressInSet,
  counter,
  ctStateAny,
  drop,
  familyIs,
  rule as nftRule,
} from "./exprs.ts";
import { plainBaseChains } from "./names.ts";

/** Behind the policy of workloads and of host endpoints. */
const PRIORITY = 3;

/** `setOf`: name of the set of service CIDRs, for the families that have some. */
export function serviceLoopChain(
  action: "Drop" | "Reject",
  setOf: ReadonlyMap<IpFamily, string>,
): NftChain | undefined {
  if (setOf.size === 0) return undefined;
  const ending = action === "Reject" ? reject : drop;
  const rules = [...setOf].map(([family, set]) =>
    nftRule(
      [...familyIs(family), ...addressInSet(family, "dst", set), counter, ending],
      "Service address that nobody translated",
    ),
  );
  return {
    name: plainBaseChains.serviceLoop,
    hook: { type: "filter", hook: "forward", priority: PRIORITY, policy: "accept" },
    rules: [nftRule([...ctStateAny("established", "related"), accept]), ...rules],
  };
}
