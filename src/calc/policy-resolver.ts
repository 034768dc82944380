/**
 * The sorted tiers of each local endpoint. Only endpoints that something of theirs changed for are
 * resolved again, and only the policies that match them are sorted.
 */
import type {
  HostEndpointKey,
  ModelHostEndpoint,
  ModelPolicy,
  ModelTier,
  ModelWorkloadEndpoint,
  WorkloadEndpointKey,
} from "#model";
import { MultiMap } from "#std";
import { sortTiers, splitTiers, type EndpointTiers, type PlacedPolicy } from "./policy-order.ts";

export type LocalEndpoint =
  | { readonly key: WorkloadEndpointKey; readonly value: ModelWorkloadEndpoint }
  | { readonly key: HostEndpointKey; readonly value: ModelHostEndpoint };

export interface PolicyResolverEvents {
  onEndpointTiers(id: string, endpoint: LocalEndpoint, tiers: EndpointTiers): void;
  onEndpointRemoved(id: string): void;
}

export class PolicyResolver {
  readonly #events: PolicyResolverEvents;
  readonly #tiers = new Map<string, ModelTier>();
  readonly #policies: ReadonlyMap<string, PlacedPolicy>;
  readonly #endpoints = new Map<string, LocalEndpoint>();
  readonly #policiesOf = new MultiMap<string, string>();
  readonly #endpointsOf = new MultiMap<string, string>();
  readonly #dirty = new Set<string>();

  /** `policies`: all there are, kept by the caller. */
  constructor(events: PolicyResolverEvents, policies: ReadonlyMap<string, PlacedPolicy>) {
    this.#events = events;
    this.#policies = policies;
  }

  get tierCount(): number {
    return this.#tiers.size;
  }

  /** `before` is what the policy was; it has changed, come or gone. */
  onPolicy(id: string, before: ModelPolicy | undefined): void {
    const after = this.#policies.get(id)?.policy;
    if (before === undefined || after === undefined || placesDiffer(before, after)) this.#touch(id);
  }

  setTier(name: string, tier: ModelTier | null): void {
    const before = this.#tiers.get(name);
    if (tier === null) this.#tiers.delete(name);
    else this.#tiers.set(name, tier);
    if (before?.order === tier?.order && before?.defaultAction === tier?.defaultAction) {
      if ((before === undefined) === (tier === null)) return;
    }
    for (const policy of this.#endpointsOf.keys()) {
      if (this.#policies.get(policy)?.policy.tier === name) this.#touch(policy);
    }
  }

  setEndpoint(id: string, endpoint: LocalEndpoint | null): void {
    if (endpoint === null) this.#endpoints.delete(id);
    else this.#endpoints.set(id, endpoint);
    this.#dirty.add(id);
  }

  /** Something else that endpoints' messages tell has changed. */
  touchAll(): void {
    for (const id of this.#endpoints.keys()) this.#dirty.add(id);
  }

  onMatchStarted(policy: string, endpoint: string): void {
    this.#policiesOf.add(endpoint, policy);
    this.#endpointsOf.add(policy, endpoint);
    this.#dirty.add(endpoint);
  }

  onMatchStopped(policy: string, endpoint: string): void {
    this.#policiesOf.delete(endpoint, policy);
    this.#endpointsOf.delete(policy, endpoint);
    this.#dirty.add(endpoint);
  }

  /** Only when in sync: before, the order would be that of a part. */
  flush(): void {
    for (const id of this.#dirty) {
      const endpoint = this.#endpoints.get(id);
      if (endpoint === undefined) {
        this.#events.onEndpointRemoved(id);
        continue;
      }
      const policies: PlacedPolicy[] = [];
      for (const policy of this.#policiesOf.get(id)) {
        const placed = this.#policies.get(policy);
        if (placed !== undefined) policies.push(placed);
      }
      this.#events.onEndpointTiers(id, endpoint, splitTiers(sortTiers(policies, this.#tiers)));
    }
    this.#dirty.clear();
  }

  #touch(policy: string): void {
    for (const endpoint of this.#endpointsOf.get(policy)) this.#dirty.add(endpoint);
  }
}

/** Rules do not show in an endpoint. */
function placesDiffer(a: ModelPolicy, b: ModelPolicy): boolean {
  return (
    a.tier !== b.tier ||
    a.order !== b.order ||
    a.doNotTrack !== b.doNotTrack ||
    a.preDnat !== b.preDnat ||
    a.applyOnForward !== b.applyOnForward ||
    a.types.join() !== b.types.join()
  );
}
