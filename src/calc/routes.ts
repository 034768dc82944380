/**
 * What stands behind each block of addresses: pools, hosts, local workloads, tunnel ends, IPAM blocks
 * and the addresses that other nodes borrowed from them. Every source claims its blocks; a block's
 * route is worked out from its claims and the pools around it when something of these has changed.
 */
import {
  addToIp,
  cidrContainsIp,
  formatCidr,
  hostCidr,
  parseCidr,
  parseIp,
  PrefixTrie,
  tryParseIpInNetwork,
  type Cidr,
} from "#ip";
import type { ModelIpamBlock, ModelIpPool, ModelNode, ModelWorkloadEndpoint } from "#model";
import { compareBytes, MultiMap } from "#std";
import { RouteTypes, type IpPoolType, type RouteUpdate } from "./messages.ts";
import type { EventSequencer } from "./sequencer.ts";

/** In the order in which they win. */
const KINDS = ["workload", "ipip", "vxlan", "host", "allocation", "block", "pool"] as const;

interface Claim {
  readonly kind: (typeof KINDS)[number];
  readonly dst: string;
  /** "" for a pool. */
  readonly node: string;
}

export class RouteResolver {
  readonly #hostname: string;
  readonly #out: Pick<EventSequencer, "routes">;
  readonly #pools = new PrefixTrie<ModelIpPool>();
  readonly #nodes = new Map<string, ModelNode>();
  /** Source (a pool, node, endpoint or block) → what it claims. */
  readonly #claimsOf = new Map<string, readonly Claim[]>();
  /** Every claimed block with its claims. */
  readonly #claims = new PrefixTrie<Claim[]>();
  readonly #dstsOfNode = new MultiMap<string, string>();
  readonly #dirty = new Set<string>();
  #enabled = false;

  constructor(hostname: string, out: Pick<EventSequencer, "routes">) {
    this.#hostname = hostname;
    this.#out = out;
  }

  setPool(cidr: string, pool: ModelIpPool | null): void {
    const block = parseCidr(cidr);
    if (pool === null) this.#pools.delete(block);
    else this.#pools.set(block, pool);
    this.#claim(`pool/${cidr}`, pool === null ? [] : [{ kind: "pool", dst: cidr, node: "" }]);
    for (const inside of this.#claims.subTree(block)) this.#dirty.add(formatCidr(inside.cidr));
  }

  setNode(name: string, node: ModelNode | null): void {
    if (node === null) this.#nodes.delete(name);
    else this.#nodes.set(name, node);
    this.#claim(`node/${name}`, node === null ? [] : nodeClaims(name, node));
    if (name === this.#hostname) {
      // Whether any other node shares our subnet may have changed.
      this.#touchAll();
    } else {
      for (const dst of this.#dstsOfNode.get(name)) this.#dirty.add(dst);
    }
  }

  setLocalWorkload(id: string, endpoint: ModelWorkloadEndpoint | null): void {
    const nets = endpoint === null ? [] : [...endpoint.ipv4Nets, ...endpoint.ipv6Nets];
    this.#claim(
      `workload/${id}`,
      nets.map((dst) => ({ kind: "workload", dst, node: this.#hostname })),
    );
  }

  setBlock(cidr: string, block: ModelIpamBlock | null): void {
    this.#claim(`block/${cidr}`, block === null ? [] : blockClaims(block));
  }

  /** Routes are told only while somebody programs them. */
  flush(enabled: boolean): void {
    if (enabled !== this.#enabled) this.#touchAll();
    this.#enabled = enabled;
    for (const dst of this.#dirty) {
      const route = enabled ? this.#route(dst) : undefined;
      if (route === undefined) this.#out.routes.remove(dst);
      else this.#out.routes.update(dst, route);
    }
    this.#dirty.clear();
  }

  #claim(source: string, claims: readonly Claim[]): void {
    const before = this.#claimsOf.get(source) ?? [];
    if (claims.length > 0) this.#claimsOf.set(source, claims);
    else this.#claimsOf.delete(source);
    for (const claim of claims) {
      const cidr = parseCidr(claim.dst);
      const known = this.#claims.get(cidr);
      if (known === undefined) this.#claims.set(cidr, [claim]);
      else known.push(claim);
      this.#touch(claim);
    }
    for (const claim of before) {
      const cidr = parseCidr(claim.dst);
      const left = (this.#claims.get(cidr) ?? []).filter((one) => one !== claim);
      if (left.length > 0) this.#claims.set(cidr, left);
      else this.#claims.delete(cidr);
      if (!left.some(({ node }) => node === claim.node)) {
        this.#dstsOfNode.delete(claim.node, claim.dst);
      }
      this.#dirty.add(claim.dst);
    }
  }

  #touchAll(): void {
    for (const { cidr } of this.#claims.entries()) this.#dirty.add(formatCidr(cidr));
  }

  #touch({ node, dst }: Claim): void {
    if (node !== "") this.#dstsOfNode.add(node, dst);
    this.#dirty.add(dst);
  }

  #route(dst: string): RouteUpdate | undefined {
    const cidr = parseCidr(dst);
    const claims = this.#claims.get(cidr);
    if (claims === undefined) return undefined;
    const sorted = claims.toSorted(compareClaims);
    const owner = sorted[0];
    if (owner === undefined) return undefined;
    const mine = sorted.filter(({ node, kind }) => node === owner.node && kind !== "pool");
    const tunnels = { ipip: has(mine, "ipip"), vxlan: has(mine, "vxlan"), wireguard: false };
    const isTunnel = owner.kind === "ipip" || owner.kind === "vxlan";
    const pool = this.#poolFields(cidr);
    return {
      types: typesOf(mine, owner.node === this.#hostname),
      ipPoolType: pool.type,
      dst,
      dstNodeName: owner.node,
      dstNodeIp: this.#nodeAddress(owner.node, cidr),
      sameSubnet: pool.crossSubnet && this.#inOurSubnet(owner.node, cidr),
      natOutgoing: pool.natOutgoing,
      localWorkload: owner.kind === "workload",
      borrowed: has(mine, "allocation"),
      ...(isTunnel ? { tunnelType: tunnels } : {}),
    };
  }

  /** The narrowest pool says the type; the rest adds up. */
  #poolFields(cidr: Cidr): {
    readonly type: IpPoolType;
    readonly natOutgoing: boolean;
    readonly crossSubnet: boolean;
  } {
    let type: IpPoolType = "NONE";
    let natOutgoing = false;
    let crossSubnet = false;
    for (const { value } of this.#pools.lookupPath(cidr)) {
      if (value === undefined) continue;
      type = poolType(value);
      natOutgoing ||= value.natOutgoing;
      crossSubnet ||= value.ipipMode === "CrossSubnet" || value.vxlanMode === "CrossSubnet";
    }
    return { type, natOutgoing, crossSubnet };
  }

  #nodeAddress(name: string, { family }: Cidr): string {
    const node = this.#nodes.get(name);
    if (node === undefined) return "";
    return withoutLength(family === 4 ? node.hostIpv4 : node.hostIpv6);
  }

  #inOurSubnet(name: string, cidr: Cidr): boolean {
    const ours = this.#nodes.get(this.#hostname);
    const subnet = tryParseIpInNetwork(
      (cidr.family === 4 ? ours?.bgpIpv4 : ours?.bgpIpv6) ?? "",
    )?.cidr;
    const address = this.#nodeAddress(name, cidr);
    return subnet !== undefined && address !== "" && cidrContainsIp(subnet, parseIp(address));
  }
}

function nodeClaims(node: string, spec: ModelNode): readonly Claim[] {
  const claims: Claim[] = [];
  const addresses = [spec.hostIpv4, spec.hostIpv6, ...(spec.otherAddresses ?? [])];
  for (const dst of new Set(addresses.filter((one) => one !== "").map(hostBlock))) {
    claims.push({ kind: "host", dst, node });
  }
  if (spec.ipv4IpipTunnelAddr !== "") {
    claims.push({ kind: "ipip", dst: hostBlock(spec.ipv4IpipTunnelAddr), node });
  }
  for (const address of [spec.ipv4VxlanTunnelAddr, spec.ipv6VxlanTunnelAddr]) {
    if (address !== "") claims.push({ kind: "vxlan", dst: hostBlock(address), node });
  }
  return claims;
}

/** The block to its host, and each address that another node has from it. */
function blockClaims(block: ModelIpamBlock): readonly Claim[] {
  const claims: Claim[] = [];
  const owner = block.affinity.startsWith("host:") ? block.affinity.slice("host:".length) : "";
  if (owner !== "") claims.push({ kind: "block", dst: block.cidr, node: owner });
  const cidr = parseCidr(block.cidr);
  for (const { ordinal, node } of block.allocations) {
    if (node === "" || node === owner) continue;
    const ip = addToIp(cidr, ordinal);
    if (ip !== undefined) claims.push({ kind: "allocation", dst: formatCidr(hostCidr(ip)), node });
  }
  return claims;
}

function compareClaims(a: Claim, b: Claim): number {
  return KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || compareBytes(a.node, b.node);
}

function has(claims: readonly Claim[], kind: Claim["kind"]): boolean {
  return claims.some((claim) => claim.kind === kind);
}

/** A host's own address is never taken for a workload's, even where it lies in a block. */
function typesOf(claims: readonly Claim[], local: boolean): number {
  let types: number = RouteTypes.CIDR_INFO;
  for (const { kind } of claims) {
    if (kind === "workload") types |= RouteTypes.LOCAL_WORKLOAD;
    else if (kind === "host") types |= local ? RouteTypes.LOCAL_HOST : RouteTypes.REMOTE_HOST;
    else if (kind === "ipip" || kind === "vxlan") {
      types |= local ? RouteTypes.LOCAL_TUNNEL : RouteTypes.REMOTE_TUNNEL;
    } else if (kind === "block" || kind === "allocation") {
      types |= local ? RouteTypes.LOCAL_WORKLOAD : RouteTypes.REMOTE_WORKLOAD;
    }
  }
  return has(claims, "host")
    ? types & ~(RouteTypes.REMOTE_WORKLOAD | RouteTypes.LOCAL_WORKLOAD)
    : types;
}

function poolType({ ipipMode, vxlanMode }: ModelIpPool): IpPoolType {
  if (vxlanMode !== "Never") return "VXLAN";
  return ipipMode === "Never" ? "NO_ENCAP" : "IPIP";
}

function withoutLength(address: string): string {
  return address.split("/")[0] ?? "";
}

function hostBlock(address: string): string {
  return formatCidr(hostCidr(parseIp(withoutLength(address))));
}
