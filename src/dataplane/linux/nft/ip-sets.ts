/**
 * The IP sets of the calculation graph as sets of the table.
 *
 * A NET set becomes up to four: single addresses in hash sets `.4` and `.6`, which always exist, so
 * that membership going empty and back rewrites no rule; CIDRs in interval sets `.4n` and `.6n`,
 * which exist only while there is a CIDR, since each costs every packet a lookup. When one of
 * those comes or goes, the set's shape has changed and the rules that name it are written anew.
 *
 * A set is in the table only while some rule names it. Flat rules (see `flat-list.ts`) need no set
 * but the identities of its addresses, so those of the sets that such rules name go there.
 */
import type { IpSetType } from "#calc";
import {
  ipBytes,
  isHostCidr,
  OverlapSuppressor,
  tryParseCidrOrIp,
  tryParseIp,
  type Cidr,
  type IpFamily,
} from "#ip";
import { logger } from "#log";
import {
  packBytes,
  type KeyType,
  type NftElement,
  type NftSet,
  type NftTable,
  type PackedBytes,
} from "#netlink";
import type { IpSetId } from "#policy";
import { addressType, concat, u16, u8 } from "./bytes.ts";
import { NetChanges, pushDelta } from "./element-changes.ts";
import type { Identities } from "./identities.ts";
import { IPPROTO } from "./exprs.ts";
import { cidrElement } from "./literal-sets.ts";
import { ipSetName, ipSetNetsName } from "./names.ts";

const log = logger("dataplane.nft");

/** What a rule that names an IP set needs to know of it. */
export interface IpSetShape {
  readonly type: IpSetType;
  /** Hash set of this family. */
  readonly name: string;
  /** Interval set of this family, while there is one. */
  readonly netsName?: string;
}

interface IpSet {
  readonly type: IpSetType;
  readonly nets: Readonly<Record<IpFamily, OverlapSuppressor>>;
  /** Single addresses, or `address . protocol . port`. */
  readonly hosts: Readonly<Record<IpFamily, Set<PackedBytes>>>;
  /** Members that could not be read; a set that has any is not used by rules. */
  readonly unreadable: Set<string>;
}

/** Recorded by messages, pushed by `flush`. */
interface Pending {
  /** Present: the set is replaced as a whole first. */
  replace?: { readonly type: IpSetType; readonly members: readonly string[] };
  remove: boolean;
  /** In order of arrival. */
  readonly deltas: { readonly added: readonly string[]; readonly removed: readonly string[] }[];
}

const FAMILIES: readonly IpFamily[] = [4, 6];

export class IpSets {
  readonly #table: NftTable;
  readonly #identities: Identities;
  #families: readonly IpFamily[] = [];
  readonly #sets = new Map<IpSetId, IpSet>();
  readonly #pending = new Map<IpSetId, Pending>();
  /** How many lists of rules name the set, known or not. */
  readonly #ruleUsers = new Map<IpSetId, number>();
  /** How many lists of rules want the identities of its addresses. */
  readonly #identityUsers = new Map<IpSetId, number>();

  constructor(table: NftTable, identities: Identities) {
    this.#table = table;
    this.#identities = identities;
  }

  update(id: IpSetId, type: IpSetType, members: readonly string[]): void {
    this.#pending.set(id, { replace: { type, members }, remove: false, deltas: [] });
  }

  delta(id: IpSetId, added: readonly string[], removed: readonly string[]): void {
    let pending = this.#pending.get(id);
    if (pending === undefined) this.#pending.set(id, (pending = { remove: false, deltas: [] }));
    pending.deltas.push({ added, removed });
  }

  remove(id: IpSetId): void {
    this.#pending.set(id, { remove: true, deltas: [] });
  }

  /** Undefined: the set is not known, or cannot be trusted. */
  shape(id: IpSetId, family: IpFamily): IpSetShape | undefined {
    const set = this.#sets.get(id);
    if (set === undefined || set.unreadable.size > 0) return undefined;
    const shape = { type: set.type, name: ipSetName(id, family) };
    return set.nets[family].size > 0 ? { ...shape, netsName: ipSetNetsName(id, family) } : shape;
  }

  /** All its members are single addresses, so that identities can stand for it. */
  hasIdentities(id: IpSetId): boolean {
    const set = this.#sets.get(id);
    return (
      set !== undefined &&
      set.type !== "IP_AND_PORT" &&
      set.unreadable.size === 0 &&
      FAMILIES.every((family) => set.nets[family].size === 0)
    );
  }

  /** Rules are about to name these sets. */
  acquire(ids: Iterable<IpSetId>): void {
    for (const id of ids) if (count(this.#ruleUsers, id, 1) === 1) this.#program(id);
  }

  release(ids: Iterable<IpSetId>): void {
    for (const id of ids) if (count(this.#ruleUsers, id, -1) === 0) this.#withdraw(id);
  }

  acquireIdentities(ids: Iterable<IpSetId>): void {
    for (const id of ids) {
      if (count(this.#identityUsers, id, 1) === 1)
        this.#identify(id, undefined, this.#sets.get(id));
    }
  }

  releaseIdentities(ids: Iterable<IpSetId>): void {
    for (const id of ids) {
      if (count(this.#identityUsers, id, -1) === 0)
        this.#identify(id, this.#sets.get(id), undefined);
    }
  }

  /** Pushes what was recorded, for these families; the sets whose shape changed. */
  flush(families: readonly IpFamily[]): Set<IpSetId> {
    const reshaped = new Set<IpSetId>();
    if (families !== this.#families) this.#setFamilies(families);
    for (const [id, pending] of this.#pending) {
      const before = this.#fingerprint(id);
      if (pending.remove) this.#drop(id);
      else if (pending.replace !== undefined) this.#replace(id, pending, pending.replace);
      else this.#change(id, pending.deltas);
      if (this.#fingerprint(id) !== before) reshaped.add(id);
    }
    this.#pending.clear();
    return reshaped;
  }

  /** IPv4 is always there; IPv6 comes and goes. */
  #setFamilies(families: readonly IpFamily[]): void {
    const had = this.#families.includes(6);
    this.#families = families;
    if (had === families.includes(6)) return;
    for (const [id, set] of this.#sets) {
      if (!this.#ruleUsers.has(id)) continue;
      if (had) this.#withdrawFamily(id, set, 6);
      else this.#programFamily(id, set, 6);
    }
  }

  #program(id: IpSetId): void {
    const set = this.#sets.get(id);
    if (set === undefined) return;
    for (const family of this.#families) this.#programFamily(id, set, family);
  }

  #programFamily(id: IpSetId, set: IpSet, family: IpFamily): void {
    this.#table.setSet(hashSetOf(id, set.type, family), hostElements(set.hosts[family]));
    const nets = set.nets[family].published();
    if (nets.length > 0) this.#table.setSet(netsSetOf(id, family), nets.map(cidrElement));
  }

  #withdraw(id: IpSetId): void {
    const set = this.#sets.get(id);
    if (set === undefined) return;
    for (const family of this.#families) this.#withdrawFamily(id, set, family);
  }

  #withdrawFamily(id: IpSetId, set: IpSet, family: IpFamily): void {
    this.#table.removeSet(ipSetName(id, family));
    if (set.nets[family].size > 0) this.#table.removeSet(ipSetNetsName(id, family));
  }

  /** The set's addresses as they were and as they are. */
  #identify(id: IpSetId, before: IpSet | undefined, after: IpSet | undefined): void {
    for (const family of FAMILIES) {
      const had = hostsOf(before, family);
      const has = hostsOf(after, family);
      for (const host of had) if (!has.has(host)) this.#identities.remove(id, family, host);
      for (const host of has) if (!had.has(host)) this.#identities.add(id, family, host);
    }
  }

  #fingerprint(id: IpSetId): string {
    const set = this.#sets.get(id);
    if (set === undefined) return "absent";
    return `${set.type} ${set.nets[4].size > 0} ${set.nets[6].size > 0} ${set.unreadable.size > 0}`;
  }

  #drop(id: IpSetId): void {
    const set = this.#sets.get(id);
    if (set === undefined) return;
    if (this.#ruleUsers.has(id)) this.#withdraw(id);
    if (this.#identityUsers.has(id)) this.#identify(id, set, undefined);
    this.#sets.delete(id);
  }

  #replace(
    id: IpSetId,
    pending: Pending,
    { type, members }: { readonly type: IpSetType; readonly members: readonly string[] },
  ): void {
    let before = this.#sets.get(id);
    if (before !== undefined && before.type !== type) {
      this.#drop(id);
      before = undefined;
    }
    const set = newIpSet(type);
    for (const member of finalMembers(members, pending.deltas)) {
      const parsed = parseMember(type, member);
      if (parsed === undefined) this.#reportUnreadable(id, set, member);
      else if ("cidr" in parsed) set.nets[parsed.cidr.family].add(parsed.cidr);
      else set.hosts[parsed.family].add(packBytes(parsed.key));
    }
    this.#sets.set(id, set);
    if (this.#identityUsers.has(id)) this.#identify(id, before, set);
    if (!this.#ruleUsers.has(id)) return;
    for (const family of this.#families) {
      const hadNets = before !== undefined && before.nets[family].size > 0;
      if (hadNets && set.nets[family].size === 0) this.#table.removeSet(ipSetNetsName(id, family));
      this.#programFamily(id, set, family);
    }
  }

  #change(id: IpSetId, deltas: Pending["deltas"]): void {
    const set = this.#sets.get(id);
    if (set === undefined) {
      log.warn("IP set delta without the set: ignored", { ipSet: id });
      return;
    }
    const hadNets = { 4: set.nets[4].size > 0, 6: set.nets[6].size > 0 };
    const nets = { 4: new NetChanges(), 6: new NetChanges() };
    for (const { added, removed } of deltas) {
      const goneHosts = this.#changeMembers(id, set, removed, "remove", nets);
      const newHosts = this.#changeMembers(id, set, added, "add", nets);
      if (!this.#ruleUsers.has(id)) continue;
      for (const family of this.#families) {
        const hosts = { add: newHosts[family], remove: goneHosts[family] };
        pushDelta(this.#table, ipSetName(id, family), hosts);
      }
    }
    if (!this.#ruleUsers.has(id)) return;
    for (const family of this.#families) {
      this.#pushNets(id, set.nets[family], family, hadNets[family], nets[family]);
    }
  }

  /** CIDRs go into `nets`; the hash elements are returned. */
  #changeMembers(
    id: IpSetId,
    set: IpSet,
    members: readonly string[],
    op: "add" | "remove",
    nets: Readonly<Record<IpFamily, NetChanges>>,
  ): Readonly<Record<IpFamily, NftElement[]>> {
    const hosts: Record<IpFamily, NftElement[]> = { 4: [], 6: [] };
    for (const member of members) {
      const parsed = parseMember(set.type, member);
      if (parsed === undefined) {
        if (op === "add") this.#reportUnreadable(id, set, member);
        else set.unreadable.delete(member);
      } else if ("cidr" in parsed) {
        const { cidr } = parsed;
        const cover = set.nets[cidr.family];
        nets[cidr.family].note(cover[op](cidr));
      } else {
        const { family, key } = parsed;
        const host = packBytes(key);
        set.hosts[family][op === "add" ? "add" : "delete"](host);
        if (this.#identityUsers.has(id)) this.#identities[op](id, family, host);
        hosts[family].push({ key: host });
      }
    }
    return hosts;
  }

  #pushNets(
    id: IpSetId,
    cover: OverlapSuppressor,
    family: IpFamily,
    existed: boolean,
    changes: NetChanges,
  ): void {
    if (cover.size === 0) {
      if (existed) this.#table.removeSet(ipSetNetsName(id, family));
      return;
    }
    if (!existed) {
      this.#table.setSet(netsSetOf(id, family), cover.published().map(cidrElement));
      return;
    }
    changes.push(this.#table, ipSetNetsName(id, family));
  }

  #reportUnreadable(id: IpSetId, set: IpSet, member: string): void {
    set.unreadable.add(member);
    log.error("IP set member cannot be read; policies that use the set deny", {
      ipSet: id,
      member,
    });
  }
}

function newIpSet(type: IpSetType): IpSet {
  return {
    type,
    nets: { 4: new OverlapSuppressor(), 6: new OverlapSuppressor() },
    hosts: { 4: new Set(), 6: new Set() },
    unreadable: new Set(),
  };
}

const NO_HOSTS: ReadonlySet<PackedBytes> = new Set();

function hostsOf(set: IpSet | undefined, family: IpFamily): ReadonlySet<PackedBytes> {
  return set === undefined || set.type === "IP_AND_PORT" ? NO_HOSTS : set.hosts[family];
}

function* hostElements(hosts: ReadonlySet<PackedBytes>): Generator<NftElement> {
  for (const host of hosts) yield { key: host };
}

/** The new number; 0 is not kept. */
function count(users: Map<IpSetId, number>, id: IpSetId, by: 1 | -1): number {
  const now = (users.get(id) ?? 0) + by;
  if (now === 0) users.delete(id);
  else users.set(id, now);
  return now;
}

function finalMembers(members: readonly string[], deltas: Pending["deltas"]): Iterable<string> {
  if (deltas.length === 0) return members;
  const result = new Set(members);
  for (const { added, removed } of deltas) {
    for (const member of removed) result.delete(member);
    for (const member of added) result.add(member);
  }
  return result;
}

function hashSetOf(id: IpSetId, type: IpSetType, family: IpFamily): NftSet {
  const address = addressType(family);
  const key: KeyType[] =
    type === "IP_AND_PORT" ? [address, "inet_proto", "inet_service"] : [address];
  return { name: ipSetName(id, family), key };
}

function netsSetOf(id: IpSetId, family: IpFamily): NftSet {
  return {
    name: ipSetNetsName(id, family),
    key: [addressType(family)],
    interval: true,
  };
}

type Member = { readonly family: IpFamily; readonly key: Uint8Array } | { readonly cidr: Cidr };

function parseMember(type: IpSetType, text: string): Member | undefined {
  if (type === "IP_AND_PORT") return parseEndpoint(text);
  const cidr = tryParseCidrOrIp(text);
  if (cidr === undefined) return undefined;
  if (isHostCidr(cidr)) return { family: cidr.family, key: ipBytes(cidr) };
  return type === "NET" ? { cidr } : undefined;
}

/** `ip,proto:port`. */
function parseEndpoint(text: string): Member | undefined {
  const comma = text.indexOf(",");
  const colon = text.indexOf(":", comma);
  if (comma < 0 || colon < 0) return undefined;
  const ip = tryParseIp(text.slice(0, comma));
  const protocol = portProtocols.get(text.slice(comma + 1, colon).toLowerCase());
  const port = Number(text.slice(colon + 1) || Number.NaN);
  if (ip === undefined || protocol === undefined) return undefined;
  if (!Number.isInteger(port) || port < 0 || port > 0xffff) return undefined;
  return { family: ip.family, key: concat(ipBytes(ip), u8(protocol), u16(port)) };
}

const portProtocols: ReadonlyMap<string, number> = new Map([
  ["tcp", IPPROTO.tcp],
  ["udp", IPPROTO.udp],
  ["sctp", IPPROTO.sctp],
]);
