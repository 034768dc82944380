/**
 * Endpoint classes: endpoints whose ordered tiers, policies, default actions and profiles of one
 * direction are the same share one chain. A new endpoint of a known class costs the kernel a few
 * plain elements and no rule.
 *
 * A class's chain, per tier: jump to each policy; what none decided is dropped, unless the tier
 * passes by default. A tier in which some policy may Pass gets a chain of its own, so that the
 * policy's return can skip the rest of the tier:
 *
 *     to-wl-1f2e3d4c:        mark bit := 0 · jump to-wl-1f2e3d4c/tier0 · mark bit := 0 · next tier…
 *     to-wl-1f2e3d4c/tier0:  jump pi-gnp/a · mark bit set → return · jump pi-gnp/b · drop
 *
 * Policies whose rules are flat have no chain: what follows each other and does the same is one
 * segment (`segments.ts`), a few rules whatever the number of policies.
 */
import { logger } from "#log";
import type { Expr, NftChain, NftElement, NftRule, NftTable } from "#netlink";
import type { TierInfo } from "#policy";
import type { IpFamily } from "#ip";
import { allowExprs, denyExprs } from "./actions.ts";
import { u32Host } from "./bytes.ts";
import { ClassIds, type ClassHash } from "./class-ids.ts";
import type { NftPolicyConfig } from "./config.ts";
import { newDelta, pushDelta } from "./element-changes.ts";
import { familyIs, gotoVerdict, peerInSet, rule as nftRule } from "./exprs.ts";
import { classChain, sets, type Direction } from "./names.ts";
import type { FlatRun } from "./flat-list.ts";
import { identitySet } from "./identities.ts";
import type { PolicyUse } from "./policies.ts";
import type { PolicyView } from "./policy-listing.ts";
import { Segment, type Question, type Segments } from "./segments.ts";
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

const log = logger("dataplane.nft");

export interface EndpointClass extends PolicyUser {
  readonly content: string;
  /** Interfaces of the endpoints in it. */
  readonly members: Set<string>;
  /** As last written; empty: not yet. */
  chains: readonly string[];
  /** Of all tiers, as last written; numbered by their place. */
  segments: readonly Segment[];
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

export interface ClassParts {
  readonly table: NftTable;
  readonly config: NftPolicyConfig;
  readonly policies: PolicyUse<EndpointClass>;
  readonly segments: Segments;
  /** Families that policy is written for. */
  readonly families: () => readonly IpFamily[];
}

export class EndpointClasses {
  readonly #parts: ClassParts;
  readonly #byContent = new Map<string, EndpointClass>();
  readonly #ids: ClassIds;
  readonly #dirty = new Set<EndpointClass>();

  constructor(parts: ClassParts, hash?: ClassHash) {
    this.#parts = parts;
    this.#ids = new ClassIds(hash);
  }

  /** The class of such an endpoint, with the interface as its member. */
  join(
    direction: Direction,
    tierInfos: readonly TierInfo[],
    profileIds: readonly string[],
    member: string,
  ): EndpointClass {
    const tiers = appliedTiers(direction, tierInfos);
    const content = JSON.stringify([direction, tiers, profileIds]);
    let found = this.#byContent.get(content);
    if (found === undefined) {
      const empty = { members: new Set<string>(), chains: [], segments: [], id: 0 };
      found = { direction, content, tiers, profileIds, ...empty };
      this.#byContent.set(content, found);
      this.#ids.add(content);
      usePolicies(this.#parts.policies, found, "any");
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
      unusePolicies(this.#parts.policies, each);
    }
  }

  /** Writes what changed; `affected`: classes whose policies changed in a way that concerns them. */
  flush(affected: Iterable<EndpointClass>): ClassChanges {
    const renumbered = new Set<EndpointClass>();
    const problemsChanged = new Set<EndpointClass>();
    for (const each of affected) this.#dirty.add(each);
    if (this.#ids.settle()) for (const each of this.#byContent.values()) this.#dirty.add(each);
    const elements = { ingress: newDelta(), egress: newDelta() };
    const unused = new Set<string>();
    const written = new Set<string>();
    // A number that one class gives up may be another's next.
    for (const each of this.#dirty) if (this.#idOf(each) !== each.id) this.#setSegments(each, []);
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
    const { table, segments } = this.#parts;
    for (const chain of unused) if (!written.has(chain)) table.removeChain(chain);
    pushDelta(table, sets.toChain, elements.ingress);
    pushDelta(table, sets.fromChain, elements.egress);
    segments.flush(table);
    return { renumbered, problemsChanged };
  }

  /** All chains must be written anew: the families have changed. */
  allReshaped(): void {
    for (const each of this.#byContent.values()) this.#dirty.add(each);
  }

  /** 0: given up. */
  #idOf(target: EndpointClass): number {
    return target.members.size === 0 ? 0 : this.#ids.idOf(target.content);
  }

  #write(target: EndpointClass, written: Set<string>): void {
    target.id = this.#idOf(target);
    if (target.id === 0) {
      target.chains = [];
      return;
    }
    const { chains, problem } = this.#render(target);
    for (const chain of chains) {
      this.#parts.table.setChain(chain);
      written.add(chain.name);
    }
    target.chains = chains.map((chain) => chain.name);
    if (problem === undefined) delete target.problem;
    else target.problem = problem;
  }

  #render(target: EndpointClass): { chains: NftChain[]; problem: string | undefined } {
    const { config, policies } = this.#parts;
    const { direction, tiers } = target;
    const name = classChain(direction, target.id);
    const rules: NftRule[] = [];
    const tierChains: NftChain[] = [];
    const problems: string[] = [];
    const views = tiers.map(({ policies: ids }) =>
      ids.map((id) => policies.policy(id, direction, "any")),
    );
    const stepsOfTiers = views.map(stepsOf);
    this.#setSegments(target, stepsOfTiers.flat().filter(isSegmentStep));
    const segments = target.segments.values();
    for (const [index, tier] of tiers.entries()) {
      const steps = stepsOfTiers[index] ?? [];
      for (const { problem } of views[index] ?? [])
        if (problem !== undefined) problems.push(problem);
      const tierRules = this.#tierRules(target, tier, steps, segments);
      const passes = steps.some((step) => "view" in step && step.view.passes);
      const placed = placeTier(name, index, tier, tierRules, passes, config);
      rules.push(...placed.rules);
      tierChains.push(...placed.chains);
    }
    const end = profileRules(policies, target, config);
    rules.push(...end.rules);
    problems.push(...end.problems);
    return { chains: [{ name, rules }, ...tierChains], problem: problems[0] };
  }

  /** The class's segments are these from now on, each at its place. */
  #setSegments(target: EndpointClass, steps: readonly SegmentStep[]): void {
    const before = target.segments;
    target.segments = steps.map((step, i) => {
      const segment = before[i] ?? new Segment(target.id, i);
      this.#parts.segments.setRuns(segment, step.runs);
      return segment;
    });
    for (const segment of before.slice(steps.length)) this.#parts.segments.setRuns(segment, []);
  }

  #tierRules(
    target: EndpointClass,
    tier: AppliedTier,
    steps: readonly Step[],
    segments: Iterator<Segment>,
  ): NftRule[] {
    const { config } = this.#parts;
    const rules: NftRule[] = [];
    for (const step of steps) {
      if ("runs" in step) {
        const { value: segment } = segments.next() as { value: Segment };
        const act = step.action === "allow" ? allowExprs() : denyExprs(config);
        for (const question of segment.questions()) {
          rules.push(...this.#questionRules(target.direction, segment, question, act, tier.name));
        }
        continue;
      }
      rules.push(...policyRules(step.view, config));
    }
    return [...rules, ...endOfTierRules(tier, config)];
  }

  #questionRules(
    direction: Direction,
    { classId, ordinal }: Segment,
    { set, anybody }: Question,
    act: readonly Expr[],
    tier: string,
  ): NftRule[] {
    const side = direction === "ingress" ? "src" : "dst";
    const fields = KEY_FIELDS[set];
    const place = { set, fields, classId, segment: ordinal };
    const tail = fields === 5 ? ", protocol, port" : fields === 4 ? ", protocol" : "";
    const ofTier = `Tier ${tier}: rules by`;
    if (anybody) return [nftRule([...peerInSet(place), ...act], `${ofTier}${tail.slice(1)} alone`)];
    return this.#parts.families().map((family) => {
      const identities = identitySet(family).name;
      const key = peerInSet({ ...place, peer: { family, side, identities } });
      const comment = `${ofTier} identity of ${family === 4 ? "ip" : "ip6"} ${side === "src" ? "saddr" : "daddr"}${tail}`;
      return nftRule([...familyIs(family), ...key, ...act], comment);
    });
  }
}

/** What a tier does one after the other: jump to a chain, or ask the maps for many rules at once. */
type Step = { readonly view: PolicyView } | SegmentStep;

interface SegmentStep {
  readonly action: FlatRun["action"];
  readonly runs: readonly FlatRun[];
}

function isSegmentStep(step: Step): step is SegmentStep {
  return "runs" in step;
}

/**
 * Runs join the one before them if it does the same; a run of Allow may also overtake chains that only
 * allow, so that a tier in which nothing denies has one segment.
 */
function stepsOf(views: readonly PolicyView[]): Step[] {
  const steps: (Step & { runs?: FlatRun[] })[] = [];
  let open: { action: FlatRun["action"]; runs: FlatRun[] } | undefined;
  for (const view of views) {
    for (const run of view.runs ?? []) {
      if (open?.action === run.action) open.runs.push(run);
      else steps.push((open = { action: run.action, runs: [run] }));
    }
    if (view.runs !== undefined && view.chain === undefined) continue;
    steps.push({ view });
    if (open?.action !== "allow" || !view.onlyAllows) open = undefined;
  }
  return steps;
}

const KEY_FIELDS = { [sets.peer]: 3, [sets.peerProtocol]: 4, [sets.peerPort]: 5 } as const;

function verdictElement(direction: Direction, id: number): NftElement {
  return { key: u32Host(id), data: gotoVerdict(classChain(direction, id)) };
}
