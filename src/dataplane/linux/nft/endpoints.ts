/**
 * Workload endpoints as elements: interface → class of each direction, and the addresses and MAC
 * that may come out of the interface. An interface without elements is unknown, and all its traffic
 * is dropped; so is an endpoint that is administratively down.
 *
 * Two endpoints with the same interface: the one with the lowest identity has it, the other waits.
 */
import { workloadIdentity, type WorkloadEndpoint, type WorkloadEndpointId } from "#calc";
import {
  formatCidr,
  ipBytes,
  isHostCidr,
  macBytes,
  tryParseCidrOrIp,
  tryParseMac,
  type Cidr,
} from "#ip";
import { logger } from "#log";
import type { NftElement, NftTable } from "#netlink";
import { compareBytes, hex, sortedUnique } from "#std";
import { concat, ifname, isInterfaceName, u32Host } from "./bytes.ts";
import type { EndpointClass, EndpointClasses } from "./classes.ts";
import type { NftPolicyConfig } from "./config.ts";
import { newDelta, pushDelta, type ElementDelta } from "./element-changes.ts";
import { sets, type Direction } from "./names.ts";
import type { SpoofLists } from "./spoof-lists.ts";

const log = logger("dataplane.nft");

interface Endpoint {
  readonly id: WorkloadEndpointId;
  readonly endpoint: WorkloadEndpoint;
}

/** What is programmed for an interface. */
interface Port {
  readonly owner: string;
  readonly classes: Readonly<Record<Direction, EndpointClass>> | undefined;
  /** Content of its list of further source prefixes. */
  readonly spoofList: string | undefined;
  readonly problem: string | undefined;
  /** Packets of IPv6 may come from it or go to it. */
  readonly usesIpv6: boolean;
  readonly declaresMac: boolean;
  elements: ReadonlyMap<string, SetElement>;
}

interface SetElement {
  readonly set: string;
  readonly element: NftElement;
}

const NO_ELEMENTS: ReadonlyMap<string, SetElement> = new Map();

export class Endpoints {
  readonly #table: NftTable;
  readonly #config: NftPolicyConfig;
  readonly #classes: EndpointClasses;
  readonly #spoofLists: SpoofLists;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #keysByInterface = new Map<string, Set<string>>();
  readonly #ports = new Map<string, Port>();
  readonly #ipv6Ports = new Set<string>();
  readonly #macPorts = new Set<string>();
  readonly #problems = new Map<string, string>();
  /** Interfaces whose endpoints changed; then those whose elements must be compared. */
  readonly #dirty = new Set<string>();
  readonly #stale = new Set<string>();
  readonly #gone = new Set<string>();

  constructor(
    table: NftTable,
    config: NftPolicyConfig,
    classes: EndpointClasses,
    spoofLists: SpoofLists,
  ) {
    this.#table = table;
    this.#config = config;
    this.#classes = classes;
    this.#spoofLists = spoofLists;
  }

  set(id: WorkloadEndpointId, endpoint: WorkloadEndpoint): void {
    const key = workloadIdentity(id);
    this.#leaveInterface(key);
    this.#endpoints.set(key, { id, endpoint });
    this.#gone.delete(key);
    let keys = this.#keysByInterface.get(endpoint.name);
    if (keys === undefined) this.#keysByInterface.set(endpoint.name, (keys = new Set()));
    keys.add(key);
    this.#dirty.add(endpoint.name);
  }

  remove(id: WorkloadEndpointId): void {
    const key = workloadIdentity(id);
    this.#leaveInterface(key);
    if (this.#endpoints.delete(key)) this.#gone.add(key);
  }

  problem(id: WorkloadEndpointId): string | undefined {
    return this.#problems.get(workloadIdentity(id));
  }

  /** Some endpoint has an IPv6 address. Known after `resolve`. */
  get usesIpv6(): boolean {
    return this.#ipv6Ports.size > 0;
  }

  /** Some endpoint declares its MAC. Known after `resolve`. */
  get declareMacs(): boolean {
    return this.#macPorts.size > 0;
  }

  /** First step of a flush: joins and leaves classes; no element is written yet. */
  resolve(): void {
    for (const name of this.#dirty) {
      const before = this.#ports.get(name);
      const after = this.#resolvePort(name);
      if (before !== undefined) this.#leave(name, before, after);
      if (after !== undefined) this.#ports.set(name, after);
      else if (before !== undefined) {
        // Kept until its elements are withdrawn.
        this.#ports.set(name, { ...before, classes: undefined, spoofList: undefined });
      }
      include(this.#ipv6Ports, name, after?.usesIpv6 === true);
      include(this.#macPorts, name, after?.declaresMac === true);
      this.#stale.add(name);
    }
  }

  /** Last step: writes the elements; the endpoints whose problem came, changed or went. */
  flush(
    renumbered: Iterable<EndpointClass>,
    reviewed: Iterable<EndpointClass>,
  ): WorkloadEndpointId[] {
    for (const each of renumbered) for (const name of each.members) this.#stale.add(name);
    this.#writeElements();
    const names = new Set(this.#dirty);
    for (const each of reviewed) for (const name of each.members) names.add(name);
    this.#dirty.clear();
    this.#stale.clear();
    for (const key of this.#gone) this.#problems.delete(key);
    this.#gone.clear();
    return this.#reviewProblems(names);
  }

  /** An interface's spoof list got another number. */
  spoofListsRenumbered(): void {
    for (const [name, port] of this.#ports) if (port.spoofList !== undefined) this.#stale.add(name);
  }

  #leaveInterface(key: string): void {
    const name = this.#endpoints.get(key)?.endpoint.name;
    if (name === undefined) return;
    const keys = this.#keysByInterface.get(name);
    keys?.delete(key);
    if (keys?.size === 0) this.#keysByInterface.delete(name);
    this.#dirty.add(name);
  }

  #owner(name: string): string | undefined {
    let owner: string | undefined;
    for (const key of this.#keysByInterface.get(name) ?? []) {
      if (owner === undefined || compareBytes(key, owner) < 0) owner = key;
    }
    return owner;
  }

  #resolvePort(name: string): Port | undefined {
    const owner = this.#owner(name);
    const endpoint = owner === undefined ? undefined : this.#endpoints.get(owner)?.endpoint;
    if (owner === undefined || endpoint === undefined) return undefined;
    const problem = this.#interfaceProblem(name) ?? addressProblem(endpoint);
    const down: Port = {
      owner,
      classes: undefined,
      spoofList: undefined,
      problem,
      usesIpv6: false,
      declaresMac: false,
      elements: NO_ELEMENTS,
    };
    if (this.#interfaceProblem(name) !== undefined || endpoint.state !== "active") return down;
    const { tiers, profileIds } = endpoint;
    const prefixes = this.#sourcePrefixes(endpoint);
    return {
      ...down,
      classes: {
        ingress: this.#classes.join("ingress", tiers, profileIds, name),
        egress: this.#classes.join("egress", tiers, profileIds, name),
      },
      usesIpv6: [...cidrsOf(endpoint.ipv6Nets), ...cidrsOf(prefixes)].some(isIpv6),
      declaresMac: endpoint.mac !== "",
      spoofList: prefixes.length > 0 ? this.#spoofLists.join(prefixes, name) : undefined,
    };
  }

  /** After the new port has joined, so that a class that both are in survives. */
  #leave(name: string, before: Port, after: Port | undefined): void {
    for (const direction of ["ingress", "egress"] as const) {
      const old = before.classes?.[direction];
      if (old !== undefined && old !== after?.classes?.[direction]) this.#classes.leave(old, name);
    }
    if (before.spoofList !== undefined && before.spoofList !== after?.spoofList) {
      this.#spoofLists.leave(before.spoofList, name);
    }
    if (after !== undefined) after.elements = before.elements;
  }

  #interfaceProblem(name: string): string | undefined {
    if (!isInterfaceName(name)) return `${JSON.stringify(name)} is not an interface name`;
    const prefixes = this.#config.interfacePrefixes;
    if (prefixes.some((prefix) => name.startsWith(prefix))) return undefined;
    return `interface ${name} does not begin with ${prefixes.join(" or ")}: not a workload's`;
  }

  /** Networks that are more than one address, and prefixes the endpoint may spoof. */
  #sourcePrefixes(endpoint: WorkloadEndpoint): string[] {
    const prefixes = cidrsOf(netsOf(endpoint)).filter((cidr) => !isHostCidr(cidr));
    if (this.#config.workloadSourceSpoofing === "Any") {
      prefixes.push(...cidrsOf(endpoint.allowSpoofedSourcePrefixes));
    }
    return sortedUnique(prefixes.map(formatCidr));
  }

  #writeElements(): void {
    const changes = new Map<string, ElementDelta>();
    const of = (set: string): ElementDelta => {
      let change = changes.get(set);
      if (change === undefined) changes.set(set, (change = newDelta()));
      return change;
    };
    for (const name of this.#stale) {
      const port = this.#ports.get(name);
      if (port === undefined) continue;
      const wanted = this.#elementsOf(name, port);
      for (const [key, { set, element }] of port.elements) {
        if (!wanted.has(key)) of(set).remove.push(element);
      }
      for (const [key, { set, element }] of wanted) {
        if (!port.elements.has(key)) of(set).add.push(element);
      }
      port.elements = wanted;
      if (!this.#keysByInterface.has(name)) this.#ports.delete(name);
    }
    for (const [set, change] of changes) pushDelta(this.#table, set, change);
  }

  #elementsOf(name: string, port: Port): ReadonlyMap<string, SetElement> {
    const endpoint = this.#endpoints.get(port.owner)?.endpoint;
    if (port.classes === undefined || endpoint === undefined) return NO_ELEMENTS;
    const elements = new Map<string, SetElement>();
    const put = (set: string, key: Uint8Array, value?: number): void => {
      const element = value === undefined ? { key } : { key, data: u32Host(value) };
      elements.set(`${set} ${hex(key)} ${value ?? ""}`, { set, element });
    };
    const device = ifname(name);
    put(sets.known, device);
    put(sets.to, device, port.classes.ingress.id);
    put(sets.from, device, port.classes.egress.id);
    const mac = tryParseMac(endpoint.mac);
    if (endpoint.mac !== "") put(sets.macDeclared, device);
    if (mac !== undefined) put(sets.mac, concat(device, macBytes(mac)));
    for (const cidr of cidrsOf(netsOf(endpoint))) {
      if (!isHostCidr(cidr)) continue;
      if (cidr.family === 6 && !this.#config.ipv6Support) continue;
      const source = concat(device, ipBytes(cidr));
      if (mac !== undefined) {
        put(cidr.family === 4 ? sets.sourceMac4 : sets.sourceMac6, concat(source, macBytes(mac)));
      } else if (endpoint.mac === "") {
        put(cidr.family === 4 ? sets.source4 : sets.source6, source);
      }
    }
    if (port.spoofList !== undefined)
      put(sets.spoof, device, this.#spoofLists.idOf(port.spoofList));
    return elements;
  }

  #reviewProblems(names: Iterable<string>): WorkloadEndpointId[] {
    const changed: WorkloadEndpointId[] = [];
    for (const name of names) {
      for (const key of this.#keysByInterface.get(name) ?? []) {
        const endpoint = this.#endpoints.get(key);
        const problem = this.#problemOf(key, name);
        if (endpoint === undefined || problem === this.#problems.get(key)) continue;
        if (problem === undefined) this.#problems.delete(key);
        else this.#problems.set(key, problem);
        // What a whole class suffers from is logged there.
        if (problem !== undefined && !this.#isClassProblem(name, problem)) {
          log.warn("workload endpoint cannot be programmed", { ...endpoint.id, problem });
        }
        changed.push(endpoint.id);
      }
    }
    return changed;
  }

  #isClassProblem(name: string, problem: string): boolean {
    const classes = this.#ports.get(name)?.classes;
    return classes?.ingress.problem === problem || classes?.egress.problem === problem;
  }

  #problemOf(key: string, name: string): string | undefined {
    const port = this.#ports.get(name);
    if (port === undefined) return undefined;
    if (port.owner !== key) {
      return `interface ${name} belongs to endpoint ${port.owner.replaceAll("\0", "/")}`;
    }
    return port.problem ?? port.classes?.ingress.problem ?? port.classes?.egress.problem;
  }
}

function include(names: Set<string>, name: string, wanted: boolean): void {
  if (wanted) names.add(name);
  else names.delete(name);
}

function isIpv6(cidr: Cidr): boolean {
  return cidr.family === 6;
}

function netsOf(endpoint: WorkloadEndpoint): readonly string[] {
  return [...endpoint.ipv4Nets, ...endpoint.ipv6Nets];
}

function cidrsOf(texts: readonly string[]): Cidr[] {
  return texts.map(tryParseCidrOrIp).filter((cidr) => cidr !== undefined);
}

/** What cannot be read is not let through, and is told. */
function addressProblem(endpoint: WorkloadEndpoint): string | undefined {
  const texts = [...netsOf(endpoint), ...endpoint.allowSpoofedSourcePrefixes];
  const bad = texts.find((text) => tryParseCidrOrIp(text) === undefined);
  if (bad !== undefined) return `${bad} is not an address or CIDR`;
  if (endpoint.mac === "" || tryParseMac(endpoint.mac) !== undefined) return undefined;
  return `${endpoint.mac} is not a MAC address`;
}
