/** What a BIRD 2 process says of itself, as CalicoNodeStatus reports it. */
import {
  bgpSessions,
  birdCommand,
  birdRoutes,
  type BirdRoute,
  type ReplyLine,
  type Session,
} from "#confd";
import { unreachable } from "#std";

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
    const [sessions, routes] = await Promise.all([bgpSessions(socketPath), birdRoutes(socketPath)]);
    const peers = new Map(sessions.map(({ name, neighbor }) => [name, neighbor]));
    return routes.map((route) => statusOf(route, peers));
  } catch {
    return [];
  }
}

export function statusOf(route: BirdRoute, peers: ReadonlyMap<string, string>): RouteStatus {
  const { destination, gateway, interface: device } = route;
  return {
    type: route.best ? "FIB" : "RIB",
    destination,
    ...(gateway === undefined ? {} : { gateway }),
    ...(device === undefined ? {} : { interface: device }),
    learnedFrom: sourceOf(route, peers),
  };
}

function sourceOf(
  { protocol, kind }: BirdRoute,
  peers: ReadonlyMap<string, string>,
): RouteStatus["learnedFrom"] {
  const peerIP = peers.get(protocol);
  const peer = peerIP === undefined ? {} : { peerIP };
  switch (kind) {
    case "bgp":
      return {
        sourceType: peerTypeOf(protocol) === "NodeMesh" ? "NodeMesh" : "BGPPeer",
        ...peer,
      };
    case "kernel":
      return { sourceType: "Kernel" };
    case "device":
      return { sourceType: "Direct" };
    case "static":
      return { sourceType: "Static" };
    default:
      return unreachable(kind);
  }
}

/** As `calicoctl node status` names it. */
export function peerKindOf(protocol: string): string {
  return PEER_TYPES.find(([prefix]) => protocol.startsWith(prefix))?.[2] ?? "unknown";
}

function peerTypeOf(protocol: string): PeerType | undefined {
  return PEER_TYPES.find(([prefix]) => protocol.startsWith(prefix))?.[1];
}
