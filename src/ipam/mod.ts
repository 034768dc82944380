/** Door of address management: blocks, affinities and handles in Calico's layout, for many writers. */
export {
  Ipam,
  type AutoAssigned,
  type AutoAssignRequest,
  type HolderRequest,
  type IpAssignment,
  type IpamOptions,
} from "./ipam.ts";
export { hostOwner, IPAM_PREFIX, LOAD_BALANCER, parseIpamPath, type Owner } from "./keys.ts";
export type { Assigned, FamilyResult } from "./assign.ts";
export type { AffinityReleased } from "./claim.ts";
export type { ReleaseOutcome, ReleaseRequest } from "./release.ts";
export type { IpamConfig } from "./records.ts";
export { poolOf, refusal, selectsNode, type AddressUse } from "./pools.ts";
export { audit, describe, type Allocation, type Audit, type Problem } from "./check.ts";
export { readSnapshot, type Snapshot } from "./snapshot.ts";
export { utilization, type PoolUsage, type Usage } from "./utilization.ts";
export { explainAddress, type Explanation } from "./explain.ts";
export { parseJson, writeJson } from "./json.ts";
