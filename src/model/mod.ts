/** Door of the model: its types, and the way from the datastore's objects to it. */
export type {
  CanonicalSelector,
  EndpointPort,
  FelixConfigKey,
  HostEndpointKey,
  IpamBlockKey,
  IpPoolKey,
  ModelClusterInformation,
  ModelEntityRule,
  ModelFelixConfig,
  ModelHostEndpoint,
  ModelIpamBlock,
  ModelIpPool,
  ModelKey,
  ModelNetworkSet,
  ModelNode,
  ModelPolicy,
  ModelPort,
  ModelRule,
  ModelTier,
  ModelUpdate,
  ModelWorkloadEndpoint,
  NetworkSetKey,
  NodeKey,
  PolicyKey,
  ProfileLabelsKey,
  ProfileRulesKey,
  ReadyKey,
  TierKey,
  WorkloadEndpointKey,
} from "./types.ts";
export { isModelPath, ModelConverter, resourceUpdates } from "./convert.ts";
export { workloadEndpointKey } from "./endpoints.ts";
export { modelKeyText } from "./keys.ts";
export { ANY_ENTITY } from "./rules.ts";
export {
  felixStatusPrefix,
  hostEndpointStatusPath,
  ipamBlockCidr,
  lastProcessStatusPath,
  processStatusPath,
  SYNC_PREFIXES,
  workloadStatusPath,
} from "./paths.ts";
