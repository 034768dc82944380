/** Door of the calculation graph. */
export {
  CalcGraph,
  type CalcGraphOptions,
  type GraphSettings,
  type GraphStatistics,
} from "./graph.ts";
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
