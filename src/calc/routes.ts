/**
 * What stands behind each block of addresses: pools, hosts, workloads, tunnel ends, IPAM blocks and
 * the addresses that other nodes borrowed from them. Every source claims its blocks. A block's route
 * is worked out from its own claims and from the pools and IPAM blocks around it, when something of
 * these has changed:
 *
 *     pool 10.65.0.0/16 VXLAN ── block 10.65.1.0/26 host-b ── 10.65.1.7/32 workload of host-a
 *                                                             = VXLAN, borrowed, to host-a
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
import type { ModelIpamBlock, ModelIpPool, ModelNode } from "#model";
import { compareBytes, MultiMap } from "#std";
import { RouteTypes, type IpPoolType, type RouteUpdate } from "./messages.ts";
import type { EventSequencer } from "./sequencer.ts";

/** Who uses an address, in the order in which they win on one node. */
const USERS = ["workload", "wireguard", "ipip", "vxlan"] as const;
type User = (typeof USERS)[number];

interface Claim {
  readonly kind: User | "host" | "block" | "allocation" | "pool";
  readonly dst: string;
  /** "" for a pool. */
  readonly node: string;
}

export type RouteSource = "CalicoIPAM" | "WorkloadIPs";

export class RouteResolver {
  readonly #hostname: string;
  readonly #out: Pick<EventSequencer, "routes">;
  readonly #pools = new PrefixTrie<ModelIpPool>();
  readonly #nodes = new Map<string, ModelNode>();
  readonly #blocks = new Map<string, ModelIpamBlock>();
  /** Source (a pool, node, endpoint or block) → what it claims. */
  readonly #claimsOf = new Map<string, readonly Claim[]>();
  /** Every claimed block with its claims. */
  readonly #claims = new PrefixTrie<Claim[]>();
  readonly #dstsOfNode = new MultiMap<string, string>();
  readonly #dirty = new Set<string>();
  #source: RouteSource = "CalicoIPAM";
  #enabled = false;

  constructor(hostname: string, out: Pick<EventSequencer, "routes">) {
    this.#hostname = hostname;
    this.#out = out;
  }

  /** From where remote workloads' routes come; with `WorkloadIPs`, IPAM blocks count for nothing. */
  setSource(source: RouteSource): void {
    if (source === this.#source) return;
    this.#source = source;
    for (const cidr of this.#blocks.keys()) this.#claimBlock(cidr);
  }

  get nodeCount(): number {
    return this.#nodes.size;
  }

  setPool(cidr: string, pool: ModelIpPool | null): void {
    const block = parseCidr(cidr);
    if (pool === null) this.#pools.delete(block);
    else this.#pools.set(block, pool);
    this.#claim(`pool/${cidr}`, pool === null ? [] : [{ kind: "pool", dst: cidr, node: "" }]);
    this.#touchInside(cidr);
  }

  setNode(name: string, node: ModelNode | null): void {
    const before = this.#nodes.get(name);
    if (node === null) this.#nodes.delete(name);
    else this.#nodes.set(name, node);
    this.#claim(`node/${name}`, node === null ? [] : nodeClaims(name, node));
    // Nothing else of a node is in routes to other places.
    if (before?.hostIpv4 === node?.hostIpv4 && before?.hostIpv6 === node?.hostIpv6) return;
    if (name === this.#hostname) {
      // Whether any other node shares our subnet may have changed.
      this.#touchAll();
    } else {
      for (const dst of this.#dstsOfNode.get(name)) this.#touchInside(dst);
    }
  }

  setWorkload(id: string, node: string, nets: readonly string[]): void {
    this.#claim(
      `workload/${id}`,
      nets.map((dst) => ({ kind: "workload", dst, node })),
    );
  }

  setBlock(cidr: string, block: ModelIpamBlock | null): void {
    if (block === null) this.#blocks.delete(cidr);
    else this.#blocks.set(cidr, block);
    this.#claimBlock(cidr);
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

  #claimBlock(cidr: string): void {
    const block = this.#source === "CalicoIPAM" ? this.#blocks.get(cidr) : undefined;
    this.#claim(`block/${cidr}`, block === undefined ? [] : blockClaims(block));
    this.#touchInside(cidr);
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
      if (claim.node !== "") this.#dstsOfNode.add(claim.node, claim.dst);
      this.#dirty.add(claim.dst);
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

  #touchInside(dst: string): void {
    for (const { cidr } of this.#claims.subTree(parseCidr(dst))) this.#dirty.add(formatCidr(cidr));
  }

  /** A user of the address owns it before a host whose address it is, and that before IPAM. */
  #route(dst: string): RouteUpdate | undefined {
    const cidr = parseCidr(dst);
    const claims = this.#claims.get(cidr);
    if (claims === undefined) return undefined;
    const users = claims.filter(isUser).toSorted(compareUsers);
    const user = users[0];
    const host = firstNode(claims, "host");
    const ipam = this.#ipamFields(cidr);
    const owner = user?.node ?? host ?? ipam?.node ?? "";
    const isTunnel = user !== undefined && user.kind !== "workload";
    const tunnels = isTunnel ? users.filter(({ node }) => node === user.node) : [];
    const has = (kind: User): boolean => tunnels.some((one) => one.kind === kind);
    const pool = this.#poolFields(cidr);
    let types: number = RouteTypes.CIDR_INFO;
    if (host !== undefined) {
      types |= this.#isLocal(host) ? RouteTypes.LOCAL_HOST : RouteTypes.REMOTE_HOST;
    }
    if (user !== undefined) types |= this.#userType(user);
    // A block says that workloads are inside; of the host's and tunnels' own addresses that is not
    // true, but for a tunnel whose address is a block by itself.
    if (host === undefined && (!isTunnel || ipam?.isOwn === true)) types |= ipam?.types ?? 0;
    return {
      types,
      ipPoolType: pool.type,
      dst,
      dstNodeName: owner,
      dstNodeIp: this.#nodeAddress(owner, cidr),
      sameSubnet: pool.crossSubnet && this.#inOurSubnet(owner, cidr),
      natOutgoing: pool.natOutgoing,
      localWorkload: user?.kind === "workload" && this.#isLocal(user.node),
      borrowed:
        ipam !== undefined && (ipam.borrowed || (user !== undefined && user.node !== ipam.first)),
      ...(isTunnel
        ? { tunnelType: { ipip: has("ipip"), vxlan: has("vxlan"), wireguard: has("wireguard") } }
        : {}),
    };
  }

  #isLocal(node: string): boolean {
    return node === this.#hostname;
  }

  #userType({ kind, node }: Claim): number {
    if (kind === "workload") {
      return this.#isLocal(node) ? RouteTypes.LOCAL_WORKLOAD : RouteTypes.REMOTE_WORKLOAD;
    }
    return this.#isLocal(node) ? RouteTypes.LOCAL_TUNNEL : RouteTypes.REMOTE_TUNNEL;
  }

  /** What the IPAM blocks around say, the widest first; the narrowest says whose it is. */
  #ipamFields(cidr: Cidr):
    | {
        readonly node: string;
        readonly first: string;
        readonly borrowed: boolean;
        readonly isOwn: boolean;
        readonly types: number;
      }
    | undefined {
    let first: string | undefined;
    let last = "";
    let borrowed = false;
    let isOwn = false;
    let types = 0;
    for (const { cidr: around, value } of this.#claims.lookupPath(cidr)) {
      const node = firstNode(value, "block") ?? firstNode(value, "allocation");
      if (node === undefined) continue;
      if (first !== undefined && first !== node) borrowed = true;
      else first = node;
      last = node;
      isOwn ||= around.prefixLen === cidr.prefixLen;
      types |= this.#isLocal(node) ? RouteTypes.LOCAL_WORKLOAD : RouteTypes.REMOTE_WORKLOAD;
    }
    return first === undefined ? undefined : { node: last, first, borrowed, isOwn, types };
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
      (cidr.family === 4 ? ours?.hostIpv4 : ours?.hostIpv6) ?? "",
    )?.cidr;
    const address = this.#nodeAddress(name, cidr);
    return subnet !== undefined && address !== "" && cidrContainsIp(subnet, parseIp(address));
  }
}

/** A node without an address of its own is not there: nothing could be sent to it. */
function nodeClaims(node: string, spec: ModelNode): readonly Claim[] {
  if (spec.hostIpv4 === "" && spec.hostIpv6 === "") return [];
  const claims: Claim[] = [];
  const claim = (kind: Claim["kind"], ...addresses: readonly string[]): void => {
    for (const dst of new Set(addresses.filter((one) => one !== "").map(hostBlock))) {
      claims.push({ kind, dst, node });
    }
  };
  claim("host", spec.hostIpv4, spec.hostIpv6, ...(spec.otherAddresses ?? []));
  claim("wireguard", spec.wireguard?.interfaceIpv4 ?? "", spec.wireguard?.interfaceIpv6 ?? "");
  claim("ipip", spec.ipv4IpipTunnelAddr);
  claim("vxlan", spec.ipv4VxlanTunnelAddr, spec.ipv6VxlanTunnelAddr);
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

function isUser(claim: Claim): claim is Claim & { readonly kind: User } {
  return (USERS as readonly string[]).includes(claim.kind);
}

function compareUsers(a: Claim & { readonly kind: User }, b: typeof a): number {
  return compareBytes(a.node, b.node) || USERS.indexOf(a.kind) - USERS.indexOf(b.kind);
}

function firstNode(claims: readonly Claim[], kind: Claim["kind"]): string | undefined {
  let first: string | undefined;
  for (const claim of claims) {
    if (claim.kind !== kind) continue;
    if (first === undefined || compareBytes(claim.node, first) < 0) first = claim.node;
  }
  return first;
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
