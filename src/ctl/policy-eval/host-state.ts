/**
 * What one host's dataplane was told: its policies, profiles and IP sets as `evaluate` asks for
 * them, and its endpoints. Fed with the calculation graph's messages, in their order.
 */
import {
  workloadIdentity,
  type HostEndpoint,
  type ToDataplane,
  type WorkloadEndpoint,
  type WorkloadEndpointId,
} from "#calc";
import { canonicalIp } from "#ip";
import {
  PolicyState,
  type EndpointProgram,
  type HostEndpointPolicy,
  type InterfacePolicy,
} from "#policy";
import { compareBytes } from "#std";

export interface LocalWorkload {
  readonly id: WorkloadEndpointId;
  readonly endpoint: WorkloadEndpoint;
}

export class HostState {
  readonly policies = new PolicyState();
  readonly #workloads = new Map<string, LocalWorkload>();
  readonly #hostEndpoints = new Map<string, HostEndpoint>();

  constructor(messages: readonly ToDataplane[] = []) {
    for (const message of messages) this.take(message);
  }

  /** Messages about other things than policy and endpoints change nothing here. */
  take(message: ToDataplane): void {
    switch (message.case) {
      case "workloadEndpointUpdate":
        this.#workloads.set(workloadIdentity(message.value.id), message.value);
        break;
      case "workloadEndpointRemove":
        this.#workloads.delete(workloadIdentity(message.value.id));
        break;
      case "hostEndpointUpdate":
        this.#hostEndpoints.set(message.value.id.endpointId, message.value.endpoint);
        break;
      case "hostEndpointRemove":
        this.#hostEndpoints.delete(message.value.id.endpointId);
        break;
      default:
        this.#takePolicy(message);
    }
  }

  workload(id: WorkloadEndpointId): WorkloadEndpoint | undefined {
    return this.#workloads.get(workloadIdentity(id))?.endpoint;
  }

  /** The workload behind a host-side interface; of several that say so the lowest identity has it. */
  workloadOn(interfaceName: string): LocalWorkload | undefined {
    const claims = [...this.#workloads].filter(
      ([, { endpoint }]) => endpoint.name === interfaceName,
    );
    return claims.toSorted(([a], [b]) => compareBytes(a, b))[0]?.[1];
  }

  /** Names of the host endpoints in force here. */
  hostEndpointNames(): readonly string[] {
    return [...this.#hostEndpoints.keys()].toSorted();
  }

  /**
   * What polices an interface of this host with this name and these addresses (canonical text). Of a
   * workload's interface, too: forward and pre-DNAT policy for all interfaces covers it.
   */
  interfacePolicy(
    name: string | undefined,
    addresses: readonly string[],
    isWorkloads = false,
  ): InterfacePolicy {
    const ids = this.hostEndpointNames();
    const own = isWorkloads ? undefined : ids.find((id) => this.#claims(id, name, addresses));
    const all = ids.find((id) => this.#hostEndpoints.get(id)?.name === "*");
    const [mine, fallback] = [own, all].map((id) => this.#hostPolicy(id));
    const main = mine ?? fallback;
    const preDnat = [mine, fallback].find((each) => (each?.preDnatTiers.length ?? 0) > 0);
    const untracked = (mine?.untrackedTiers.length ?? 0) > 0 ? mine : undefined;
    return {
      ...(main === undefined ? {} : { main }),
      ...(preDnat === undefined ? {} : { preDnat }),
      ...(untracked === undefined ? {} : { untracked }),
    };
  }

  #claims(id: string, name: string | undefined, addresses: readonly string[]): boolean {
    const endpoint = this.#hostEndpoints.get(id);
    if (endpoint === undefined) return false;
    if (endpoint.name !== "") return endpoint.name === name;
    const expected = [...endpoint.expectedIpv4Addrs, ...endpoint.expectedIpv6Addrs];
    return expected.some((address) => addresses.includes(canonicalIp(address)));
  }

  #hostPolicy(id: string | undefined): HostEndpointPolicy | undefined {
    const endpoint = id === undefined ? undefined : this.#hostEndpoints.get(id);
    if (id === undefined || endpoint === undefined) return undefined;
    return { ...endpoint, name: id, lookups: this.policies };
  }

  /** Interfaces that host endpoints name, without `*`. */
  namedInterfaces(): readonly string[] {
    const names = [...this.#hostEndpoints.values()].map(({ name }) => name);
    return [...new Set(names.filter((name) => name !== "" && name !== "*"))].toSorted();
  }

  /**
   * The datastore does not know which interface has these addresses. A host endpoint that names an
   * interface and expects one of them does; else `eth0` is the host's if some endpoint names it.
   */
  likelyInterface(addresses: readonly string[]): string | undefined {
    const telling = [...this.#hostEndpoints.values()].find(
      ({ name, expectedIpv4Addrs, expectedIpv6Addrs }) =>
        name !== "" &&
        name !== "*" &&
        [...expectedIpv4Addrs, ...expectedIpv6Addrs].some((address) =>
          addresses.includes(canonicalIp(address)),
        ),
    );
    if (telling !== undefined) return telling.name;
    return this.namedInterfaces().find((name) => name === "eth0");
  }

  program(endpoint: WorkloadEndpoint): EndpointProgram {
    return {
      tiers: endpoint.tiers,
      profileIds: endpoint.profileIds,
      lookups: this.policies,
      disabled: endpoint.state !== "active",
    };
  }

  #takePolicy(message: ToDataplane): void {
    const { ipSets } = this.policies;
    switch (message.case) {
      case "ipsetUpdate":
        ipSets.replace(message.value.id, message.value.type, message.value.members);
        break;
      case "ipsetDeltaUpdate": {
        const { id, addedMembers, removedMembers } = message.value;
        ipSets.update(id, addedMembers, removedMembers);
        break;
      }
      case "ipsetRemove":
        ipSets.remove(message.value.id);
        break;
      case "activePolicyUpdate":
        this.policies.setPolicy(message.value.id, message.value.policy);
        break;
      case "activePolicyRemove":
        this.policies.removePolicy(message.value.id);
        break;
      case "activeProfileUpdate":
        this.policies.setProfile(message.value.id.name, message.value.profile);
        break;
      case "activeProfileRemove":
        this.policies.removeProfile(message.value.id.name);
        break;
      default:
    }
  }
}
