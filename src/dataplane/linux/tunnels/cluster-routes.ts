/**
 * Routes to the workloads of other nodes, and blackholes behind the address blocks of this one:
 *
 *     RouteUpdate ─┬ on another node, same subnet ──▶ via NODE dev PARENT onlink
 *                  ├ VXLAN ──▶ via its tunnel address dev vxlan.calico onlink
 *                  ├ IPIP ──▶ via NODE dev tunl0 onlink
 *                  └ block of ours ──▶ blackhole: addresses that nobody has go nowhere
 *
 * Without the tunnel that it needs a packet goes nowhere: the host's other routes would take it outside
 * as it is. A change costs what it touches.
 */
import { RouteTypes, type IpPoolType, type RouteUpdate } from "#calc";
import {
  cidrContainsIp,
  isHostCidr,
  tryParseCidr,
  tryParseIp,
  type Cidr,
  type Ip,
  type IpFamily,
} from "#ip";
import {
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_UNICAST,
  type Route,
} from "#netlink";
import { MultiMap, unreachable } from "#std";
import type { LinuxDataplaneConfig } from "../config.ts";
import type { RouteClass } from "../route-table.ts";

/** IPv6's discarding routes are the loopback interface's, which is always the first. */
const LOOPBACK_INDEX = 1;

/** What carries routes of one family just now. */
export interface Carriers {
  /** Index of the interface that has the node's own address. */
  readonly parent: number | undefined;
  /** Of the node's own address. */
  readonly subnet: Cidr | undefined;
  readonly vxlan: Device | undefined;
  readonly ipip: Device | undefined;
  /** Types of pools whose routes are ours to make. */
  readonly programs: ReadonlySet<IpPoolType>;
}

export interface Device {
  readonly index: number;
  readonly mtu: number;
}

interface Entry {
  readonly update: RouteUpdate;
  readonly dst: Cidr;
  readonly nodeIp: Ip | undefined;
  /** What was asked for last. */
  wanted: RouteClass | undefined;
}

interface Target {
  readonly routeClass: RouteClass;
  readonly route: Route;
}

export interface ClusterRoutesOptions {
  readonly config: LinuxDataplaneConfig;
  readonly set: (routeClass: RouteClass, dst: Cidr, route: Route | undefined) => void;
  /** Address of the node's VXLAN tunnel. */
  readonly tunnelOf: (node: string, family: IpFamily) => Ip | undefined;
}

export class ClusterRoutes {
  readonly #options: ClusterRoutesOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #entriesByNode = new MultiMap<string, Entry>();
  readonly #dirty = new Set<Entry>();
  readonly #carriers: Record<IpFamily, Carriers> = { 4: NO_CARRIERS, 6: NO_CARRIERS };

  constructor(options: ClusterRoutesOptions) {
    this.#options = options;
  }

  get dirty(): boolean {
    return this.#dirty.size > 0;
  }

  update(update: RouteUpdate): void {
    const dst = tryParseCidr(update.dst);
    if (dst === undefined) return;
    const before = this.#entries.get(update.dst);
    if (before !== undefined) this.#forget(before);
    const nodeIp = tryParseIp(update.dstNodeIp);
    const entry: Entry = { update, dst, nodeIp, wanted: before?.wanted };
    this.#entries.set(update.dst, entry);
    this.#entriesByNode.add(update.dstNodeName, entry);
    this.#dirty.add(entry);
  }

  remove(dst: string): void {
    const entry = this.#entries.get(dst);
    if (entry === undefined) return;
    this.#entries.delete(dst);
    this.#forget(entry);
    this.#want(entry, undefined);
  }

  #forget(entry: Entry): void {
    this.#entriesByNode.delete(entry.update.dstNodeName, entry);
    this.#dirty.delete(entry);
  }

  /** The tunnel's end there came, moved or went. */
  nodeChanged(node: string): void {
    for (const entry of this.#entriesByNode.get(node)) this.#dirty.add(entry);
  }

  setCarriers(family: IpFamily, carriers: Carriers): void {
    if (same(this.#carriers[family], carriers)) return;
    this.#carriers[family] = carriers;
    for (const entry of this.#entries.values()) {
      if (entry.dst.family === family) this.#dirty.add(entry);
    }
  }

  /** Says what routes are wanted now. */
  settle(): void {
    for (const entry of this.#dirty) this.#want(entry, this.#target(entry));
    this.#dirty.clear();
  }

  #want(entry: Entry, target: Target | undefined): void {
    const { set } = this.#options;
    const before = entry.wanted;
    entry.wanted = target?.routeClass;
    if (target !== undefined) set(target.routeClass, entry.dst, target.route);
    if (before !== undefined && before !== target?.routeClass) set(before, entry.dst, undefined);
  }

  #target(entry: Entry): Target | undefined {
    const { dst, update } = entry;
    const { dstNodeName, ipPoolType, localWorkload, types } = update;
    const carriers = this.#carriers[dst.family];
    if (ipPoolType === "NONE" || !carriers.programs.has(ipPoolType) || localWorkload) {
      return undefined;
    }
    if (dstNodeName !== this.#options.config.tunnels.hostname) {
      return isRemote(update) ? this.#remoteTarget(entry, ipPoolType, carriers) : undefined;
    }
    if ((types & RouteTypes.LOCAL_WORKLOAD) === 0 || isHostCidr(dst)) return undefined;
    return this.#nowhere(dst, BLACKHOLES[ipPoolType]);
  }

  #nowhere(dst: Cidr, routeClass: RouteClass): Target {
    const oif = dst.family === 6 ? LOOPBACK_INDEX : undefined;
    return { routeClass, route: this.#route(dst, { type: RTN_BLACKHOLE, oif }) };
  }

  #remoteTarget(
    { dst, nodeIp, update }: Entry,
    pool: Exclude<IpPoolType, "NONE">,
    { ipip, parent, subnet, vxlan }: Carriers,
  ): Target | undefined {
    const direct = (routeClass: RouteClass): Target | undefined =>
      parent === undefined || nodeIp?.family !== dst.family
        ? undefined
        : { routeClass, route: this.#route(dst, { oif: parent, gateway: nodeIp }) };
    switch (pool) {
      case "NO_ENCAP":
        // A node beyond a router is reached as the host's other routes say.
        return nodeIp !== undefined && subnet !== undefined && cidrContainsIp(subnet, nodeIp)
          ? direct("no-encap")
          : undefined;
      case "VXLAN": {
        const plain = update.sameSubnet ? direct("vxlan-same-subnet") : undefined;
        return plain ?? this.#vxlanTarget(dst, update, vxlan);
      }
      case "IPIP": {
        const plain = update.sameSubnet ? direct("ipip-same-subnet") : undefined;
        if (plain !== undefined) return plain;
        if (ipip === undefined || nodeIp === undefined) return this.#nowhere(dst, "ipip-tunnel");
        const via = { oif: ipip.index, gateway: nodeIp, mtu: ipip.mtu };
        return { routeClass: "ipip-tunnel", route: this.#route(dst, via) };
      }
      default:
        return unreachable(pool);
    }
  }

  /** The far end's own address is on the link; all others are behind it. */
  #vxlanTarget(dst: Cidr, { dstNodeName, types }: RouteUpdate, device: Device | undefined): Target {
    const tunnel = this.#options.tunnelOf(dstNodeName, dst.family);
    if (device === undefined || tunnel === undefined) return this.#nowhere(dst, "vxlan-tunnel");
    const { index: oif, mtu } = device;
    const isEnd = (types & RouteTypes.REMOTE_TUNNEL) !== 0;
    const route = this.#route(dst, isEnd ? { oif, mtu } : { oif, mtu, gateway: tunnel });
    return { routeClass: "vxlan-tunnel", route };
  }

  #route(dst: Cidr, { gateway, mtu, oif, type = RTN_UNICAST }: RouteParts): Route {
    const { ipv4RoutePriority, ipv6RoutePriority, routeProtocol } = this.#options.config;
    const isV4 = dst.family === 4;
    const onLink = isV4 && type === RTN_UNICAST && gateway === undefined;
    const route: Writable<Route> = {
      dst,
      table: RT_TABLE_MAIN,
      protocol: routeProtocol,
      type,
      scope: onLink ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
      tos: 0,
      priority: isV4 ? ipv4RoutePriority : ipv6RoutePriority,
    };
    if (oif !== undefined) route.oif = oif;
    if (gateway !== undefined) {
      route.gateway = gateway;
      route.onlink = true;
    }
    if (mtu !== undefined) route.mtu = mtu;
    return route;
  }
}

type Writable<T> = { -readonly [Field in keyof T]: T[Field] };

/** What routes differ in. */
interface RouteParts {
  readonly type?: number;
  readonly oif: number | undefined;
  /** On the link. */
  readonly gateway?: Ip;
  readonly mtu?: number;
}

const BLACKHOLES: Readonly<Record<Exclude<IpPoolType, "NONE">, RouteClass>> = {
  VXLAN: "blackhole-vxlan",
  IPIP: "blackhole-ipip",
  NO_ENCAP: "blackhole-no-encap",
};

const NO_CARRIERS: Carriers = {
  parent: undefined,
  subnet: undefined,
  vxlan: undefined,
  ipip: undefined,
  programs: new Set(),
};

/** To workloads, or to the end of a tunnel of the pool's kind. */
function isRemote({ ipPoolType, tunnelType, types }: RouteUpdate): boolean {
  if ((types & RouteTypes.REMOTE_WORKLOAD) !== 0) return true;
  if ((types & RouteTypes.REMOTE_TUNNEL) === 0) return false;
  return ipPoolType === "VXLAN" ? tunnelType?.vxlan === true : tunnelType?.ipip === true;
}

function same(a: Carriers, b: Carriers): boolean {
  return (
    a.parent === b.parent &&
    a.subnet?.prefixLen === b.subnet?.prefixLen &&
    a.subnet?.w0 === b.subnet?.w0 &&
    a.subnet?.w1 === b.subnet?.w1 &&
    a.subnet?.w2 === b.subnet?.w2 &&
    a.subnet?.w3 === b.subnet?.w3 &&
    sameDevice(a.vxlan, b.vxlan) &&
    sameDevice(a.ipip, b.ipip) &&
    a.programs.size === b.programs.size &&
    [...a.programs].every((type) => b.programs.has(type))
  );
}

function sameDevice(a: Device | undefined, b: Device | undefined): boolean {
  return a?.index === b?.index && a?.mtu === b?.mtu;
}
