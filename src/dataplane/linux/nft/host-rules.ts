/**
 * What the table does beside policy: outgoing NAT, floating addresses, service loops, tunnels. Each
 * has its base chains and sets only while there is something for it to do: a hook that is there
 * costs every packet.
 */
import type { ToDataplane } from "#calc";
import {
  hostCidr,
  tryParseCidrOrIp,
  tryParseIp,
  tryParseIpInNetwork,
  type Cidr,
  type IpFamily,
} from "#ip";
import type { NftChain, NftTable } from "#netlink";
import type { NftPolicyConfig } from "./config.ts";
import { FloatingIps } from "./floating-ips.ts";
import { natOutgoingChain, type NatSets } from "./nat-outgoing.ts";
import { NetSet } from "./net-set.ts";
import { plainBaseChains } from "./names.ts";
import { serviceLoopChain } from "./service-loop.ts";
import {
  tunnelChain,
  tunnelExceptions,
  tunnelNatChain,
  untrackedChain,
  type TunnelExceptions,
  type Tunnels,
} from "./tunnel-rules.ts";

const LOAD_BALANCER = "LoadBalancer";
/** Owner of what the configuration adds. */
const CONFIGURED = "\0configured";
const NO_ENCAPSULATION = { ipipEnabled: false, vxlanEnabled: false, vxlanEnabledV6: false };

export class HostRules {
  readonly #table: NftTable;
  readonly #config: NftPolicyConfig;
  readonly #families: readonly IpFamily[];
  readonly #floatingIps: FloatingIps;
  readonly #pools = new NetSet("ip-pools");
  readonly #natPools = new NetSet("nat-pools");
  readonly #hosts = new NetSet("all-hosts");
  readonly #vxlanHosts = new NetSet("vxlan-hosts");
  readonly #services = new NetSet("service-nets");
  #encapsulation: typeof NO_ENCAPSULATION = NO_ENCAPSULATION;
  #dirty = false;
  /** What of the above is in use, as last written. */
  #shape = "";

  constructor(table: NftTable, config: NftPolicyConfig) {
    this.#table = table;
    this.#config = config;
    this.#families = config.ipv6Support ? [4, 6] : [4];
    this.#floatingIps = new FloatingIps(table, config.nat.floatingIps ? this.#families : []);
    const external = cidrsOf(config.externalNodes);
    this.#hosts.set(CONFIGURED, external);
    this.#vxlanHosts.set(CONFIGURED, external);
  }

  /** Records. */
  onMessage(message: ToDataplane): void {
    this.#floatingIps.onMessage(message);
    switch (message.case) {
      case "ipamPoolUpdate": {
        const { cidr, masquerade, allowedUses } = message.value.pool;
        const cidrs = cidrsOf([cidr]);
        const isForServices = allowedUses.length === 1 && allowedUses[0] === LOAD_BALANCER;
        this.#pools.set(message.value.id, isForServices ? [] : cidrs);
        this.#natPools.set(message.value.id, masquerade ? cidrs : []);
        break;
      }
      case "ipamPoolRemove":
        this.#pools.set(message.value.id, []);
        this.#natPools.set(message.value.id, []);
        break;
      case "hostMetadataUpdate": {
        const { hostname, ipv4Addr, ipv6Addr } = message.value;
        this.#hosts.set(hostname, hostsOf([ipv4Addr, ipv6Addr]));
        break;
      }
      case "hostMetadataRemove":
        this.#hosts.set(message.value.hostname, []);
        break;
      case "vtepUpdate": {
        const { node, parentDeviceIp, parentDeviceIpv6 } = message.value;
        this.#vxlanHosts.set(node, hostsOf([parentDeviceIp, parentDeviceIpv6]));
        break;
      }
      case "vtepRemove":
        this.#vxlanHosts.set(message.value.node, []);
        break;
      case "globalBgpConfigUpdate": {
        const config = message.value;
        const { serviceClusterCidrs, serviceExternalCidrs, serviceLoadbalancerCidrs } = config;
        const cidrs = [serviceClusterCidrs, serviceExternalCidrs, serviceLoadbalancerCidrs].flat();
        this.#services.set("", cidrsOf(cidrs));
        break;
      }
      case "encapsulation":
        this.#encapsulation = message.value;
        break;
      default:
        return;
    }
    this.#dirty = true;
  }

  /** What tunnels need of host endpoints' policy; undefined: as before. */
  flush(): TunnelExceptions | undefined {
    this.#floatingIps.flush();
    if (!this.#dirty) return undefined;
    this.#dirty = false;
    const nat = this.#families.filter((family) => this.#natPools.hasAny(family));
    const services =
      this.#config.serviceLoopPrevention === "Disabled"
        ? []
        : this.#families.filter((family) => this.#services.hasAny(family));
    const tunnels = this.#tunnels();
    this.#flushSets(nat, services, tunnels);
    const shape = JSON.stringify([nat, services, tunnels.ipip, [...tunnels.vxlan.keys()]]);
    if (shape === this.#shape) return undefined;
    this.#shape = shape;
    this.#setChain(plainBaseChains.natOutgoing, this.#natChain(nat));
    this.#setChain(plainBaseChains.serviceLoop, this.#serviceChain(services));
    this.#setTunnelChains(tunnels);
    return tunnelExceptions(this.#config, tunnels);
  }

  #setTunnelChains(tunnels: Tunnels): void {
    const config = this.#config;
    this.#setChain(plainBaseChains.tunnels, tunnelChain(config, tunnels));
    this.#setChain(plainBaseChains.tunnelsIn, untrackedChain(config, tunnels, "prerouting"));
    this.#setChain(plainBaseChains.tunnelsOut, untrackedChain(config, tunnels, "output"));
    this.#setChain(plainBaseChains.tunnelNat, tunnelNatChain(config, tunnels));
  }

  #tunnels(): Tunnels {
    const { ipipEnabled, vxlanEnabled, vxlanEnabledV6 } = this.#encapsulation;
    const on: Readonly<Record<IpFamily, boolean>> = { 4: vxlanEnabled, 6: vxlanEnabledV6 };
    const vxlan = this.#families.filter((family) => on[family]);
    return {
      ipip: ipipEnabled ? this.#hosts.nameOf(4) : undefined,
      vxlan: new Map(vxlan.map((family) => [family, this.#vxlanHosts.nameOf(family)])),
    };
  }

  #flushSets(nat: readonly IpFamily[], services: readonly IpFamily[], tunnels: Tunnels): void {
    const hosts = new Set(this.#config.nat.excludeHosts ? nat : []);
    if (tunnels.ipip !== undefined) hosts.add(4);
    this.#pools.flush(this.#table, nat);
    this.#natPools.flush(this.#table, nat);
    this.#hosts.flush(this.#table, [...hosts]);
    this.#vxlanHosts.flush(this.#table, [...tunnels.vxlan.keys()]);
    this.#services.flush(this.#table, services);
  }

  #natChain(families: readonly IpFamily[]): NftChain | undefined {
    const { nat } = this.#config;
    const sets = families.map((family): [IpFamily, NatSets] => [
      family,
      {
        natPools: this.#natPools.nameOf(family),
        pools: this.#pools.nameOf(family),
        ...(nat.excludeHosts ? { hosts: this.#hosts.nameOf(family) } : {}),
      },
    ]);
    return natOutgoingChain(nat, new Map(sets));
  }

  #serviceChain(families: readonly IpFamily[]): NftChain | undefined {
    const action = this.#config.serviceLoopPrevention;
    if (action === "Disabled") return undefined;
    const names = families.map((family) => [family, this.#services.nameOf(family)] as const);
    return serviceLoopChain(action, new Map(names));
  }

  #setChain(name: string, chain: NftChain | undefined): void {
    if (chain === undefined) this.#table.removeChain(name);
    else this.#table.setChain(chain);
  }
}

function cidrsOf(texts: readonly string[]): Cidr[] {
  return texts.map(tryParseCidrOrIp).filter((cidr) => cidr !== undefined);
}

/** Addresses, with or without the length of their network. */
function hostsOf(texts: readonly string[]): Cidr[] {
  return texts
    .map((text) => tryParseIpInNetwork(text)?.ip ?? tryParseIp(text))
    .filter((ip) => ip !== undefined)
    .map(hostCidr);
}
