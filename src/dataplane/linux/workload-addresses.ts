/**
 * Local workload endpoints, and which of them has an interface and an address.
 *
 *     address ──▶ endpoints that claim it ──▶ those that own their interface and are active
 *             ──▶ interface up before down ──▶ lowest identity
 *
 * Two endpoints with the same interface: the one with the lowest identity has it, the other waits;
 * the policy table goes by the same rule.
 */
import { workloadIdentity, type WorkloadEndpoint, type WorkloadEndpointId } from "#calc";
import { formatCidr, tryParseCidrOrIp, type Cidr, type IpFamily } from "#ip";
import type { Link } from "#netlink";
import { compareBytes, MultiMap } from "#std";

export interface LocalEndpoint {
  readonly id: WorkloadEndpointId;
  readonly endpoint: WorkloadEndpoint;
}

/** Who has an address, and behind which interface, once that exists. */
export interface AddressTarget extends LocalEndpoint {
  readonly key: string;
  readonly link: Link | undefined;
}

interface Entry extends LocalEndpoint {
  readonly addresses: ReadonlyMap<string, Cidr>;
}

export class WorkloadAddresses {
  readonly #entries = new Map<string, Entry>();
  readonly #keysByInterface = new MultiMap<string, string>();
  readonly #keysByAddress = new MultiMap<string, string>();
  readonly #families: readonly IpFamily[];
  readonly #floatingIps: boolean;
  readonly #linkByName: (name: string) => Link | undefined;
  readonly #dirty = new Map<string, Cidr>();

  /** Addresses of other families are left alone; floating ones count if there shall be such. */
  constructor(
    { families, floatingIps }: { families: readonly IpFamily[]; floatingIps: boolean },
    linkByName: (name: string) => Link | undefined,
  ) {
    this.#families = families;
    this.#floatingIps = floatingIps;
    this.#linkByName = linkByName;
  }

  get(key: string): LocalEndpoint | undefined {
    return this.#entries.get(key);
  }

  keysOn(interfaceName: string): ReadonlySet<string> {
    return this.#keysByInterface.get(interfaceName);
  }

  /** Endpoints that claim the address, written as `formatCidr` does. */
  keysWith(address: string): ReadonlySet<string> {
    return this.#keysByAddress.get(address);
  }

  /** The endpoint that has the interface. */
  owner(interfaceName: string): LocalEndpoint | undefined {
    const key = this.#ownerKey(interfaceName);
    return key === undefined ? undefined : this.#entries.get(key);
  }

  /** Whether any workload has an IPv4 address. */
  get hasIpv4(): boolean {
    for (const { endpoint } of this.#entries.values())
      if (endpoint.ipv4Nets.length > 0) return true;
    return false;
  }

  set(id: WorkloadEndpointId, endpoint: WorkloadEndpoint): void {
    const key = workloadIdentity(id);
    this.remove(id);
    const nets = [...endpoint.ipv4Nets, ...endpoint.ipv6Nets];
    if (this.#floatingIps) {
      nets.push(...[...endpoint.ipv4Nat, ...endpoint.ipv6Nat].map(({ extIp }) => extIp));
    }
    const addresses = addressesOf(nets, this.#families);
    this.#entries.set(key, { id, endpoint, addresses });
    for (const text of addresses.keys()) this.#keysByAddress.add(text, key);
    this.#keysByInterface.add(endpoint.name, key);
    this.interfaceChanged(endpoint.name);
  }

  remove(id: WorkloadEndpointId): void {
    const key = workloadIdentity(id);
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#keysByInterface.delete(entry.endpoint.name, key);
    for (const [text, cidr] of entry.addresses) {
      this.#keysByAddress.delete(text, key);
      this.#dirty.set(text, cidr);
    }
    this.interfaceChanged(entry.endpoint.name);
  }

  /** The addresses behind this interface may go elsewhere now. */
  interfaceChanged(name: string): void {
    for (const key of this.#keysByInterface.get(name)) {
      for (const [text, cidr] of this.#entries.get(key)?.addresses ?? []) {
        this.#dirty.set(text, cidr);
      }
    }
  }

  get dirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** Calls back for each address whose target may have changed since the last call. */
  resolve(callback: (address: Cidr, target: AddressTarget | undefined) => void): void {
    for (const [text, cidr] of this.#dirty) callback(cidr, this.#target(text));
    this.#dirty.clear();
  }

  #target(address: string): AddressTarget | undefined {
    let best: AddressTarget | undefined;
    for (const key of this.#keysByAddress.get(address)) {
      const entry = this.#entries.get(key);
      if (entry?.endpoint.state !== "active") continue;
      const { id, endpoint } = entry;
      if (this.#ownerKey(endpoint.name) !== key) continue;
      const candidate = { key, id, endpoint, link: this.#linkByName(endpoint.name) };
      if (best === undefined || better(candidate, best)) best = candidate;
    }
    return best;
  }

  #ownerKey(interfaceName: string): string | undefined {
    let owner: string | undefined;
    for (const key of this.#keysByInterface.get(interfaceName)) {
      if (owner === undefined || compareBytes(key, owner) < 0) owner = key;
    }
    return owner;
  }
}

function better(a: AddressTarget, b: AddressTarget): boolean {
  const [upA, upB] = [a.link?.adminUp === true, b.link?.adminUp === true];
  if (upA !== upB) return upA;
  return compareBytes(a.key, b.key) < 0;
}

/** What is no network is left out: the policy table reports it as the endpoint's problem. */
function addressesOf(nets: readonly string[], families: readonly IpFamily[]): Map<string, Cidr> {
  const addresses = new Map<string, Cidr>();
  for (const text of nets) {
    const cidr = tryParseCidrOrIp(text);
    if (cidr !== undefined && families.includes(cidr.family)) addresses.set(formatCidr(cidr), cidr);
  }
  return addresses;
}
