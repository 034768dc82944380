/**
 * The v3 resources as TypeScript sees them after validation: defaults filled in, durations and
 * ports in one spelling, absent means absent (never null). Field names and meaning are those of
 * Calico's API `projectcalico.org/v3`.
 */
export type { BgpConfiguration, BgpFilter, BgpPeer } from "./types-bgp.ts";
import type { BgpConfiguration, BgpFilter, BgpPeer } from "./types-bgp.ts";

export const API_VERSION = "projectcalico.org/v3";

export type StringMap = Readonly<Record<string, string>>;

export interface Metadata {
  readonly name: string;
  /** Present exactly on namespaced kinds. */
  readonly namespace?: string;
  readonly uid?: string;
  /** The store's modRevision as decimal text; present on what was read, absent in what is stored. */
  readonly resourceVersion?: string;
  /** RFC 3339, whole seconds, UTC. */
  readonly creationTimestamp?: string;
  readonly labels?: StringMap;
  readonly annotations?: StringMap;
}

interface Base<K extends string, S> {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: K;
  readonly metadata: Metadata;
  readonly spec: S;
}

/** 1–255, or one of TCP UDP ICMP ICMPv6 SCTP UDPLite. */
export type V3Protocol = number | string;
/** A number, a range `"first:last"` (first < last), or the name of an endpoint's port. */
export type V3Port = number | string;

export interface EntityRule {
  readonly nets?: readonly string[];
  readonly selector?: string;
  readonly namespaceSelector?: string;
  readonly services?: { readonly name: string; readonly namespace?: string };
  readonly ports?: readonly V3Port[];
  readonly notNets?: readonly string[];
  readonly notSelector?: string;
  readonly notPorts?: readonly V3Port[];
  readonly serviceAccounts?: { readonly names?: readonly string[]; readonly selector?: string };
}

export interface IcmpFields {
  readonly type?: number;
  readonly code?: number;
}

interface HttpPath {
  readonly exact?: string;
  readonly prefix?: string;
}

export interface V3Rule {
  readonly action: "Allow" | "Deny" | "Log" | "Pass";
  readonly ipVersion?: 4 | 6;
  readonly protocol?: V3Protocol;
  readonly icmp?: IcmpFields;
  readonly notProtocol?: V3Protocol;
  readonly notICMP?: IcmpFields;
  readonly source?: EntityRule;
  readonly destination?: EntityRule;
  readonly http?: { readonly methods?: readonly string[]; readonly paths?: readonly HttpPath[] };
  readonly metadata?: { readonly annotations?: StringMap };
}

export type PolicyType = "Ingress" | "Egress";

export interface NetworkPolicySpec {
  readonly tier: string;
  /** Absent sorts after every number. */
  readonly order?: number;
  readonly ingress?: readonly V3Rule[];
  readonly egress?: readonly V3Rule[];
  readonly selector?: string;
  readonly types: readonly PolicyType[];
  readonly serviceAccountSelector?: string;
  readonly performanceHints?: readonly string[];
}

export interface GlobalNetworkPolicySpec extends NetworkPolicySpec {
  readonly doNotTrack?: boolean;
  readonly preDNAT?: boolean;
  readonly applyOnForward?: boolean;
  readonly namespaceSelector?: string;
}

type StagedAction = "Set" | "Delete" | "Learn" | "Ignore";
interface Staged {
  readonly stagedAction: StagedAction;
}

export type NetworkPolicy = Base<"NetworkPolicy", NetworkPolicySpec>;
export type GlobalNetworkPolicy = Base<"GlobalNetworkPolicy", GlobalNetworkPolicySpec>;
export type StagedNetworkPolicy = Base<"StagedNetworkPolicy", Staged & NetworkPolicySpec>;
export type StagedGlobalNetworkPolicy = Base<
  "StagedGlobalNetworkPolicy",
  Staged & GlobalNetworkPolicySpec
>;
/** Rules in Kubernetes' own shape; kept as written. */
export type StagedKubernetesNetworkPolicy = Base<
  "StagedKubernetesNetworkPolicy",
  Staged & {
    readonly podSelector?: unknown;
    readonly ingress?: readonly unknown[];
    readonly egress?: readonly unknown[];
    readonly policyTypes?: readonly PolicyType[];
  }
>;

export type Tier = Base<
  "Tier",
  { readonly order?: number; readonly defaultAction: "Deny" | "Pass" }
>;

export type NetworkSet = Base<"NetworkSet", { readonly nets?: readonly string[] }>;
export type GlobalNetworkSet = Base<"GlobalNetworkSet", { readonly nets?: readonly string[] }>;

export type Profile = Base<
  "Profile",
  {
    readonly ingress?: readonly V3Rule[];
    readonly egress?: readonly V3Rule[];
    readonly labelsToApply?: StringMap;
  }
>;

export interface NamedPort {
  readonly name: string;
  readonly protocol: V3Protocol;
  readonly port: number;
}

export type HostEndpoint = Base<
  "HostEndpoint",
  {
    readonly node?: string;
    /** `*` means every interface of the node. */
    readonly interfaceName?: string;
    readonly expectedIPs?: readonly string[];
    readonly profiles?: readonly string[];
    readonly ports?: readonly NamedPort[];
  }
>;

export interface WorkloadEndpointSpec {
  readonly orchestrator?: string;
  readonly workload?: string;
  readonly node?: string;
  readonly containerID?: string;
  readonly pod?: string;
  readonly endpoint?: string;
  readonly serviceAccountName?: string;
  /** /32 and /128 blocks. */
  readonly ipNetworks?: readonly string[];
  readonly ipNATs?: readonly { readonly internalIP: string; readonly externalIP: string }[];
  readonly ipv4Gateway?: string;
  readonly ipv6Gateway?: string;
  readonly profiles?: readonly string[];
  readonly interfaceName?: string;
  readonly mac?: string;
  readonly ports?: readonly (NamedPort & { readonly hostPort: number; readonly hostIP: string })[];
  readonly allowSpoofedSourcePrefixes?: readonly string[];
  readonly qosControls?: Readonly<Record<string, number>>;
}
export type WorkloadEndpoint = Base<"WorkloadEndpoint", WorkloadEndpointSpec>;

export interface NodeSpec {
  readonly bgp?: {
    readonly asNumber?: number;
    readonly ipv4Address?: string;
    readonly ipv6Address?: string;
    readonly ipv4IPIPTunnelAddr?: string;
    readonly routeReflectorClusterID?: string;
  };
  readonly ipv4VXLANTunnelAddr?: string;
  readonly vxlanTunnelMACAddr?: string;
  readonly ipv6VXLANTunnelAddr?: string;
  readonly vxlanTunnelMACAddrV6?: string;
  readonly orchRefs?: readonly { readonly nodeName?: string; readonly orchestrator: string }[];
  readonly wireguard?: {
    readonly interfaceIPv4Address?: string;
    readonly interfaceIPv6Address?: string;
  };
  readonly addresses?: readonly { readonly address: string; readonly type?: string }[];
}
interface NodeStatus {
  readonly wireguardPublicKey?: string;
  readonly wireguardPublicKeyV6?: string;
  readonly podCIDRs?: readonly string[];
}
export type Node = Base<"Node", NodeSpec> & { readonly status?: NodeStatus };

export type EncapMode = "Never" | "Always" | "CrossSubnet";
export interface IpPoolSpec {
  readonly cidr: string;
  readonly vxlanMode: EncapMode;
  readonly ipipMode: EncapMode;
  readonly natOutgoing?: boolean;
  readonly disabled?: boolean;
  readonly disableBGPExport?: boolean;
  readonly blockSize: number;
  readonly nodeSelector: string;
  readonly namespaceSelector?: string;
  readonly allowedUses: readonly ("Workload" | "Tunnel" | "LoadBalancer")[];
  readonly assignmentMode: "Automatic" | "Manual";
}
export type IPPool = Base<"IPPool", IpPoolSpec>;
export type IPReservation = Base<"IPReservation", { readonly reservedCIDRs?: readonly string[] }>;

/** camelCase parameter → value; the table of fields is `FELIX_FIELDS`. */
export type FelixConfigurationSpec = Readonly<Record<string, unknown>>;
export type FelixConfiguration = Base<"FelixConfiguration", FelixConfigurationSpec>;

export type ClusterInformation = Base<
  "ClusterInformation",
  {
    readonly clusterGUID?: string;
    readonly clusterType?: string;
    readonly calicoVersion?: string;
    readonly datastoreReady?: boolean;
    readonly variant?: string;
  }
>;

export type KubeControllersConfiguration = Base<
  "KubeControllersConfiguration",
  Readonly<Record<string, unknown>>
>;
export type CalicoNodeStatus = Base<
  "CalicoNodeStatus",
  {
    readonly node: string;
    readonly classes?: readonly ("Agent" | "BGP" | "Routes")[];
    readonly updatePeriodSeconds?: number;
  }
> & { readonly status?: Readonly<Record<string, unknown>> };
export type IPAMConfiguration = Base<"IPAMConfiguration", Readonly<Record<string, unknown>>>;

export type Resource =
  | BgpConfiguration
  | BgpFilter
  | BgpPeer
  | CalicoNodeStatus
  | ClusterInformation
  | FelixConfiguration
  | GlobalNetworkPolicy
  | GlobalNetworkSet
  | HostEndpoint
  | IPAMConfiguration
  | IPPool
  | IPReservation
  | KubeControllersConfiguration
  | NetworkPolicy
  | NetworkSet
  | Node
  | Profile
  | StagedGlobalNetworkPolicy
  | StagedKubernetesNetworkPolicy
  | StagedNetworkPolicy
  | Tier
  | WorkloadEndpoint;

export type Kind = Resource["kind"];
export type ResourceOf<K extends Kind> = Extract<Resource, { readonly kind: K }>;
