/**
 * Why a peer is not told a route: the export filter of `bird-config.ts` and BIRD's own rules (RFC 4271
 * §9.2, RFC 4456 §6, RFC 1997), step by step, on a route as BIRD shows it.
 */
import { cidrContains, parseCidr, tryParseCidr, type Cidr } from "#ip";
import { FELIX_PROTOCOL, TUNNEL_INTERFACES } from "./bird-config.ts";
import { PRIORITY_BASE, PRIORITY_FLOOR } from "./bird-filters.ts";
import type { BgpModel, Community, FamilyModel, FilterMatch, Peer } from "./types.ts";

/** A route of BIRD's table. */
export interface TableRoute {
  readonly destination: string;
  /** The protocol that it comes from, such as `Mesh_10_0_0_2`, `kernel1`, `blocks`. */
  readonly protocol: string;
  readonly kind: "bgp" | "static" | "device" | "kernel";
  /** Of several to one destination the one that BIRD uses. */
  readonly best: boolean;
  readonly gateway?: string;
  readonly interface?: string;
  /** Whose route it is in the kernel (`rtm_protocol`). */
  readonly kernelSource?: number;
  readonly kernelMetric?: number;
  readonly localPref?: number;
  readonly asPath: readonly number[];
  /** `1:2` and `1:2:3`. */
  readonly communities: readonly string[];
}

/** RFC 1997: NO_EXPORT, NO_ADVERTISE, NO_EXPORT_SUBCONFED. */
const NO_EXPORT = ["65535:65281", "65535:65283"];
const NO_ADVERTISE = "65535:65282";

export function whyWithheld(
  model: BgpModel,
  part: FamilyModel,
  peer: Peer,
  route: TableRoute,
): string {
  const net = tryParseCidr(route.destination);
  if (net === undefined) return "the export filter";
  const given = prepared(part, net, route);
  return (
    byProtocol(part, peer, route) ??
    byFilters(part, peer, net, given) ??
    byDefault(model, part, peer, net, given) ??
    (route.best ? "the export filter" : "another route to it is preferred")
  );
}

/** What BIRD never passes on, whatever the filter says. */
function byProtocol(part: FamilyModel, peer: Peer, route: TableRoute): string | undefined {
  if (route.protocol === peer.name) return "the peer told it";
  if (route.kind !== "bgp") return undefined;
  const from = part.peers.find(({ name }) => name === route.protocol);
  const reflects = [peer, from].some((one) => one?.reflectorClusterId !== undefined);
  if (peer.internal && from?.internal === true && !reflects)
    return "from iBGP to iBGP only a route reflector passes it on";
  if (route.communities.includes(NO_ADVERTISE)) return `community ${NO_ADVERTISE} (no advertise)`;
  const kept = NO_EXPORT.find((one) => route.communities.includes(one));
  return kept !== undefined && !peer.internal ? `community ${kept} (no export)` : undefined;
}

/** As `margay_prepare` leaves it. */
function prepared(part: FamilyModel, net: Cidr, route: TableRoute): TableRoute {
  const { kernelMetric: metric } = route;
  const moves = metric !== undefined && route.kind !== "bgp" && metric < part.normalPriority;
  const added = part.prefixCommunities
    .filter(({ cidr }) => cidrContains(parseCidr(cidr), net))
    .flatMap(({ communities }) => communities.map(communityText));
  return {
    ...route,
    ...(moves ? { localPref: PRIORITY_BASE - metric } : {}),
    communities: [...route.communities, ...added],
  };
}

/** `undefined`: no filter has decided. */
function byFilters(
  part: FamilyModel,
  peer: Peer,
  net: Cidr,
  route: TableRoute,
): string | undefined {
  for (const name of peer.filters) {
    const chain = part.filters.find((one) => one.name === name)?.export;
    if (chain === undefined) continue;
    if ("fault" in chain) return `BGPFilter ${name}: ${chain.fault}`;
    const index = chain.rules.findIndex(({ match }) => matches(match, part, peer, net, route));
    const rule = chain.rules[index];
    if (rule === undefined) continue;
    if (rule.action === "Reject")
      return `BGPFilter ${name}, rule ${index + 1} of exportV${part.family}`;
    return "another route to it is preferred";
  }
  return undefined;
}

function matches(
  match: FilterMatch,
  part: FamilyModel,
  peer: Peer,
  net: Cidr,
  route: TableRoute,
): boolean {
  const { asPathPrefix: path, community, priority } = match;
  return (
    (match.cidr === undefined || matchesCidr(match.cidr, net)) &&
    (match.fromPeers !== true || route.kind === "bgp") &&
    (match.interface === undefined || isLike(route.interface, match.interface)) &&
    (match.internal === undefined || match.internal === peer.internal) &&
    (community === undefined || route.communities.includes(communityText(community))) &&
    (path === undefined ||
      (route.kind === "bgp" && path.every((as, at) => route.asPath[at] === as))) &&
    (priority === undefined || hasPriority(priority, part, route))
  );
}

function matchesCidr(match: NonNullable<FilterMatch["cidr"]>, net: Cidr): boolean {
  const { operator, lengths } = match;
  const cidr = parseCidr(match.cidr);
  const negated = operator === "NotEqual" || operator === "NotIn";
  const equal = operator === "Equal" || operator === "NotEqual";
  const inside = cidrContains(cidr, net) && (!equal || cidr.prefixLen === net.prefixLen);
  const fits =
    lengths === undefined || (net.prefixLen >= lengths.min && net.prefixLen <= lengths.max);
  return (inside && fits) !== negated;
}

function hasPriority(
  priority: number,
  { normalPriority }: FamilyModel,
  { kernelMetric, localPref }: TableRoute,
): boolean {
  if (localPref === PRIORITY_BASE - priority || kernelMetric === priority) return true;
  if (priority !== normalPriority || kernelMetric !== undefined) return false;
  return localPref === undefined || localPref <= PRIORITY_FLOOR;
}

/** As `margay_export` decides. */
function byDefault(
  model: BgpModel,
  part: FamilyModel,
  peer: Peer,
  net: Cidr,
  route: TableRoute,
): string | undefined {
  const isIn = (cidr: string): boolean => cidrContains(parseCidr(cidr), net);
  const hidden = part.pools.find(({ cidr, exported }) => !exported && isIn(cidr));
  if (hidden !== undefined) return `${hidden.origin} has disableBGPExport`;
  const tunnel = TUNNEL_INTERFACES.some((pattern) => isLike(route.interface, pattern));
  if (peer.internal && tunnel) return "a tunnel's, which other nodes of this AS know";
  const ours = model.workloadPrefixes.some((one) => isLike(route.interface, `${one}*`));
  if (route.kind === "kernel" && route.kernelSource === FELIX_PROTOCOL && !ours && !tunnel)
    return "to another node, which announces it itself";
  if (part.blocks.includes(route.destination)) return undefined;
  const moves = route.kernelMetric !== undefined && route.kernelMetric < part.normalPriority;
  const block = part.blocks.find(isIn);
  if (route.kind !== "bgp" && block !== undefined && !moves)
    return `inside ${block}, which is announced whole`;
  if (route.protocol === "services") return undefined;
  const services = part.serviceBlocks.find(isIn);
  if (services !== undefined && (model.reflectorClusterId === undefined || route.kind !== "bgp"))
    return `inside ${services}, whose services another node announces`;
  return part.pools.some(({ cidr }) => isIn(cidr)) ? undefined : "outside of every IPPool";
}

/** BIRD's shell pattern. */
function isLike(name: string | undefined, pattern: string): boolean {
  const body = pattern.replaceAll(/[.\\+^$(){}|[\]]/g, "\\$&");
  return new RegExp(`^${body.replaceAll("*", ".*").replaceAll("?", ".")}$`).test(name ?? "");
}

function communityText(community: Community): string {
  return community.join(":");
}
