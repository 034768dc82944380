/**
 * The model of BGP on one node: what a routing daemon is told, with the reason for each part. Plain
 * data, in a fixed order: two models of the same objects are equal, and so is their text.
 */
import type { IpFamily } from "#ip";

/** The object, or the rule of the mesh, that something comes from, such as `BGPPeer tor`. */
type Origin = string;

export interface Password {
  readonly secret: string;
  readonly key: string;
  /** Never printed, logged or compared in the open. */
  readonly value: string;
}

export type PeerKind = "mesh" | "node" | "global" | "local-workload";

export interface Peer {
  /** The protocol's name in BIRD, such as `Mesh_10_0_0_2`. Unique in its family. */
  readonly name: string;
  readonly kind: PeerKind;
  readonly origin: Origin;
  /** The node at the other end, when it is one of ours. */
  readonly node?: string;
  readonly address: string;
  /** 179 when absent. */
  readonly port?: number;
  readonly remoteAs: number;
  readonly localAs: number;
  /** iBGP: both ends have the same AS number. */
  readonly internal: boolean;
  /** Waits for the other side to connect. */
  readonly passive: boolean;
  readonly sourceAddress?: string;
  readonly password?: Password;
  /** Most hops to the peer (RFC 5082); absent: any. */
  readonly ttlSecurityHops?: number;
  readonly gracefulRestartSeconds?: number;
  readonly longLivedRestart: boolean;
  readonly keepaliveSeconds?: number;
  readonly allowedLocalAs?: number;
  readonly nextHop: "auto" | "self" | "keep";
  /** The gateway to the peer. */
  readonly reachableBy?: string;
  /** The peer is our client (RFC 4456) in this cluster. */
  readonly reflectorClusterId?: string;
  /** Names of BGPFilters, in order. */
  readonly filters: readonly string[];
}

/** Something that was asked for and is not there, and why. */
export interface Omission {
  readonly what: string;
  readonly origin: Origin;
  readonly reason: string;
}

/** Two parts: RFC 1997. Three: RFC 8092. */
export type Community = readonly [number, number] | readonly [number, number, number];

export interface FilterMatch {
  readonly cidr?: {
    readonly operator: "Equal" | "NotEqual" | "In" | "NotIn";
    readonly cidr: string;
    readonly prefixLen: number;
    /** Both inclusive. */
    readonly lengths?: { readonly min: number; readonly max: number };
  };
  readonly fromPeers?: true;
  /** BIRD's shell pattern: `*` and `?`. */
  readonly interface?: string;
  readonly internal?: boolean;
  readonly community?: Community;
  readonly asPathPrefix?: readonly number[];
  readonly priority?: number;
}

export type FilterOperation =
  | { readonly kind: "add-community"; readonly community: Community }
  | { readonly kind: "prepend-as-path"; readonly path: readonly number[] }
  | { readonly kind: "set-priority"; readonly priority: number };

interface FilterRule {
  readonly match: FilterMatch;
  readonly action: "Accept" | "Reject";
  readonly operations: readonly FilterOperation[];
}

/** `fault`: it cannot be done as written, and so lets nothing pass. */
export type FilterChain = { readonly rules: readonly FilterRule[] } | { readonly fault: string };

export interface Filter {
  readonly name: string;
  readonly import: FilterChain;
  readonly export: FilterChain;
}

/** Who writes a pool's routes to other nodes into the kernel. */
export interface Pool {
  readonly cidr: string;
  readonly origin: Origin;
  readonly encapsulation: "none" | "ipip" | "vxlan";
  readonly programmedBy: "bird" | "felix";
  readonly exported: boolean;
}

export interface PrefixCommunities {
  readonly cidr: string;
  readonly communities: readonly Community[];
}

export interface ServiceRoute {
  readonly cidr: string;
  readonly origin: Origin;
}

export interface FamilyModel {
  readonly family: IpFamily;
  /** Absent: BGP is off for this family on this node. */
  readonly address?: string;
  readonly peers: readonly Peer[];
  readonly omitted: readonly Omission[];
  /** Every filter that a peer names. */
  readonly filters: readonly Filter[];
  readonly pools: readonly Pool[];
  /** Blocks of this node: announced whole, with a blackhole behind. */
  readonly blocks: readonly string[];
  readonly prefixCommunities: readonly PrefixCommunities[];
  /** What of the services is announced from here. */
  readonly serviceRoutes: readonly ServiceRoute[];
  /** All blocks of service addresses: only `serviceRoutes` of them are announced. */
  readonly serviceBlocks: readonly string[];
  /** Metric of routes in the kernel, where no lower one is asked for. */
  readonly normalPriority: number;
  /** Nodes that are reached by WireGuard: the routes to them are not BIRD's. */
  readonly wireguardPeers: readonly string[];
}

export interface BgpModel {
  readonly node: string;
  readonly routerId: string;
  readonly routerIdFrom: string;
  readonly asNumber: number;
  readonly mesh: boolean;
  readonly meshWhy: string;
  readonly reflectorClusterId?: string;
  readonly listenPort: number;
  readonly bindToNodeIp: boolean;
  readonly logSeverity: string;
  /** Patterns of interfaces whose networks are not read. */
  readonly ignoredInterfaces: readonly string[];
  readonly workloadPrefixes: readonly string[];
  /** Keyed by family. */
  readonly families: { readonly 4: FamilyModel; readonly 6: FamilyModel };
  /** What is not as the objects say, and why. */
  readonly warnings: readonly string[];
}
