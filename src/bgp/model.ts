/** Objects → the model of one node. Pure; O(nodes + peers × nodes that their selectors look at). */
import { compareCidrs, formatCidr, parseCidr, tryParseCidr, type IpFamily } from "#ip";
import type { IPPool } from "#resource";
import { filterModel, MAX_PRIORITY, missingFilter, parseCommunity } from "./filters.ts";
import { peersOf, type SecretLookup } from "./peers.ts";
import { servicesOf } from "./services.ts";
import {
  addressOf,
  asNumberOf,
  BGP_PORT,
  clusterIdOf,
  DEFAULT_PRIORITY,
  routerIdOf,
  settingsOf,
  type Spec,
} from "./settings.ts";
import { sorted, type BgpState } from "./state.ts";
import type {
  BgpModel,
  Community,
  FamilyModel,
  Filter,
  Peer,
  Pool,
  PrefixCommunities,
} from "./types.ts";

export interface BgpOptions {
  /** CALICO_ROUTER_ID: `hash`, an IPv4 address, or "". */
  readonly routerId?: string;
  /** The value of a Secret's key; undefined when it is not to be had. */
  readonly secrets?: SecretLookup;
  /** Beginnings of the names of workloads' interfaces. */
  readonly workloadPrefixes?: readonly string[];
}

const PATTERN = /^-?[A-Za-z0-9_.:@*?-]{1,64}$/;

export function bgpModel(state: BgpState, options: BgpOptions = {}): BgpModel {
  const { node: name } = state;
  const node = state.nodes.get(name);
  const spec = settingsOf(state, name);
  const warnings: string[] = [];
  if (node === undefined) warnings.push(`there is no Node ${name}`);
  const clusterId = clusterIdOf(node);
  const written = node?.spec.bgp?.routeReflectorClusterID;
  if (written !== undefined && clusterId === undefined) {
    warnings.push(
      `routeReflectorClusterID ${JSON.stringify(written)} is not written as an IPv4 address; nothing is reflected`,
    );
  }
  for (const [peer, { spec: peerSpec }] of sorted(state.peers)) {
    if (peerSpec.failureDetectionMode !== "BFDIfDirectlyConnected") continue;
    warnings.push(`BGPPeer ${peer}: failureDetectionMode BFDIfDirectlyConnected is not supported`);
  }
  const enabled = spec.nodeToNodeMeshEnabled ?? true;
  const mesh = enabled && written === undefined && node !== undefined;
  const router = routerIdOf(name, node, options.routerId ?? "");
  const common = { state, spec, clusterId, mesh, options, warnings };
  return {
    node: name,
    routerId: router.id,
    routerIdFrom: router.from,
    asNumber: asNumberOf(node, spec),
    mesh,
    meshWhy: meshWhy(enabled, written !== undefined, node !== undefined),
    ...(clusterId === undefined ? {} : { reflectorClusterId: clusterId }),
    listenPort: spec.listenPort ?? BGP_PORT,
    bindToNodeIp: spec.bindMode === "NodeIP",
    logSeverity: spec.logSeverityScreen ?? "Info",
    ignoredInterfaces: ignoredInterfaces(spec, warnings),
    workloadPrefixes: (options.workloadPrefixes ?? ["cali"]).filter((one) => PATTERN.test(one)),
    families: { 4: familyModel(common, 4), 6: familyModel(common, 6) },
    warnings,
  };
}

function meshWhy(enabled: boolean, reflector: boolean, exists: boolean): string {
  if (!exists) return "there is no such node";
  if (!enabled) return "nodeToNodeMeshEnabled is false";
  return reflector ? "the node is a route reflector" : "nodeToNodeMeshEnabled";
}

function ignoredInterfaces(spec: Spec, warnings: string[]): string[] {
  return (spec.ignoredInterfaces ?? []).filter((pattern) => {
    const usable = PATTERN.test(pattern) && !pattern.startsWith("-");
    if (!usable) warnings.push(`ignoredInterfaces: ${JSON.stringify(pattern)} is no plain pattern`);
    return usable;
  });
}

interface Common {
  readonly state: BgpState;
  readonly spec: Spec;
  readonly clusterId: string | undefined;
  readonly mesh: boolean;
  readonly options: BgpOptions;
  readonly warnings: string[];
}

function familyModel(common: Common, family: IpFamily): FamilyModel {
  const { state, spec, clusterId, mesh, options, warnings } = common;
  const node = state.nodes.get(state.node);
  const address = addressOf(node, family);
  const nothing = { peers: [], omitted: [] };
  const { peers, omitted } =
    address === undefined
      ? nothing
      : peersOf({
          state,
          spec,
          family,
          address,
          asNumber: asNumberOf(node, spec),
          clusterId,
          mesh,
          secrets: options.secrets ?? (() => undefined),
          nodeByAddress: nodesByAddress(state, family),
        });
  const services = servicesOf(state, spec, family);
  const filters = filtersOf(state, peers, family);
  for (const { name, ...filter } of filters) {
    for (const direction of ["import", "export"] as const) {
      const chain = filter[direction];
      if ("fault" in chain)
        warnings.push(
          `IPv${family}: filter ${name} lets nothing pass (${direction}): ${chain.fault}`,
        );
    }
  }
  return {
    family,
    ...(address === undefined ? {} : { address }),
    peers,
    omitted,
    filters,
    pools: poolsOf(state, spec, family, warnings),
    blocks: blocksOf(state, family),
    prefixCommunities: prefixCommunitiesOf(spec, family, warnings),
    serviceRoutes: services.routes,
    serviceBlocks: services.blocks,
    normalPriority: normalPriorityOf(spec, family, warnings),
    wireguardPeers: wireguardPeers(state, family),
  };
}

/** Anything else could neither be a metric nor travel as a local preference. */
function normalPriorityOf(spec: Spec, family: IpFamily, warnings: string[]): number {
  const given = family === 4 ? spec.ipv4NormalRoutePriority : spec.ipv6NormalRoutePriority;
  if (given === undefined || (given >= 1 && given <= MAX_PRIORITY))
    return given ?? DEFAULT_PRIORITY;
  warnings.push(
    `ipv${family}NormalRoutePriority ${given} is not from 1 to ${MAX_PRIORITY}; it is ${DEFAULT_PRIORITY}`,
  );
  return DEFAULT_PRIORITY;
}

function nodesByAddress(state: BgpState, family: IpFamily): Map<string, string> {
  const names = new Map<string, string>();
  for (const [name, node] of sorted(state.nodes).toReversed()) {
    const address = addressOf(node, family);
    if (address !== undefined) names.set(address, name);
  }
  return names;
}

function filtersOf(state: BgpState, peers: readonly Peer[], family: IpFamily): Filter[] {
  const names = new Set(peers.flatMap((peer) => peer.filters));
  return [...names].toSorted().map((name) => {
    const resource = state.filters.get(name);
    return resource === undefined ? missingFilter(name) : filterModel(resource, family);
  });
}

function poolsOf(state: BgpState, spec: Spec, family: IpFamily, warnings: string[]): Pool[] {
  const mode = spec.programClusterRoutes ?? "EnabledNoEncapOnly";
  return sorted(state.pools).flatMap(([name, { spec: pool }]) => {
    const cidr = tryParseCidr(pool.cidr);
    if (cidr?.family !== family || pool.allowedUses.includes("LoadBalancer")) return [];
    const encapsulation = encapsulationOf(pool);
    if (encapsulation === "ipip" && (mode === "Enabled" || mode === "EnabledIPIPOnly")) {
      warnings.push(
        `programClusterRoutes is ${mode}, but BIRD 2 cannot program IPIP: the routes of IPPool ${name} are left to Felix`,
      );
    }
    const byBird = mode === "Enabled" || mode === "EnabledNoEncapOnly";
    return [
      {
        cidr: formatCidr(cidr),
        origin: `IPPool ${name}`,
        encapsulation,
        programmedBy: encapsulation === "none" && byBird ? "bird" : "felix",
        exported: pool.disableBGPExport !== true,
      } satisfies Pool,
    ];
  });
}

function encapsulationOf(pool: IPPool["spec"]): Pool["encapsulation"] {
  if (pool.vxlanMode !== "Never") return "vxlan";
  return pool.ipipMode === "Never" ? "none" : "ipip";
}

/** Single addresses are not aggregates: their own route is announced. */
function blocksOf(state: BgpState, family: IpFamily): string[] {
  return [...new Set(state.blocks.values())]
    .map(parseCidr)
    .filter((cidr) => cidr.family === family && cidr.prefixLen < (family === 4 ? 32 : 128))
    .toSorted(compareCidrs)
    .map(formatCidr);
}

function prefixCommunitiesOf(
  spec: Spec,
  family: IpFamily,
  warnings: string[],
): PrefixCommunities[] {
  const named = new Map((spec.communities ?? []).map(({ name = "", value = "" }) => [name, value]));
  return (spec.prefixAdvertisements ?? []).flatMap(({ cidr: text, communities }) => {
    const cidr = text === undefined ? undefined : tryParseCidr(text);
    if (cidr?.family !== family) return [];
    const values = (communities ?? []).flatMap((one): Community[] => {
      const community = parseCommunity(named.get(one) ?? one);
      if (community !== undefined) return [community];
      warnings.push(
        `prefixAdvertisements: ${JSON.stringify(one)} is neither a community nor the name of one`,
      );
      return [];
    });
    return values.length === 0 ? [] : [{ cidr: formatCidr(cidr), communities: values }];
  });
}

/** Both ends must have a key. */
function wireguardPeers(state: BgpState, family: IpFamily): string[] {
  const keyOf = (name: string): string | undefined => {
    const status = state.nodes.get(name)?.status;
    return family === 4 ? status?.wireguardPublicKey : status?.wireguardPublicKeyV6;
  };
  if ((keyOf(state.node) ?? "") === "") return [];
  return sorted(state.nodes).flatMap(([name, node]) => {
    const address = addressOf(node, family);
    const isPeer = name !== state.node && address !== undefined && (keyOf(name) ?? "") !== "";
    return isPeer ? [address] : [];
  });
}
