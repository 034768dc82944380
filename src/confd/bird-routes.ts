/** What `show route` of BIRD 2 prints, with or without `all`. */
import { isPeerName, type TableRoute } from "#bgp";
import { birdCommand } from "./birdc.ts";

export interface BirdRoute extends TableRoute {
  /** When BIRD got it, which tells routes of one protocol to one place apart. */
  readonly since: string;
}

type Draft = { -readonly [K in keyof BirdRoute]: BirdRoute[K] };

const ROUTE_LINE =
  /^(\S+)?\s+(?:unicast|blackhole|unreachable|prohibit) \[(\S+) ([^\]]*?)(?: from \S+)?\] (\*)?/;
const NEXT_HOP = /^\s+(?:via (\S+) on|dev) (\S+)/;
const ATTRIBUTE = /^\s+([A-Za-z]+(?:\.[a-z_]+)?): ?(.*)$/;
/** `which`: "", or `export PEER`, which asks for those that go to it. */
export async function birdRoutes(socketPath: string, which = ""): Promise<BirdRoute[]> {
  const lines = await birdCommand(socketPath, `show route ${which} all`.replace("  ", " "));
  return parseRoutes(lines.map(({ text }) => text));
}

/** A line for each route, more about it on lines after it; a second route to a place leaves the place out. */
export function parseRoutes(lines: readonly string[]): BirdRoute[] {
  const routes: Draft[] = [];
  for (const line of lines) {
    const route = routes.at(-1);
    const [found, destination = route?.destination, protocol = "", since = "", best] =
      ROUTE_LINE.exec(line) ?? [];
    if (found !== undefined && destination !== undefined) {
      const kind = kindOf(protocol);
      const isBest = best !== undefined;
      routes.push({
        destination,
        protocol,
        since,
        kind,
        best: isBest,
        asPath: [],
        communities: [],
      });
      continue;
    }
    if (route !== undefined) addDetail(route, line);
  }
  return routes;
}

/** BIRD numbers the protocols that have no name, and ours for static routes have names of their own. */
function kindOf(protocol: string): TableRoute["kind"] {
  if (isPeerName(protocol)) return "bgp";
  if (protocol.startsWith("kernel")) return "kernel";
  return protocol.startsWith("direct") ? "device" : "static";
}

function addDetail(route: Draft, line: string): void {
  const [hop, gateway, device] = NEXT_HOP.exec(line) ?? [];
  if (hop !== undefined) {
    // Of several next hops the first is named.
    if (route.interface !== undefined) return;
    if (gateway !== undefined) route.gateway = gateway;
    if (device !== undefined) route.interface = device;
    return;
  }
  const [, name, value = ""] = ATTRIBUTE.exec(line) ?? [];
  if (name === "Kernel.source") route.kernelSource = Number(value);
  else if (name === "Kernel.metric") route.kernelMetric = Number(value);
  else if (name === "BGP.local_pref") route.localPref = Number(value);
  else if (name === "BGP.as_path") route.asPath = numbers(value);
  else if (name === "BGP.community" || name === "BGP.large_community") {
    const found = [...value.matchAll(/\(([^)]+)\)/g)].map(([, one = ""]) => numbers(one).join(":"));
    route.communities = [...route.communities, ...found];
  }
}

function numbers(text: string): number[] {
  return [...text.matchAll(/\d+/g)].map(([digits]) => Number(digits));
}
