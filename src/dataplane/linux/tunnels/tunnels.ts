/**
 * How packets get to the workloads of other nodes: tunnel devices, what they know of the far ends,
 * and routes.
 *
 *   encapsulation, own ends, host's interfaces ──▶ devices ─┐
 *   VTEPs ──▶ forwarding and neighbour entries ─────────────┼──▶ routes
 *   routes of the calculation graph ────────────────────────┘
 *
 * Each stands on what is to its left: a route is wanted once its device is there.
 */
import { RouteTypes, type IpPoolType, type RouteUpdate, type ToDataplane } from "#calc";
import {
  formatIp,
  tryParseIp,
  tryParseIpInNetwork,
  type Ip,
  type IpFamily,
  type IpInNetwork,
} from "#ip";
import { logger } from "#log";
import type { ForwardingEntry, Link, RouteKernel } from "#netlink";
import type { LinuxDataplaneConfig } from "../config.ts";
import { NOTHING_DONE, type DriverResult } from "../driver.ts";
import type { HostAddresses } from "../host-addresses.ts";
import type { Interfaces } from "../interfaces.ts";
import type { NeighbourDriver } from "../neighbour-driver.ts";
import type { RouteDriver } from "../route-driver.ts";
import { ClusterRoutes, type Device } from "./cluster-routes.ts";
import { TunnelDevice, type DeviceWish } from "./device.ts";
import { ForwardingDriver } from "./forwarding-driver.ts";
import { Mtus, type TunnelMtus } from "./mtu.ts";
import { IPIP_DEVICE, VXLAN_DEVICES } from "./names.ts";
import { Vteps } from "./vteps.ts";

const log = logger("dataplane.tunnels");
const LOOPBACK = "lo";

type Encapsulation = Extract<ToDataplane, { case: "encapsulation" }>["value"];

export interface TunnelsOptions {
  readonly config: LinuxDataplaneConfig;
  readonly kernel: RouteKernel;
  readonly interfaces: Interfaces;
  readonly addresses: HostAddresses;
  readonly neighbours: NeighbourDriver;
  readonly routes: RouteDriver;
}

export class Tunnels {
  readonly #options: TunnelsOptions;
  readonly #hostname: string;
  readonly #families: readonly IpFamily[];
  readonly #forwarding: ForwardingDriver;
  readonly #vteps: Readonly<Record<IpFamily, Vteps>>;
  readonly #vxlan: Readonly<Record<IpFamily, TunnelDevice>>;
  readonly #ipip: TunnelDevice;
  readonly #routes: ClusterRoutes;
  readonly #mtus: Mtus;
  #encapsulation: Encapsulation | undefined;
  /** This node's address in its network. */
  readonly #own: Record<IpFamily, IpInNetwork | undefined> = { 4: undefined, 6: undefined };
  #ipipAddress: Ip | undefined;
  #ipipAddressDst = "";
  /** Devices and what they stand on must be looked at. */
  #due = true;
  /** This node's addresses that no interface has, already told. */
  readonly #homeless = new Set<string>();

  constructor(options: TunnelsOptions) {
    const { config, kernel, neighbours, routes } = options;
    const { hostname } = config.tunnels;
    this.#options = options;
    this.#hostname = hostname;
    this.#families = config.policy.ipv6Support ? [4, 6] : [4];
    this.#forwarding = new ForwardingDriver(kernel);
    const drivers = { forwarding: this.#forwarding, neighbours };
    this.#vteps = { 4: new Vteps(4, hostname, drivers), 6: new Vteps(6, hostname, drivers) };
    this.#vxlan = {
      4: new TunnelDevice(VXLAN_DEVICES[4], 4, options),
      6: new TunnelDevice(VXLAN_DEVICES[6], 6, options),
    };
    this.#ipip = new TunnelDevice(IPIP_DEVICE, 4, options);
    this.#routes = new ClusterRoutes({
      config,
      set: (routeClass, dst, route) => routes.set(routeClass, dst, route),
      tunnelOf: (node, family) => this.#vteps[family].get(node)?.tunnel,
    });
    this.#mtus = new Mtus(config.tunnels);
  }

  /** Some tunnel is wanted, or routes to other nodes are. */
  get active(): boolean {
    const told = this.#encapsulation;
    return (
      this.#hostname !== "" &&
      told !== undefined &&
      (told.ipipEnabled || told.vxlanEnabled || told.vxlanEnabledV6 || told.noEncapEnabled)
    );
  }

  /** Records. */
  onMessage({ case: kind, value }: ToDataplane): void {
    switch (kind) {
      case "encapsulation":
        this.#encapsulation = value;
        this.#due = true;
        break;
      case "vtepUpdate":
        this.#setVtep(value.node, value);
        break;
      case "vtepRemove":
        this.#setVtep(value.node, undefined);
        break;
      case "hostMetadataUpdate":
        if (value.hostname === this.#hostname) this.#setOwn(value.ipv4Addr, value.ipv6Addr);
        break;
      case "hostMetadataRemove":
        if (value.hostname === this.#hostname) this.#setOwn("", "");
        break;
      case "routeUpdate":
        this.#routes.update(value);
        this.#noteOwnTunnel(value);
        break;
      case "routeRemove":
        this.#routes.remove(value.dst);
        if (value.dst === this.#ipipAddressDst) this.#setIpipAddress("", undefined);
        break;
      default:
    }
  }

  #setVtep(node: string, update: Parameters<Vteps["set"]>[1]): void {
    for (const family of this.#families) {
      if (!this.#vteps[family].set(node, update)) continue;
      this.#routes.nodeChanged(node);
      if (node === this.#hostname) this.#due = true;
    }
  }

  #setOwn(ipv4: string, ipv6: string): void {
    this.#own[4] = tryParseIpInNetwork(ipv4);
    this.#own[6] = tryParseIpInNetwork(ipv6);
    this.#due = true;
  }

  #noteOwnTunnel({ dst, dstNodeName, tunnelType, types }: RouteUpdate): void {
    const isOwn = (types & RouteTypes.LOCAL_TUNNEL) !== 0 && dstNodeName === this.#hostname;
    if (isOwn && tunnelType?.ipip === true) {
      this.#setIpipAddress(dst, tryParseIp(dst.split("/")[0] ?? ""));
    } else if (dst === this.#ipipAddressDst) this.#setIpipAddress("", undefined);
  }

  #setIpipAddress(dst: string, address: Ip | undefined): void {
    this.#ipipAddressDst = dst;
    this.#ipipAddress = address;
    this.#due = true;
  }

  /** The host's interfaces or their addresses changed. */
  hostChanged(): void {
    this.#due = true;
  }

  observe(entry: ForwardingEntry, present: boolean): void {
    this.#forwarding.observe(entry, present);
  }

  /** Reads back what is there, and looks at everything again. */
  resync(): void {
    this.#forwarding.resync();
    this.#due = true;
  }

  get dirty(): boolean {
    if (this.#hostname === "" || this.#encapsulation === undefined) return false;
    return (
      this.#due ||
      this.#forwarding.dirty ||
      this.#routes.dirty ||
      this.#families.some((family) => this.#vteps[family].dirty)
    );
  }

  /** Devices and entries; says then which neighbours and routes are wanted. */
  apply(): DriverResult {
    if (this.#hostname === "" || this.#encapsulation === undefined) return NOTHING_DONE;
    const writes = this.#due ? this.#settleDevices(this.#encapsulation) : 0;
    for (const family of this.#families) this.#vteps[family].settle();
    this.#routes.settle();
    const result = this.#forwarding.apply();
    return { writes: result.writes + writes, errors: result.errors };
  }

  #settleDevices(told: Encapsulation): number {
    const mtus = this.#mtus.measure(this.#options.interfaces.all());
    this.#mtus.publish(workloadMtu(told, mtus));
    let writes = this.#ipip.apply(this.#ipipWish(told, mtus));
    const devices: number[] = [];
    for (const family of this.#families) {
      const device = this.#vxlan[family];
      writes += device.apply(this.#vxlanWish(family, told, mtus));
      const index = device.link?.index;
      this.#vteps[family].setDevice(index);
      if (index !== undefined) devices.push(index);
    }
    this.#forwarding.setDevices(devices);
    for (const family of this.#families) this.#setCarriers(family, told, mtus);
    this.#due = false;
    return writes;
  }

  #ipipWish({ ipipEnabled }: Encapsulation, mtus: TunnelMtus): DeviceWish {
    if (!ipipEnabled) return "as it is";
    const address = this.#ipipAddress;
    return { kind: "ipip", mtu: mtus.ipip, ...(address === undefined ? {} : { address }) };
  }

  #vxlanWish(family: IpFamily, told: Encapsulation, mtus: TunnelMtus): DeviceWish {
    if (!(family === 4 ? told.vxlanEnabled : told.vxlanEnabledV6)) return "absent";
    const own = this.#vteps[family].get(this.#hostname);
    if (own === undefined) return "as it is";
    const parent = this.#options.addresses.interfaceWith(own.host);
    if (parent === undefined) {
      this.#complain(own.host);
      return "as it is";
    }
    const { config } = this.#options;
    return {
      kind: "vxlan",
      mtu: mtus.vxlan[family],
      mac: own.mac,
      address: own.tunnel,
      vxlan: {
        vni: config.tunnels.vni,
        port: config.policy.vxlanPort,
        local: own.host,
        ...(parent.name === LOOPBACK ? {} : { parent: parent.index }),
        learning: false,
        // RFC 7348 §5: over IPv4 none is needed; what is inside has its own.
        checksum: false,
      },
    };
  }
  #complain(address: Ip): void {
    const text = formatIp(address);
    if (this.#homeless.has(text)) return;
    this.#homeless.add(text);
    log.warn("no interface of this host has the node's address: it has no tunnels until one does", {
      node: this.#hostname,
      address: text,
      fix: "spec.bgp.ipv4Address or ipv6Address of the Node, or the interface's addresses",
    });
  }

  #setCarriers(family: IpFamily, told: Encapsulation, mtus: TunnelMtus): void {
    const own = this.#own[family];
    const address = own?.ip ?? this.#vteps[family].get(this.#hostname)?.host;
    const parent = address && this.#options.addresses.interfaceWith(address);
    if (address !== undefined && parent !== undefined) this.#homeless.delete(formatIp(address));
    const usable = parent?.adminUp === true && parent.name !== LOOPBACK;
    this.#routes.setCarriers(family, {
      parent: usable ? parent.index : undefined,
      subnet: own?.cidr,
      vxlan: deviceOf(this.#vxlan[family].link, mtus.vxlan[family]),
      ipip: family === 4 ? deviceOf(this.#ipip.link, mtus.ipip) : undefined,
      programs: this.#programs(family, told),
    });
  }

  #programs(family: IpFamily, told: Encapsulation): ReadonlySet<IpPoolType> {
    const types = new Set<IpPoolType>();
    if (family === 4 ? told.vxlanEnabled : told.vxlanEnabledV6) types.add("VXLAN");
    if (told.noEncapEnabled) types.add("NO_ENCAP");
    if (told.ipipEnabled && this.#options.config.tunnels.programsIpipRoutes) types.add("IPIP");
    return types;
  }
}

function deviceOf(link: Link | undefined, mtu: number): Device | undefined {
  return link === undefined ? undefined : { index: link.index, mtu };
}

/** What fits through every tunnel that is in use. */
function workloadMtu(told: Encapsulation, { host, ipip, vxlan }: TunnelMtus): number {
  return Math.min(
    host,
    ...(told.ipipEnabled ? [ipip] : []),
    ...(told.vxlanEnabled ? [vxlan[4]] : []),
    ...(told.vxlanEnabledV6 ? [vxlan[6]] : []),
  );
}
