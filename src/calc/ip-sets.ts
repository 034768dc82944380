/**
 * Members of the IP sets that rules use. A set is a selector over endpoints and network sets, such
 * a selector with a named port, or a service. One address may come from several items, so members are
 * counted; only the first and the last contribution are told. Blocks inside another member of the
 * same set are not told at all: kernels' interval sets refuse overlaps.
 */
import { cidrHalves, formatCidr, OverlapSuppressor, parseCidr, type OverlapChange } from "#ip";
import type {
  EndpointPort,
  EndpointSliceKey,
  ModelEndpointSlice,
  ModelHostEndpoint,
  ModelNetworkSet,
  ModelWorkloadEndpoint,
} from "#model";
import type { IpSetId } from "#policy";
import type { Labels, Selector } from "#selector";
import { RefCounts } from "#std";
import { LabelIndex, type LabelIndexStatistics } from "./label-index.ts";
import type { IpSetType } from "./messages.ts";
import { ServiceIndex } from "./services.ts";

export interface IpSetDefinition {
  readonly id: IpSetId;
  readonly type: IpSetType;
  /** Absent for a service. */
  readonly selector?: Selector;
  readonly namedPort?: NamedPortMatch;
  readonly service?: ServiceMatch;
}

export interface ServiceMatch {
  readonly namespace: string;
  readonly name: string;
  /** Members are addresses with each of the service's ports. */
  readonly withPorts: boolean;
}

export interface NamedPortMatch {
  readonly name: string;
  /** `any` matches every protocol that has ports. */
  readonly protocol: "tcp" | "udp" | "sctp" | "any";
}

export interface IpSetEvents {
  /** `members`: what is told of members until this is called is in its answer. */
  onIpSetAdded(id: IpSetId, type: IpSetType, members: () => Iterable<string>): void;
  onIpSetRemoved(id: IpSetId): void;
  onMemberAdded(id: IpSetId, member: string): void;
  onMemberRemoved(id: IpSetId, member: string): void;
}

/** What an item contributes: blocks, and their addresses with ports. */
interface Contribution {
  readonly nets: readonly string[];
  readonly ports: readonly EndpointPort[];
}

interface IpSet {
  readonly definition: IpSetDefinition;
  readonly members: RefCounts<string>;
  /** Present once a member is more than a single address; before, nothing can overlap. */
  overlaps?: OverlapSuppressor;
}

const NONE: readonly never[] = Object.freeze([]);
const PORT_PROTOCOLS = new Set(["tcp", "udp", "sctp"]);

export class IpSetIndex {
  readonly #events: IpSetEvents;
  readonly #sets = new Map<IpSetId, IpSet>();
  readonly #index: LabelIndex<IpSetId, string, Contribution>;
  readonly #services: ServiceIndex;

  /** `profileLabels`: see the label index. */
  constructor(events: IpSetEvents, profileLabels: Map<string, Labels>) {
    this.#events = events;
    this.#services = new ServiceIndex(events);
    this.#index = new LabelIndex<IpSetId, string, Contribution>(
      {
        onMatchStarted: (set, _, contribution) => this.#add(set, contribution),
        onMatchStopped: (set, _, contribution) => this.#remove(set, contribution),
        // New members come before old ones go, so that what stays is not told at all.
        onDataChanged: (set, _, before, after) => {
          if (sameContribution(before, after)) return;
          this.#add(set, after);
          this.#remove(set, before);
        },
      },
      profileLabels,
    );
  }

  /** Number of sets. */
  get size(): number {
    return this.#sets.size;
  }

  /** Whether the endpoints of any service are known. */
  get knowsServices(): boolean {
    return this.#services.hasSlices;
  }

  labelIndexStatistics(): LabelIndexStatistics {
    return this.#index.statistics();
  }

  /** Blocks of an item; none when it is not there. */
  netsOf(item: string): readonly string[] {
    return this.#index.dataOf(item)?.nets ?? NONE;
  }

  items(): MapIterator<string> {
    return this.#index.itemIds();
  }

  addSet(definition: IpSetDefinition): void {
    this.#sets.set(definition.id, { definition, members: new RefCounts() });
    this.#events.onIpSetAdded(definition.id, definition.type, () => this.#toldOf(definition.id));
    if (definition.selector !== undefined) {
      this.#index.setSelector(definition.id, definition.selector);
    }
    if (definition.service !== undefined) this.#services.addSet(definition.id, definition.service);
  }

  /** Tells of the set's removal only, not of its members'. */
  removeSet(id: IpSetId): void {
    this.#sets.delete(id);
    this.#index.deleteSelector(id);
    this.#services.removeSet(id);
    this.#events.onIpSetRemoved(id);
  }

  /** Like the two below, returns whether the item is new. */
  setWorkload(item: string, endpoint: ModelWorkloadEndpoint): boolean {
    return this.#setEndpoint(item, endpoint.ipv4Nets, endpoint.ipv6Nets, endpoint);
  }

  setHostEndpoint(item: string, endpoint: ModelHostEndpoint): boolean {
    return this.#setEndpoint(
      item,
      endpoint.expectedIpv4Addrs,
      endpoint.expectedIpv6Addrs,
      endpoint,
    );
  }

  setNetworkSet(item: string, set: ModelNetworkSet): boolean {
    const nets = [...new Set(set.nets)].flatMap(withoutCatchAll);
    return this.#index.setItem(item, set.labels, set.profileIds, { nets, ports: NONE });
  }

  /** Returns whether it was there. */
  deleteItem(item: string): boolean {
    return this.#index.deleteItem(item);
  }

  setProfileLabels(name: string, labels: Labels | null): void {
    this.#index.setParent(name, labels);
  }

  setEndpointSlice(key: EndpointSliceKey, slice: ModelEndpointSlice | null): void {
    this.#services.setSlice(key, slice);
  }

  #setEndpoint(
    item: string,
    ipv4: readonly string[],
    ipv6: readonly string[],
    endpoint: Pick<ModelWorkloadEndpoint, "ports" | "labels" | "profileIds">,
  ): boolean {
    const ports = endpoint.ports.length === 0 ? NONE : endpoint.ports;
    const contribution = { nets: hostBlocks(ipv4, ipv6), ports };
    return this.#index.setItem(item, endpoint.labels, endpoint.profileIds, contribution);
  }

  #add(id: IpSetId, contribution: Contribution): void {
    const set = this.#sets.get(id);
    if (set === undefined) return;
    for (const member of membersOf(set.definition, contribution)) {
      if (set.members.increment(member)) this.#tellAdded(id, set, member);
    }
  }

  #remove(id: IpSetId, contribution: Contribution): void {
    const set = this.#sets.get(id);
    if (set === undefined) return;
    for (const member of membersOf(set.definition, contribution)) {
      if (set.members.decrement(member)) this.#tellRemoved(id, set, member);
    }
  }

  /** Members, without those inside others. */
  #toldOf(id: IpSetId): Iterable<string> {
    const set = this.#sets.get(id);
    if (set?.definition.service !== undefined) return this.#services.membersOf(id);
    return set?.overlaps?.published().map(formatCidr) ?? set?.members.keys() ?? NONE;
  }

  #tellAdded(id: IpSetId, set: IpSet, member: string): void {
    if (set.overlaps === undefined) {
      if (set.definition.type !== "NET" || isSingleAddress(member)) {
        this.#events.onMemberAdded(id, member);
        return;
      }
      set.overlaps = new OverlapSuppressor();
      for (const known of set.members.keys()) {
        if (known !== member) set.overlaps.add(parseCidr(known));
      }
    }
    this.#tellChange(id, set.overlaps.add(parseCidr(member)));
  }

  #tellRemoved(id: IpSetId, set: IpSet, member: string): void {
    if (set.overlaps === undefined) this.#events.onMemberRemoved(id, member);
    else this.#tellChange(id, set.overlaps.remove(parseCidr(member)));
  }

  #tellChange(id: IpSetId, { publish, withdraw }: OverlapChange): void {
    for (const cidr of publish) this.#events.onMemberAdded(id, formatCidr(cidr));
    for (const cidr of withdraw) this.#events.onMemberRemoved(id, formatCidr(cidr));
  }
}

/** Most sets are of blocks, whose list is there already. */
function membersOf({ namedPort }: IpSetDefinition, from: Contribution): readonly string[] {
  if (namedPort === undefined) return from.nets;
  const members: string[] = [];
  for (const port of from.ports) {
    if (port.name !== namedPort.name || !PORT_PROTOCOLS.has(port.protocol)) continue;
    if (namedPort.protocol !== "any" && namedPort.protocol !== port.protocol) continue;
    for (const net of from.nets) members.push(`${addressOf(net)},${port.protocol}:${port.port}`);
  }
  return members;
}

function isSingleAddress(net: string): boolean {
  return net.endsWith(net.includes(":") ? "/128" : "/32");
}

function addressOf(block: string): string {
  const slash = block.indexOf("/");
  return slash < 0 ? block : block.slice(0, slash);
}

/** Each once. What the input holds is not held twice: mostly it is one list of one block. */
function hostBlocks(ipv4: readonly string[], ipv6: readonly string[]): readonly string[] {
  const [only] = ipv4;
  if (ipv4.length === 1 && ipv6.length === 0 && only?.endsWith("/32")) return ipv4;
  return [...new Set([...ipv4, ...ipv6].map(hostBlock))];
}

function hostBlock(address: string): string {
  const ip = addressOf(address);
  return `${ip}/${ip.includes(":") ? 128 : 32}`;
}

/** Interval sets of kernels cannot hold a block of length 0, but they can its halves. */
function withoutCatchAll(net: string): readonly string[] {
  if (!net.endsWith("/0")) return [net];
  return (cidrHalves(parseCidr(net)) ?? []).map(formatCidr);
}

function sameContribution(a: Contribution, b: Contribution): boolean {
  return (
    sameList(a.nets, b.nets) &&
    a.ports.length === b.ports.length &&
    a.ports.every((port, index) => samePort(port, b.ports[index]))
  );
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one, index) => one === b[index]);
}

function samePort(a: EndpointPort, b: EndpointPort | undefined): boolean {
  return a.name === b?.name && a.port === b.port && a.protocol === b.protocol;
}
