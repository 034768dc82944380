/**
 * What a user's templates see: BGP's objects as keys and values under Calico's names for them
 * (calico-facts 6.2), as confd's cache has them. No password is among them.
 */
import type { BgpModel, BgpState, FamilyModel } from "#bgp";
import type { BgpConfiguration } from "#resource";
import { compareBytes } from "#std";

export type KeyView = ReadonlyMap<string, string>;

const FAMILIES = [4, 6] as const;

/** In byte order of the keys. */
export function keyView(state: BgpState, model: BgpModel): KeyView {
  const keys = new Map<string, string>();
  globalKeys(keys, state);
  for (const node of state.nodes.values()) nodeKeys(keys, node.metadata.name, node.spec.bgp ?? {});
  for (const pool of state.pools.values()) {
    const { cidr, ipipMode, vxlanMode, natOutgoing, disabled, disableBGPExport } = pool.spec;
    const value = {
      cidr,
      ipip: ipipMode === "Never" ? "" : "tunl0",
      ipip_mode:
        ipipMode === "CrossSubnet" ? "cross-subnet" : ipipMode === "Always" ? "always" : "",
      vxlan_mode:
        vxlanMode === "CrossSubnet" ? "cross-subnet" : vxlanMode === "Always" ? "always" : "",
      masquerade: natOutgoing ?? false,
      disabled: disabled ?? false,
      disableBGPExport: disableBGPExport ?? false,
    };
    keys.set(`/calico/v1/ipam/v${versionOf(cidr)}/pool/${flat(cidr)}`, JSON.stringify(value));
  }
  for (const filter of state.filters.values()) {
    const { name } = filter.metadata;
    const path = `/calico/resources/v3/projectcalico.org/bgpfilters/${name}`;
    keys.set(path, JSON.stringify({ metadata: { name }, spec: filter.spec }));
  }
  for (const family of FAMILIES) familyKeys(keys, state.node, model.families[family]);
  return new Map([...keys].toSorted(([a], [b]) => compareBytes(a, b)));
}

function globalKeys(keys: Map<string, string>, state: BgpState): void {
  const { spec } = state.configurations.get("default") ?? { spec: {} as BgpConfiguration["spec"] };
  const prefix = "/calico/bgp/v1/global";
  keys.set(`${prefix}/as_num`, String(spec.asNumber ?? 64512));
  keys.set(`${prefix}/node_mesh`, JSON.stringify({ enabled: spec.nodeToNodeMeshEnabled ?? true }));
  keys.set(`${prefix}/loglevel`, (spec.logSeverityScreen ?? "Info").toLowerCase());
  for (const [name, blocks] of [
    ["svc_cluster_ips", spec.serviceClusterIPs],
    ["svc_external_ips", spec.serviceExternalIPs],
    ["svc_loadbalancer_ips", spec.serviceLoadBalancerIPs],
  ] as const) {
    if (blocks !== undefined) keys.set(`${prefix}/${name}`, blocks.map(({ cidr }) => cidr).join());
  }
  configurationKeys(keys, prefix, spec);
  const own = state.configurations.get(`node.${state.node}`)?.spec;
  if (own === undefined) return;
  const host = `/calico/bgp/v1/host/${state.node}`;
  if (own.logSeverityScreen !== undefined)
    keys.set(`${host}/loglevel`, own.logSeverityScreen.toLowerCase());
  configurationKeys(keys, host, own);
}

/** What the cluster and a node may both have. */
function configurationKeys(
  keys: Map<string, string>,
  prefix: string,
  { listenPort, prefixAdvertisements = [], communities = [] }: BgpConfiguration["spec"],
): void {
  if (listenPort !== undefined) keys.set(`${prefix}/listen_port`, String(listenPort));
  const values = new Map(communities.map(({ name, value }) => [name, value]));
  for (const { cidr, communities: wanted = [] } of prefixAdvertisements) {
    if (cidr === undefined) continue;
    const value = { cidr, communities: wanted.map((one) => values.get(one) ?? one) };
    const path = `${prefix}/prefix_advertisements/ip_v${versionOf(cidr)}/${flat(cidr)}`;
    keys.set(path, JSON.stringify(value));
  }
}

interface NodeBgp {
  readonly asNumber?: number;
  readonly ipv4Address?: string;
  readonly ipv6Address?: string;
  readonly routeReflectorClusterID?: string;
}

function nodeKeys(keys: Map<string, string>, name: string, bgp: NodeBgp): void {
  const prefix = `/calico/bgp/v1/host/${name}`;
  for (const [family, address = ""] of [
    [4, bgp.ipv4Address],
    [6, bgp.ipv6Address],
  ] as const) {
    keys.set(`${prefix}/ip_addr_v${family}`, address.split("/")[0] ?? "");
    keys.set(`${prefix}/network_v${family}`, address);
  }
  if (bgp.asNumber !== undefined) keys.set(`${prefix}/as_num`, String(bgp.asNumber));
  keys.set(`${prefix}/rr_cluster_id`, bgp.routeReflectorClusterID ?? "");
}

function familyKeys(keys: Map<string, string>, node: string, model: FamilyModel): void {
  const { family, peers, blocks, serviceRoutes, serviceBlocks } = model;
  for (const { kind, address, port, remoteAs } of peers) {
    if (kind !== "global" && kind !== "node") continue;
    const where = kind === "global" ? "global" : `host/${node}`;
    const name = port === undefined ? address : `${address}-${port}`;
    const value = {
      ip: address,
      as_num: String(remoteAs),
      ...(port === undefined ? {} : { port }),
    };
    keys.set(`/calico/bgp/v1/${where}/peer_v${family}/${name}`, JSON.stringify(value));
  }
  for (const block of blocks) {
    const value = JSON.stringify({ state: "confirmed" });
    keys.set(`/calico/ipam/v2/host/${node}/ipv${family}/block/${flat(block)}`, value);
  }
  const routes = family === 4 ? "staticroutes" : "staticroutesv6";
  for (const { cidr } of serviceRoutes) keys.set(`/calico/${routes}/${flat(cidr)}`, cidr);
  // Blocks of services that this node does not announce.
  const told = new Set(serviceRoutes.map(({ cidr }) => cidr));
  const rejected = family === 4 ? "rejectcidrs" : "rejectcidrsv6";
  for (const cidr of serviceBlocks)
    if (!told.has(cidr)) keys.set(`/calico/${rejected}/${flat(cidr)}`, cidr);
}

function flat(cidr: string): string {
  return cidr.replace("/", "-");
}

function versionOf(cidr: string): 4 | 6 {
  return cidr.includes(":") ? 6 : 4;
}
