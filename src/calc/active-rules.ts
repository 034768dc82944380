/**
 * Which policies and profiles are in force on this host: those that select or are listed by a local
 * endpoint, and policies that ask to be kept everywhere. A profile that is listed but absent denies
 * all.
 */
import { ANY_ENTITY, type ModelPolicy } from "#model";
import { DEFAULT_ALLOW_PROFILE } from "#resource";
import { parseComposedSelector, type Labels, type Selector } from "#selector";
import { RefCounts } from "#std";
import { LabelIndex, type LabelIndexEvents } from "./label-index.ts";
import type { PlacedPolicy } from "./policy-order.ts";
import type { ModelRuleLists } from "./rule-scanner.ts";

export interface ActiveRulesEvents {
  /** Also when the policy of an active id changes. */
  onPolicyActive(id: string, policy: ModelPolicy): void;
  onPolicyInactive(id: string): void;
  onProfileActive(name: string, rules: ModelRuleLists): void;
  onProfileInactive(name: string): void;
  onMatchStarted(policy: string, endpoint: string): void;
  onMatchStopped(policy: string, endpoint: string): void;
}

const EVERYWHERE = "AssumeNeededOnEveryNode";
const DENY = [{ action: "deny", source: ANY_ENTITY, destination: ANY_ENTITY }] as const;
const DENY_ALL: ModelRuleLists = { inboundRules: DENY, outboundRules: DENY };
const ALLOW = [{ action: "allow", source: ANY_ENTITY, destination: ANY_ENTITY }] as const;
const ALLOW_ALL: ModelRuleLists = { inboundRules: ALLOW, outboundRules: ALLOW };

/** What a profile that is not in the datastore does: it denies, but for the one that every datastore has. */
function rulesOfAbsent(name: string): ModelRuleLists {
  return name === DEFAULT_ALLOW_PROFILE ? ALLOW_ALL : DENY_ALL;
}

export class ActiveRules {
  readonly #events: ActiveRulesEvents;
  readonly #policies: ReadonlyMap<string, PlacedPolicy>;
  readonly #active = new Set<string>();
  readonly #profileRules = new Map<string, ModelRuleLists>();
  readonly #profileUsers = new RefCounts<string>();
  /** Local endpoint → its profiles, each once. */
  readonly #profilesOf = new Map<string, ReadonlySet<string>>();
  readonly #index: LabelIndex<string, string>;
  /** Policies that a match has started or stopped for and that were not looked at yet. */
  readonly #touched = new Set<string>();

  /** `policies`: all there are, kept by the caller. `profileLabels`: see the label index. */
  constructor(
    events: ActiveRulesEvents,
    policies: ReadonlyMap<string, PlacedPolicy>,
    profileLabels: Map<string, Labels>,
  ) {
    this.#events = events;
    this.#policies = policies;
    const indexEvents: LabelIndexEvents<string, string> = {
      onMatchStarted: (policy, endpoint) => {
        this.#touched.add(policy);
        events.onMatchStarted(policy, endpoint);
      },
      onMatchStopped: (policy, endpoint) => {
        this.#touched.add(policy);
        events.onMatchStopped(policy, endpoint);
      },
    };
    this.#index = new LabelIndex(indexEvents, profileLabels);
  }

  /** Profiles that exist. */
  get profileCount(): number {
    return this.#profileRules.size;
  }

  get activePolicies(): number {
    return this.#active.size;
  }

  /** A policy has come, changed or gone. */
  onPolicy(id: string): void {
    const placed = this.#policies.get(id);
    if (placed === undefined) this.#index.deleteSelector(id);
    else this.#index.setSelector(id, parseComposedSelector(placed.policy.selector));
    this.#touched.delete(id);
    this.#review(id, true);
  }

  setEndpoint(id: string, labels: Labels, profileIds: readonly string[]): void {
    const profiles = new Set(profileIds);
    const before = this.#profilesOf.get(id);
    this.#profilesOf.set(id, profiles);
    for (const name of profiles) this.#useProfile(name);
    for (const name of before ?? []) this.#releaseProfile(name);
    this.#index.setItem(id, labels, profileIds, undefined);
    this.#reviewTouched();
  }

  deleteEndpoint(id: string): void {
    const profiles = this.#profilesOf.get(id);
    if (profiles === undefined) return;
    this.#profilesOf.delete(id);
    this.#index.deleteItem(id);
    this.#reviewTouched();
    for (const name of profiles) this.#releaseProfile(name);
  }

  endpointMatches(id: string, selector: Selector): boolean {
    return this.#index.itemMatches(id, selector);
  }

  setProfileLabels(name: string, labels: Labels | null): void {
    this.#index.setParent(name, labels);
    this.#reviewTouched();
  }

  setProfileRules(name: string, rules: ModelRuleLists | null): void {
    if (rules === null) this.#profileRules.delete(name);
    else this.#profileRules.set(name, rules);
    if (this.#profileUsers.has(name))
      this.#events.onProfileActive(name, rules ?? rulesOfAbsent(name));
  }

  #useProfile(name: string): void {
    if (!this.#profileUsers.increment(name)) return;
    this.#events.onProfileActive(name, this.#profileRules.get(name) ?? rulesOfAbsent(name));
  }

  #releaseProfile(name: string): void {
    if (this.#profileUsers.decrement(name)) this.#events.onProfileInactive(name);
  }

  #reviewTouched(): void {
    for (const id of this.#touched) this.#review(id, false);
    this.#touched.clear();
  }

  #review(id: string, changed: boolean): void {
    const policy = this.#policies.get(id)?.policy;
    const wanted =
      policy !== undefined &&
      (policy.performanceHints.includes(EVERYWHERE) || this.#index.matchCount(id) > 0);
    if (wanted) {
      const isNew = !this.#active.has(id);
      this.#active.add(id);
      if (isNew || changed) this.#events.onPolicyActive(id, policy);
    } else if (this.#active.delete(id)) {
      this.#events.onPolicyInactive(id);
    }
  }
}
