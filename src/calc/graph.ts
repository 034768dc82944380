/**
 * The calculation graph: model updates in, dataplane messages out. Synchronous and pure. What comes
 * out depends only on the present state, not on the order, the splitting or the repetition of the
 * updates; `null` means absent. Nothing comes out before the datastore is in sync, since a part of
 * the policies is not a policy.
 */
import {
  modelKeyText,
  type HostEndpointKey,
  type ModelHostEndpoint,
  type ModelPolicy,
  type ModelUpdate,
  type ModelWorkloadEndpoint,
  type PolicyKey,
  type WorkloadEndpointKey,
} from "#model";
import type { Policy } from "#policy";
import type { Labels } from "#selector";
import { unreachable } from "#std";
import { ActiveRules } from "./active-rules.ts";
import {
  EncapsulationResolver,
  passNode,
  passPool,
  passProfileLabels,
  type EncapsulationOptions,
} from "./cluster-info.ts";
import { emitEndpoint } from "./endpoint-messages.ts";
import { IpSetIndex } from "./ip-sets.ts";
import type { ToDataplane } from "./messages.ts";
import { PolicyResolver, type LocalEndpoint } from "./policy-resolver.ts";
import { RouteResolver } from "./routes.ts";
import { RuleScanner, type ModelRuleLists } from "./rule-scanner.ts";
import { EventSequencer } from "./sequencer.ts";
import { unsupportedFields } from "./unsupported.ts";
import { VtepResolver } from "./vteps.ts";

export interface CalcGraphOptions extends EncapsulationOptions {
  readonly hostname: string;
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
}

type Status = "wait-for-datastore" | "resync" | "in-sync";

export class CalcGraph {
  readonly #hostname: string;
  readonly #sequencer = new EventSequencer();
  readonly #ipSets = new IpSetIndex(this.#sequencer);
  readonly #scanner = new RuleScanner(this.#ipSets);
  readonly #policyKeys = new Map<string, PolicyKey>();
  readonly #vteps = new VtepResolver(this.#sequencer);
  readonly #localEndpoints = new Map<string, LocalEndpoint>();
  readonly #resolver: PolicyResolver;
  readonly #activeRules: ActiveRules;
  readonly #encapsulation: EncapsulationResolver;
  readonly #routes: RouteResolver;
  #workloads = 0;
  #hostEndpoints = 0;
  #inSync = false;
  #saidInSync = false;

  constructor(options: CalcGraphOptions) {
    this.#hostname = options.hostname;
    this.#encapsulation = new EncapsulationResolver(options);
    this.#routes = new RouteResolver(options.hostname, this.#sequencer);
    this.#resolver = new PolicyResolver({
      onEndpointTiers: (id, endpoint, tiers) => emitEndpoint(id, endpoint, tiers, this.#sequencer),
      onEndpointRemoved: (id) => {
        this.#sequencer.workloads.remove(id);
        this.#sequencer.hostEndpoints.remove(id);
      },
    });
    this.#activeRules = new ActiveRules({
      onPolicyActive: (id, policy) => this.#onPolicyActive(id, policy),
      onPolicyInactive: (id) => {
        this.#sequencer.policies.remove(id);
        this.#scanner.deleteRules(id);
      },
      onProfileActive: (name, rules) =>
        this.#scanner.setRules(`profile/${name}`, rules, (resolved) =>
          this.#sequencer.profiles.update(name, { ...resolved, ...unsupportedIn(rules) }),
        ),
      onProfileInactive: (name) => {
        this.#sequencer.profiles.remove(name);
        this.#scanner.deleteRules(`profile/${name}`);
      },
      onMatchStarted: (policy, endpoint) => this.#resolver.onMatchStarted(policy, endpoint),
      onMatchStopped: (policy, endpoint) => this.#resolver.onMatchStopped(policy, endpoint),
    });
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
    this.#resolver.flush();
    const encapsulation = this.#encapsulation.current();
    const vxlan = encapsulation.vxlanEnabled || encapsulation.vxlanEnabledV6;
    this.#vteps.flush(vxlan);
    this.#routes.flush(vxlan || encapsulation.ipipEnabled || encapsulation.noEncapEnabled);
    this.#sequencer.setEncapsulation(encapsulation);
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
      clusterPolicies: this.#policyKeys.size,
      clusterWorkloadEndpoints: this.#workloads,
      clusterHostEndpoints: this.#hostEndpoints,
    };
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
        this.#vteps.setNode(key.name, node);
        this.#routes.setNode(key.name, node);
        return;
      }
      case "IPAMBlock":
        this.#routes.setBlock(key.cidr, valueOf(update, "IPAMBlock"));
        return;
      case "FelixConfiguration":
      case "ClusterInformation":
        return;
      default:
        unreachable(key);
    }
  }

  #onWorkload(key: WorkloadEndpointKey, value: ModelWorkloadEndpoint | null): void {
    const id = modelKeyText(key);
    this.#workloads += Number(value !== null) - Number(this.#ipSets.hasItem(id));
    if (value === null) this.#ipSets.deleteItem(id);
    else this.#ipSets.setWorkload(id, value);
    if (key.hostname !== this.#hostname) return;
    this.#routes.setLocalWorkload(id, value);
    this.#onLocal(id, value === null ? null : { key, value });
  }

  #onHostEndpoint(key: HostEndpointKey, value: ModelHostEndpoint | null): void {
    const id = modelKeyText(key);
    this.#hostEndpoints += Number(value !== null) - Number(this.#ipSets.hasItem(id));
    if (value === null) this.#ipSets.deleteItem(id);
    else this.#ipSets.setHostEndpoint(id, value);
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

  #onPolicy(key: PolicyKey, value: ModelPolicy | null): void {
    const id = modelKeyText(key);
    if (value === null) {
      this.#activeRules.deletePolicy(id);
      this.#resolver.deletePolicy(id);
      this.#policyKeys.delete(id);
      return;
    }
    this.#policyKeys.set(id, key);
    this.#resolver.setPolicy(id, key, value);
    this.#activeRules.setPolicy(id, value);
  }

  #onPolicyActive(id: string, policy: ModelPolicy): void {
    const key = this.#policyKeys.get(id);
    if (key === undefined) return;
    this.#scanner.setRules(id, policy, (rules) =>
      this.#sequencer.policies.update(id, {
        id: { name: key.name, namespace: key.namespace, kind: key.policyKind },
        policy: {
          ...rules,
          ...unsupportedIn(policy),
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
  }
}

function unsupportedIn(lists: ModelRuleLists): Pick<Policy, "unsupported"> {
  const unsupported = unsupportedFields(lists);
  return unsupported.length === 0 ? {} : { unsupported };
}

type ValueFor<K extends ModelUpdate["key"]["kind"]> = Extract<
  ModelUpdate,
  { readonly key: { readonly kind: K } }
>["value"];

/** The union ties a value's type to its key's kind; the compiler does not see it through `key`. */
function valueOf<K extends ModelUpdate["key"]["kind"]>(update: ModelUpdate, _kind: K): ValueFor<K> {
  return update.value as ValueFor<K>;
}
