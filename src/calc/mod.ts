/** Door of the calculation graph. */
export {
  CalcGraph,
  type CalcGraphOptions,
  type GraphSettings,
  type GraphStatistics,
} from "./graph.ts";
export { decidesByService, unsupportedFields } from "./unsupported.ts";
export type { ModelRuleLists } from "./rule-scanner.ts";
export {
  RouteTypes,
  type EndpointState,
  type FromDataplane,
  type HostEndpoint,
  type IpPoolType,
  type IpSetType,
  type LiveMigrationRole,
  type NatInfo,
  type RawConfigSource,
  type RouteUpdate,
  type ServiceUpdate,
  type ToDataplane,
  type WorkloadEndpoint,
  type WorkloadEndpointId,
} from "./messages.ts";
export { workloadIdentity } from "./workload-identity.ts";
