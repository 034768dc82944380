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
    readonly maxRestartTime?: string;
    readonly filters?: readonly string[];
  }
>;

interface BgpFilterRule {
  readonly cidr?: string;
  readonly prefixLength?: { readonly min?: number; readonly max?: number };
  readonly source?: "RemotePeers";
  readonly interface?: string;
  readonly matchOperator?: "Equal" | "NotEqual" | "In" | "NotIn";
  readonly action: "Accept" | "Reject";
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
