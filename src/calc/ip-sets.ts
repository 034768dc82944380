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
import { LabelIndex } from "./label-index.ts";
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
  onIpSetAdded(id: IpSetId, type: IpSetType): void;
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

const PORT_PROTOCOLS = new Set(["tcp", "udp", "sctp"]);

export class IpSetIndex {
  readonly #events: IpSetEvents;
  readonly #sets = new Map<IpSetId, IpSet>();
  readonly #contributions = new Map<string, Contribution>();
  readonly #index: LabelIndex<IpSetId, string>;
  readonly #services: ServiceIndex;

  constructor(events: IpSetEvents) {
    this.#events = events;
    this.#services = new ServiceIndex(events);
    this.#index = new LabelIndex({
      onMatchStarted: (set, item) => this.#add(set, this.#contributions.get(item)),
      onMatchStopped: (set, item) => this.#remove(set, this.#contributions.get(item)),
    });
  }

  /** Number of sets. */
  get size(): number {
    return this.#sets.size;
  }

  /** Whether the endpoints of any service are known. */
  get knowsServices(): boolean {
    return this.#services.hasSlices;
  }

  hasItem(item: string): boolean {
    return this.#contributions.has(item);
  }

  /** Blocks of an item; none when it is not there. */
  netsOf(item: string): readonly string[] {
    return this.#contributions.get(item)?.nets ?? [];
  }

  items(): MapIterator<string> {
    return this.#contributions.keys();
  }

  addSet(definition: IpSetDefinition): void {
    this.#sets.set(definition.id, { definition, members: new RefCounts() });
    this.#events.onIpSetAdded(definition.id, definition.type);
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

  setWorkload(item: string, endpoint: ModelWorkloadEndpoint): void {
    const nets = [...endpoint.ipv4Nets, ...endpoint.ipv6Nets];
    this.#set(item, nets, endpoint);
  }

  setHostEndpoint(item: string, endpoint: ModelHostEndpoint): void {
    this.#set(item, [...endpoint.expectedIpv4Addrs, ...endpoint.expectedIpv6Addrs], endpoint);
  }

  setNetworkSet(item: string, set: ModelNetworkSet): void {
    const nets = [...new Set(set.nets)].flatMap(withoutCatchAll);
    this.#update(item, { nets, ports: [] });
    this.#index.setItem(item, set.labels, set.profileIds);
  }

  deleteItem(item: string): void {
    this.#index.deleteItem(item);
    this.#contributions.delete(item);
  }

  setProfileLabels(name: string, labels: Labels | null): void {
    this.#index.setParent(name, labels);
  }

  setEndpointSlice(key: EndpointSliceKey, slice: ModelEndpointSlice | null): void {
    this.#services.setSlice(key, slice);
  }

  #set(
    item: string,
    addresses: readonly string[],
    endpoint: Pick<ModelWorkloadEndpoint, "ports" | "labels" | "profileIds">,
  ): void {
    const nets = addresses.length === 1 ? addresses.map(hostBlock) : unique(addresses);
    this.#update(item, { nets, ports: endpoint.ports });
    this.#index.setItem(item, endpoint.labels, endpoint.profileIds);
  }

  /** New members come before old ones go, so that what stays is not told at all. */
  #update(item: string, contribution: Contribution): void {
    const before = this.#contributions.get(item);
    this.#contributions.set(item, contribution);
    if (before === undefined || sameContribution(before, contribution)) return;
    for (const set of this.#index.matchesOfItem(item)) {
      this.#add(set, contribution);
      this.#remove(set, before);
    }
  }

  #add(id: IpSetId, contribution: Contribution | undefined): void {
    const set = this.#sets.get(id);
    if (set === undefined || contribution === undefined) return;
    for (const member of membersOf(set.definition, contribution)) {
      if (set.members.increment(member)) this.#tellAdded(id, set, member);
    }
  }

  #remove(id: IpSetId, contribution: Contribution | undefined): void {
    const set = this.#sets.get(id);
    if (set === undefined || contribution === undefined) return;
    for (const member of membersOf(set.definition, contribution)) {
      if (set.members.decrement(member)) this.#tellRemoved(id, set, member);
    }
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

function* membersOf(definition: IpSetDefinition, from: Contribution): Generator<string> {
  const { namedPort } = definition;
  if (namedPort === undefined) {
    yield* from.nets;
    return;
  }
  for (const port of from.ports) {
    if (port.name !== namedPort.name || !PORT_PROTOCOLS.has(port.protocol)) continue;
    if (namedPort.protocol !== "any" && namedPort.protocol !== port.protocol) continue;
    for (const net of from.nets) yield `${addressOf(net)},${port.protocol}:${port.port}`;
  }
}

function isSingleAddress(net: string): boolean {
  return net.endsWith(net.includes(":") ? "/128" : "/32");
}

function addressOf(block: string): string {
  const slash = block.indexOf("/");
  return slash < 0 ? block : block.slice(0, slash);
}

/** The same text where it is one: what the input holds is not held twice. */
function hostBlock(address: string): string {
  if (address.includes("/") && isSingleAddress(address)) return address;
  const ip = addressOf(address);
  return `${ip}/${ip.includes(":") ? 128 : 32}`;
}

function unique(addresses: readonly string[]): readonly string[] {
  return [...new Set(addresses.map(hostBlock))];
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
