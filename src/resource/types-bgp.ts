/** The routing kinds after validation; see `types.ts`. */
import type { API_VERSION, Metadata } from "./types.ts";

interface Base<K extends string, S> {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: K;
  readonly metadata: Metadata;
  readonly spec: S;
}

interface Cidr {
  readonly cidr: string;
}
interface SecretReference {
  readonly secretKeyRef?: { readonly name?: string; readonly key: string };
}

export type BgpConfiguration = Base<
  "BGPConfiguration",
  {
    readonly logSeverityScreen?: string;
    readonly nodeToNodeMeshEnabled?: boolean;
    readonly asNumber?: number;
    readonly serviceLoadBalancerIPs?: readonly Cidr[];
    readonly serviceExternalIPs?: readonly Cidr[];
    readonly serviceClusterIPs?: readonly Cidr[];
    readonly serviceLoadBalancerAggregation: "Enabled" | "Disabled";
    readonly communities?: readonly { readonly name?: string; readonly value?: string }[];
    readonly prefixAdvertisements?: readonly {
      readonly cidr?: string;
      readonly communities?: readonly string[];
    }[];
    readonly listenPort?: number;
    readonly nodeMeshPassword?: SecretReference;
    readonly nodeMeshMaxRestartTime?: string;
    readonly bindMode?: "None" | "NodeIP";
    readonly ignoredInterfaces?: readonly string[];
    readonly localWorkloadPeeringIPV4?: string;
    readonly localWorkloadPeeringIPV6?: string;
    readonly programClusterRoutes?:
      | "Disabled"
      | "EnabledIPIPOnly"
      | "EnabledNoEncapOnly"
      | "Enabled";
    readonly ipv4NormalRoutePriority?: number;
    readonly ipv6NormalRoutePriority?: number;
  }
>;

export type BgpPeer = Base<
  "BGPPeer",
  {
    readonly node?: string;
    readonly nodeSelector?: string;
    readonly peerIP?: string;
    readonly asNumber?: number;
    readonly peerSelector?: string;
    readonly keepOriginalNextHop?: boolean;
    readonly password?: SecretReference;
    readonly sourceAddress?: "UseNodeIP" | "None";
    readonly failureDetectionMode?: "None" | "BFDIfDirectlyConnected";
    readonly restartMode?: "GracefulRestart" | "LongLivedGracefulRestart";
    readonly maxRestartTime?: string;
    readonly keepaliveTime?: string;
    readonly localASNumber?: number;
    readonly numAllowedLocalASNumbers?: number;
    readonly ttlSecurity?: number;
    readonly reachableBy?: string;
    readonly filters?: readonly string[];
    readonly localWorkloadSelector?: string;
    readonly reversePeering?: "Auto" | "Manual";
    readonly nextHopMode?: "Auto" | "Self" | "Keep";
  }
>;

interface BgpFilterRule {
  readonly cidr?: string;
  readonly prefixLength?: { readonly min?: number; readonly max?: number };
  readonly source?: "RemotePeers";
  readonly interface?: string;
  readonly matchOperator?: "Equal" | "NotEqual" | "In" | "NotIn";
  readonly peerType?: "eBGP" | "iBGP";
  readonly communities?: { readonly values?: readonly string[] };
  readonly asPathPrefix?: readonly number[];
  readonly priority?: number;
  readonly action: "Accept" | "Reject";
  readonly operations?: readonly {
    readonly addCommunity?: { readonly value?: string };
    readonly prependASPath?: { readonly prefix?: readonly number[] };
    readonly setPriority?: { readonly value?: number };
  }[];
}
export type BgpFilter = Base<
  "BGPFilter",
  {
    readonly exportV4?: readonly BgpFilterRule[];
    readonly importV4?: readonly BgpFilterRule[];
    readonly exportV6?: readonly BgpFilterRule[];
    readonly importV6?: readonly BgpFilterRule[];
  }
>;
