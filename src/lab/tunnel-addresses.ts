/** Addresses of a host's VXLAN devices, one of each family that has a VXLAN pool, as Calico's node start-up gives them. */
import { Client } from "#ctl";
import type { Datastore } from "#datastore";
import { formatIp, tryParseCidr } from "#ip";
import { Ipam } from "#ipam";

/** Into the Node, which must exist. */
export async function giveTunnelAddresses(store: Datastore, host: string): Promise<void> {
  const client = new Client(store);
  const { resources } = await client.list("IPPool");
  const poolsOf = (family: 4 | 6): string[] =>
    resources
      .filter(({ spec }) => (spec.vxlanMode ?? "Never") !== "Never" && spec.disabled !== true)
      .filter(({ spec }) => tryParseCidr(spec.cidr)?.family === family)
      .map(({ spec }) => spec.cidr);
  const given = {
    ipv4VXLANTunnelAddr: await assign(store, host, 4, poolsOf(4)),
    ipv6VXLANTunnelAddr: await assign(store, host, 6, poolsOf(6)),
  };
  const node = await client.get("Node", host);
  const addresses = Object.entries(given).filter(([, address]) => address !== undefined);
  if (addresses.length === 0) return;
  await client.update({ ...node, spec: { ...node.spec, ...Object.fromEntries(addresses) } });
}

async function assign(
  store: Datastore,
  host: string,
  family: 4 | 6,
  pools: readonly string[],
): Promise<string | undefined> {
  if (pools.length === 0) return undefined;
  const got = await new Ipam(store).autoAssign({
    host,
    handle: `vxlan-${family === 6 ? "v6-" : ""}tunnel-addr-${host}`,
    attributes: { type: `vxlan${family === 6 ? "V6" : ""}TunnelAddress` },
    use: "Tunnel",
    [`ipv${family}`]: 1,
    [`pools${family}`]: pools,
  });
  const [first] = family === 4 ? got.ipv4.assigned : got.ipv6.assigned;
  return first === undefined ? undefined : formatIp(first.ip);
}
