/**
 * Turns the messages of the calculation graph into one nf_tables table.
 *
 *     ToDataplane ─ onMessage ─▶ records, marks dirty
 *     flush ─▶ endpoints join classes ─▶ IP sets ─▶ policies ─▶ classes ─▶ elements ─▶ NftTable
 *
 * The table's content depends on the last state of the messages only, never on their path. A flush
 * costs what changed. What cannot be enforced drops, in its place, and is told per endpoint.
 */
import type { ToDataplane, WorkloadEndpointId } from "#calc";
import type { IpFamily } from "#ip";
import { errnoOf, type NftTable } from "#netlink";
import { MargayError, messageOf } from "#std";
import type { ClassHash } from "./class-ids.ts";
import { EndpointClasses, type EndpointClass } from "./classes.ts";
import type { NftPolicyConfig } from "./config.ts";
import { Endpoints } from "./endpoints.ts";
import { HostChain, HostEndpoints } from "./host-endpoints.ts";
import { HostRules } from "./host-rules.ts";
import { Identities } from "./identities.ts";
import { IpSets } from "./ip-sets.ts";
import { LiteralSets } from "./literal-sets.ts";
import { stageConfig, type NftHostStage } from "./host-stages.ts";
import { MAX_IDENTITIES, Policies, type PolicyUse } from "./policies.ts";
import { Segments } from "./segments.ts";
import { SpoofLists } from "./spoof-lists.ts";
import { staticChains, staticSets, traitChains, type WorkloadTraits } from "./static-chains.ts";

const IPV4_ONLY: readonly IpFamily[] = [4];
const BOTH_FAMILIES: readonly IpFamily[] = [4, 6];

/** Refusals that come again with the same rule: unlike want of memory, or a race with others. */
const LASTING: ReadonlySet<string> = new Set(["EINVAL", "E2BIG", "ENOENT", "EOPNOTSUPP", "ERANGE"]);

export interface FlushResult {
  /** Endpoints whose `problemOf` came, changed or went. */
  readonly problemsChanged: readonly WorkloadEndpointId[];
}

/** For tests. */
export interface CompilerOptions {
  /** Numbers classes and identities; another one makes them collide. */
  readonly hash?: ClassHash;
  /** Forces the choice between chains (-1) and maps (Infinity), or moves its limit. */
  readonly maxIdentities?: number;
}

export class PolicyCompiler {
  readonly #config: NftPolicyConfig;
  readonly #table: NftTable;
  readonly #identities: Identities;
  readonly #segments: Segments;
  readonly #ipSets: IpSets;
  readonly #policies: Policies<EndpointClass | HostChain>;
  /** Once more, for a hook that can only drop; where policy drops anyway there is no need. */
  readonly #dropping: Policies<HostChain> | undefined;
  readonly #classes: EndpointClasses;
  readonly #spoofLists: SpoofLists;
  readonly #endpoints: Endpoints;
  readonly #hostEndpoints: HostEndpoints;
  readonly #hostRules: HostRules;
  /** Families that policy is written for; undefined before the first flush. */
  #families: readonly IpFamily[] | undefined;
  #traits: WorkloadTraits | undefined;

  constructor(config: NftPolicyConfig, table: NftTable, options: CompilerOptions = {}) {
    const { hash, maxIdentities = MAX_IDENTITIES } = options;
    this.#config = config;
    this.#table = table;
    this.#identities = new Identities(hash);
    this.#segments = new Segments(this.#identities);
    this.#ipSets = new IpSets(table, this.#identities);
    const parts = {
      table,
      config,
      ipSets: this.#ipSets,
      identities: this.#identities,
      maxIdentities,
    };
    const ipSet = this.#ipSets.shape.bind(this.#ipSets);
    const families = (): readonly IpFamily[] => this.#families ?? IPV4_ONLY;
    const literals = new LiteralSets(table);
    const listing = { ...parts, literals, context: { families, ipSet } };
    this.#policies = new Policies({ ...listing, variant: "" });
    this.#dropping =
      config.denyAction === "Reject"
        ? new Policies({
            ...listing,
            config: stageConfig("translated-output", config),
            variant: "drop-",
          })
        : undefined;
    const { policies, segments } = { policies: this.#policies, segments: this.#segments };
    this.#classes = new EndpointClasses({ table, config, policies, segments, families }, hash);
    const policiesOf = (stage: NftHostStage): PolicyUse<HostChain> =>
      stage === "translated-output" && this.#dropping !== undefined ? this.#dropping : policies;
    this.#hostEndpoints = new HostEndpoints({ table, config, policiesOf });
    this.#hostRules = new HostRules(table, config);
    this.#spoofLists = new SpoofLists(table, hash);
    this.#endpoints = new Endpoints(table, config, this.#classes, this.#spoofLists);
  }

  /** Records; no I/O, never throws. Messages that are not about policy are left to others. */
  onMessage(message: ToDataplane): void {
    this.#hostRules.onMessage(message);
    switch (message.case) {
      case "ipsetUpdate":
        return this.#ipSets.update(message.value.id, message.value.type, message.value.members);
      case "ipsetDeltaUpdate": {
        const { id, addedMembers, removedMembers } = message.value;
        return this.#ipSets.delta(id, addedMembers, removedMembers);
      }
      case "ipsetRemove":
        return this.#ipSets.remove(message.value.id);
      case "activePolicyUpdate":
        this.#dropping?.setPolicy(message.value.id, message.value.policy);
        return this.#policies.setPolicy(message.value.id, message.value.policy);
      case "activePolicyRemove":
        this.#dropping?.removePolicy(message.value.id);
        return this.#policies.removePolicy(message.value.id);
      case "activeProfileUpdate":
        this.#dropping?.setProfile(message.value.id.name, message.value.profile);
        return this.#policies.setProfile(message.value.id.name, message.value.profile);
      case "activeProfileRemove":
        this.#dropping?.removeProfile(message.value.id.name);
        return this.#policies.removeProfile(message.value.id.name);
      case "workloadEndpointUpdate":
        return this.#endpoints.set(message.value.id, message.value.endpoint);
      case "workloadEndpointRemove":
        return this.#endpoints.remove(message.value.id);
      case "hostEndpointUpdate":
        return this.#hostEndpoints.set(message.value.id.endpointId, message.value.endpoint);
      case "hostEndpointRemove":
        return this.#hostEndpoints.remove(message.value.id.endpointId);
      default:
    }
  }

  /** Pushes what was recorded into the table; the kernel sees it at the table's next `apply`. */
  flush(): FlushResult {
    if (this.#families === undefined) this.#start();
    const exceptions = this.#hostRules.flush();
    if (exceptions !== undefined) this.#hostEndpoints.setTunnelExceptions(exceptions);
    this.#endpoints.resolve();
    this.#classes.prune();
    this.#hostEndpoints.resolve();
    const families = this.#familiesInUse();
    if (families !== this.#families) this.#setFamilies(families);
    const ipv6 = this.#config.ipv6Support && families.includes(6);
    this.#setTraits({ ipv6, macs: this.#endpoints.declareMacs });
    const reshaped = [...this.#ipSets.flush(families)];
    this.#policies.ipSetsReshaped(reshaped);
    this.#dropping?.ipSetsReshaped(reshaped);
    const affected = this.#flushPolicies();
    this.#identities.flush(this.#table, families);
    const classes = affected.filter((user): user is EndpointClass => !(user instanceof HostChain));
    const { renumbered, problemsChanged } = this.#classes.flush(classes);
    this.#hostEndpoints.flush(affected.filter((user) => user instanceof HostChain));
    if (this.#spoofLists.flush()) this.#endpoints.spoofListsRenumbered();
    return { problemsChanged: this.#endpoints.flush(renumbered, problemsChanged) };
  }

  /** What is flat decides who needs an identity, and how many there are what may be flat. */
  #flushPolicies(): (EndpointClass | HostChain)[] {
    const affected = this.#policies.flush();
    const changes = this.#identities.settle();
    this.#segments.identitiesChanged(changes);
    this.#policies.identitiesChanged(changes.sets);
    for (const each of this.#policies.flush()) affected.add(each);
    // All of it is chains, so identities do not concern it.
    for (const each of this.#dropping?.flush() ?? []) affected.add(each);
    return [...affected];
  }

  /**
   * The kernel refused the batch for this. True if it was for one policy's own sake, which now drops
   * all: the next flush and apply may do.
   */
  isolate(error: unknown): boolean {
    const chain = error instanceof MargayError ? error.fields["object"] : undefined;
    if (typeof chain !== "string" || !LASTING.has(errnoOf(error) ?? "")) return false;
    const reason = messageOf(error);
    return this.#policies.refuse(chain, reason) || (this.#dropping?.refuse(chain, reason) ?? false);
  }

  /** Why the endpoint's traffic is not what its policy says (some of it is dropped); else undefined. */
  problemOf(id: WorkloadEndpointId): string | undefined {
    return this.#endpoints.problem(id);
  }

  /** Policies and profiles in use that deny because they cannot be enforced. */
  get unenforcedPolicies(): number {
    const { unenforced } = this.#policies;
    return new Set([...unenforced, ...(this.#dropping?.unenforced ?? [])]).size;
  }

  /** The same of a host endpoint. */
  hostProblemOf(id: string): string | undefined {
    return this.#hostEndpoints.problem(id);
  }

  /** Interfaces whose traffic the host endpoint polices; `*`: all that no other has. */
  hostInterfacesOf(id: string): string[] {
    return this.#hostEndpoints.interfacesOf(id);
  }

  /** Interface → its addresses, canonical text: host endpoints may be declared by them. */
  setHostInterfaces(addressesByInterface: ReadonlyMap<string, readonly string[]>): void {
    this.#hostEndpoints.setInterfaces(addressesByInterface);
  }

  /**
   * Half the rules, and half the kernel's work on each change, are for IPv6. Where no workload has an
   * IPv6 address they would be for nobody: IPv6 of workloads is then dropped before the classes.
   * Not if workloads may speak to their host: their link-local addresses could; nor where the host
   * itself is policed: its own IPv6 is there whatever workloads have, and a Deny must hold for it.
   */
  #familiesInUse(): readonly IpFamily[] {
    if (this.#hostEndpoints.inUse) return BOTH_FAMILIES;
    if (!this.#config.ipv6Support) return IPV4_ONLY;
    const mayReachHost = this.#config.defaultEndpointToHostAction !== "Drop";
    return mayReachHost || this.#endpoints.usesIpv6 ? BOTH_FAMILIES : IPV4_ONLY;
  }

  #setFamilies(families: readonly IpFamily[]): void {
    this.#families = families;
    this.#policies.allReshaped();
    this.#dropping?.allReshaped();
    this.#classes.allReshaped();
    this.#hostEndpoints.allReshaped();
  }

  #setTraits(traits: WorkloadTraits): void {
    if (traits.ipv6 === this.#traits?.ipv6 && traits.macs === this.#traits.macs) return;
    this.#traits = traits;
    for (const chain of traitChains(this.#config, traits)) this.#table.setChain(chain);
  }

  #start(): void {
    for (const { set, elements } of staticSets()) this.#table.setSet(set, elements);
    for (const chain of staticChains(this.#config)) this.#table.setChain(chain);
  }
}
