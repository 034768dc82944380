/** Settings of the Linux dataplane, beside those of the policy table. */
import type { Ip } from "#ip";
import { defaultNftPolicyConfig, type NftPolicyConfig } from "./nft/config.ts";

/** MTUs: 0 takes the smallest of the host's real interfaces, less what the tunnel adds. */
export interface TunnelConfig {
  /** This node's name in messages; "" has no tunnels. */
  readonly hostname: string;
  readonly vni: number;
  readonly vxlanMtu: number;
  readonly vxlanMtuV6: number;
  readonly ipipMtu: number;
  /** Whether routes into IPIP tunnels are made here; if not, BIRD makes them. */
  readonly programsIpipRoutes: boolean;
  /** The host's real interfaces. */
  readonly mtuInterfaces: RegExp;
  /** Where the MTU for workloads is written; absent: nowhere. */
  readonly mtuFile?: string;
}

export interface LinuxDataplaneConfig {
  readonly policy: NftPolicyConfig;
  readonly tunnels: TunnelConfig;
  /** Name of the table in the `inet` family. */
  readonly tableName: string;
  /** Number in the kernel of the routes and neighbour entries that are ours; not RTPROT_BOOT (3). */
  readonly routeProtocol: number;
  /** Metrics. */
  readonly ipv4RoutePriority: number;
  readonly ipv6RoutePriority: number;
  /** Preferred source address of the host towards workloads. */
  readonly ipv4RouteSource?: Ip;
  readonly ipv6RouteSource?: Ip;
  /** Routes of others on workload interfaces are removed. */
  readonly removeExternalRoutes: boolean;
  /** Switch forwarding on. */
  readonly ipForwarding: boolean;
  /** Interfaces that are not looked at. */
  readonly interfaceExclude: readonly RegExp[];
  /** Milliseconds between complete re-reads; 0 for none. */
  readonly interfaceRefreshMs: number;
  readonly routeRefreshMs: number;
}

/** As Felix's parameters have it, but for the protocol: a number of our own makes ownership clear. */
export const defaultLinuxDataplaneConfig: LinuxDataplaneConfig = {
  policy: defaultNftPolicyConfig,
  tunnels: {
    hostname: "",
    vni: 4096,
    vxlanMtu: 0,
    vxlanMtuV6: 0,
    ipipMtu: 0,
    programsIpipRoutes: true,
    mtuInterfaces: /^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)/,
  },
  tableName: "margay",
  routeProtocol: 80,
  ipv4RoutePriority: 1024,
  ipv6RoutePriority: 1024,
  removeExternalRoutes: true,
  ipForwarding: true,
  interfaceExclude: [/^kube-ipvs0$/],
  interfaceRefreshMs: 90_000,
  routeRefreshMs: 90_000,
};

/** Policy is enforced on these alone, so only they get routes and settings. */
export function isWorkloadInterface({ policy }: LinuxDataplaneConfig, name: string): boolean {
  return policy.interfacePrefixes.some((prefix) => name.startsWith(prefix));
}
