/**
 * Endpoint classes: endpoints whose ordered tiers, policies, default actions and profiles of one
 * direction are the same share one chain. A new endpoint of a known class costs the kernel a few
 * plain elements and no rule.
 *
 * A class's chain, per tier: jump to each policy; what none decided is dropped, unless the tier
 * passes by default. A tier in which some policy may Pass gets a chain of its own, so that the
 * policy's return can skip the rest of the tier:
 *
 *     to-wl-1f2e3d4c:        mark bit := 0 · jump to-wl-1f2e3d4c-tier0 · mark bit := 0 · next tier…
 *     to-wl-1f2e3d4c-tier0:  jump pi-gnp/a · mark bit set → return · jump pi-gnp/b · drop
 */
import { logger } from "#log";
import type { NftChain, NftElement, NftRule, NftTable } from "#netlink";
import type { PolicyId, TierInfo } from "#policy";
import { denyExprs, dropExprs } from "./actions.ts";
import { u32Host } from "./bytes.ts";
import { ClassIds, type ClassHash } from "./class-ids.ts";
import { passMarkBit, type NftPolicyConfig } from "./config.ts";
import {
  clearMarkBit,
  gotoVerdict,
  jump,
  markBitIsSet,
  returnToCaller,
  rule as nftRule,
} from "./exprs.ts";
import { classChain, sets, tierChain, type Direction } from "./names.ts";
import type { Policies, PolicyView } from "./policies.ts";

const log = logger("dataplane.nft");

/** A tier as it applies to a class; tiers without policy that is enforced are not there. */
interface ClassTier {
  readonly name: string;
  readonly policies: readonly PolicyId[];
  readonly dropsAtEnd: boolean;
}

export interface EndpointClass {
  readonly direction: Direction;
  readonly content: string;
  readonly tiers: readonly ClassTier[];
  readonly profileIds: readonly string[];
  /** Interfaces of the endpoints in it. */
  readonly members: Set<string>;
  /** As last written; empty: not yet. */
  chains: readonly string[];
  /** As last written to the verdict map. */
  id: number;
  /** Why some of its traffic is dropped that a policy might allow. */
  problem?: string;
}

export interface ClassChanges {
  /** Their number in the maps is another one. */
  readonly renumbered: ReadonlySet<EndpointClass>;
  readonly problemsChanged: ReadonlySet<EndpointClass>;
}

export class EndpointClasses {
  readonly #table: NftTable;
  readonly #config: NftPolicyConfig;
  readonly #policies: Policies<EndpointClass>;
  readonly #byContent = new Map<string, EndpointClass>();
  readonly #ids: ClassIds;
  readonly #dirty = new Set<EndpointClass>();

  constructor(
    table: NftTable,
    config: NftPolicyConfig,
    policies: Policies<EndpointClass>,
    hash?: ClassHash,
  ) {
    this.#table = table;
    this.#config = config;
    this.#policies = policies;
    this.#ids = new ClassIds(hash);
  }

  /** The class of such an endpoint, with the interface as its member. */
  join(
    direction: Direction,
    tierInfos: readonly TierInfo[],
    profileIds: readonly string[],
    member: string,
  ): EndpointClass {
    const tiers = classTiers(direction, tierInfos);
    const content = JSON.stringify([direction, tiers, profileIds]);
    let found = this.#byContent.get(content);
    if (found === undefined) {
      found = { direction, content, tiers, profileIds, members: new Set(), chains: [], id: 0 };
      this.#byContent.set(content, found);
      this.#ids.add(content);
      this.#eachPolicy(found, "use");
      this.#dirty.add(found);
    }
    found.members.add(member);
    return found;
  }

  leave(from: EndpointClass, member: string): void {
    from.members.delete(member);
    if (from.members.size === 0) this.#dirty.add(from);
  }

  /** Gives up classes without members; to be called before the policies are flushed. */
  prune(): void {
    for (const each of this.#dirty) {
      if (each.members.size > 0 || !this.#byContent.delete(each.content)) continue;
      this.#ids.remove(each.content);
      this.#eachPolicy(each, "unuse");
    }
  }

  /** Writes what changed; `affected`: classes whose policies changed in a way that concerns them. */
  flush(affected: Iterable<EndpointClass>): ClassChanges {
    const renumbered = new Set<EndpointClass>();
    const problemsChanged = new Set<EndpointClass>();
    for (const each of affected) this.#dirty.add(each);
    if (this.#ids.settle()) for (const each of this.#byContent.values()) this.#dirty.add(each);
    const elements = { ingress: newElements(), egress: newElements() };
    const unused = new Set<string>();
    const written = new Set<string>();
    for (const each of this.#dirty) {
      const { id: idBefore, problem: problemBefore } = each;
      for (const chain of each.chains) unused.add(chain);
      this.#write(each, written);
      if (each.id !== idBefore) {
        const { add, remove } = elements[each.direction];
        if (idBefore !== 0) remove.push(verdictElement(each.direction, idBefore));
        if (each.id !== 0) add.push(verdictElement(each.direction, each.id));
        renumbered.add(each);
      }
      if (each.problem !== problemBefore) problemsChanged.add(each);
      if (each.problem !== undefined && each.problem !== problemBefore) {
        const { direction, members, problem } = each;
        log.warn("policy cannot be enforced; in its place all is denied", {
          problem,
          direction,
          endpoints: members.size,
        });
      }
    }
    this.#dirty.clear();
    for (const chain of unused) if (!written.has(chain)) this.#table.removeChain(chain);
    pushElements(this.#table, sets.toChain, elements.ingress);
    pushElements(this.#table, sets.fromChain, elements.egress);
    return { renumbered, problemsChanged };
  }

  #write(target: EndpointClass, written: Set<string>): void {
    if (target.members.size === 0) {
      target.id = 0;
      target.chains = [];
      return;
    }
    target.id = this.#ids.idOf(target.content);
    const { chains, problem } = this.#render(target);
    for (const chain of chains) {
      this.#table.setChain(chain);
      written.add(chain.name);
    }
    target.chains = chains.map((chain) => chain.name);
    if (problem === undefined) delete target.problem;
    else target.problem = problem;
  }

  #render(target: EndpointClass): { chains: NftChain[]; problem: string | undefined } {
    const { direction, tiers, profileIds } = target;
    const name = classChain(direction, target.id);
    const rules: NftRule[] = [];
    const tierChains: NftChain[] = [];
    const problems: string[] = [];
    for (const [index, tier] of tiers.entries()) {
      const views = tier.policies.map((id) => this.#policies.policy(id, direction));
      for (const view of views) if (view.problem !== undefined) problems.push(view.problem);
      const tierRules = this.#tierRules(tier, views);
      if (!views.some((view) => view.passes)) {
        rules.push(...tierRules);
        continue;
      }
      const chain = tierChain(name, index);
      const clear = clearMarkBit(passMarkBit(this.#config));
      tierChains.push({ name: chain, rules: tierRules });
      rules.push(
        nftRule(clear, `Start of tier ${tier.name}`),
        nftRule([jump(chain)]),
        nftRule(clear),
      );
    }
    for (const id of profileIds) {
      const view = this.#policies.profile(id, direction);
      if (view.problem !== undefined) problems.push(view.problem);
      rules.push(jumpTo(view));
    }
    rules.push(nftRule(denyExprs(this.#config), "Drop if no profiles matched"));
    return { chains: [{ name, rules }, ...tierChains], problem: problems[0] };
  }

  #tierRules(tier: ClassTier, views: readonly PolicyView[]): NftRule[] {
    const rules: NftRule[] = [];
    for (const view of views) {
      rules.push(jumpTo(view));
      if (view.passes) {
        rules.push(nftRule([...markBitIsSet(passMarkBit(this.#config)), returnToCaller]));
      }
    }
    if (tier.dropsAtEnd) {
      const comment = `End of tier ${tier.name}. Drop if no policies passed packet`;
      rules.push(nftRule(denyExprs(this.#config), comment));
    }
    return rules;
  }

  #eachPolicy(target: EndpointClass, verb: "use" | "unuse"): void {
    const { direction, tiers, profileIds } = target;
    for (const tier of tiers) {
      for (const id of tier.policies) this.#policies[`${verb}Policy`](id, direction, target);
    }
    for (const id of profileIds) this.#policies[`${verb}Profile`](id, direction, target);
  }
}

/** A policy that is not known drops in its place. */
function jumpTo(view: PolicyView): NftRule {
  return view.chain === undefined
    ? nftRule(dropExprs(), view.problem)
    : nftRule([jump(view.chain)]);
}

/** Staged policies are never enforced, and a tier of staged policies alone decides nothing. */
function classTiers(direction: Direction, tierInfos: readonly TierInfo[]): ClassTier[] {
  const tiers: ClassTier[] = [];
  for (const info of tierInfos) {
    const ids = direction === "ingress" ? info.ingressPolicies : info.egressPolicies;
    const policies = ids
      .filter((id) => !id.kind.startsWith("Staged"))
      .map(({ kind, namespace, name }) => ({ kind, namespace, name }));
    if (policies.length === 0) continue;
    tiers.push({ name: info.name, policies, dropsAtEnd: info.defaultAction !== "Pass" });
  }
  return tiers;
}

interface Elements {
  readonly add: NftElement[];
  readonly remove: NftElement[];
}

function newElements(): Elements {
  return { add: [], remove: [] };
}

function pushElements(table: NftTable, set: string, { add, remove }: Elements): void {
  if (remove.length > 0) table.removeElements(set, remove);
  if (add.length > 0) table.addElements(set, add);
}

function verdictElement(direction: Direction, id: number): NftElement {
  return { key: u32Host(id), data: gotoVerdict(classChain(direction, id)) };
}
