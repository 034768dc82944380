/**
 * Policies and profiles as chains, two of each at most: a direction is written only while somebody
 * uses it. A changed policy rewrites its own chains; its users are told only when something that they
 * depend on changed (known or not, has Pass rules or not).
 *
 * A user that can do with runs of flat rules (`flat-list.ts`) says so, and gets them instead of a
 * chain where the rules allow it, and the sets they name are not in too many identities.
 */
import type { NftTable } from "#netlink";
import type { IpSetId, Policy, PolicyId, Profile } from "#policy";
import type { Identities } from "./identities.ts";
import type { IpSets } from "./ip-sets.ts";
import type { LiteralSets } from "./literal-sets.ts";
import { policyKey, policyTitle, type Direction } from "./names.ts";
import {
  differs,
  Listings,
  viewOf,
  type Listing,
  type ListingParts,
  type PolicyDefinition,
  type PolicyForm,
  type PolicyView,
  type WrittenList,
} from "./policy-listing.ts";

const DIRECTIONS: readonly Direction[] = ["ingress", "egress"];
const FORMS: readonly PolicyForm[] = ["chain", "any"];

/**
 * More identities than this in one set, and a rule that names it needs a chain: each rule would be as
 * many elements in every class. Only the choice depends on it, never what a packet gets.
 */
export const MAX_IDENTITIES = 256;

/** `User` is whoever names the policy. */
interface Entry<User> {
  readonly id: PolicyId | { readonly profile: string };
  readonly title: string;
  definition?: PolicyDefinition;
  readonly users: Readonly<Record<Direction, Map<User, PolicyForm>>>;
  readonly rendered: Partial<Record<Direction, WrittenList>>;
  /** Why the kernel does not take the present definition. */
  refused?: string;
}

export interface PolicyParts extends ListingParts {
  readonly table: NftTable;
  readonly literals: LiteralSets;
  readonly ipSets: IpSets;
  readonly identities: Identities;
}

/** What those who name policies need. */
export type PolicyUse<User> = Pick<
  Policies<User>,
  "policy" | "profile" | "usePolicy" | "unusePolicy" | "useProfile" | "unuseProfile"
>;

export class Policies<User> {
  readonly #parts: PolicyParts;
  readonly #listings: Listings;
  readonly #entries = new Map<string, Entry<User>>();
  readonly #dirty = new Set<string>();
  readonly #keysByIpSet = new Map<IpSetId, Set<string>>();
  /** Those that deny in place of what they say. */
  readonly #unenforced = new Set<string>();
  /** Sets that are in too many identities. */
  readonly #overLimit = new Set<IpSetId>();

  constructor(parts: PolicyParts) {
    this.#parts = parts;
    this.#listings = new Listings(parts);
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
    const { title, rendered } = this.#policyEntry(id);
    return viewOf(title, rendered[direction], form);
  }

  profile(name: string, direction: Direction): PolicyView {
    const { title, rendered } = this.#profileEntry(name);
    return viewOf(title, rendered[direction], "chain");
  }

  /** Policies and profiles in use that deny because they cannot be enforced. */
  get unenforced(): ReadonlySet<string> {
    return this.#unenforced;
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
        const before = entry.rendered[direction];
        this.#write(key, entry, direction);
        const after = entry.rendered[direction];
        const changed = new Set(
          FORMS.filter((form) =>
            differs(viewOf(entry.title, before, form), viewOf(entry.title, after, form)),
          ),
        );
        if (changed.size === 0) continue;
        for (const [user, form] of entry.users[direction]) {
          if (changed.has(form)) affected.add(user);
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
    const after = this.#list(entry, direction);
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
    const denies = DIRECTIONS.some((each) => entry.rendered[each]?.problem !== undefined);
    this.#unenforced[denies ? "add" : "delete"](key);
    this.#unindex(key, entry, before);
  }

  #list(entry: Entry<User>, direction: Direction): Listing | undefined {
    const { definition } = entry;
    const users = entry.users[direction];
    if (definition === undefined || users.size === 0) return undefined;
    return this.#listings.list(entry, definition, direction, {
      forms: { chain: hasForm(users, "chain"), any: hasForm(users, "any") },
      written: entry.rendered[direction],
      isOverLimit: (id) => this.#overLimit.has(id),
    });
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

  #define(entry: Entry<User>, key: string, definition: PolicyDefinition): void {
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
    if (!hasForm(users, form)) this.#dirty.add(key);
    users.set(user, form);
  }

  #unuse(key: string, direction: Direction, user: User): void {
    const users = this.#entries.get(key)?.users[direction];
    const form = users?.get(user);
    users?.delete(user);
    if (form === undefined || users === undefined) return;
    if (!hasForm(users, form)) this.#dirty.add(key);
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

function policyMapKey(id: PolicyId): string {
  return `policy\0${policyKey(id)}`;
}

function profileMapKey(name: string): string {
  return `profile\0${name}`;
}
