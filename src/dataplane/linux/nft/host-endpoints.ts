/**
 * Host endpoints as chains: one for each stage (`host-stages.ts`) and endpoint in use, and a map
 * from interfaces to them. The endpoint for all interfaces (`*`) has those that no other has.
 *
 * An interface belongs to the alphabetically first endpoint that has its name, or, having no name,
 * expects an address that is on it. An endpoint's name need not be an interface's yet: its policy is
 * there before the interface.
 */
import type { HostEndpoint } from "#calc";
import { formatIp, tryParseIp } from "#ip";
import { logger } from "#log";
import type { NftChain, NftTable } from "#netlink";
import { compareBytes } from "#std";
import { denyExprs } from "./actions.ts";
import { ifname, isInterfaceName } from "./bytes.ts";
import type { NftPolicyConfig } from "./config.ts";
import { gotoVerdict } from "./exprs.ts";
import {
  failsafeParts,
  headRules,
  HOST_STAGES,
  hostBaseChainsOf,
  hostStageSet,
  hostStagesOf,
  stageConfig,
  type NftHostStage,
} from "./host-stages.ts";
import { hostChain, type Direction } from "./names.ts";
import type { PolicyUse } from "./policies.ts";
import {
  appliedTiers,
  endOfTierRules,
  placeTier,
  policyRules,
  profileRules,
  unusePolicies,
  usePolicies,
  type AppliedTier,
  type PolicyUser,
} from "./tiers.ts";
import { NO_TUNNELS, type TunnelExceptions } from "./tunnel-rules.ts";

const log = logger("dataplane.nft");

const ALL_INTERFACES = "*";

/** A host endpoint's chain in one stage: what names policies. */
export class HostChain implements PolicyUser {
  readonly stage: NftHostStage;
  readonly id: string;
  readonly name: string;
  readonly direction: Direction;
  readonly tiers: readonly AppliedTier[];
  readonly profileIds: readonly string[];
  /** As last written. */
  chains: readonly string[] = [];
  problem: string | undefined;

  constructor(stage: NftHostStage, id: string, endpoint: HostEndpoint) {
    const { direction, tiers, profiles } = HOST_STAGES[stage];
    this.stage = stage;
    this.id = id;
    this.name = hostChain(stage, id);
    this.direction = direction;
    this.tiers = appliedTiers(direction, endpoint[tiers]);
    this.profileIds = profiles ? endpoint.profileIds : [];
  }
}

interface Entry {
  readonly endpoint: HostEndpoint;
  readonly chains: ReadonlyMap<NftHostStage, HostChain>;
}

export interface HostEndpointParts {
  readonly table: NftTable;
  readonly config: NftPolicyConfig;
  readonly policiesOf: (stage: NftHostStage) => PolicyUse<HostChain>;
}

export class HostEndpoints {
  readonly #parts: HostEndpointParts;
  readonly #stages: readonly NftHostStage[];
  readonly #endpoints = new Map<string, HostEndpoint>();
  /** Those that have an interface, or may have. */
  readonly #active = new Map<string, Entry>();
  #addressesByInterface: ReadonlyMap<string, readonly string[]> = new Map();
  #ownerByInterface: ReadonlyMap<string, string> = new Map();
  #changed = new Set<string>();
  #resolveDue = false;
  #dispatchDue = false;
  readonly #dirty = new Set<HostChain>();
  readonly #gone = new Set<HostChain>();
  /** Base chains and maps that are in the table, by stage. */
  readonly #programmed = new Map<NftHostStage, readonly string[]>();
  #failsafes = false;
  #tunnelExceptions: TunnelExceptions = NO_TUNNELS;
  #problems = new Map<string, string>();

  constructor(parts: HostEndpointParts) {
    this.#parts = parts;
    this.#stages = hostStagesOf(parts.config);
  }

  set(id: string, endpoint: HostEndpoint): void {
    this.#endpoints.set(id, endpoint);
    this.#changed.add(id);
    this.#resolveDue = true;
  }

  remove(id: string): void {
    if (!this.#endpoints.delete(id)) return;
    this.#changed.add(id);
    this.#resolveDue = true;
  }

  /** Addresses as text, canonical, of all interfaces of this host. */
  setInterfaces(addressesByInterface: ReadonlyMap<string, readonly string[]>): void {
    this.#addressesByInterface = addressesByInterface;
    if (this.#endpoints.size > 0) this.#resolveDue = true;
  }

  /** What passes before policy is asked. */
  setTunnelExceptions(exceptions: TunnelExceptions): void {
    this.#tunnelExceptions = exceptions;
    this.#dispatchDue = true;
  }

  get inUse(): boolean {
    return this.#active.size > 0;
  }

  /** Interfaces that are the endpoint's; `*` for those that are nobody else's. */
  interfacesOf(id: string): string[] {
    return [...this.#ownerByInterface].filter(([, owner]) => owner === id).map(([name]) => name);
  }

  /** Why it does not do what it says; undefined: it does. */
  problem(id: string): string | undefined {
    return this.#problems.get(id);
  }

  /** First step of a flush: chains name the policies that they need, and no longer others. */
  resolve(): void {
    if (!this.#resolveDue) return;
    this.#resolveDue = false;
    this.#dispatchDue = true;
    const { policiesOf } = this.#parts;
    this.#ownerByInterface = this.#owners();
    const wanted = new Set(this.#ownerByInterface.values());
    for (const [id, entry] of this.#active) {
      if (wanted.has(id) && !this.#changed.has(id)) continue;
      this.#active.delete(id);
      for (const chain of entry.chains.values()) this.#gone.add(chain);
    }
    for (const id of wanted) {
      const endpoint = this.#endpoints.get(id);
      if (endpoint === undefined || this.#active.has(id)) continue;
      const chains = this.#chainsOf(id, endpoint);
      this.#active.set(id, { endpoint, chains });
      for (const chain of chains.values()) {
        usePolicies(policiesOf(chain.stage), chain, "chain");
        this.#dirty.add(chain);
      }
    }
    for (const chain of this.#gone) unusePolicies(policiesOf(chain.stage), chain);
    this.#changed.clear();
  }

  /** Last step: writes; `affected`: chains whose policies changed in a way that concerns them. */
  flush(affected: Iterable<HostChain>): void {
    const { table } = this.#parts;
    for (const chain of affected) if (!this.#gone.has(chain)) this.#dirty.add(chain);
    const unused = new Set([...this.#gone, ...this.#dirty].flatMap((chain) => chain.chains));
    if (this.inUse && !this.#failsafes) this.#programFailsafes();
    for (const chain of this.#dirty) {
      const { chains, problem } = this.#render(chain);
      for (const each of chains) {
        table.setChain(each);
        unused.delete(each.name);
      }
      chain.chains = chains.map(({ name }) => name);
      chain.problem = problem;
    }
    this.#dirty.clear();
    this.#gone.clear();
    if (this.#dispatchDue) this.#dispatch();
    for (const name of unused) table.removeChain(name);
    if (!this.inUse && this.#failsafes) this.#withdrawFailsafes();
    this.#reviewProblems();
  }

  /** All chains must be written anew: the families have changed. */
  allReshaped(): void {
    for (const { chains } of this.#active.values()) {
      for (const chain of chains.values()) this.#dirty.add(chain);
    }
  }

  /** Interface → the endpoint that has it. */
  #owners(): Map<string, string> {
    const owners = new Map<string, string>();
    const ids = [...this.#endpoints.keys()].sort(compareBytes);
    const claim = (name: string, id: string): void => {
      if (!owners.has(name)) owners.set(name, id);
    };
    for (const id of ids) {
      const { name, expectedIpv4Addrs, expectedIpv6Addrs } = this.#endpoints.get(id) ?? NOTHING;
      if (name === ALL_INTERFACES || (name !== "" && this.#mayBeHosts(name))) claim(name, id);
      if (name !== "") continue;
      const expected = new Set([...expectedIpv4Addrs, ...expectedIpv6Addrs].map(canonicalAddress));
      for (const [device, addresses] of this.#addressesByInterface) {
        if (!this.#mayBeHosts(device)) continue;
        if (addresses.some((address) => expected.has(address))) claim(device, id);
      }
    }
    return owners;
  }

  #mayBeHosts(name: string): boolean {
    const { interfacePrefixes } = this.#parts.config;
    return isInterfaceName(name) && !interfacePrefixes.some((prefix) => name.startsWith(prefix));
  }

  #chainsOf(id: string, endpoint: HostEndpoint): Map<NftHostStage, HostChain> {
    const chains = new Map<NftHostStage, HostChain>();
    for (const stage of this.#stages) {
      if (stage.startsWith("untracked") && endpoint.untrackedTiers.length === 0) continue;
      // As in Felix; `problem` says so.
      if (stage.startsWith("untracked") && endpoint.name === ALL_INTERFACES) continue;
      if (stage === "pre-dnat" && endpoint.preDnatTiers.length === 0) continue;
      chains.set(stage, new HostChain(stage, id, endpoint));
    }
    return chains;
  }

  #render(target: HostChain): { chains: NftChain[]; problem: string | undefined } {
    const policies = this.#parts.policiesOf(target.stage);
    const config = stageConfig(target.stage, this.#parts.config);
    const spec = HOST_STAGES[target.stage];
    const invalid = config.disableConntrackInvalidCheck ? undefined : denyExprs(config);
    const rules = headRules(spec, invalid);
    const tierChains: NftChain[] = [];
    const problems: string[] = [];
    for (const [index, tier] of target.tiers.entries()) {
      const views = tier.policies.map((id) => policies.policy(id, target.direction));
      for (const { problem } of views) if (problem !== undefined) problems.push(problem);
      const tierRules = views.flatMap((view) => policyRules(view, config));
      tierRules.push(...endOfTierRules(tier, config));
      const passes = views.some((view) => view.passes);
      const placed = placeTier(target.name, index, tier, tierRules, passes, config);
      rules.push(...placed.rules);
      tierChains.push(...placed.chains);
    }
    if (spec.profiles) {
      const end = profileRules(policies, target, config);
      rules.push(...end.rules);
      problems.push(...end.problems);
    }
    return { chains: [{ name: target.name, rules }, ...tierChains], problem: problems[0] };
  }

  /** Maps and base chains of the stages that some endpoint has a chain in. */
  #dispatch(): void {
    this.#dispatchDue = false;
    const { table, config } = this.#parts;
    const tunnels = this.#tunnelExceptions;
    // Whoever reads the mark relies on the first stage to take away what others may have set.
    const marks = this.#hasStage(["untracked-in", "untracked-out", "pre-dnat"]);
    for (const stage of this.#stages) {
      const chains = new Map<string, string>();
      for (const [name, id] of this.#ownerByInterface) {
        const chain = this.#active.get(id)?.chains.get(stage);
        if (chain !== undefined) chains.set(name, chain.name);
      }
      const fallback = chains.get(ALL_INTERFACES);
      chains.delete(ALL_INTERFACES);
      const before = this.#programmed.get(stage);
      const clears = marks && (stage === "untracked-in" || stage === "untracked-out");
      if (chains.size === 0 && fallback === undefined && !clears) {
        for (const name of before ?? []) table.removeChain(name);
        if (before !== undefined) table.removeSet(hostStageSet(stage).name);
        this.#programmed.delete(stage);
        continue;
      }
      table.setSet(
        hostStageSet(stage),
        [...chains].map(([name, chain]) => ({ key: ifname(name), data: gotoVerdict(chain) })),
      );
      const bases = hostBaseChainsOf(stage, fallback, { marks, tunnels }, config);
      for (const base of bases) table.setChain(base);
      this.#programmed.set(
        stage,
        bases.map(({ name }) => name),
      );
    }
  }

  #hasStage(stages: readonly NftHostStage[]): boolean {
    return [...this.#active.values()].some(({ chains }) => stages.some((each) => chains.has(each)));
  }

  #programFailsafes(): void {
    const { table, config } = this.#parts;
    const { chains, sets } = failsafeParts(config);
    for (const { set, elements } of sets) table.setSet(set, elements);
    for (const chain of chains) table.setChain(chain);
    this.#failsafes = true;
  }

  #withdrawFailsafes(): void {
    const { table, config } = this.#parts;
    const { chains, sets } = failsafeParts(config);
    for (const { name } of chains) table.removeChain(name);
    for (const { set } of sets) table.removeSet(set.name);
    this.#failsafes = false;
  }

  #reviewProblems(): void {
    const problems = new Map<string, string>();
    for (const [id, endpoint] of this.#endpoints) {
      const problem = this.#problemOf(id, endpoint);
      if (problem === undefined) continue;
      problems.set(id, problem);
      if (this.#problems.get(id) !== problem) {
        log.warn("host endpoint is not enforced as it is written", { hostEndpoint: id, problem });
      }
    }
    this.#problems = problems;
  }

  #problemOf(id: string, endpoint: HostEndpoint): string | undefined {
    const active = this.#active.get(id);
    if (active === undefined) {
      const owner = this.#ownerByInterface.get(endpoint.name);
      if (owner !== undefined)
        return `interface ${endpoint.name} belongs to host endpoint ${owner}`;
      return endpoint.name === ""
        ? "no interface has an expected address"
        : `${JSON.stringify(endpoint.name)} cannot be a host's interface`;
    }
    const chain = [...active.chains.values()].find(({ problem }) => problem !== undefined);
    if (chain?.problem !== undefined) return chain.problem;
    return endpoint.name === ALL_INTERFACES && endpoint.untrackedTiers.length > 0
      ? "doNotTrack policy does not apply to a host endpoint for all interfaces"
      : undefined;
  }
}

const NOTHING: Pick<HostEndpoint, "name" | "expectedIpv4Addrs" | "expectedIpv6Addrs"> = {
  name: "",
  expectedIpv4Addrs: [],
  expectedIpv6Addrs: [],
};

function canonicalAddress(text: string): string {
  const ip = tryParseIp(text);
  return ip === undefined ? text : formatIp(ip);
}
