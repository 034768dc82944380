/**
 * Policies and profiles as chains, two of each at most: a direction is written only while some
 * endpoint class uses it. A changed policy rewrites its own chains; classes are told only when
 * something they depend on changed (known or not, has Pass rules or not).
 */
import type { NftTable } from "#netlink";
import type { IpSetId, Policy, PolicyId, Profile, Rule } from "#policy";
import type { NftPolicyConfig } from "./config.ts";
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

/** What a class needs to know of a policy that it names. */
export interface PolicyView {
  readonly title: string;
  /** Undefined: the policy is not known. */
  readonly chain?: string;
  readonly passes: boolean;
  /** Why the policy drops all; absent when it works. */
  readonly problem?: string;
}

interface Definition {
  readonly inboundRules: readonly Rule[];
  readonly outboundRules: readonly Rule[];
  readonly tier: string;
  readonly unsupported: readonly string[];
}

/** A list as it was written: the chains' names alone, since the table holds their rules. */
interface WrittenList extends Omit<RenderedList, "chains"> {
  /** The list's own chain first. */
  readonly chains: readonly string[];
}

/** `User` is whoever jumps to the chains. */
interface Entry<User> {
  readonly id: PolicyId | { readonly profile: string };
  readonly title: string;
  definition?: Definition;
  readonly users: Readonly<Record<Direction, Set<User>>>;
  readonly rendered: Partial<Record<Direction, WrittenList>>;
  /** Why the kernel does not take the present definition. */
  refused?: string;
}

export class Policies<User> {
  readonly #table: NftTable;
  readonly #config: NftPolicyConfig;
  readonly #literals: LiteralSets;
  readonly #context: MatchContext;
  readonly #entries = new Map<string, Entry<User>>();
  readonly #dirty = new Set<string>();
  readonly #keysByIpSet = new Map<IpSetId, Set<string>>();

  constructor(
    table: NftTable,
    config: NftPolicyConfig,
    literals: LiteralSets,
    context: MatchContext,
  ) {
    this.#table = table;
    this.#config = config;
    this.#literals = literals;
    this.#context = context;
  }

  setPolicy(id: PolicyId, policy: Policy): void {
    this.#define(this.#policyEntry(id), policyMapKey(id), {
      inboundRules: policy.inboundRules,
      outboundRules: policy.outboundRules,
      tier: policy.tier,
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
      unsupported: profile.unsupported ?? [],
    });
  }

  removeProfile(name: string): void {
    this.#undefine(profileMapKey(name));
  }

  usePolicy(id: PolicyId, direction: Direction, user: User): void {
    this.#use(this.#policyEntry(id), policyMapKey(id), direction, user);
  }

  useProfile(name: string, direction: Direction, user: User): void {
    this.#use(this.#profileEntry(name), profileMapKey(name), direction, user);
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

  policy(id: PolicyId, direction: Direction): PolicyView {
    return viewOf(this.#policyEntry(id), direction);
  }

  profile(name: string, direction: Direction): PolicyView {
    return viewOf(this.#profileEntry(name), direction);
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

  /** Writes dirty chains; the users whose view of some policy changed. */
  flush(): Set<User> {
    const affected = new Set<User>();
    for (const key of this.#dirty) {
      const entry = this.#entries.get(key);
      if (entry === undefined) continue;
      for (const direction of DIRECTIONS) {
        const before = fingerprint(viewOf(entry, direction));
        this.#write(key, entry, direction);
        if (fingerprint(viewOf(entry, direction)) !== before) {
          for (const user of entry.users[direction]) affected.add(user);
        }
      }
      const unused = DIRECTIONS.every((direction) => entry.users[direction].size === 0);
      if (entry.definition === undefined && unused) this.#entries.delete(key);
    }
    this.#dirty.clear();
    return affected;
  }

  #write(key: string, entry: Entry<User>, direction: Direction): void {
    const before = entry.rendered[direction];
    const after = this.#render(entry, direction);
    for (const id of after?.ipSetIds ?? []) this.#index(id).add(key);
    if (after !== undefined) this.#literals.acquire(after.literals);
    const kept = new Set<string>();
    for (const chain of after?.chains ?? []) {
      this.#table.setChain(chain);
      kept.add(chain.name);
    }
    for (const chain of before?.chains ?? []) {
      if (!kept.has(chain)) this.#table.removeChain(chain);
    }
    if (before !== undefined) this.#literals.release(before.literals);
    if (after === undefined) delete entry.rendered[direction];
    else entry.rendered[direction] = { ...after, chains: [...kept] };
    this.#unindex(key, entry, before);
  }

  #render(entry: Entry<User>, direction: Direction): RenderedList | undefined {
    const { definition } = entry;
    if (definition === undefined || entry.users[direction].size === 0) return undefined;
    const list = ruleListOf(entry.id, entry.title, definition, direction);
    if (definition.unsupported.length > 0) {
      const features = definition.unsupported.join(", ");
      return failClosed(list.chain, `${entry.title}: not supported yet: ${features}`);
    }
    if (entry.refused !== undefined) return failClosed(list.chain, entry.refused);
    return renderRuleList(list, this.#context, this.#config);
  }

  #index(id: IpSetId): Set<string> {
    let keys = this.#keysByIpSet.get(id);
    if (keys === undefined) this.#keysByIpSet.set(id, (keys = new Set()));
    return keys;
  }

  #unindex(key: string, entry: Entry<User>, before: WrittenList | undefined): void {
    for (const id of before?.ipSetIds ?? []) {
      if (DIRECTIONS.some((direction) => entry.rendered[direction]?.ipSetIds.has(id))) continue;
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

  #use(entry: Entry<User>, key: string, direction: Direction, user: User): void {
    if (entry.users[direction].size === 0) this.#dirty.add(key);
    entry.users[direction].add(user);
  }

  #unuse(key: string, direction: Direction, user: User): void {
    const users = this.#entries.get(key)?.users[direction];
    users?.delete(user);
    if (users?.size === 0) this.#dirty.add(key);
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
      entry = { id, title, users: { ingress: new Set(), egress: new Set() }, rendered: {} };
      this.#entries.set(key, entry);
    }
    return entry;
  }
}

function ruleListOf(
  id: Entry<unknown>["id"],
  title: string,
  definition: Definition,
  direction: Direction,
): RuleList {
  const rules = direction === "ingress" ? definition.inboundRules : definition.outboundRules;
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

function viewOf(entry: Entry<unknown>, direction: Direction): PolicyView {
  const rendered = entry.rendered[direction];
  const chain = rendered?.chains[0];
  if (rendered === undefined || chain === undefined) {
    return { title: entry.title, passes: false, problem: `${entry.title} is not known` };
  }
  const view = { title: entry.title, chain, passes: rendered.passes };
  return rendered.problem === undefined ? view : { ...view, problem: rendered.problem };
}

function fingerprint(view: PolicyView): string {
  return `${view.chain ?? ""} ${view.passes} ${view.problem ?? ""}`;
}

function policyMapKey(id: PolicyId): string {
  return `policy\0${policyKey(id)}`;
}

function profileMapKey(name: string): string {
  return `profile\0${name}`;
}
