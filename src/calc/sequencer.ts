/**
 * Gathers what the graph has to tell and tells it in an order that a dataplane can follow message by
 * message: IP sets before the policies that use them, policies and profiles before the endpoints
 * that refer to them; removals the other way round.
 */
import type { IpSetId, Policy, PolicyId, Profile } from "#policy";
import type {
  HostEndpoint,
  IpSetType,
  RouteUpdate,
  ToDataplane,
  WorkloadEndpoint,
  WorkloadEndpointId,
} from "./messages.ts";
import { Pending, PendingIpSets } from "./pending.ts";

type ValueOf<C extends ToDataplane["case"]> = Extract<ToDataplane, { case: C }>["value"];
export type HostMetadata = ValueOf<"hostMetadataUpdate">;
export type PoolUpdate = ValueOf<"ipamPoolUpdate">;
export type VtepUpdate = ValueOf<"vtepUpdate">;
export type Encapsulation = ValueOf<"encapsulation">;
export type BgpConfigUpdate = ValueOf<"globalBgpConfigUpdate">;
export type NamespaceUpdate = ValueOf<"namespaceUpdate">;
export type ServiceAccountUpdate = ValueOf<"serviceAccountUpdate">;
type Emit = (message: ToDataplane) => void;

export class EventSequencer {
  readonly #ipSets = new PendingIpSets();
  readonly policies = new Pending<string, { readonly id: PolicyId; readonly policy: Policy }>();
  readonly profiles = new Pending<string, Profile>();
  readonly workloads = new Pending<
    string,
    { readonly id: WorkloadEndpointId; readonly endpoint: WorkloadEndpoint }
  >();
  readonly hostEndpoints = new Pending<
    string,
    { readonly id: { readonly endpointId: string }; readonly endpoint: HostEndpoint }
  >();
  readonly namespaces = new Pending<string, NamespaceUpdate>();
  readonly serviceAccounts = new Pending<string, ServiceAccountUpdate>();
  readonly routes = new Pending<string, RouteUpdate>();
  readonly vteps = new Pending<string, VtepUpdate>();
  readonly wireguard = new Pending<string, ValueOf<"wireguardEndpointUpdate">>();
  readonly wireguardV6 = new Pending<string, ValueOf<"wireguardEndpointV6Update">>();
  readonly hosts = new Pending<string, HostMetadata>();
  readonly pools = new Pending<string, PoolUpdate>();
  readonly services = new Pending<string, ValueOf<"serviceUpdate">>();
  /** Keyed by nothing: there is one of each, and none is ever removed. */
  readonly encapsulation = new Pending<"", Encapsulation>();
  readonly bgpConfig = new Pending<"", BgpConfigUpdate>();

  onIpSetAdded(id: IpSetId, type: IpSetType, members: () => Iterable<string>): void {
    this.#ipSets.add(id, type, members);
  }

  onIpSetRemoved(id: IpSetId): void {
    this.#ipSets.remove(id);
  }

  onMemberAdded(id: IpSetId, member: string): void {
    this.#ipSets.addMember(id, member);
  }

  onMemberRemoved(id: IpSetId, member: string): void {
    this.#ipSets.removeMember(id, member);
  }

  flush(emit: Emit): void {
    this.#flushPolicyUpdates(emit);
    this.#flushPolicyRemoves(emit);
    this.#flushIdentities(emit);
    this.#flushNetwork(emit);
    this.#flushCluster(emit);
  }

  #flushPolicyUpdates(emit: Emit): void {
    this.#ipSets.flushFresh((id, type, members) =>
      emit({ case: "ipsetUpdate", value: { id, members, type } }),
    );
    this.#ipSets.flushDeltas((id, addedMembers, removedMembers) =>
      emit({ case: "ipsetDeltaUpdate", value: { id, addedMembers, removedMembers } }),
    );
    this.policies.flushUpdates((_, value) => emit({ case: "activePolicyUpdate", value }));
    this.profiles.flushUpdates((name, profile) =>
      emit({ case: "activeProfileUpdate", value: { id: { name }, profile } }),
    );
    this.workloads.flushUpdates((_, value) => emit({ case: "workloadEndpointUpdate", value }));
    this.hostEndpoints.flushUpdates((_, value) => emit({ case: "hostEndpointUpdate", value }));
  }

  #flushPolicyRemoves(emit: Emit): void {
    this.workloads.flushRemoves((_, { id }) =>
      emit({ case: "workloadEndpointRemove", value: { id } }),
    );
    this.hostEndpoints.flushRemoves((_, { id }) =>
      emit({ case: "hostEndpointRemove", value: { id } }),
    );
    this.profiles.flushRemoves((name) =>
      emit({ case: "activeProfileRemove", value: { id: { name } } }),
    );
    this.policies.flushRemoves((_, { id }) => emit({ case: "activePolicyRemove", value: { id } }));
    this.#ipSets.flushRemoves((id) => emit({ case: "ipsetRemove", value: { id } }));
  }

  #flushIdentities(emit: Emit): void {
    this.serviceAccounts.flushRemoves((_, { id }) =>
      emit({ case: "serviceAccountRemove", value: { id } }),
    );
    this.serviceAccounts.flushUpdates((_, value) => emit({ case: "serviceAccountUpdate", value }));
    this.namespaces.flushRemoves((_, { id }) => emit({ case: "namespaceRemove", value: { id } }));
    this.namespaces.flushUpdates((_, value) => emit({ case: "namespaceUpdate", value }));
  }

  #flushNetwork(emit: Emit): void {
    this.routes.flushRemoves((dst) => emit({ case: "routeRemove", value: { dst } }));
    this.vteps.flushRemoves((node) => emit({ case: "vtepRemove", value: { node } }));
    this.vteps.flushUpdates((_, value) => emit({ case: "vtepUpdate", value }));
    this.routes.flushUpdates((_, value) => emit({ case: "routeUpdate", value }));
  }

  /** In no order among each other; removals first, to hold less at a time. */
  #flushCluster(emit: Emit): void {
    this.wireguard.flushRemoves((hostname) =>
      emit({ case: "wireguardEndpointRemove", value: { hostname } }),
    );
    this.wireguardV6.flushRemoves((hostname) =>
      emit({ case: "wireguardEndpointV6Remove", value: { hostname } }),
    );
    this.wireguard.flushUpdates((_, value) => emit({ case: "wireguardEndpointUpdate", value }));
    this.wireguardV6.flushUpdates((_, value) => emit({ case: "wireguardEndpointV6Update", value }));
    this.hosts.flushRemoves((hostname) =>
      emit({ case: "hostMetadataRemove", value: { hostname } }),
    );
    this.hosts.flushUpdates((_, value) => emit({ case: "hostMetadataUpdate", value }));
    this.pools.flushRemoves((_, { id }) => emit({ case: "ipamPoolRemove", value: { id } }));
    this.pools.flushUpdates((_, value) => emit({ case: "ipamPoolUpdate", value }));
    this.encapsulation.flushUpdates((_, value) => emit({ case: "encapsulation", value }));
    this.bgpConfig.flushUpdates((_, value) => emit({ case: "globalBgpConfigUpdate", value }));
    this.services.flushRemoves((_, { name, namespace }) =>
      emit({ case: "serviceRemove", value: { name, namespace } }),
    );
    this.services.flushUpdates((_, value) => emit({ case: "serviceUpdate", value }));
  }
}
