/** Settings of the policy table, under the names of Calico's Felix parameters. */

import { DEFAULT_FAILSAFE_PORTS, type FailsafePort } from "#policy";

export type EndpointToHostAction = "Drop" | "Return" | "Accept";
export type DropActionOverride = "Drop" | "Accept" | "LogAndDrop" | "LogAndAccept";

/** Token bucket of LOG rules (LogActionRateLimit, LogActionRateLimitBurst). */
export interface LogRateLimit {
  readonly rate: number;
  readonly unitSeconds: number;
  readonly burst: number;
}

/** Which address and ports connections of workloads get that leave the cluster. */
export interface NatConfig {
  /** IPv4 address instead of that of the interface a packet leaves by. */
  readonly outgoingAddress?: string;
  /** Source ports of TCP and UDP, both included; absent: the kernel's choice. */
  readonly portRange?: { readonly first: number; readonly last: number };
  /** Only by this interface; a trailing `+` makes it a prefix. */
  readonly outgoingInterface?: string;
  /** Not towards the addresses of the cluster's hosts either. */
  readonly excludeHosts: boolean;
  /** DNAT of the floating addresses that endpoints declare. */
  readonly floatingIps: boolean;
}

export interface NftPolicyConfig {
  /** Interfaces whose names begin so belong to workloads. */
  readonly interfacePrefixes: readonly string[];
  /** False: IPv6 from and to workloads is dropped. */
  readonly ipv6Support: boolean;
  /** What happens to traffic from a workload to its host that egress policy allowed. */
  readonly defaultEndpointToHostAction: EndpointToHostAction;
  /** What a drop decided by policy does instead; unknown senders and spoofing are always dropped. */
  readonly dropActionOverride: DropActionOverride;
  /** How a policy drop is done (IptablesFilterDenyAction). */
  readonly denyAction: "Drop" | "Reject";
  readonly vxlanPort: number;
  readonly allowVxlanPacketsFromWorkloads: boolean;
  readonly allowIpipPacketsFromWorkloads: boolean;
  readonly disableConntrackInvalidCheck: boolean;
  readonly openStackSpecialCasesEnabled: boolean;
  /** IPv4 address; absent: no exception for the metadata service. */
  readonly openStackMetadataAddr?: string;
  readonly openStackMetadataPort: number;
  /** May contain `%t` (tier), `%k` (kind), `%n` (name), `%p` (namespace/name). */
  readonly logPrefix: string;
  readonly logActionRateLimit?: LogRateLimit;
  /** `Any`: endpoints may name further source prefixes in `allowSpoofedSourcePrefixes`. */
  readonly workloadSourceSpoofing: "Disabled" | "Any";
  /**
   * Mark bits that are ours (IptablesMarkMask); the lowest one carries a Pass to the end of its tier,
   * the next one what untracked or pre-DNAT policy allowed past the host's other policy.
   */
  readonly markMask: number;
  readonly nat: NatConfig;
  /** What is about to be forwarded to a service address that nobody translated. */
  readonly serviceLoopPrevention: "Drop" | "Reject" | "Disabled";
  /** CIDRs of hosts outside the cluster that may send tunnel packets too. */
  readonly externalNodes: readonly string[];
  readonly failsafeInboundPorts: readonly FailsafePort[];
  readonly failsafeOutboundPorts: readonly FailsafePort[];
}

export const defaultNftPolicyConfig: NftPolicyConfig = {
  interfacePrefixes: ["cali"],
  ipv6Support: true,
  defaultEndpointToHostAction: "Drop",
  dropActionOverride: "Drop",
  denyAction: "Drop",
  vxlanPort: 4789,
  allowVxlanPacketsFromWorkloads: false,
  allowIpipPacketsFromWorkloads: false,
  disableConntrackInvalidCheck: false,
  openStackSpecialCasesEnabled: false,
  openStackMetadataPort: 8775,
  logPrefix: "calico-packet",
  workloadSourceSpoofing: "Disabled",
  markMask: 0xffff0000,
  nat: { excludeHosts: false, floatingIps: false },
  serviceLoopPrevention: "Drop",
  externalNodes: [],
  failsafeInboundPorts: DEFAULT_FAILSAFE_PORTS.inbound,
  failsafeOutboundPorts: DEFAULT_FAILSAFE_PORTS.outbound,
};

/** Lowest bit of the mask; the table clears it again itself. */
export function passMarkBit(config: NftPolicyConfig): number {
  return lowestBit(config.markMask);
}

/** Second lowest bit: the packet was allowed before its route was known, and keeps it. */
export function acceptMarkBit(config: NftPolicyConfig): number {
  return lowestBit((config.markMask & ~passMarkBit(config)) >>> 0);
}

function lowestBit(mask: number): number {
  return (mask & (~mask + 1)) >>> 0;
}
