/** What a BIRD 2 process says of itself, as CalicoNodeStatus reports it. */
import { bgpSessions, birdCommand, type ReplyLine, type Session } from "#confd";

export interface AgentStatus {
  readonly state: "Ready" | "NotReady";
  readonly version?: string;
  readonly routerID?: string;
  /** As BIRD writes it, in the host's time zone. */
  readonly lastBootTime?: string;
  readonly lastReconfigurationTime?: string;
}

export interface PeerStatus {
  readonly peerIP: string;
  readonly type: PeerType;
  readonly state: string;
  readonly since: string;
}

type PeerType = "NodeMesh" | "NodePeer" | "GlobalPeer";

export interface RouteStatus {
  /** In the kernel's table, or only known. */
  readonly type: "FIB" | "RIB";
  readonly destination: string;
  readonly gateway?: string;
  readonly interface?: string;
  readonly learnedFrom: {
    readonly sourceType: "Kernel" | "Static" | "Direct" | "NodeMesh" | "BGPPeer";
    readonly peerIP?: string;
  };
}

/** What a name of a protocol begins with (`src/bgp/peers.ts`), the API's word for it and the tool's. */
const PEER_TYPES: readonly (readonly [prefix: string, type: PeerType, kind: string])[] = [
  ["Mesh_", "NodeMesh", "node-to-node mesh"],
  ["Global_", "GlobalPeer", "global"],
  ["Node_", "NodePeer", "node specific"],
  // The API has no name for a workload as a peer of its node.
  ["Local_Workload_", "NodePeer", "local workload"],
];

const ROUTE_LINE =
  /^(\S+)?\s+(?:unicast|blackhole|unreachable|prohibit) \[(\S+) [^\]]*?(?: from (\S+))?\] (\*)?/;
const NEXT_HOP = /^\s+(?:via (\S+) on|dev) (\S+)/;

/** `NotReady` when no BIRD answers. */
export async function readAgent(socketPath: string): Promise<AgentStatus> {
  let lines: readonly ReplyLine[];
  try {
    lines = await birdCommand(socketPath, "show status");
  } catch {
    return { state: "NotReady" };
  }
  const find = (pattern: RegExp): string =>
    lines.map(({ text }) => pattern.exec(text)?.[1]).find((found) => found !== undefined) ?? "";
  return {
    state: lines.at(-1)?.text.startsWith("Daemon is up and running") ? "Ready" : "NotReady",
    version: find(/^BIRD (\S+)/),
    routerID: find(/^Router ID is (\S+)/),
    lastBootTime: find(/^\s*Last reboot on (.*)/),
    lastReconfigurationTime: find(/^\s*Last reconfiguration on (.*)/),
  };
}

/** Empty when no BIRD answers. */
export async function readPeers(socketPath: string): Promise<PeerStatus[]> {
  const sessions = await bgpSessions(socketPath).catch((): Session[] => []);
  return sessions.map(({ name, neighbor, bgpState, since }) => ({
    peerIP: neighbor,
    type: peerTypeOf(name) ?? "NodePeer",
    state: bgpState,
    since,
  }));
}

/** Empty when no BIRD answers. */
export async function readRoutes(socketPath: string): Promise<RouteStatus[]> {
  try {
    const [sessions, lines] = await Promise.all([
      bgpSessions(socketPath),
      birdCommand(socketPath, "show route"),
    ]);
    const peers = new Map(sessions.map(({ name, neighbor }) => [name, neighbor]));
    return routesOf(
      lines.map(({ text }) => text),
      peers,
    );
  } catch {
    return [];
  }
}

/** A line for each route, its next hops on lines after it; a second route to a place leaves the place out. */
export function routesOf(
  lines: readonly string[],
  peers: ReadonlyMap<string, string>,
): RouteStatus[] {
  const routes: { -readonly [K in keyof RouteStatus]: RouteStatus[K] }[] = [];
  for (const line of lines) {
    const route = routes.at(-1);
    const [found, destination = route?.destination, protocol = "", , best] =
      ROUTE_LINE.exec(line) ?? [];
    if (found !== undefined && destination !== undefined) {
      const learnedFrom = sourceOf(protocol, peers);
      routes.push({ type: best === undefined ? "RIB" : "FIB", destination, learnedFrom });
      continue;
    }
    const [hop, gateway, device] = NEXT_HOP.exec(line) ?? [];
    // Of several next hops the first is named.
    if (hop === undefined || route === undefined || route.interface !== undefined) continue;
    if (gateway !== undefined) route.gateway = gateway;
    if (device !== undefined) route.interface = device;
  }
  return routes;
}

function sourceOf(
  protocol: string,
  peers: ReadonlyMap<string, string>,
): RouteStatus["learnedFrom"] {
  const type = peerTypeOf(protocol);
  const peerIP = peers.get(protocol);
  const peer = peerIP === undefined ? {} : { peerIP };
  if (type === "NodeMesh") return { sourceType: "NodeMesh", ...peer };
  if (type !== undefined) return { sourceType: "BGPPeer", ...peer };
  if (protocol.startsWith("kernel")) return { sourceType: "Kernel" };
  return { sourceType: protocol.startsWith("direct") ? "Direct" : "Static" };
}

/** As `calicoctl node status` names it. */
export function peerKindOf(protocol: string): string {
  return PEER_TYPES.find(([prefix]) => protocol.startsWith(prefix))?.[2] ?? "unknown";
}

function peerTypeOf(protocol: string): PeerType | undefined {
  return PEER_TYPES.find(([prefix]) => protocol.startsWith(prefix))?.[1];
}
