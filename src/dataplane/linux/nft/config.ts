/** Settings of the policy table, under the names of Calico's Felix parameters. */

export type EndpointToHostAction = "Drop" | "Return" | "Accept";
export type DropActionOverride = "Drop" | "Accept" | "LogAndDrop" | "LogAndAccept";

/** Token bucket of LOG rules (LogActionRateLimit, LogActionRateLimitBurst). */
export interface LogRateLimit {
  readonly rate: number;
  readonly unitSeconds: number;
  readonly burst: number;
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
  /** Mark bits that are ours (IptablesMarkMask); the lowest one carries a Pass to the end of its tier. */
  readonly markMask: number;
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
};

/** Lowest bit of the mask; the only mark bit that the table sets, and it clears it again itself. */
export function passMarkBit(config: NftPolicyConfig): number {
  const mask = config.markMask >>> 0;
  return (mask & (~mask + 1)) >>> 0;
}
