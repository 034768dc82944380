/**
 * The hosts of `ClusterHosts`, and what the datastore says of them: host n has the blocks 10.65.n.0/26 and
 * fd65:n::/122, its tunnels the first address of each and its workload the next.
 */
import type { Given } from "./bgp.ts";

/** Kind of tunnel that nodes have addresses for. */
export type Tunnels = "vxlan" | "ipip";

export interface Host {
  readonly number: number;
  readonly name: string;
  readonly netns: string;
  /** Of the link that it is on. */
  readonly subnet: number;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly block4: string;
  readonly block6: string;
  readonly tunnel4: string;
  readonly tunnel6: string;
  readonly pod: {
    readonly netns: string;
    readonly interfaceName: string;
    readonly ipv4: string;
    readonly ipv6: string;
  };
}

export function hostOf(number: number): Host {
  const subnet = number <= 2 ? 1 : 2;
  return {
    number,
    name: `host-${number}`,
    netns: `mgy-host-${number}`,
    subnet,
    ipv4: `10.0.${subnet}.1${number}`,
    ipv6: `fd00:${subnet}::1${number}`,
    block4: `10.65.${number}.0/26`,
    block6: `fd65:${number}::/122`,
    tunnel4: `10.65.${number}.0`,
    tunnel6: `fd65:${number}::`,
    pod: {
      netns: `mgy-pod-${number}`,
      interfaceName: `cali0000000000${number}`,
      ipv4: `10.65.${number}.1`,
      ipv6: `fd65:${number}::1`,
    },
  };
}

/** VXLAN between the subnets, plain routes within one; both families. */
export const POOLS: readonly Given[] = [
  {
    kind: "IPPool",
    name: "pool4",
    spec: { cidr: "10.65.0.0/16", vxlanMode: "CrossSubnet", ipipMode: "Never", natOutgoing: true },
  },
  {
    kind: "IPPool",
    name: "pool6",
    spec: { cidr: "fd65::/16", blockSize: 122, vxlanMode: "CrossSubnet", ipipMode: "Never" },
  },
];

export function nodeOf(host: Host, tunnels: Tunnels = "vxlan"): Given {
  const bgp = { ipv4Address: `${host.ipv4}/24`, ipv6Address: `${host.ipv6}/64` };
  const spec =
    tunnels === "vxlan"
      ? { bgp, ipv4VXLANTunnelAddr: host.tunnel4, ipv6VXLANTunnelAddr: host.tunnel6 }
      : { bgp: { ...bgp, ipv4IPIPTunnelAddr: host.tunnel4 } };
  return { kind: "Node", name: host.name, spec };
}

/** An affine IPAM block, path and bytes; addresses of it that other nodes have by ordinal. */
export function block(
  cidr: string,
  node: string,
  borrowed: Readonly<Record<number, string>> = {},
): [string, string] {
  const family = cidr.includes(":") ? 6 : 4;
  const ordinals = Array.from({ length: 64 }, (_, ordinal) => ordinal);
  const borrowers = Object.values(borrowed);
  const value = {
    cidr,
    affinity: `host:${node}`,
    allocations: ordinals.map((ordinal) => {
      const borrower = borrowed[ordinal];
      return borrower === undefined ? null : borrowers.indexOf(borrower);
    }),
    unallocated: ordinals.filter((ordinal) => borrowed[ordinal] === undefined),
    attributes: borrowers.map((name) => ({ handle_id: null, secondary: { node: name } })),
    deleted: false,
  };
  const path = `/calico/ipam/v2/assignment/ipv${family}/block/${cidr.replace("/", "-")}`;
  return [path, JSON.stringify(value)];
}

/** `more`: further IPv4 addresses. */
export function endpointOf({ name, number, pod }: Host, more: readonly string[] = []): Given {
  return {
    kind: "WorkloadEndpoint",
    namespace: "default",
    name: `host--${number}-k8s-pod${number}-eth0`,
    labels: {
      "projectcalico.org/namespace": "default",
      "projectcalico.org/orchestrator": "k8s",
    },
    spec: {
      orchestrator: "k8s",
      node: name,
      containerID: "c",
      pod: `pod${number}`,
      endpoint: "eth0",
      ipNetworks: [`${pod.ipv4}/32`, `${pod.ipv6}/128`, ...more.map((each) => `${each}/32`)],
      profiles: ["open"],
      interfaceName: pod.interfaceName,
    },
  };
}

export function base(): Given[] {
  return [
    {
      kind: "ClusterInformation",
      name: "default",
      spec: { clusterGUID: "0".repeat(32), datastoreReady: true },
    },
    { kind: "Tier", name: "default", spec: { order: 1_000_000, defaultAction: "Deny" } },
    {
      kind: "Profile",
      name: "open",
      spec: { ingress: [{ action: "Allow" }], egress: [{ action: "Allow" }] },
    },
  ];
}
