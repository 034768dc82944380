/**
 * What happens to a packet on this host, stage by stage as in the kernel:
 *
 *     by interface   untracked-in · pre-dnat          of the interface it came by
 *     forwarded      forward-in · sender's egress · receiver's ingress · forward-out
 *     to the host    sender's egress, or input
 *     from the host  untracked-out · output
 *
 * What an untracked or pre-DNAT policy allows passes forward-in, input and output.
 */
import { compareIps, type Ip } from "#ip";
import { evaluate, type EndpointProgram, type Evaluation, type Verdict } from "./evaluate.ts";
import { PROTOCOLS, type Packet } from "./flow.ts";
import {
  DEFAULT_FAILSAFE_PORTS,
  evaluateHostStage,
  type FailsafePorts,
  type HostStage,
  type HostStageEvaluation,
  type InterfacePolicy,
} from "./host.ts";

/**
 * One end of a flow, seen from this host, and the policy of the host's interface towards it.
 * `outside`: another machine. `translatedTo`: where DNAT sends what is for it; policy sees that
 * address after the pre-DNAT stage.
 */
export type FlowEnd = { readonly translatedTo?: Ip } & (
  | {
      readonly kind: "workload";
      readonly program: EndpointProgram;
      readonly interfacePolicy?: InterfacePolicy;
    }
  | { readonly kind: "host" }
  | { readonly kind: "outside"; readonly interfacePolicy?: InterfacePolicy }
);

export interface ForwardOptions {
  /** Felix's Ipv6Support. False: workloads have no IPv6; what comes from them or goes to them is dropped. */
  readonly ipv6?: boolean;
  /** Felix's DefaultEndpointToHostAction: what befalls workload → host once policy allows it. */
  readonly endpointToHost: "drop" | "return" | "accept";
  /** UDP port of VXLAN that workloads must not send to; absent: they may. */
  readonly deniedVxlanPort?: number;
  /** Whether workloads may send IP-in-IP. */
  readonly allowIpIpFromWorkloads?: boolean;
  /** Absent: Felix's defaults. */
  readonly failsafes?: FailsafePorts;
  /** The host serves workloads of OpenStack: DHCP, DNS and, where it is known, their metadata. */
  readonly openStack?: { readonly metadata?: { readonly address: Ip; readonly port: number } };
}

/** Felix's defaults: nothing from a workload reaches the host or a tunnel. */
export const DEFAULT_FORWARD_OPTIONS: ForwardOptions = {
  endpointToHost: "drop",
  deniedVxlanPort: 4789,
};

/**
 * MLD query, report and done; router and neighbour solicitation, neighbour advertisement (RFC
 * 4861 §13, RFC 2710 §3): without them a workload cannot use its host as router.
 */
export const ALWAYS_ALLOWED_ICMPV6_TYPES: readonly number[] = [130, 131, 132, 133, 135, 136];

export type ForwardReason =
  | "allowed"
  | "egress-denied"
  | "ingress-denied"
  | "host-denied"
  | "failsafe"
  | "tunnel-from-workload"
  | "endpoint-to-host-action"
  | "ipv6-off"
  | "always-allowed-icmpv6"
  | "openstack-service";

export interface ForwardEvaluation {
  readonly verdict: Verdict;
  readonly reason: ForwardReason;
  /** The sender's, when it is a local workload whose policy was asked. */
  readonly egress?: Evaluation;
  /** The receiver's, likewise. */
  readonly ingress?: Evaluation;
  /** Stages of host endpoints that had a say, in the packet's order; the last may have denied it. */
  readonly host: readonly HostStageEvaluation[];
}

export function evaluateForward(
  packet: Packet,
  source: FlowEnd,
  destination: FlowEnd,
  options: ForwardOptions = DEFAULT_FORWARD_OPTIONS,
): ForwardEvaluation {
  const way = new Way(packet, source, destination, options);
  const decided = source.kind === "host" ? way.fromHost() : way.arriving();
  return { ...decided, ...way.asked, host: way.host };
}

interface Decision {
  readonly verdict: Verdict;
  readonly reason: ForwardReason;
}

const ALLOWED: Decision = { verdict: "allow", reason: "allowed" };
const HOST_DENIED: Decision = { verdict: "deny", reason: "host-denied" };
const IPV6_OFF: Decision = { verdict: "deny", reason: "ipv6-off" };

class Way {
  #packet: Packet;
  readonly #source: FlowEnd;
  readonly #destination: FlowEnd;
  readonly #options: ForwardOptions;
  readonly host: HostStageEvaluation[] = [];
  readonly asked: { egress?: Evaluation; ingress?: Evaluation } = {};
  /** Untracked or pre-DNAT policy has allowed it. */
  #marked = false;

  constructor(packet: Packet, source: FlowEnd, destination: FlowEnd, options: ForwardOptions) {
    this.#packet = packet;
    this.#source = source;
    this.#destination = destination;
    this.#options = options;
  }

  arriving(): Decision {
    const source = this.#source;
    const destination = this.#destination;
    const noIpv6 = this.#packet.family === 6 && this.#options.ipv6 === false;
    if (noIpv6 && source.kind === "workload") return IPV6_OFF;
    if (source.kind === "outside" && !this.#stage("untracked-in", source)) return HOST_DENIED;
    if (!this.#marked && !this.#stage("pre-dnat", source)) return HOST_DENIED;
    const dst = destination.translatedTo;
    if (dst !== undefined) this.#packet = { ...this.#packet, dst };
    if (destination.kind === "host") return this.#toHost();
    if (!this.#marked && !this.#stage("forward-in", source)) return HOST_DENIED;
    if (source.kind === "workload") {
      const denied = this.#egress(source.program);
      if (denied !== undefined) return denied;
    }
    if (destination.kind === "workload") {
      if (noIpv6) return IPV6_OFF;
      const ingress = evaluate(destination.program, { ...this.#packet, direction: "ingress" });
      this.asked.ingress = ingress;
      if (ingress.verdict === "deny") return { verdict: "deny", reason: "ingress-denied" };
    }
    return this.#stage("forward-out", destination) ? ALLOWED : HOST_DENIED;
  }

  /** The host may always speak to its own workloads. */
  fromHost(): Decision {
    const destination = this.#destination;
    if (destination.kind !== "outside") return ALLOWED;
    if (!this.#stage("untracked-out", destination)) return HOST_DENIED;
    if (this.#marked) return ALLOWED;
    return this.#last("output", destination);
  }

  #toHost(): Decision {
    const source = this.#source;
    if (source.kind !== "workload") return this.#marked ? ALLOWED : this.#last("input", source);
    const exception = exceptionFor(this.#packet, this.#options);
    if (exception !== undefined) return { verdict: "allow", reason: exception };
    const denied = this.#egress(source.program);
    if (denied !== undefined) return denied;
    return this.#options.endpointToHost === "drop"
      ? { verdict: "deny", reason: "endpoint-to-host-action" }
      : ALLOWED;
  }

  /** Undefined: the sender may. */
  #egress(program: EndpointProgram): Decision | undefined {
    if (program.disabled !== true && isTunnel(this.#packet, this.#options)) {
      return { verdict: "deny", reason: "tunnel-from-workload" };
    }
    const egress = evaluate(program, { ...this.#packet, direction: "egress" });
    this.asked.egress = egress;
    return egress.verdict === "deny" ? { verdict: "deny", reason: "egress-denied" } : undefined;
  }

  #last(stage: HostStage, towards: FlowEnd): Decision {
    if (!this.#stage(stage, towards)) return HOST_DENIED;
    const failsafe = this.host.at(-1)?.outcome === "failsafe";
    return failsafe ? { verdict: "allow", reason: "failsafe" } : ALLOWED;
  }

  /** False: the packet is dropped there. */
  #stage(stage: HostStage, towards: FlowEnd): boolean {
    const policy = towards.kind === "host" ? undefined : towards.interfacePolicy;
    const failsafes = this.#options.failsafes ?? DEFAULT_FAILSAFE_PORTS;
    const said = evaluateHostStage(stage, policy, this.#packet, failsafes);
    if (said === undefined) return true;
    this.host.push(said);
    if (said.outcome === "allow" && (stage.startsWith("untracked") || stage === "pre-dnat")) {
      this.#marked = true;
    }
    return said.outcome !== "deny";
  }
}

/** Why a workload may send this to its host whatever policy says. */
function exceptionFor(packet: Packet, { openStack }: ForwardOptions): ForwardReason | undefined {
  const { family, protocol, icmpType } = packet;
  if (family === 6 && protocol === PROTOCOLS.icmpv6 && icmpType !== undefined) {
    if (ALWAYS_ALLOWED_ICMPV6_TYPES.includes(icmpType)) return "always-allowed-icmpv6";
  }
  if (openStack !== undefined && isOpenStackService(packet, openStack)) return "openstack-service";
  return undefined;
}

function isOpenStackService(
  { family, protocol, srcPort, dst, dstPort }: Packet,
  { metadata }: NonNullable<ForwardOptions["openStack"]>,
): boolean {
  if (protocol === PROTOCOLS.udp) {
    const [client, server] = family === 4 ? [68, 67] : [546, 547];
    return dstPort === 53 || (srcPort === client && dstPort === server);
  }
  return (
    protocol === PROTOCOLS.tcp &&
    metadata !== undefined &&
    dstPort === metadata.port &&
    compareIps(dst, metadata.address) === 0
  );
}

function isTunnel(packet: Packet, options: ForwardOptions): boolean {
  if (packet.protocol === PROTOCOLS.ipip) return options.allowIpIpFromWorkloads !== true;
  return (
    packet.protocol === PROTOCOLS.udp &&
    packet.dstPort !== undefined &&
    packet.dstPort === options.deniedVxlanPort
  );
}
