/**
 * Policy of a host's interfaces: which host endpoint has an interface, and what it says about a
 * packet in each stage of its way (untracked, pre-DNAT, forward, input, output). As Felix has it: an
 * interface is the alphabetically first endpoint's that has its name or, having no name, expects an
 * address that is on it; the endpoint for all interfaces (`*`) has the others.
 */
import { cidrContainsIp, parseCidr, type Ip } from "#ip";
import { evaluateTiers, evaluate, type Evaluation, type PolicyLookups } from "./evaluate.ts";
import type { Flow, Packet } from "./flow.ts";
import type { TierInfo } from "./types.ts";

/** A port of the host that stays open whatever its policy says. */
export interface FailsafePort {
  /** IANA number. */
  readonly protocol: number;
  readonly port: number;
  /** CIDR of the other end; absent: any. */
  readonly net?: string;
}

const tcp = (port: number): FailsafePort => ({ protocol: 6, port });
const udp = (port: number): FailsafePort => ({ protocol: 17, port });
/** BGP, etcd, Typha, the Kubernetes API server, etcd's former ports. */
const CONTROL_PLANE = [179, 2379, 2380, 5473, 6443, 6666, 6667].map(tcp);

/** Felix's FailsafeInboundHostPorts and FailsafeOutboundHostPorts. */
export const DEFAULT_FAILSAFE_PORTS: Readonly<
  Record<"inbound" | "outbound", readonly FailsafePort[]>
> = {
  inbound: [tcp(22), udp(68), ...CONTROL_PLANE],
  outbound: [udp(53), udp(67), ...CONTROL_PLANE],
};

export type FailsafePorts = typeof DEFAULT_FAILSAFE_PORTS;

/** One host endpoint, as the graph tells of it. */
export interface HostEndpointPolicy {
  readonly name: string;
  readonly tiers: readonly TierInfo[];
  readonly profileIds: readonly string[];
  readonly untrackedTiers: readonly TierInfo[];
  readonly preDnatTiers: readonly TierInfo[];
  readonly forwardTiers: readonly TierInfo[];
  readonly lookups: PolicyLookups;
}

/** What polices one interface; an endpoint for all interfaces may stand in for what another lacks. */
export interface InterfacePolicy {
  /** Normal and forward policy. */
  readonly main?: HostEndpointPolicy;
  readonly untracked?: HostEndpointPolicy;
  readonly preDnat?: HostEndpointPolicy;
}

export type HostStage =
  | "untracked-in"
  | "untracked-out"
  | "pre-dnat"
  | "forward-in"
  | "forward-out"
  | "input"
  | "output";

export interface HostStageEvaluation {
  readonly stage: HostStage;
  readonly endpoint: string;
  /**
   * `allow` of an untracked or pre-DNAT stage passes all later ones of the host; `pass`: nothing was
   * decided; `failsafe`: the port stays open.
   */
  readonly outcome: "allow" | "deny" | "pass" | "failsafe";
  /** Absent for a failsafe port, and where no forward policy applies. */
  readonly evaluation?: Evaluation;
}

/** The endpoint whose stage it is, and undefined where none has a say. */
export function evaluateHostStage(
  stage: HostStage,
  policy: InterfacePolicy | undefined,
  packet: Packet,
  failsafes: FailsafePorts,
): HostStageEvaluation | undefined {
  const endpoint = endpointOf(stage, policy);
  if (endpoint === undefined) return undefined;
  const base = { stage, endpoint: endpoint.name };
  if (isFailsafe(stage, packet, failsafes)) return { ...base, outcome: "failsafe" };
  const ingress =
    stage === "untracked-in" || stage === "pre-dnat" || stage === "forward-in" || stage === "input";
  const flow: Flow = { ...packet, direction: ingress ? "ingress" : "egress" };
  if (stage === "input" || stage === "output") {
    const evaluation = evaluate(endpoint, flow);
    return { ...base, outcome: evaluation.verdict, evaluation };
  }
  const { verdict, trace } = evaluateTiers(tiersOf(stage, endpoint), endpoint.lookups, flow);
  if (verdict === "pass")
    return { ...base, outcome: "pass", evaluation: { verdict: "allow", trace } };
  return { ...base, outcome: verdict, evaluation: { verdict, trace } };
}

function endpointOf(
  stage: HostStage,
  policy: InterfacePolicy | undefined,
): HostEndpointPolicy | undefined {
  if (stage === "untracked-in" || stage === "untracked-out") return policy?.untracked;
  return stage === "pre-dnat" ? policy?.preDnat : policy?.main;
}

function tiersOf(stage: HostStage, endpoint: HostEndpointPolicy): readonly TierInfo[] {
  if (stage === "pre-dnat") return endpoint.preDnatTiers;
  return stage.startsWith("untracked") ? endpoint.untrackedTiers : endpoint.forwardTiers;
}

/** Forwarded packets have none. Before conntrack, replies of the other direction's ports count too. */
function isFailsafe(
  stage: HostStage,
  packet: Packet,
  { inbound, outbound }: FailsafePorts,
): boolean {
  const { src, dst, srcPort, dstPort } = packet;
  switch (stage) {
    case "input":
    case "pre-dnat":
      return listed(inbound, packet, dstPort, src);
    case "output":
      return listed(outbound, packet, dstPort, dst);
    case "untracked-in":
      return listed(inbound, packet, dstPort, src) || listed(outbound, packet, srcPort, src);
    case "untracked-out":
      return listed(outbound, packet, dstPort, dst) || listed(inbound, packet, srcPort, dst);
    default:
      return false;
  }
}

function listed(
  ports: readonly FailsafePort[],
  { protocol }: Packet,
  port: number | undefined,
  other: Ip,
): boolean {
  return ports.some(
    (each) =>
      each.protocol === protocol &&
      each.port === port &&
      (each.net === undefined || cidrContainsIp(parseCidr(each.net), other)),
  );
}
