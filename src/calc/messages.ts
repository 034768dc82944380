/**
 * Messages from the event sequencer to a dataplane: the payloads of `ToDataplane` in Calico's
 * felixbackend.proto, as protobuf-JSON shaped objects. `case` is the oneof's field name.
 *
 * Order: see the sequencer. Members of IP sets are text: `a.b.c.d/len` (NET), `a.b.c.d` (IP) or
 * `ip,(tcp|udp|sctp):port` (IP_AND_PORT); IPv6 likewise, canonical (RFC 5952).
 */
import type { IpSetId, Policy, PolicyId, Profile, TierInfo } from "#policy";

export type IpSetType = "IP" | "IP_AND_PORT" | "NET";

export interface WorkloadEndpointId {
  readonly orchestratorId: string;
  readonly workloadId: string;
  readonly endpointId: string;
}

export interface NatInfo {
  readonly extIp: string;
  readonly intIp: string;
}

export interface WorkloadEndpoint {
  /** `active` or `inactive` (administratively down). */
  readonly state: string;
  /** Host-side interface. */
  readonly name: string;
  /** `""` if not declared: then no MAC check. */
  readonly mac: string;
  readonly profileIds: readonly string[];
  readonly ipv4Nets: readonly string[];
  readonly ipv6Nets: readonly string[];
  readonly tiers: readonly TierInfo[];
  readonly ipv4Nat: readonly NatInfo[];
  readonly ipv6Nat: readonly NatInfo[];
  readonly allowSpoofedSourcePrefixes: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
  /** Absent: in no migration. */
  readonly liveMigrationRole?: LiveMigrationRole;
  /** UID of the migration that gives the role. */
  readonly liveMigrationUid?: string;
}

export type LiveMigrationRole = "NO_ROLE" | "SOURCE" | "TARGET";

export interface HostEndpoint {
  readonly name: string;
  readonly profileIds: readonly string[];
  readonly tiers: readonly TierInfo[];
  readonly untrackedTiers: readonly TierInfo[];
  readonly preDnatTiers: readonly TierInfo[];
  readonly forwardTiers: readonly TierInfo[];
  readonly expectedIpv4Addrs: readonly string[];
  readonly expectedIpv6Addrs: readonly string[];
}

export type IpPoolType = "NONE" | "NO_ENCAP" | "VXLAN" | "IPIP";

/** Bitmap of `RouteUpdate.types` (felixbackend.proto, RouteType). */
export const RouteTypes = {
  CIDR_INFO: 0,
  REMOTE_WORKLOAD: 1,
  REMOTE_HOST: 2,
  LOCAL_WORKLOAD: 4,
  LOCAL_HOST: 8,
  REMOTE_TUNNEL: 16,
  LOCAL_TUNNEL: 32,
} as const;

export interface RouteUpdate {
  readonly types: number;
  readonly ipPoolType: IpPoolType;
  readonly dst: string;
  readonly dstNodeName: string;
  readonly dstNodeIp: string;
  readonly sameSubnet: boolean;
  readonly natOutgoing: boolean;
  readonly localWorkload: boolean;
  readonly borrowed: boolean;
  readonly tunnelType?: {
    readonly ipip: boolean;
    readonly vxlan: boolean;
    readonly wireguard: boolean;
  };
}

/** What one source of configuration says, as raw text. */
export interface RawConfigSource {
  readonly source: string;
  readonly config: Readonly<Record<string, string>>;
}

/** A Kubernetes Service. */
export interface ServiceUpdate {
  readonly name: string;
  readonly namespace: string;
  readonly type: string;
  readonly clusterIps: readonly string[];
  readonly loadbalancerIp: string;
  readonly externalIps: readonly string[];
  readonly ports: readonly {
    readonly protocol: string;
    readonly port: number;
    readonly nodePort: number;
  }[];
  readonly loadbalancerIngressIps: readonly string[];
}

export type ToDataplane =
  | {
      readonly case: "configUpdate";
      readonly value: {
        /** What holds, as raw text. */
        readonly config: Readonly<Record<string, string>>;
        /** By the source's rank, which is ascending. */
        readonly sourceToRawConfig?: Readonly<Record<number, RawConfigSource>>;
        readonly message?: string;
      };
    }
  | { readonly case: "inSync"; readonly value: Record<string, never> }
  | {
      readonly case: "ipsetUpdate";
      readonly value: {
        readonly id: IpSetId;
        readonly members: readonly string[];
        readonly type: IpSetType;
      };
    }
  | {
      readonly case: "ipsetDeltaUpdate";
      readonly value: {
        readonly id: IpSetId;
        readonly addedMembers: readonly string[];
        readonly removedMembers: readonly string[];
      };
    }
  | { readonly case: "ipsetRemove"; readonly value: { readonly id: IpSetId } }
  | {
      readonly case: "activePolicyUpdate";
      readonly value: { readonly id: PolicyId; readonly policy: Policy };
    }
  | { readonly case: "activePolicyRemove"; readonly value: { readonly id: PolicyId } }
  | {
      readonly case: "activeProfileUpdate";
      readonly value: { readonly id: { readonly name: string }; readonly profile: Profile };
    }
  | {
      readonly case: "activeProfileRemove";
      readonly value: { readonly id: { readonly name: string } };
    }
  | {
      readonly case: "workloadEndpointUpdate";
      readonly value: { readonly id: WorkloadEndpointId; readonly endpoint: WorkloadEndpoint };
    }
  | { readonly case: "workloadEndpointRemove"; readonly value: { readonly id: WorkloadEndpointId } }
  | {
      readonly case: "hostEndpointUpdate";
      readonly value: {
        readonly id: { readonly endpointId: string };
        readonly endpoint: HostEndpoint;
      };
    }
  | {
      readonly case: "hostEndpointRemove";
      readonly value: { readonly id: { readonly endpointId: string } };
    }
  | {
      readonly case: "hostMetadataUpdate";
      readonly value: {
        readonly hostname: string;
        readonly ipv4Addr: string;
        readonly ipv6Addr: string;
        readonly asnumber: string;
        readonly labels: Readonly<Record<string, string>>;
      };
    }
  | { readonly case: "hostMetadataRemove"; readonly value: { readonly hostname: string } }
  | {
      readonly case: "ipamPoolUpdate";
      readonly value: {
        readonly id: string;
        readonly pool: {
          readonly cidr: string;
          readonly masquerade: boolean;
          readonly ipipMode: string;
          readonly vxlanMode: string;
          readonly allowedUses: readonly string[];
        };
      };
    }
  | { readonly case: "ipamPoolRemove"; readonly value: { readonly id: string } }
  | { readonly case: "routeUpdate"; readonly value: RouteUpdate }
  | { readonly case: "routeRemove"; readonly value: { readonly dst: string } }
  | {
      readonly case: "vtepUpdate";
      readonly value: {
        readonly node: string;
        readonly mac: string;
        readonly ipv4Addr: string;
        readonly parentDeviceIp: string;
        readonly macV6: string;
        readonly ipv6Addr: string;
        readonly parentDeviceIpv6: string;
      };
    }
  | { readonly case: "vtepRemove"; readonly value: { readonly node: string } }
  | {
      readonly case: "wireguardEndpointUpdate";
      readonly value: {
        readonly hostname: string;
        readonly publicKey: string;
        readonly interfaceIpv4Addr: string;
      };
    }
  | { readonly case: "wireguardEndpointRemove"; readonly value: { readonly hostname: string } }
  | {
      readonly case: "wireguardEndpointV6Update";
      readonly value: {
        readonly hostname: string;
        readonly publicKeyV6: string;
        readonly interfaceIpv6Addr: string;
      };
    }
  | { readonly case: "wireguardEndpointV6Remove"; readonly value: { readonly hostname: string } }
  | { readonly case: "serviceUpdate"; readonly value: ServiceUpdate }
  | {
      readonly case: "serviceRemove";
      readonly value: { readonly name: string; readonly namespace: string };
    }
  | {
      readonly case: "encapsulation";
      readonly value: {
        readonly ipipEnabled: boolean;
        readonly vxlanEnabled: boolean;
        readonly vxlanEnabledV6: boolean;
        readonly noEncapEnabled: boolean;
      };
    }
  | {
      readonly case: "globalBgpConfigUpdate";
      /** CIDRs that BGPConfiguration default has for services, and addresses for local peers. */
      readonly value: {
        readonly serviceClusterCidrs: readonly string[];
        readonly serviceExternalCidrs: readonly string[];
        readonly serviceLoadbalancerCidrs: readonly string[];
        readonly localWorkloadPeeringIpV4: string;
        readonly localWorkloadPeeringIpV6: string;
      };
    }
  | {
      readonly case: "namespaceUpdate";
      readonly value: {
        readonly id: { readonly name: string };
        readonly labels: Readonly<Record<string, string>>;
      };
    }
  | { readonly case: "namespaceRemove"; readonly value: { readonly id: { readonly name: string } } }
  | {
      readonly case: "serviceAccountUpdate";
      readonly value: {
        readonly id: { readonly namespace: string; readonly name: string };
        readonly labels: Readonly<Record<string, string>>;
      };
    }
  | {
      readonly case: "serviceAccountRemove";
      readonly value: { readonly id: { readonly namespace: string; readonly name: string } };
    };

/** Status of a local endpoint as a dataplane reports it. */
export type EndpointState = "up" | "down" | "error";

/** What a dataplane reports. The last three come from external ones alone. */
export type FromDataplane =
  | {
      readonly case: "workloadEndpointStatusUpdate";
      readonly value: {
        readonly id: WorkloadEndpointId;
        readonly status: EndpointState;
        readonly reason?: string;
      };
    }
  | {
      readonly case: "workloadEndpointStatusRemove";
      readonly value: { readonly id: WorkloadEndpointId };
    }
  | {
      readonly case: "hostEndpointStatusUpdate";
      readonly value: {
        readonly id: { readonly endpointId: string };
        readonly status: EndpointState;
        readonly reason?: string;
      };
    }
  | {
      readonly case: "hostEndpointStatusRemove";
      readonly value: { readonly id: { readonly endpointId: string } };
    }
  | {
      readonly case: "processStatusUpdate";
      readonly value: { readonly isoTimestamp: string; readonly uptime: number };
    }
  | {
      readonly case: "wireguardStatusUpdate";
      /** `ipVersion` absent: both families. */
      readonly value: { readonly publicKey: string; readonly ipVersion?: 4 | 6 };
    }
  /** The dataplane has programmed what was there at in-sync, and reported on every endpoint. */
  | { readonly case: "dataplaneInSync"; readonly value: Record<string, never> };
