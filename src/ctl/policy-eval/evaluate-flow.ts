/**
 * One flow through a cluster: the sender's egress is decided on its node, the receiver's ingress on
 * its own; with both on one node that node decides both. Host endpoints of these nodes have their
 * say on what comes and goes by the node's interface.
 *
 * Not part of it: routes, and what firewalls other than Margay do.
 */
import { workloadIdentity } from "#calc";
import { forwardOptions, type FelixValues } from "#felix";
import { parseIp, tryParseIp, type IpFamily } from "#ip";
import {
  evaluateForward,
  hasPorts,
  parsePacket,
  PROTOCOLS,
  type FlowEnd,
  type ForwardEvaluation,
  type InterfacePolicy,
  type Packet,
  type Verdict,
} from "#policy";
import { inputError, type MargayError } from "#std";
import type { Cluster } from "./cluster.ts";
import { addressOf, commonFamily, findEnd, nodeAddresses, type End } from "./ends.ts";
import type { HostState } from "./host-state.ts";

export interface FlowQuestion {
  readonly from: string;
  readonly to: string;
  /** Name or number; `icmp` is the one of the flow's IP version. */
  readonly protocol: string;
  readonly port?: number;
  readonly sourcePort?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
  readonly ipVersion?: IpFamily;
  /** Only what this node decides. */
  readonly node?: string;
  /** The node's interface towards the other end; else the one that likely has the node's addresses. */
  readonly interfaceName?: string;
}

export interface NodeAnswer {
  readonly node: string;
  readonly state: HostState;
  readonly evaluation: ForwardEvaluation;
  /** Where host endpoints were asked; undefined: their names tell nothing. */
  readonly assumedInterface: string | undefined;
  readonly notes: readonly string[];
}

export interface FlowAnswer {
  readonly packet: Packet;
  readonly from: End;
  readonly to: End;
  readonly verdict: Verdict;
  /** In the packet's order; empty when no node of the cluster has a say. */
  readonly nodes: readonly NodeAnswer[];
  readonly notes: readonly string[];
}

/** A client's usual port, where the question names none. */
const ASSUMED_SOURCE_PORT = 40_000;
const ECHO_REQUEST: Readonly<Record<IpFamily, number>> = { 4: 8, 6: 128 };

/** Throws input errors: an end that is not there or not clear, a packet that cannot be. */
export function evaluateFlow(cluster: Cluster, question: FlowQuestion): FlowAnswer {
  const from = findEnd(question.from, cluster.resources);
  const to = findEnd(question.to, cluster.resources);
  const family = familyOf(question, from, to);
  const { packet, notes } = packetOf(question, sourceOf(from, family), addressOf(to, family));
  const path = nodesOf(from, to).filter(
    (node) => question.node === undefined || node === question.node,
  );
  if (question.node !== undefined && path.length === 0) {
    throw inputError(
      "bad-option",
      `node ${question.node} has no part in it: ${from.name} and ${to.name} are on ${nodesOf(from, to).join(", ") || "no node of the cluster"}`,
    );
  }
  const nodes: NodeAnswer[] = [];
  let verdict: Verdict = "allow";
  for (const node of path) {
    const answer = answerOf(cluster, node, packet, from, to, question.interfaceName);
    nodes.push(answer);
    verdict = answer.evaluation.verdict;
    if (verdict === "deny") break;
  }
  notes.push(...nodes.flatMap((answer) => answer.notes));
  if (path.length === 0) notes.push("neither end is in the cluster: nothing of it is asked");
  if (question.interfaceName === undefined) notes.push(...nodes.flatMap(interfaceNote));
  notes.push(...cluster.unusable.map((text) => `agents pass over ${text}`));
  return { packet, from, to, verdict, nodes, notes };
}

function familyOf(question: FlowQuestion, from: End, to: End): IpFamily {
  if (question.ipVersion !== undefined) return question.ipVersion;
  const named = tryParseIp(question.from) ?? tryParseIp(question.to);
  return named?.family ?? commonFamily(from, to);
}

/** Whoever is named by a floating address sends from the one behind it. */
function sourceOf(from: End, family: IpFamily): string {
  const floating = from.kind === "workload" ? from.floating : undefined;
  return floating?.internal ?? addressOf(from, family);
}

function nodesOf(from: End, to: End): string[] {
  const nodes = [from, to].flatMap((end) => (end.kind === "outside" ? [] : [end.node]));
  return [...new Set(nodes)];
}

/** What a node is asked with. */
interface Scene {
  readonly node: string;
  readonly state: HostState;
  readonly config: FelixValues;
  /** Of the node's interface towards the outside. */
  readonly outside: InterfacePolicy;
  /** What the answer leaves to be said. */
  readonly notes: string[];
}

function answerOf(
  cluster: Cluster,
  node: string,
  packet: Packet,
  from: End,
  to: End,
  interfaceName: string | undefined,
): NodeAnswer {
  const state = cluster.host(node);
  const config = cluster.config(node);
  const addresses = nodeAddresses(node, cluster.resources);
  const device = interfaceName ?? state.likelyInterface(addresses);
  const outside = state.interfacePolicy(device, addresses);
  const scene: Scene = { node, state, config, outside, notes: [] };
  const evaluation = evaluateForward(
    packet,
    endOn(scene, from),
    translatedEnd(scene, to),
    forwardOptions(config),
  );
  return { node, state, evaluation, assumedInterface: device, notes: scene.notes };
}

/** Throws `no-endpoint` where the node's agent enforces nothing for this end. */
function endOn({ node, state, config, outside, notes }: Scene, end: End): FlowEnd {
  if (end.kind === "outside" || end.node !== node) {
    return { kind: "outside", interfacePolicy: outside };
  }
  if (end.kind === "host") return { kind: "host" };
  const endpoint = state.workload(end.id);
  if (endpoint === undefined) throw passedOver(node, end, "it has no address or no interface yet");
  const device = endpoint.name;
  const owner = state.workloadOn(device);
  if (owner !== undefined && owner.endpoint !== endpoint) {
    const name = workloadIdentity(owner.id).replaceAll("\0", "/");
    throw passedOver(node, end, `its interface ${device} belongs to endpoint ${name}`);
  }
  const prefixes = config.InterfacePrefix.split(",");
  if (prefixes.some((prefix) => device.startsWith(prefix))) {
    const interfacePolicy = state.interfacePolicy(device, [], true);
    return { kind: "workload", program: state.program(endpoint), interfacePolicy };
  }
  notes.push(
    `nothing enforces the policy of ${end.name}: interface ${device} of ${node} does not begin with ${prefixes.join(" or ")} (FelixConfiguration interfacePrefix)`,
  );
  return { kind: "outside", interfacePolicy: state.interfacePolicy(device, []) };
}

/** A packet for a floating address goes on to the workload's own. */
function translatedEnd(scene: Scene, to: End): FlowEnd {
  const end = endOn(scene, to);
  if (to.kind !== "workload" || to.floating === undefined || to.node !== scene.node) return end;
  if (scene.config.FloatingIPs !== "Enabled") {
    const why = `floatingIPs of its FelixConfiguration is ${scene.config.FloatingIPs}`;
    throw passedOver(scene.node, { name: to.floating.external }, why);
  }
  return { ...end, translatedTo: parseIp(to.floating.internal) };
}

function passedOver(node: string, { name }: { readonly name: string }, why: string): MargayError {
  return inputError("no-endpoint", `the agent of ${node} passes over ${name}: ${why}`);
}

function interfaceNote({ node, state, assumedInterface }: NodeAnswer): string[] {
  const names = state.namedInterfaces();
  if (names.length === 0) return [];
  const assumed = assumedInterface === undefined ? "" : `; ${assumedInterface} is assumed`;
  return [
    `${node} has host endpoints for ${names.join(", ")}${assumed}: --interface NAME asks what they say`,
  ];
}

function packetOf(
  question: FlowQuestion,
  src: string,
  dst: string,
): { readonly packet: Packet; readonly notes: string[] } {
  const isV6 = parseIp(src).family === 6;
  const isPing = /^icmp(?:v?6)?$/i.test(question.protocol);
  const protocol = isPing ? (isV6 ? "icmpv6" : "icmp") : question.protocol;
  const bare = parsePacket({ src, dst, protocol });
  const { icmpType, icmpCode, port, sourcePort } = question;
  const notes: string[] = [];
  if (hasPorts(bare.protocol)) {
    refuse(icmpType ?? icmpCode, "--icmp-type and --icmp-code need --protocol icmp");
    if (port === undefined) {
      throw inputError("usage", `--protocol ${question.protocol} needs --port`);
    }
    if (sourcePort === undefined) notes.push(`source port ${ASSUMED_SOURCE_PORT} is assumed`);
    const packet = { ...bare, srcPort: sourcePort ?? ASSUMED_SOURCE_PORT, dstPort: port };
    return { packet, notes };
  }
  refuse(port ?? sourcePort, `--protocol ${question.protocol} has no ports`);
  const isIcmp = bare.protocol === PROTOCOLS.icmp || bare.protocol === PROTOCOLS.icmpv6;
  if (!isIcmp) {
    refuse(icmpType ?? icmpCode, "--icmp-type and --icmp-code need --protocol icmp");
    return { packet: bare, notes };
  }
  if (icmpType === undefined) notes.push("an echo request is assumed");
  const type = icmpType ?? ECHO_REQUEST[bare.family];
  return { packet: { ...bare, icmpType: type, icmpCode: icmpCode ?? 0 }, notes };
}

function refuse(value: number | undefined, message: string): void {
  if (value !== undefined) throw inputError("usage", message);
}
