/** Door of the v3 resources: types, schema, validation, stored bytes, manifests. */
export {
  API_VERSION,
  type BgpConfiguration,
  type BgpFilter,
  type BgpPeer,
  type CalicoNodeStatus,
  type ClusterInformation,
  type EncapMode,
  type EntityRule,
  type FelixConfiguration,
  type FelixConfigurationSpec,
  type GlobalNetworkPolicy,
  type GlobalNetworkPolicySpec,
  type GlobalNetworkSet,
  type HostEndpoint,
  type IcmpFields,
  type IPAMConfiguration,
  type IPPool,
  type IpPoolSpec,
  type IPReservation,
  type Kind,
  type KubeControllersConfiguration,
  type Metadata,
  type NamedPort,
  type NetworkPolicy,
  type NetworkPolicySpec,
  type NetworkSet,
  type Node,
  type NodeSpec,
  type PolicyType,
  type Profile,
  type Resource,
  type ResourceOf,
  type StagedGlobalNetworkPolicy,
  type StagedKubernetesNetworkPolicy,
  type StagedNetworkPolicy,
  type StringMap,
  type Tier,
  type V3Port,
  type V3Protocol,
  type V3Rule,
  type WorkloadEndpoint,
  type WorkloadEndpointSpec,
} from "./types.ts";
export { CONSTRAINTS, type ConstraintId } from "./constraints.ts";
export { formatFieldError, type FieldError, type Position } from "./context.ts";
export {
  guessKind,
  kindElsewhere,
  kindByAlias,
  kindInfo,
  kindPrefix,
  KINDS,
  parseResourcePath,
  resourcePath,
  type KindInfo,
  type ResourceId,
} from "./registry.ts";
export {
  documentSpec,
  validateResource,
  type ValidateOptions,
  type Validation,
} from "./validate.ts";
export { decodeStored, encodePretty, encodeStored } from "./encode.ts";
export { DEFAULT_ALLOW_PROFILE, DEFAULT_TIERS } from "./built-in.ts";
export { FELIX_FIELDS } from "./kinds/felix.ts";
export { workloadEndpointName } from "./kinds/endpoints.ts";
export {
  canonicalPort,
  formatDuration,
  parseDuration,
  parsePort,
  type ParsedPort,
} from "./scalars.ts";
export type { FieldSpec, ObjectSpec, TypeSpec } from "./schema.ts";
export {
  formatManifestError,
  parseManifest,
  type Manifest,
  type ManifestError,
  type ManifestOptions,
  type ManifestResource,
} from "./manifest.ts";
export { toYaml } from "./yaml-output.ts";
export { TIER_LABEL, withDerivedMetadata, withoutBookkeeping } from "./derive.ts";
