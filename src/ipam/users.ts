/** Who uses which address, as endpoints and nodes say: what allocations are compared with. */
import { formatIp, parseIpInNetwork, tryParseIp, type Ip } from "#ip";
import type { Node, WorkloadEndpoint } from "#resource";
import type { Snapshot } from "./snapshot.ts";

interface User {
  /** `Workload(ns/name)`, `Node(name)`, … */
  readonly name: string;
  readonly node: string;
}

export interface UsedAddress {
  readonly ip: Ip;
  readonly users: readonly User[];
}

/** By canonical address. */
export function usedAddresses(snapshot: Snapshot): ReadonlyMap<string, UsedAddress> {
  const used = new Map<string, { ip: Ip; users: User[] }>();
  const add = (text: string, user: User): void => {
    const ip = text.includes("/") ? parseIpInNetwork(text).ip : tryParseIp(text);
    if (ip === undefined) return;
    const entry = used.get(formatIp(ip)) ?? { ip, users: [] };
    entry.users.push(user);
    used.set(formatIp(ip), entry);
  };
  for (const node of snapshot.nodes) {
    const user = { name: `Node(${node.metadata.name})`, node: node.metadata.name };
    for (const text of tunnelAddresses(node)) add(text, user);
  }
  for (const endpoint of snapshot.endpoints) {
    const user = { name: workloadName(endpoint), node: endpoint.spec.node ?? "" };
    for (const text of endpoint.spec.ipNetworks ?? []) add(text, user);
  }
  return used;
}

function workloadName({ metadata }: WorkloadEndpoint): string {
  return `Workload(${metadata.namespace ?? ""}/${metadata.name})`;
}

function tunnelAddresses({ spec }: Node): readonly string[] {
  const { bgp, ipv4VXLANTunnelAddr, ipv6VXLANTunnelAddr, wireguard } = spec ?? {};
  return [
    bgp?.ipv4IPIPTunnelAddr,
    ipv4VXLANTunnelAddr,
    ipv6VXLANTunnelAddr,
    wireguard?.interfaceIPv4Address,
    wireguard?.interfaceIPv6Address,
  ].filter((text) => text !== undefined && text !== "") as string[];
}
