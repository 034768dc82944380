/** What a node's BGPConfigurations say together: `default`, then `node.<name>` field by field. */
import { sha256 } from "#std";
import { formatIp, tryParseIp, tryParseIpInNetwork, type IpFamily } from "#ip";
import type { BgpConfiguration, Node } from "#resource";
import type { BgpState } from "./state.ts";

const DEFAULT_AS = 64_512;
export const BGP_PORT = 179;
export const DEFAULT_PRIORITY = 1024;

export type Spec = BgpConfiguration["spec"];
/** The cluster's word counts: both sides of a session must agree on it. */
const PER_NODE = [
  "logSeverityScreen",
  "listenPort",
  "prefixAdvertisements",
  "communities",
  "bindMode",
  "ignoredInterfaces",
  "localWorkloadPeeringIPV4",
  "localWorkloadPeeringIPV6",
] as const satisfies readonly (keyof Spec)[];

export function settingsOf(state: BgpState, node: string): Spec {
  const shared: Spec = state.configurations.get("default")?.spec ?? {
    serviceLoadBalancerAggregation: "Enabled",
  };
  const own = state.configurations.get(`node.${node}`)?.spec;
  if (own === undefined) return shared;
  const merged: Record<string, unknown> = { ...shared };
  for (const name of PER_NODE) if (own[name] !== undefined) merged[name] = own[name];
  return merged as unknown as Spec;
}

/** The address alone; undefined when the node has none of the family. */
export function addressOf(node: Node | undefined, family: IpFamily): string | undefined {
  const text = family === 4 ? node?.spec.bgp?.ipv4Address : node?.spec.bgp?.ipv6Address;
  if (text === undefined || text === "") return undefined;
  const ip = tryParseIpInNetwork(text)?.ip ?? tryParseIp(text);
  return ip?.family === family ? formatIp(ip) : undefined;
}

export function asNumberOf(node: Node | undefined, spec: Spec): number {
  return node?.spec.bgp?.asNumber ?? spec.asNumber ?? DEFAULT_AS;
}

/** RFC 4456 writes it as an address. A text of another form cannot be one. */
export function clusterIdOf(node: Node | undefined): string | undefined {
  const text = node?.spec.bgp?.routeReflectorClusterID;
  const ip = text === undefined ? undefined : tryParseIp(text);
  return ip?.family === 4 ? formatIp(ip) : undefined;
}

export interface RouterId {
  readonly id: string;
  readonly from: string;
}

/** `wanted`: `hash`, an address, or "" for the node's own (the hash of its name, if it has no IPv4). */
export function routerIdOf(name: string, node: Node | undefined, wanted: string): RouterId {
  const given = tryParseIp(wanted);
  if (given?.family === 4) return { id: formatIp(given), from: "CALICO_ROUTER_ID" };
  const address = addressOf(node, 4);
  if (wanted !== "hash" && address !== undefined) return { id: address, from: "IPv4 address" };
  const [a = 0, b = 0, c = 0, d = 0] = sha256(name);
  // Multicast and reserved addresses (224 and above) are no router IDs.
  return { id: `${a > 223 ? a - 32 : a}.${b}.${c}.${d}`, from: "hash of the node's name" };
}
