/**
 * What the calculation graph consumes: typed keys and values that the v3 resources of the
 * datastore are converted to (Calico's "v1" or syncer model). A `null` value means absent, deleted
 * or invalid; the graph treats all three alike.
 */
import type { Rule } from "#policy";

/** A selector text that has been parsed successfully and put in canonical form. */
export type CanonicalSelector = string;

export interface WorkloadEndpointKey {
  readonly kind: "WorkloadEndpoint";
  readonly hostname: string;
  readonly orchestratorId: string;
  readonly workloadId: string;
  readonly endpointId: string;
}
export interface HostEndpointKey {
  readonly kind: "HostEndpoint";
  readonly hostname: string;
  readonly endpointId: string;
}
export interface PolicyKey {
  readonly kind: "Policy";
  /** GlobalNetworkPolicy, NetworkPolicy, Staged…, Kubernetes… */
  readonly policyKind: string;
  readonly namespace: string;
  readonly name: string;
}
export interface ProfileRulesKey {
  readonly kind: "ProfileRules";
  readonly name: string;
}
export interface ProfileLabelsKey {
  readonly kind: "ProfileLabels";
  readonly name: string;
}
export interface TierKey {
  readonly kind: "Tier";
  readonly name: string;
}
/** `name` is `<name>` for a GlobalNetworkSet and `<namespace>/<name>` for a NetworkSet. */
export interface NetworkSetKey {
  readonly kind: "NetworkSet";
  readonly name: string;
}
export interface IpPoolKey {
  readonly kind: "IPPool";
  readonly cidr: string;
}
export interface NodeKey {
  readonly kind: "Node";
  readonly name: string;
}
export interface IpamBlockKey {
  readonly kind: "IPAMBlock";
  readonly cidr: string;
}
/** FelixConfiguration flattened: scope is `default`, `node.<name>` or a selector-scoped name. */
export interface FelixConfigKey {
  readonly kind: "FelixConfiguration";
  readonly name: string;
}
export interface ReadyKey {
  readonly kind: "ClusterInformation";
}
/** The one named `default`. */
export interface BgpConfigKey {
  readonly kind: "BGPConfiguration";
}
export interface KubernetesServiceKey {
  readonly kind: "KubernetesService";
  readonly namespace: string;
  readonly name: string;
}
export interface EndpointSliceKey {
  readonly kind: "EndpointSlice";
  readonly namespace: string;
  readonly name: string;
}
export interface LiveMigrationKey {
  readonly kind: "LiveMigration";
  readonly namespace: string;
  readonly name: string;
}

export type ModelKey =
  | WorkloadEndpointKey
  | HostEndpointKey
  | PolicyKey
  | ProfileRulesKey
  | ProfileLabelsKey
  | TierKey
  | NetworkSetKey
  | IpPoolKey
  | NodeKey
  | IpamBlockKey
  | FelixConfigKey
  | ReadyKey
  | BgpConfigKey
  | KubernetesServiceKey
  | EndpointSliceKey
  | LiveMigrationKey;

export interface EndpointPort {
  readonly name: string;
  /** Lower-case `tcp`, `udp`, `sctp`. */
  readonly protocol: string;
  readonly port: number;
}

export interface ModelWorkloadEndpoint {
  readonly state: "active" | "inactive";
  readonly name: string;
  readonly mac: string;
  readonly profileIds: readonly string[];
  readonly ipv4Nets: readonly string[];
  readonly ipv6Nets: readonly string[];
  readonly ipv4Nat: readonly { readonly extIp: string; readonly intIp: string }[];
  readonly ipv6Nat: readonly { readonly extIp: string; readonly intIp: string }[];
  readonly labels: Readonly<Record<string, string>>;
  readonly ports: readonly EndpointPort[];
  readonly allowSpoofedSourcePrefixes: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ModelHostEndpoint {
  readonly name: string;
  readonly expectedIpv4Addrs: readonly string[];
  readonly expectedIpv6Addrs: readonly string[];
  readonly profileIds: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly ports: readonly EndpointPort[];
}

/** A rule before its selectors and named ports are resolved to IP sets. */
export interface ModelRule {
  readonly action: Rule["action"];
  readonly ipVersion?: 4 | 6;
  readonly protocol?: Rule["protocol"];
  readonly notProtocol?: Rule["protocol"];
  readonly icmp?: Rule["icmp"];
  readonly notIcmp?: Rule["notIcmp"];
  readonly source: ModelEntityRule;
  readonly destination: ModelEntityRule;
  readonly http?: Rule["httpMatch"];
  readonly metadata?: Rule["metadata"];
  /** Fields that this version does not know, as paths within the rule; absent when there are none. */
  readonly unknownFields?: readonly string[];
}

/** A port match: a numeric range, or the name of an endpoint port. */
export type ModelPort =
  | { readonly first: number; readonly last: number }
  | { readonly name: string };

export interface ModelEntityRule {
  readonly nets: readonly string[];
  readonly notNets: readonly string[];
  /** Namespace, service-account and label selectors joined; `""` = none. */
  readonly selector: CanonicalSelector;
  readonly notSelector: CanonicalSelector;
  readonly ports: readonly ModelPort[];
  readonly notPorts: readonly ModelPort[];
  readonly service?: { readonly namespace: string; readonly name: string };
  readonly originalSelector: string;
  readonly originalNotSelector: string;
  readonly originalNamespaceSelector: string;
  readonly originalServiceAccountNames: readonly string[];
  readonly originalServiceAccountSelector: string;
}

export interface ModelPolicy {
  readonly tier: string;
  /** Absent sorts last. */
  readonly order?: number;
  readonly selector: CanonicalSelector;
  readonly originalSelector: string;
  readonly inboundRules: readonly ModelRule[];
  readonly outboundRules: readonly ModelRule[];
  /** Never empty: defaults are applied. */
  readonly types: readonly ("ingress" | "egress")[];
  readonly namespace: string;
  readonly doNotTrack: boolean;
  readonly preDnat: boolean;
  readonly applyOnForward: boolean;
  readonly staged: boolean;
  readonly performanceHints: readonly string[];
  /** Why its rules are not known: it denies, and has none. */
  readonly broken?: string;
}

export interface ModelTier {
  readonly order?: number;
  readonly defaultAction: "Deny" | "Pass";
}

export interface ModelNetworkSet {
  readonly labels: Readonly<Record<string, string>>;
  readonly nets: readonly string[];
  /** `kns.<namespace>` for a NetworkSet, so that it inherits the namespace's labels. */
  readonly profileIds: readonly string[];
}

export interface ModelIpPool {
  readonly cidr: string;
  readonly ipipMode: "Never" | "Always" | "CrossSubnet";
  readonly vxlanMode: "Never" | "Always" | "CrossSubnet";
  readonly natOutgoing: boolean;
  readonly disabled: boolean;
  readonly allowedUses: readonly string[];
}

/** What a node's resource says about its addresses; CIDR text, `""` when absent. */
export interface ModelNode {
  readonly labels: Readonly<Record<string, string>>;
  readonly bgpIpv4: string;
  readonly bgpIpv6: string;
  readonly asNumber: string;
  readonly hostIpv4: string;
  readonly hostIpv6: string;
  readonly ipv4IpipTunnelAddr: string;
  readonly ipv4VxlanTunnelAddr: string;
  readonly ipv6VxlanTunnelAddr: string;
  readonly vxlanTunnelMac: string;
  readonly vxlanTunnelMacV6: string;
  /** All its addresses, canonical, without length. */
  readonly otherAddresses?: readonly string[];
  /** Absent: it has neither a key nor an address. */
  readonly wireguard?: {
    readonly publicKey: string;
    readonly publicKeyV6: string;
    readonly interfaceIpv4: string;
    readonly interfaceIpv6: string;
  };
}

/** What local dataplanes use of it. CIDR and address text, `""` and empty when absent. */
export interface ModelBgpConfig {
  readonly serviceClusterCidrs: readonly string[];
  readonly serviceExternalCidrs: readonly string[];
  readonly serviceLoadBalancerCidrs: readonly string[];
  readonly localWorkloadPeeringIpv4: string;
  readonly localWorkloadPeeringIpv6: string;
}

export interface ModelService {
  readonly type: string;
  readonly clusterIps: readonly string[];
  readonly loadBalancerIp: string;
  readonly externalIps: readonly string[];
  readonly ports: readonly {
    readonly protocol: string;
    readonly port: number;
    readonly nodePort: number;
  }[];
  readonly loadBalancerIngressIps: readonly string[];
}

/** Some of a service's endpoints; the service's namespace is the slice's. */
export interface ModelEndpointSlice {
  readonly service: string;
  /** Canonical. */
  readonly addresses: readonly string[];
  /** Protocols in lower case. */
  readonly ports: readonly { readonly protocol: string; readonly port: number }[];
}

/** A workload, or with `endpointId` one of its endpoints. */
export interface MigratingWorkload {
  readonly hostname: string;
  readonly orchestratorId: string;
  readonly workloadId: string;
  readonly endpointId?: string;
}

export interface ModelLiveMigration {
  readonly uid: string;
  readonly source?: MigratingWorkload;
  readonly target?: MigratingWorkload | { readonly selector: CanonicalSelector };
}

export interface ModelIpamBlock {
  readonly cidr: string;
  /** `host:<name>`, `virtual:<name>` or `""`. */
  readonly affinity: string;
  /** Allocated ordinals with the node of the allocation ("" if not recorded). */
  readonly allocations: readonly { readonly ordinal: number; readonly node: string }[];
}

export interface ModelFelixConfig {
  readonly creationTimestamp: string;
  readonly nodeSelector: string;
  /** v1-style `Name → raw text`. */
  readonly params: Readonly<Record<string, string>>;
}

export interface ModelClusterInformation {
  readonly ready: boolean;
  readonly clusterGuid: string;
  readonly clusterType: string;
  readonly calicoVersion: string;
}

/** Key and value belong together; one union so that handlers narrow by `key.kind`. */
export type ModelUpdate =
  | { readonly key: WorkloadEndpointKey; readonly value: ModelWorkloadEndpoint | null }
  | { readonly key: HostEndpointKey; readonly value: ModelHostEndpoint | null }
  | { readonly key: PolicyKey; readonly value: ModelPolicy | null }
  | {
      readonly key: ProfileRulesKey;
      readonly value: {
        readonly inboundRules: readonly ModelRule[];
        readonly outboundRules: readonly ModelRule[];
      } | null;
    }
  | { readonly key: ProfileLabelsKey; readonly value: Readonly<Record<string, string>> | null }
  | { readonly key: TierKey; readonly value: ModelTier | null }
  | { readonly key: NetworkSetKey; readonly value: ModelNetworkSet | null }
  | { readonly key: IpPoolKey; readonly value: ModelIpPool | null }
  | { readonly key: NodeKey; readonly value: ModelNode | null }
  | { readonly key: IpamBlockKey; readonly value: ModelIpamBlock | null }
  | { readonly key: FelixConfigKey; readonly value: ModelFelixConfig | null }
  | { readonly key: ReadyKey; readonly value: ModelClusterInformation | null }
  | { readonly key: BgpConfigKey; readonly value: ModelBgpConfig | null }
  | { readonly key: KubernetesServiceKey; readonly value: ModelService | null }
  | { readonly key: EndpointSliceKey; readonly value: ModelEndpointSlice | null }
  | { readonly key: LiveMigrationKey; readonly value: ModelLiveMigration | null };
