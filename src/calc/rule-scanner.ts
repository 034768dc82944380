/**
 * Holds the rules that are in force and the IP sets they need. A set lives while any rule names it;
 * new sets are announced before the rules that use them, and old ones withdrawn after.
 */
import type { ModelRule } from "#model";
import type { IpSetId, Rule } from "#policy";
import { RefCounts } from "#std";
import type { IpSetDefinition } from "./ip-sets.ts";
import { resolveRules } from "./rule-sets.ts";

export interface RuleSets {
  addSet(definition: IpSetDefinition): void;
  removeSet(id: IpSetId): void;
}

export interface ModelRuleLists {
  readonly inboundRules: readonly ModelRule[];
  readonly outboundRules: readonly ModelRule[];
  /** Why the rules are not known; in place of them it denies. */
  readonly broken?: string;
}

export interface RuleLists {
  readonly inboundRules: readonly Rule[];
  readonly outboundRules: readonly Rule[];
}

export class RuleScanner {
  readonly #sets: RuleSets;
  readonly #users = new RefCounts<IpSetId>();
  /** Owner of rules → ids it holds, each once. */
  readonly #held = new Map<string, ReadonlySet<IpSetId>>();

  constructor(sets: RuleSets) {
    this.#sets = sets;
  }

  /** Replaces the owner's rules; `emit` is told them when their sets exist. */
  setRules(owner: string, lists: ModelRuleLists, emit: (rules: RuleLists) => void): void {
    const inbound = resolveRules(lists.inboundRules, `in/${owner}`);
    const outbound = resolveRules(lists.outboundRules, `out/${owner}`);
    const needed = new Map<IpSetId, IpSetDefinition>();
    for (const definition of [...inbound.sets, ...outbound.sets]) {
      needed.set(definition.id, definition);
    }
    for (const [id, definition] of needed) {
      if (this.#users.increment(id)) this.#sets.addSet(definition);
    }
    emit({ inboundRules: inbound.rules, outboundRules: outbound.rules });
    this.#release(owner);
    this.#held.set(owner, new Set(needed.keys()));
  }

  /** Call when the owner's rules are withdrawn. */
  deleteRules(owner: string): void {
    this.#release(owner);
    this.#held.delete(owner);
  }

  #release(owner: string): void {
    for (const id of this.#held.get(owner) ?? []) {
      if (this.#users.decrement(id)) this.#sets.removeSet(id);
    }
  }
}
