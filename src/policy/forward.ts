/**
 * What happens to a packet on this host: the egress policy of a local sender, then the ingress
 * policy of a local receiver or the host's own gate. Host endpoints are not part of it.
 */
import { evaluate, type EndpointProgram, type Evaluation, type Verdict } from "./evaluate.ts";
import { PROTOCOLS, type Packet } from "./flow.ts";

/** One end of a flow, seen from this host. `outside`: another machine. */
export type FlowEnd =
  | { readonly kind: "workload"; readonly program: EndpointProgram }
  | { readonly kind: "host" }
  | { readonly kind: "outside" };

export interface ForwardOptions {
  /** Felix's DefaultEndpointToHostAction: what befalls workload → host once policy allows it. */
  readonly endpointToHost: "drop" | "return" | "accept";
  /** UDP port of VXLAN that workloads must not send to; absent: they may. */
  readonly deniedVxlanPort?: number;
  /** Whether workloads may send IP-in-IP. */
  readonly allowIpIpFromWorkloads?: boolean;
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
  | "tunnel-from-workload"
  | "endpoint-to-host-action"
  | "always-allowed-icmpv6";

export interface ForwardEvaluation {
  readonly verdict: Verdict;
  readonly reason: ForwardReason;
  /** The sender's, when it is a local workload whose policy was asked. */
  readonly egress?: Evaluation;
  /** The receiver's, likewise. */
  readonly ingress?: Evaluation;
}

export function evaluateForward(
  packet: Packet,
  source: FlowEnd,
  destination: FlowEnd,
  options: ForwardOptions = DEFAULT_FORWARD_OPTIONS,
): ForwardEvaluation {
  const toHost = destination.kind === "host";
  let egress: Evaluation | undefined;
  if (source.kind === "workload") {
    if (toHost && isAlwaysAllowed(packet)) {
      return { verdict: "allow", reason: "always-allowed-icmpv6" };
    }
    if (source.program.disabled !== true && isTunnel(packet, options)) {
      return { verdict: "deny", reason: "tunnel-from-workload" };
    }
    egress = evaluate(source.program, { ...packet, direction: "egress" });
    if (egress.verdict === "deny") return { verdict: "deny", reason: "egress-denied", egress };
    if (toHost && options.endpointToHost === "drop") {
      return { verdict: "deny", reason: "endpoint-to-host-action", egress };
    }
  }
  const asked = egress ? { egress } : {};
  // The host may always speak to its own workloads.
  if (destination.kind !== "workload" || source.kind === "host") {
    return { verdict: "allow", reason: "allowed", ...asked };
  }
  const ingress = evaluate(destination.program, { ...packet, direction: "ingress" });
  const { verdict } = ingress;
  const reason = verdict === "allow" ? "allowed" : "ingress-denied";
  return { verdict, reason, ...asked, ingress };
}

function isAlwaysAllowed(packet: Packet): boolean {
  return (
    packet.family === 6 &&
    packet.protocol === PROTOCOLS.icmpv6 &&
    packet.icmpType !== undefined &&
    ALWAYS_ALLOWED_ICMPV6_TYPES.includes(packet.icmpType)
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
