/**
 * The addresses of this node's tunnel devices: taken from IPAM while some pool that may be used asks
 * for the tunnel, given back when none does. Whatever step a crash prevents, the next run makes.
 */
import type { Client } from "#ctl";
import { cidrContainsIp, formatCidr, formatIp, type Cidr, type Ip, type IpFamily } from "#ip";
import { poolOf, refusal, selectsNode, type Ipam } from "#ipam";
import { logger } from "#log";
import type { IPPool, Node, NodeSpec } from "#resource";
import { messageOf, systemError } from "#std";
import { updateNode, withBgp } from "./node-object.ts";

const log = logger("node.tunnels");

interface Tunnel {
  readonly family: IpFamily;
  readonly mode: "ipipMode" | "vxlanMode";
  /** As Calico calls them in IPAM. */
  readonly handle: string;
  readonly type: string;
  readonly read: (spec: NodeSpec) => string | undefined;
  readonly write: (spec: NodeSpec, address: string | undefined) => NodeSpec;
}

const TUNNELS: readonly Tunnel[] = [
  {
    family: 4,
    mode: "ipipMode",
    handle: "ipip-tunnel-addr-",
    type: "ipipTunnelAddress",
    read: (spec) => spec.bgp?.ipv4IPIPTunnelAddr,
    write: (spec, ipv4IPIPTunnelAddr) => withBgp(spec, { ipv4IPIPTunnelAddr }),
  },
  {
    family: 4,
    mode: "vxlanMode",
    handle: "vxlan-tunnel-addr-",
    type: "vxlanTunnelAddress",
    read: (spec) => spec.ipv4VXLANTunnelAddr,
    write: (spec, address) => withField(spec, "ipv4VXLANTunnelAddr", address),
  },
  {
    family: 6,
    mode: "vxlanMode",
    handle: "vxlan-v6-tunnel-addr-",
    type: "vxlanV6TunnelAddress",
    read: (spec) => spec.ipv6VXLANTunnelAddr,
    write: (spec, address) => withField(spec, "ipv6VXLANTunnelAddr", address),
  },
];

/**
 * Throws `no-tunnel-address` naming each tunnel that gets none, after the others are done, and what
 * the datastore throws. A node that does not exist gets nothing.
 */
export async function allocateTunnelAddresses(
  client: Client,
  ipam: Ipam,
  name: string,
): Promise<void> {
  const node = await client.find("Node", name);
  if (node === undefined) throw noNode(name);
  const { resources: pools } = await client.list("IPPool");
  const faults: string[] = [];
  for (const tunnel of TUNNELS) {
    const cidrs = poolsFor(tunnel, pools, node);
    try {
      if (cidrs.length === 0) await giveBack(client, ipam, node, tunnel);
      else await ensure(client, ipam, node, tunnel, cidrs);
    } catch (error) {
      faults.push(`${tunnel.type}: ${messageOf(error)}`);
    }
  }
  if (faults.length === 0) return;
  throw systemError("no-tunnel-address", `node ${name}: ${faults.join("; ")}`, { retryable: true });
}

/** Those that ask for the tunnel and may give an address to it on this node. */
function poolsFor(
  { family, mode }: Tunnel,
  pools: readonly IPPool[],
  { metadata }: Node,
): readonly Cidr[] {
  return pools
    .filter(({ spec }) => spec[mode] !== "Never")
    .map((pool) => poolOf(pool))
    .filter(
      (pool) =>
        pool.cidr.family === family &&
        selectsNode(pool, metadata.labels ?? {}) &&
        // As one that is named: tunnels may use pools that workloads get only on request.
        refusal(pool, { family, use: "Tunnel", only: [pool.name], nodeLabels: undefined }) ===
          undefined,
    )
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ cidr }) => cidr);
}

/** The one that the node has, else one that an earlier run was about to write, else a new one. */
async function ensure(
  client: Client,
  ipam: Ipam,
  { metadata: { name }, spec }: Node,
  tunnel: Tunnel,
  cidrs: readonly Cidr[],
): Promise<void> {
  const handle = `${tunnel.handle}${name}`;
  const held = await ipam.ipsByHandle(handle);
  const fits = (ip: Ip): boolean => cidrs.some((cidr) => cidrContainsIp(cidr, ip));
  const current = tunnel.read(spec);
  const kept = held.find((ip) => fits(ip) && formatIp(ip) === current) ?? held.find(fits);
  const ip = kept ?? (await assign(ipam, name, handle, tunnel, cidrs));
  if (formatIp(ip) !== current) {
    await updateNode(client, name, (now) => tunnel.write(now, formatIp(ip)));
    log.info("tunnel address", { type: tunnel.type, address: formatIp(ip), before: current });
  }
  const surplus = held.filter((one) => one !== kept);
  if (surplus.length > 0) await ipam.release(surplus.map((one) => ({ ip: one, handle })));
}

async function assign(
  ipam: Ipam,
  host: string,
  handle: string,
  { family, type }: Tunnel,
  cidrs: readonly Cidr[],
): Promise<Ip> {
  const pools = cidrs.map((cidr) => formatCidr(cidr));
  const request = { host, handle, attributes: { type }, use: "Tunnel" } as const;
  const { ipv4, ipv6 } = await ipam.autoAssign(
    family === 4 ? { ...request, ipv4: 1, pools4: pools } : { ...request, ipv6: 1, pools6: pools },
  );
  const { assigned, reasons } = family === 4 ? ipv4 : ipv6;
  const [first] = assigned;
  if (first !== undefined) return first.ip;
  throw systemError(
    "no-free-address",
    `no free address in ${pools.join(", ")}: ${reasons.join("; ")}`,
  );
}

/** First from the node, then to IPAM: nobody else gets an address that this node still shows. */
async function giveBack(
  client: Client,
  ipam: Ipam,
  { metadata: { name }, spec }: Node,
  tunnel: Tunnel,
): Promise<void> {
  const current = tunnel.read(spec);
  if (current !== undefined) {
    await updateNode(client, name, (now) => tunnel.write(now, undefined));
  }
  const released = await ipam.releaseByHandle(`${tunnel.handle}${name}`);
  if (current === undefined && released.length === 0) return;
  log.info("tunnel address given back", { type: tunnel.type, address: current });
}

function withField(
  spec: NodeSpec,
  name: "ipv4VXLANTunnelAddr" | "ipv6VXLANTunnelAddr",
  address: string | undefined,
): NodeSpec {
  if (address !== undefined) return { ...spec, [name]: address };
  return Object.fromEntries(Object.entries(spec).filter(([key]) => key !== name));
}

function noNode(name: string): Error {
  return systemError(
    "no-node",
    `there is no node ${name}: margay node -startup makes it; NODENAME names it`,
    { retryable: true },
  );
}
