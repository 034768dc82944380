/**
 * The calculation graph: model updates in, dataplane messages out. Synchronous and pure. What comes
 * out depends only on the present state, not on the order, the splitting or the repetition of the
 * updates; `null` means absent. Nothing comes out before the datastore is in sync, since a part of
 * the policies is not a policy.
 */
import {
  modelKeyParts,
  modelKeyText,
  type HostEndpointKey,
  type ModelHostEndpoint,
  type ModelPolicy,
  type ModelUpdate,
  type ModelWorkloadEndpoint,
  type PolicyKey,
  type WorkloadEndpointKey,
} from "#model";
import type { Labels } from "#selector";
import { unreachable } from "#std";
import { ActiveRules, type ActiveRulesEvents } from "./active-rules.ts";
import {
  BgpConfigPasser,
  EncapsulationResolver,
  passNode,
  passPool,
  passProfileLabels,
  passService,
  passWireguard,
  type EncapsulationOptions,
} from "./cluster-info.ts";
import { DecidedRules } from "./decided-rules.ts";
import { emitEndpoint } from "./endpoint-messages.ts";
import { IpSetIndex } from "./ip-sets.ts";
import type { LabelIndexStatistics } from "./label-index.ts";
import { LiveMigrations, type MigrationRole } from "./live-migrations.ts";
import type { ToDataplane } from "./messages.ts";
import { idOf, type PlacedPolicy } from "./policy-order.ts";
import {
  PolicyResolver,
  type LocalEndpoint,
  type PolicyResolverEvents,
} from "./policy-resolver.ts";
import { RouteResolver, type RouteSource } from "./routes.ts";
import { EventSequencer } from "./sequencer.ts";
import { VtepResolver } from "./vteps.ts";
import { WorkloadFilter } from "./workload-filter.ts";

/** What of the agent's configuration the graph depends on. */
export interface GraphSettings extends EncapsulationOptions {
  /** Whether the agent programs routes to IPIP pools; default true. */
  readonly programsIpipRoutes?: boolean;
  readonly wireguardEnabled?: boolean;
  /** Default `CalicoIPAM`. */
  readonly routeSource?: RouteSource;
  /** Default `Disabled`: a workload that asks for spoofed sources is not valid and counts as absent. */
  readonly workloadSourceSpoofing?: "Any" | "Disabled";
}

export interface CalcGraphOptions extends GraphSettings {
  readonly hostname: string;
  /** Called, at a flush, for each workload that counts as absent for what it asks for. */
  readonly onRefused?: (key: WorkloadEndpointKey) => void;
}

/** Numbers of objects, for metrics. */
export interface GraphStatistics {
  readonly activeLocalEndpoints: number;
  readonly activeLocalPolicies: number;
  /** IP sets that rules in force use. */
  readonly activeLocalSelectors: number;
  readonly clusterPolicies: number;
  readonly clusterWorkloadEndpoints: number;
  readonly clusterHostEndpoints: number;
  readonly clusterHosts: number;
  readonly clusterProfiles: number;
  readonly clusterTiers: number;
  /** Of the index that IP sets get their members from. */
  readonly labelIndex: LabelIndexStatistics;
}

type Status = "wait-for-datastore" | "resync" | "in-sync";

export class CalcGraph {
  readonly #hostname: string;
  readonly #sequencer = new EventSequencer();
  readonly #profileLabels = new Map<string, Labels>();
  readonly #ipSets = new IpSetIndex(this.#sequencer, this.#profileLabels);
  readonly #rules = new DecidedRules(this.#ipSets);
  readonly #policies = new Map<string, PlacedPolicy>();
  readonly #vteps = new VtepResolver(this.#sequencer);
  readonly #localEndpoints = new Map<string, LocalEndpoint>();
  readonly #resolver: PolicyResolver;
  readonly #activeRules: ActiveRules;
  readonly #encapsulation = new EncapsulationResolver();
  readonly #bgpConfig = new BgpConfigPasser(this.#sequencer);
  readonly #migrations = new LiveMigrations();
  readonly #routes: RouteResolver;
  readonly #workloadFilter = new WorkloadFilter();
  readonly #onRefused: ((key: WorkloadEndpointKey) => void) | undefined;
  #settings: GraphSettings;
  #workloads = 0;
  #hostEndpoints = 0;
  #inSync = false;
  #saidInSync = false;

  constructor(options: CalcGraphOptions) {
    this.#hostname = options.hostname;
    this.#settings = options;
    this.#onRefused = options.onRefused;
    this.#allowSpoofing();
    this.#routes = new RouteResolver(options.hostname, this.#sequencer);
    this.#routes.setSource(options.routeSource ?? "CalicoIPAM");
    this.#resolver = new PolicyResolver(this.#resolverEvents(), this.#policies);
    this.#activeRules = new ActiveRules(
      this.#activeRulesEvents(),
      this.#policies,
      this.#profileLabels,
    );
  }

  #resolverEvents(): PolicyResolverEvents {
    return {
      onEndpointTiers: (id, endpoint, tiers) =>
        emitEndpoint(id, endpoint, tiers, this.#roleOf(id, endpoint), this.#sequencer),
      onEndpointRemoved: (id) => {
        this.#sequencer.workloads.remove(id);
        this.#sequencer.hostEndpoints.remove(id);
      },
    };
  }

  #activeRulesEvents(): ActiveRulesEvents {
    return {
      onPolicyActive: (id, policy) => this.#onPolicyActive(id, policy),
      onPolicyInactive: (id) => {
        this.#sequencer.policies.remove(id);
        this.#rules.delete(id);
      },
      onProfileActive: (name, rules) =>
        this.#rules.set(`profile/${name}`, rules, (resolved) =>
          this.#sequencer.profiles.update(name, resolved),
        ),
      onProfileInactive: (name) => {
        this.#sequencer.profiles.remove(name);
        this.#rules.delete(`profile/${name}`);
      },
      onMatchStarted: (policy, endpoint) => this.#resolver.onMatchStarted(policy, endpoint),
      onMatchStopped: (policy, endpoint) => this.#resolver.onMatchStopped(policy, endpoint),
    };
  }

  /** Replaces the settings; takes effect at the next flush. */
  configure(settings: GraphSettings): void {
    const before = this.#settings;
    this.#settings = settings;
    this.#allowSpoofing();
    if (before.routeSource !== settings.routeSource) this.#changeRouteSource();
  }

  #allowSpoofing(): void {
    const allows = this.#settings.workloadSourceSpoofing === "Any";
    for (const { key, value } of this.#workloadFilter.allow(allows)) this.#onWorkload(key, value);
  }

  onUpdates(updates: readonly ModelUpdate[]): void {
    for (const update of updates) this.#onUpdate(update);
  }

  /** A later loss of the datastore changes nothing: what was in force stays. */
  onStatus(status: Status): void {
    if (status === "in-sync") this.#inSync = true;
  }

  /**
   * What changed since the last flush, in order; nothing before in-sync. `inSync` ends the first
   * one after it.
   */
  flush(emit?: (message: ToDataplane) => void): ToDataplane[] {
    const messages: ToDataplane[] = [];
    if (!this.#inSync) return messages;
    const push = (message: ToDataplane): void => {
      if (emit === undefined) messages.push(message);
      else emit(message);
    };
    if (this.#onRefused !== undefined) this.#workloadFilter.report(this.#onRefused);
    this.#rules.review(this.#ipSets.knowsServices);
    this.#resolver.flush();
    this.#flushNetwork();
    this.#sequencer.flush(push);
    if (!this.#saidInSync) {
      this.#saidInSync = true;
      push({ case: "inSync", value: {} });
    }
    return messages;
  }

  statistics(): GraphStatistics {
    return {
      activeLocalEndpoints: this.#localEndpoints.size,
      activeLocalPolicies: this.#activeRules.activePolicies,
      activeLocalSelectors: this.#ipSets.size,
      clusterPolicies: this.#policies.size,
      clusterWorkloadEndpoints: this.#workloads,
      clusterHostEndpoints: this.#hostEndpoints,
      clusterHosts: this.#routes.nodeCount,
      clusterProfiles: this.#activeRules.profileCount,
      clusterTiers: this.#resolver.tierCount,
      labelIndex: this.#ipSets.labelIndexStatistics(),
    };
  }

  #flushNetwork(): void {
    const { programsIpipRoutes = true, wireguardEnabled = false } = this.#settings;
    const encapsulation = this.#encapsulation.current(this.#settings);
    const vxlan = encapsulation.vxlanEnabled || encapsulation.vxlanEnabledV6;
    const ipip = encapsulation.ipipEnabled && programsIpipRoutes;
    this.#vteps.flush(vxlan);
    this.#routes.flush(vxlan || ipip || encapsulation.noEncapEnabled || wireguardEnabled);
    this.#sequencer.encapsulation.update("", encapsulation);
    this.#bgpConfig.flush();
  }

  #onUpdate(update: ModelUpdate): void {
    const { key } = update;
    switch (key.kind) {
      case "WorkloadEndpoint":
        this.#onWorkload(key, update.value as ModelWorkloadEndpoint | null);
        return;
      case "HostEndpoint":
        this.#onHostEndpoint(key, update.value as ModelHostEndpoint | null);
        return;
      case "Policy":
        this.#onPolicy(key, update.value as ModelPolicy | null);
        return;
      case "ProfileRules":
        this.#activeRules.setProfileRules(key.name, valueOf(update, "ProfileRules"));
        return;
      case "ProfileLabels":
        this.#onProfileLabels(key.name, valueOf(update, "ProfileLabels"));
        return;
      case "Tier":
        this.#resolver.setTier(key.name, valueOf(update, "Tier"));
        return;
      case "NetworkSet": {
        const set = valueOf(update, "NetworkSet");
        const id = modelKeyText(key);
        if (set === null) this.#ipSets.deleteItem(id);
        else this.#ipSets.setNetworkSet(id, set);
        return;
      }
      case "IPPool": {
        const pool = valueOf(update, "IPPool");
        passPool(key.cidr, pool, this.#sequencer);
        this.#encapsulation.setPool(key.cidr, pool);
        this.#routes.setPool(key.cidr, pool);
        return;
      }
      case "Node": {
        const node = valueOf(update, "Node");
        passNode(key.name, node, this.#sequencer);
        passWireguard(key.name, node, this.#sequencer);
        this.#vteps.setNode(key.name, node);
        this.#routes.setNode(key.name, node);
        return;
      }
      case "IPAMBlock":
        this.#routes.setBlock(key.cidr, valueOf(update, "IPAMBlock"));
        return;
      case "BGPConfiguration":
        this.#bgpConfig.set(valueOf(update, "BGPConfiguration"));
        return;
      case "KubernetesService":
        passService(key, valueOf(update, "KubernetesService"), this.#sequencer);
        return;
      case "EndpointSlice":
        this.#ipSets.setEndpointSlice(key, valueOf(update, "EndpointSlice"));
        return;
      case "LiveMigration":
        this.#migrations.set(modelKeyText(key), valueOf(update, "LiveMigration"));
        this.#resolver.touchAll();
        return;
      case "FelixConfiguration":
      case "ClusterInformation":
        return;
      default:
        unreachable(key);
    }
  }

  #onWorkload(key: WorkloadEndpointKey, given: ModelWorkloadEndpoint | null): void {
    const id = modelKeyText(key);
    const value = this.#workloadFilter.admit(id, key, given);
    if (value === null) this.#workloads -= Number(this.#ipSets.deleteItem(id));
    else this.#workloads += Number(this.#ipSets.setWorkload(id, value));
    this.#routeWorkload(id, key.hostname);
    if (key.hostname !== this.#hostname) return;
    this.#onLocal(id, value === null ? null : { key, value });
  }

  #routeWorkload(id: string, hostname: string): void {
    const counts = hostname === this.#hostname || this.#settings.routeSource === "WorkloadIPs";
    if (counts) this.#routes.setWorkload(id, hostname, this.#ipSets.netsOf(id));
  }

  #changeRouteSource(): void {
    const { routeSource = "CalicoIPAM" } = this.#settings;
    this.#routes.setSource(routeSource);
    for (const id of this.#ipSets.items()) {
      const [kind = "", hostname = ""] = modelKeyParts(id);
      if (kind !== "WorkloadEndpoint" || hostname === this.#hostname) continue;
      const nets = routeSource === "WorkloadIPs" ? this.#ipSets.netsOf(id) : [];
      this.#routes.setWorkload(id, hostname, nets);
    }
  }

  #onHostEndpoint(key: HostEndpointKey, value: ModelHostEndpoint | null): void {
    const id = modelKeyText(key);
    if (value === null) this.#hostEndpoints -= Number(this.#ipSets.deleteItem(id));
    else this.#hostEndpoints += Number(this.#ipSets.setHostEndpoint(id, value));
    if (key.hostname !== this.#hostname) return;
    this.#onLocal(id, value === null ? null : { key, value });
  }

  #onLocal(id: string, endpoint: LocalEndpoint | null): void {
    if (endpoint === null) {
      if (!this.#localEndpoints.delete(id)) return;
      this.#resolver.setEndpoint(id, null);
      this.#activeRules.deleteEndpoint(id);
      return;
    }
    this.#localEndpoints.set(id, endpoint);
    this.#resolver.setEndpoint(id, endpoint);
    this.#activeRules.setEndpoint(id, endpoint.value.labels, endpoint.value.profileIds);
  }

  #onPolicy(key: PolicyKey, policy: ModelPolicy | null): void {
    const id = modelKeyText(key);
    const before = this.#policies.get(id)?.policy;
    if (policy === null) this.#policies.delete(id);
    else this.#policies.set(id, { key, policy });
    this.#resolver.onPolicy(id, before);
    this.#activeRules.onPolicy(id);
  }

  #onPolicyActive(id: string, policy: ModelPolicy): void {
    const placed = this.#policies.get(id);
    if (placed === undefined) return;
    this.#rules.set(id, policy, (rules) =>
      this.#sequencer.policies.update(id, {
        id: idOf(placed.key),
        policy: {
          ...rules,
          untracked: policy.doNotTrack,
          preDnat: policy.preDnat,
          namespace: policy.namespace,
          originalSelector: policy.originalSelector,
          perfHints: policy.performanceHints,
          tier: policy.tier,
        },
      }),
    );
  }

  #onProfileLabels(name: string, labels: Labels | null): void {
    this.#ipSets.setProfileLabels(name, labels);
    this.#activeRules.setProfileLabels(name, labels);
    passProfileLabels(name, labels, this.#sequencer);
    if (!this.#migrations.isEmpty) this.#resolver.touchAll();
  }

  #roleOf(id: string, { key }: LocalEndpoint): MigrationRole | undefined {
    if (this.#migrations.isEmpty || key.kind !== "WorkloadEndpoint") return undefined;
    return this.#migrations.roleOf(key, (selector) =>
      this.#activeRules.endpointMatches(id, selector),
    );
  }
}

type ValueFor<K extends ModelUpdate["key"]["kind"]> = Extract<
  ModelUpdate,
  { readonly key: { readonly kind: K } }
>["value"];

/** The union ties a value's type to its key's kind; the compiler does not see it through `key`. */
function valueOf<K extends ModelUpdate["key"]["kind"]>(update: ModelUpdate, _kind: K): ValueFor<K> {
  return update.value as ValueFor<K>;
}
