/**
 * Policies and profiles as chains, two of each at most: a direction is written only while somebody
 * uses it. A changed policy rewrites its own chains; its users are told only when something that they
 * depend on changed (known or not, has Pass rules or not).
 *
 * A user that can do with runs of flat rules (`flat-list.ts`) says so, and gets them instead of a
 * chain where the rules allow it, and the sets they name are not in too many identities.
 */
import type { Expr, NftTable } from "#netlink";
import type { IpSetId, Policy, PolicyId, Profile, Rule } from "#policy";
import { allowExprs, allowPreDnatExprs, allowUntrackedExprs } from "./actions.ts";
import type { NftPolicyConfig } from "./config.ts";
import { flatten, onlyAllow, peersOf, sameRuns, type FlatList, type FlatRun } from "./flat-list.ts";
import type { Identities } from "./identities.ts";
import type { IpSets } from "./ip-sets.ts";
import type { LiteralSets } from "./literal-sets.ts";
import type { MatchContext } from "./match.ts";
import {
  kindShort,
  policyChain,
  policyKey,
  policyTitle,
  profileChain,
  type Direction,
} from "./names.ts";
import { failClosed, renderRuleList, type RenderedList, type RuleList } from "./rule-list.ts";

const DIRECTIONS: readonly Direction[] = ["ingress", "egress"];

/**
 * More identities than this in one set, and a rule that names it needs a chain: each rule would be as
 * many elements in every class. Only the choice depends on it, never what a packet gets.
 */
export const MAX_IDENTITIES = 256;

/** What a user can make of a policy: jump to its chain, or also take its rules as elements. */
export type PolicyForm = "chain" | "any";

/** What a user needs to know of a policy that it names. */
export interface PolicyView {
  readonly title: string;
  /** Flat rules, to be asked before the chain; only for users of `any` form. */
  readonly runs?: readonly FlatRun[];
  /** Undefined without runs: the policy is not known. With them: all rules are flat. */
  readonly chain?: string;
  readonly passes: boolean;
  /** Whatever it decides is Allow, so it may change places with others of its kind. */
  readonly onlyAllows: boolean;
  /** Why the policy drops all; absent when it works. */
  readonly problem?: string;
}

interface Definition {
  readonly inboundRules: readonly Rule[];
  readonly outboundRules: readonly Rule[];
  readonly tier: string;
  /** When it is asked; what is allowed before the route is known is marked so. */
  readonly phase: "routed" | "untracked" | "pre-dnat";
  readonly unsupported: readonly string[];
}

/** A list as it was written: the chains' names alone, since the table holds their rules. */
interface WrittenList extends Omit<RenderedList, "chains"> {
  /** The list's own chain first; none if nobody needs one. */
  readonly chains: readonly string[];
  /** Sets whose addresses must have identities before the list can be flat. */
  readonly identitySetIds: ReadonlySet<IpSetId>;
  readonly runs?: readonly FlatRun[];
  /** Beside runs: the chain has their rules too. */
  readonly isWhole?: boolean;
  readonly onlyAllows: boolean;
}

interface Listing extends Omit<WrittenList, "chains"> {
  readonly chains: RenderedList["chains"];
}

/** `User` is whoever names the policy. */
interface Entry<User> {
  readonly id: PolicyId | { readonly profile: string };
  readonly title: string;
  definition?: Definition;
  readonly users: Readonly<Record<Direction, Map<User, PolicyForm>>>;
  readonly rendered: Partial<Record<Direction, WrittenList>>;
  /** Why the kernel does not take the present definition. */
  refused?: string;
}

export interface PolicyParts<User> {
  readonly table: NftTable;
  readonly config: NftPolicyConfig;
  readonly literals: LiteralSets;
  readonly context: MatchContext;
  readonly ipSets: IpSets;
  readonly identities: Identities;
  /** Sets in more identities than this need chains; -1: all lists are chains. */
  readonly maxIdentities: number;
  /** False: the user's hook can only drop, not reject. */
  readonly mayReject: (user: User) => boolean;
}

/** What those who name policies need. */
export type PolicyUse<User> = Pick<
  Policies<User>,
  "policy" | "profile" | "usePolicy" | "unusePolicy" | "useProfile" | "unuseProfile"
>;

export class Policies<User> {
  readonly #parts: PolicyParts<User>;
  readonly #entries = new Map<string, Entry<User>>();
  readonly #dirty = new Set<string>();
  readonly #keysByIpSet = new Map<IpSetId, Set<string>>();
  /** Sets that are in too many identities. */
  readonly #overLimit = new Set<IpSetId>();

  constructor(parts: PolicyParts<User>) {
    this.#parts = parts;
  }

  setPolicy(id: PolicyId, policy: Policy): void {
    this.#define(this.#policyEntry(id), policyMapKey(id), {
      inboundRules: policy.inboundRules,
      outboundRules: policy.outboundRules,
      tier: policy.tier,
      phase: policy.untracked ? "untracked" : policy.preDnat ? "pre-dnat" : "routed",
      unsupported: policy.unsupported ?? [],
    });
  }

  removePolicy(id: PolicyId): void {
    this.#undefine(policyMapKey(id));
  }

  setProfile(name: string, profile: Profile): void {
    this.#define(this.#profileEntry(name), profileMapKey(name), {
      inboundRules: profile.inboundRules,
      outboundRules: profile.outboundRules,
      tier: "",
      phase: "routed",
      unsupported: profile.unsupported ?? [],
    });
  }

  removeProfile(name: string): void {
    this.#undefine(profileMapKey(name));
  }

  usePolicy(id: PolicyId, direction: Direction, user: User, form: PolicyForm = "chain"): void {
    this.#use(this.#policyEntry(id), policyMapKey(id), direction, user, form);
  }

  useProfile(name: string, direction: Direction, user: User): void {
    this.#use(this.#profileEntry(name), profileMapKey(name), direction, user, "chain");
  }

  unusePolicy(id: PolicyId, direction: Direction, user: User): void {
    this.#unuse(policyMapKey(id), direction, user);
  }

  unuseProfile(name: string, direction: Direction, user: User): void {
    this.#unuse(profileMapKey(name), direction, user);
  }

  /**
   * The kernel does not take this chain, and with it nothing else: until it is defined anew, its policy
   * drops all. False if it is no policy's, or drops already.
   */
  refuse(chain: string, reason: string): boolean {
    for (const [key, entry] of this.#entries) {
      const lists = DIRECTIONS.flatMap((direction) => entry.rendered[direction] ?? []);
      if (!lists.some(({ chains }) => chains.includes(chain))) continue;
      if (entry.refused !== undefined) return false;
      entry.refused = `${entry.title}: ${reason}`;
      this.#dirty.add(key);
      return true;
    }
    return false;
  }

  policy(id: PolicyId, direction: Direction, form: PolicyForm = "chain"): PolicyView {
    return viewOf(this.#policyEntry(id), direction, form);
  }

  profile(name: string, direction: Direction): PolicyView {
    return viewOf(this.#profileEntry(name), direction, "chain");
  }

  /** All rules must be written anew: the families have changed. */
  allReshaped(): void {
    for (const key of this.#entries.keys()) this.#dirty.add(key);
  }

  /** Rules that name these IP sets must be written anew. */
  ipSetsReshaped(ids: Iterable<IpSetId>): void {
    for (const id of ids) {
      for (const key of this.#keysByIpSet.get(id) ?? []) this.#dirty.add(key);
    }
  }

  /** Lists that may be flat where they were not, or no longer. */
  identitiesChanged(ids: Iterable<IpSetId>): void {
    for (const id of ids) {
      const overLimit = this.#isOverLimit(id);
      if (overLimit === this.#overLimit.has(id)) continue;
      if (overLimit) this.#overLimit.add(id);
      else this.#overLimit.delete(id);
      this.ipSetsReshaped([id]);
    }
  }

  /** Writes dirty chains; the users whose view of some policy changed. */
  flush(): Set<User> {
    const affected = new Set<User>();
    for (const key of this.#dirty) {
      const entry = this.#entries.get(key);
      if (entry === undefined) continue;
      for (const direction of DIRECTIONS) {
        const before = viewsOf(entry, direction);
        this.#write(key, entry, direction);
        const after = viewsOf(entry, direction);
        for (const [user, form] of entry.users[direction]) {
          if (differs(before[form], after[form])) affected.add(user);
        }
      }
      const unused = DIRECTIONS.every((direction) => entry.users[direction].size === 0);
      if (entry.definition === undefined && unused) this.#entries.delete(key);
    }
    this.#dirty.clear();
    return affected;
  }

  #write(key: string, entry: Entry<User>, direction: Direction): void {
    const { table, literals, ipSets } = this.#parts;
    const before = entry.rendered[direction];
    const after = this.#render(entry, direction);
    for (const id of after?.ipSetIds ?? []) this.#index(id).add(key);
    for (const id of after?.identitySetIds ?? []) this.#index(id).add(key);
    ipSets.acquire(after?.ipSetIds ?? []);
    ipSets.acquireIdentities(after?.identitySetIds ?? []);
    if (after !== undefined) literals.acquire(after.literals);
    const kept = new Set<string>();
    for (const chain of after?.chains ?? []) {
      table.setChain(chain);
      kept.add(chain.name);
    }
    for (const chain of before?.chains ?? []) {
      if (!kept.has(chain)) table.removeChain(chain);
    }
    if (before !== undefined) literals.release(before.literals);
    ipSets.release(before?.ipSetIds ?? []);
    ipSets.releaseIdentities(before?.identitySetIds ?? []);
    if (after === undefined) delete entry.rendered[direction];
    else entry.rendered[direction] = { ...after, chains: [...kept] };
    this.#unindex(key, entry, before);
  }

  #render(entry: Entry<User>, direction: Direction): Listing | undefined {
    const { definition } = entry;
    const users = entry.users[direction];
    if (definition === undefined || users.size === 0) return undefined;
    const allow = this.#allow(definition);
    const list = { ...ruleListOf(entry.id, entry.title, definition, direction), allow };
    const config = this.#configFor(users.keys());
    if (definition.unsupported.length > 0) {
      const features = definition.unsupported.join(", ");
      const problem = `${entry.title}: not supported yet: ${features}`;
      return withoutRuns(failClosed(list.chain, problem), false);
    }
    if (entry.refused !== undefined) {
      return withoutRuns(failClosed(list.chain, entry.refused), false);
    }
    const flatOf = (mayBePeer: (id: IpSetId) => boolean): FlatList | undefined =>
      hasForm(users, "any") ? this.#flatten(definition, direction, mayBePeer) : undefined;
    const { ipSets } = this.#parts;
    const candidates = flatOf((id) => ipSets.hasIdentities(id));
    const identitySetIds = peersOf(candidates?.runs ?? []);
    const onlyAllows = onlyAllow(rulesOf(definition, direction));
    const flat = flatOf((id) => ipSets.hasIdentities(id) && !this.#overLimit.has(id));
    // Whoever needs a chain needs a whole one.
    const whole = hasForm(users, "chain");
    if (flat === undefined || (whole && flat.rest !== undefined)) {
      return { ...withoutRuns(this.#chain(list, config), onlyAllows), identitySetIds };
    }
    const written = entry.rendered[direction]?.runs;
    const runs = written !== undefined && sameRuns(written, flat.runs) ? written : flat.runs;
    const rules = whole ? list.rules : flat.rest;
    const rendered = rules === undefined ? NO_CHAIN : this.#chain({ ...list, rules }, config);
    // The whole list denies where a part of it cannot be enforced.
    if (rendered.problem !== undefined) {
      return { ...withoutRuns(rendered, false), identitySetIds };
    }
    return { ...rendered, runs, identitySetIds, onlyAllows, isWhole: whole };
  }

  #allow({ phase }: Definition): readonly Expr[] {
    const { config } = this.#parts;
    if (phase === "untracked") return allowUntrackedExprs(config);
    return phase === "pre-dnat" ? allowPreDnatExprs(config) : allowExprs();
  }

  #chain(list: RuleList, config: NftPolicyConfig): RenderedList {
    return renderRuleList(list, this.#parts.context, config);
  }

  /** The kernel refuses a chain with `reject` in a hook that cannot do it, whoever else has the chain. */
  #configFor(users: Iterable<User>): NftPolicyConfig {
    const { config, mayReject } = this.#parts;
    for (const user of users) if (!mayReject(user)) return { ...config, denyAction: "Drop" };
    return config;
  }

  #flatten(
    definition: Definition,
    direction: Direction,
    mayBePeer: (id: IpSetId) => boolean,
  ): FlatList | undefined {
    const { maxIdentities, config } = this.#parts;
    const rules = rulesOf(definition, direction);
    if (maxIdentities < 0 || definition.phase !== "routed") return undefined;
    // The log line of a drop names the policy, which elements of a shared map cannot.
    const logsDrops = config.dropActionOverride.startsWith("Log");
    if (logsDrops && rules.some(({ action }) => action === "deny")) return undefined;
    try {
      return flatten(rules, direction, mayBePeer);
    } catch {
      // What is wrong with the list, its chain says.
      return undefined;
    }
  }

  #isOverLimit(id: IpSetId): boolean {
    return this.#parts.identities.count(id) > this.#parts.maxIdentities;
  }

  #index(id: IpSetId): Set<string> {
    let keys = this.#keysByIpSet.get(id);
    if (keys === undefined) this.#keysByIpSet.set(id, (keys = new Set()));
    return keys;
  }

  #unindex(key: string, entry: Entry<User>, before: WrittenList | undefined): void {
    for (const id of [...(before?.ipSetIds ?? []), ...(before?.identitySetIds ?? [])]) {
      const named = DIRECTIONS.some((direction) => {
        const list = entry.rendered[direction];
        return list?.ipSetIds.has(id) === true || list?.identitySetIds.has(id) === true;
      });
      if (named) continue;
      const keys = this.#keysByIpSet.get(id);
      keys?.delete(key);
      if (keys?.size === 0) this.#keysByIpSet.delete(id);
    }
  }

  #define(entry: Entry<User>, key: string, definition: Definition): void {
    entry.definition = definition;
    delete entry.refused;
    this.#dirty.add(key);
  }

  #undefine(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    delete entry.definition;
    this.#dirty.add(key);
  }

  #use(entry: Entry<User>, key: string, direction: Direction, user: User, form: PolicyForm): void {
    const users = entry.users[direction];
    if (!hasForm(users, form) || !this.#parts.mayReject(user)) this.#dirty.add(key);
    users.set(user, form);
  }

  #unuse(key: string, direction: Direction, user: User): void {
    const users = this.#entries.get(key)?.users[direction];
    const form = users?.get(user);
    users?.delete(user);
    if (form === undefined || users === undefined) return;
    if (!hasForm(users, form) || !this.#parts.mayReject(user)) this.#dirty.add(key);
  }

  #policyEntry(id: PolicyId): Entry<User> {
    return this.#entry(policyMapKey(id), id, policyTitle(id));
  }

  #profileEntry(name: string): Entry<User> {
    return this.#entry(profileMapKey(name), { profile: name }, `Profile ${name}`);
  }

  #entry(key: string, id: Entry<User>["id"], title: string): Entry<User> {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { id, title, users: { ingress: new Map(), egress: new Map() }, rendered: {} };
      this.#entries.set(key, entry);
    }
    return entry;
  }
}

function hasForm(users: ReadonlyMap<unknown, PolicyForm>, form: PolicyForm): boolean {
  for (const each of users.values()) if (each === form) return true;
  return false;
}

function ruleListOf(
  id: Entry<unknown>["id"],
  title: string,
  definition: Definition,
  direction: Direction,
): Omit<RuleList, "allow"> {
  const rules = rulesOf(definition, direction);
  if ("profile" in id) {
    const { profile } = id;
    return {
      chain: profileChain(direction, profile),
      title: `${title} ${direction}`,
      rules,
      isProfile: true,
      logSubject: { tier: "", kind: "pro", name: profile, fullName: profile },
    };
  }
  const fullName = id.namespace === "" ? id.name : `${id.namespace}/${id.name}`;
  return {
    chain: policyChain(direction, id),
    title: `${title} ${direction}`,
    rules,
    isProfile: false,
    logSubject: { tier: definition.tier, kind: kindShort(id.kind), name: id.name, fullName },
  };
}

function rulesOf(definition: Definition, direction: Direction): readonly Rule[] {
  return direction === "ingress" ? definition.inboundRules : definition.outboundRules;
}

const NO_SETS: ReadonlySet<IpSetId> = new Set();

/** What nobody jumps to. */
const NO_CHAIN: RenderedList = { chains: [], literals: [], ipSetIds: NO_SETS, passes: false };

function withoutRuns(rendered: RenderedList, onlyAllows: boolean): Listing {
  return { ...rendered, identitySetIds: NO_SETS, onlyAllows };
}

function viewOf(entry: Entry<unknown>, direction: Direction, form: PolicyForm): PolicyView {
  const { title } = entry;
  const rendered = entry.rendered[direction];
  const chain = rendered?.chains[0];
  if (form === "any" && rendered?.runs !== undefined) {
    const { runs, onlyAllows, isWhole } = rendered;
    const view = { title, runs, passes: false, onlyAllows };
    return chain === undefined || isWhole === true ? view : { ...view, chain };
  }
  if (rendered === undefined || chain === undefined) {
    return { title, passes: false, onlyAllows: false, problem: `${title} is not known` };
  }
  const { passes, onlyAllows, problem } = rendered;
  const view = { title, chain, passes, onlyAllows: onlyAllows && problem === undefined };
  return problem === undefined ? view : { ...view, problem };
}

function viewsOf(entry: Entry<unknown>, direction: Direction): Record<PolicyForm, PolicyView> {
  return { chain: viewOf(entry, direction, "chain"), any: viewOf(entry, direction, "any") };
}

function differs(a: PolicyView, b: PolicyView): boolean {
  return (
    a.chain !== b.chain ||
    a.runs !== b.runs ||
    a.passes !== b.passes ||
    a.onlyAllows !== b.onlyAllows ||
    a.problem !== b.problem
  );
}

function policyMapKey(id: PolicyId): string {
  return `policy\0${policyKey(id)}`;
}

function profileMapKey(name: string): string {
  return `profile\0${name}`;
}
