/**
 * The dataplane-neutral form of a policy: what the calculation graph emits, what `evaluate` runs
 * and what every dataplane compiles from. Field names are those of Calico's felixbackend.proto in
 * protobuf-JSON form, so that the external dataplane encodes these objects as they are.
 *
 * An absent list means "no restriction", exactly as an empty one does.
 */

/** Content hash of an IP set, `<s|n|svc|svcnoport>:<base64url(SHA-224)>`. */
export type IpSetId = string;

/** `""` never occurs: the graph always names an action. `next-tier` is v3's Pass. */
export type RuleAction = "allow" | "deny" | "next-tier" | "log";

/** Lower-case name (`tcp udp icmp icmpv6 sctp udplite`) or an IP protocol number 1–255. */
export type Protocol = { readonly name: string } | { readonly number: number };

/** Inclusive. A single port has `first === last`. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** ICMP match; `code` absent matches every code of the type. */
export interface IcmpMatch {
  readonly type: number;
  readonly code?: number;
}

export interface ServiceAccountMatch {
  readonly selector: string;
  readonly names: readonly string[];
}

export interface HttpMatch {
  readonly methods: readonly string[];
  readonly paths: readonly ({ readonly exact: string } | { readonly prefix: string })[];
}

/**
 * One rule. All given fields must hold; inside one list any member does. Several IP-set ids in one
 * list all must contain the address (intersection), as in Felix.
 */
export interface Rule {
  readonly action: RuleAction;
  /** Absent: both families. */
  readonly ipVersion?: 4 | 6;
  readonly protocol?: Protocol;
  /** CIDRs, canonical text. */
  readonly srcNet?: readonly string[];
  readonly srcPorts?: readonly PortRange[];
  readonly dstNet?: readonly string[];
  readonly dstPorts?: readonly PortRange[];
  readonly icmp?: IcmpMatch;
  readonly srcIpSetIds?: readonly IpSetId[];
  readonly dstIpSetIds?: readonly IpSetId[];
  /** IP_AND_PORT sets; alternatives to `srcPorts`/`dstPorts` (any numeric port or any named-port set). */
  readonly srcNamedPortIpSetIds?: readonly IpSetId[];
  readonly dstNamedPortIpSetIds?: readonly IpSetId[];
  /** IP_AND_PORT sets of services; all must match. */
  readonly dstIpPortSetIds?: readonly IpSetId[];

  readonly notProtocol?: Protocol;
  readonly notSrcNet?: readonly string[];
  readonly notSrcPorts?: readonly PortRange[];
  readonly notDstNet?: readonly string[];
  readonly notDstPorts?: readonly PortRange[];
  readonly notIcmp?: IcmpMatch;
  readonly notSrcIpSetIds?: readonly IpSetId[];
  readonly notDstIpSetIds?: readonly IpSetId[];
  readonly notSrcNamedPortIpSetIds?: readonly IpSetId[];
  readonly notDstNamedPortIpSetIds?: readonly IpSetId[];

  readonly originalSrcSelector?: string;
  readonly originalDstSelector?: string;
  readonly originalNotSrcSelector?: string;
  readonly originalNotDstSelector?: string;
  readonly originalSrcNamespaceSelector?: string;
  readonly originalDstNamespaceSelector?: string;
  readonly originalSrcService?: string;
  readonly originalSrcServiceNamespace?: string;
  readonly originalDstService?: string;
  readonly originalDstServiceNamespace?: string;
  readonly srcServiceAccountMatch?: ServiceAccountMatch;
  readonly dstServiceAccountMatch?: ServiceAccountMatch;
  readonly httpMatch?: HttpMatch;
  readonly metadata?: { readonly annotations: Readonly<Record<string, string>> };
  /** Stable and unique among the rules of one direction of one policy. */
  readonly ruleId: string;
}

/** Identity of a policy: kind, namespace ("" if global) and name. There is no tier in it. */
export interface PolicyId {
  readonly name: string;
  readonly namespace: string;
  readonly kind: string;
}

export interface Policy {
  readonly inboundRules: readonly Rule[];
  readonly outboundRules: readonly Rule[];
  readonly untracked: boolean;
  readonly preDnat: boolean;
  readonly namespace: string;
  readonly originalSelector: string;
  readonly perfHints: readonly string[];
  readonly tier: string;
  /** What this build cannot enforce yet, as v3 field paths. Not empty: fail closed, and say so. */
  readonly unsupported?: readonly string[];
}

export interface Profile {
  readonly inboundRules: readonly Rule[];
  readonly outboundRules: readonly Rule[];
  /** As in `Policy`. */
  readonly unsupported?: readonly string[];
}

/** The policies of one tier that apply to one endpoint, in order of evaluation. */
export interface TierInfo {
  readonly name: string;
  readonly ingressPolicies: readonly PolicyId[];
  readonly egressPolicies: readonly PolicyId[];
  readonly defaultAction: "Deny" | "Pass";
}
