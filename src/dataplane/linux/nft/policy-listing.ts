/**
 * One direction of a policy or profile as its users need it: a chain, runs of flat rules, or both, where
 * only some rules need a chain. What cannot be enforced becomes a chain that drops all.
 */
import type { Expr } from "#netlink";
import type { IpSetId, PolicyId, Rule } from "#policy";
import { allowExprs, allowPreDnatExprs, allowUntrackedExprs } from "./actions.ts";
import type { NftPolicyConfig } from "./config.ts";
import { flatten, onlyAllow, peersOf, sameRuns, type FlatList, type FlatRun } from "./flat-list.ts";
import type { IpSets } from "./ip-sets.ts";
import type { MatchContext } from "./match.ts";
import { kindShort, policyChain, profileChain, type Direction } from "./names.ts";
import { failClosed, renderRuleList, type RenderedList, type RuleList } from "./rule-list.ts";

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

export interface PolicyDefinition {
  readonly inboundRules: readonly Rule[];
  readonly outboundRules: readonly Rule[];
  readonly tier: string;
  /** When it is asked; what is allowed before the route is known is marked so. */
  readonly phase: "routed" | "untracked" | "pre-dnat";
  readonly unsupported: readonly string[];
}

/** A list as it was written: the chains' names alone, since the table holds their rules. */
export interface WrittenList extends Omit<RenderedList, "chains"> {
  /** The list's own chain first; none if nobody needs one. */
  readonly chains: readonly string[];
  /** Sets whose addresses must have identities before the list can be flat. */
  readonly identitySetIds: ReadonlySet<IpSetId>;
  readonly runs?: readonly FlatRun[];
  /** Beside runs: the chain has their rules too. */
  readonly isWhole?: boolean;
  readonly onlyAllows: boolean;
}

export interface Listing extends Omit<WrittenList, "chains"> {
  readonly chains: RenderedList["chains"];
}

/** Whose rules they are. */
export interface ListSubject {
  readonly id: PolicyId | { readonly profile: string };
  readonly title: string;
  /** Why the kernel does not take the definition. */
  readonly refused?: string;
}

/** What its users can make of it, and what is already written for them. */
export interface ListWants {
  readonly forms: Readonly<Record<PolicyForm, boolean>>;
  readonly written: WrittenList | undefined;
  /** The set is in too many identities. */
  readonly isOverLimit: (id: IpSetId) => boolean;
}

export interface ListingParts {
  readonly config: NftPolicyConfig;
  readonly context: MatchContext;
  readonly ipSets: Pick<IpSets, "hasIdentities">;
  /** Sets in more identities than this need chains; -1: all lists are chains. */
  readonly maxIdentities: number;
  /** Begins the names of chains, where policies are in the table more than once. */
  readonly variant: string;
}

export class Listings {
  readonly #parts: ListingParts;

  constructor(parts: ListingParts) {
    this.#parts = parts;
  }

  list(
    subject: ListSubject,
    definition: PolicyDefinition,
    direction: Direction,
    { forms, written, isOverLimit }: ListWants,
  ): Listing {
    const { variant } = this.#parts;
    const allow = this.#allow(definition);
    const list = { ...ruleListOf(subject, definition, direction, variant), allow };
    const { config, context } = this.#parts;
    const chain = (rules: RuleList["rules"]): RenderedList =>
      renderRuleList({ ...list, rules }, context, config);
    if (definition.unsupported.length > 0) {
      const features = definition.unsupported.join(", ");
      const problem = `${subject.title}: cannot be enforced: ${features}`;
      return withoutRuns(failClosed(list.chain, problem), false);
    }
    if (subject.refused !== undefined) {
      return withoutRuns(failClosed(list.chain, subject.refused), false);
    }
    const flatOf = (mayBePeer: (id: IpSetId) => boolean): FlatList | undefined =>
      forms.any ? this.#flatten(definition, direction, mayBePeer) : undefined;
    const { ipSets } = this.#parts;
    const candidates = flatOf((id) => ipSets.hasIdentities(id));
    const identitySetIds = peersOf(candidates?.runs ?? []);
    const onlyAllows = onlyAllow(rulesOf(definition, direction));
    const flat = flatOf((id) => ipSets.hasIdentities(id) && !isOverLimit(id));
    // Whoever needs a chain needs a whole one.
    const whole = forms.chain;
    if (flat === undefined || (whole && flat.rest !== undefined)) {
      return { ...withoutRuns(chain(list.rules), onlyAllows), identitySetIds };
    }
    const same = written?.runs !== undefined && sameRuns(written.runs, flat.runs);
    const runs = same ? written.runs : flat.runs;
    const rules = whole ? list.rules : flat.rest;
    const rendered = rules === undefined ? NO_CHAIN : chain(rules);
    // The whole list denies where a part of it cannot be enforced.
    if (rendered.problem !== undefined) {
      return { ...withoutRuns(rendered, false), identitySetIds };
    }
    return { ...rendered, runs, identitySetIds, onlyAllows, isWhole: whole };
  }

  #allow({ phase }: PolicyDefinition): readonly Expr[] {
    const { config } = this.#parts;
    if (phase === "untracked") return allowUntrackedExprs(config);
    return phase === "pre-dnat" ? allowPreDnatExprs(config) : allowExprs();
  }

  #flatten(
    definition: PolicyDefinition,
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
}

function ruleListOf(
  { id, title }: ListSubject,
  definition: PolicyDefinition,
  direction: Direction,
  variant: string,
): Omit<RuleList, "allow"> {
  const rules = rulesOf(definition, direction);
  if ("profile" in id) {
    const { profile } = id;
    return {
      chain: profileChain(direction, profile, variant),
      title: `${title} ${direction}`,
      rules,
      isProfile: true,
      logSubject: { tier: "", kind: "pro", name: profile, fullName: profile },
    };
  }
  const fullName = id.namespace === "" ? id.name : `${id.namespace}/${id.name}`;
  return {
    chain: policyChain(direction, id, variant),
    title: `${title} ${direction}`,
    rules,
    isProfile: false,
    logSubject: { tier: definition.tier, kind: kindShort(id.kind), name: id.name, fullName },
  };
}

function rulesOf(definition: PolicyDefinition, direction: Direction): readonly Rule[] {
  return direction === "ingress" ? definition.inboundRules : definition.outboundRules;
}

const NO_SETS: ReadonlySet<IpSetId> = new Set();

/** What nobody jumps to. */
const NO_CHAIN: RenderedList = { chains: [], literals: [], ipSetIds: NO_SETS, passes: false };

function withoutRuns(rendered: RenderedList, onlyAllows: boolean): Listing {
  return { ...rendered, identitySetIds: NO_SETS, onlyAllows };
}

export function viewOf(
  title: string,
  rendered: WrittenList | undefined,
  form: PolicyForm,
): PolicyView {
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

/** Whether whoever names the policy must look again. */
export function differs(a: PolicyView, b: PolicyView): boolean {
  return (
    a.chain !== b.chain ||
    a.runs !== b.runs ||
    a.passes !== b.passes ||
    a.onlyAllows !== b.onlyAllows ||
    a.problem !== b.problem
  );
}
