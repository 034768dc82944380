/**
 * One direction of a policy or profile as a chain. Its verdicts: Allow accepts (which ends the
 * stage, not the packet's way), Deny drops, Pass marks the packet and returns, no match returns.
 *
 * A rule with several choices would multiply into one nf_tables rule per combination. Small products
 * are written out; larger ones become a row of chains, one per choice, each going on to the next:
 *
 *     policy:  fixed matches            jump r3.0
 *     r3.0:    source in hash set       goto r3.1        r3.1:  port 80        accept
 *              source in interval set   goto r3.1               named port     accept
 *
 * A list that cannot be rendered exactly becomes a chain that drops all.
 */
import type { Expr, NftChain, NftRule } from "#netlink";
import type { Rule } from "#policy";
import { inputError, messageOf, unreachable } from "#std";
import { denyExprs, dropExprs, logExprs, passExprs, type LogSubject } from "./actions.ts";
import type { NftPolicyConfig } from "./config.ts";
import { counter, goto, jump, returnToCaller, rule as nftRule } from "./exprs.ts";
import type { LiteralSet } from "./literal-sets.ts";
import { ipSetIdsOf, matchesOf, type Match, type MatchContext } from "./match.ts";
import { ruleChain } from "./names.ts";

/** More combinations than this go into chains of their own. */
const MAX_WRITTEN_OUT = 4;
/** Where chains cannot be: a list that would be longer is refused. */
const MAX_COMBINATIONS = 1024;
/** NFT_RULE_MAXEXPRS of the kernel (net/netfilter/nf_tables_api.c); it would refuse the whole batch. */
const MAX_EXPRS = 128;

export interface RuleList {
  readonly chain: string;
  /** For comments: `GlobalNetworkPolicy web ingress`. */
  readonly title: string;
  /** Undefined at the place of a rule that is done elsewhere. */
  readonly rules: readonly (Rule | undefined)[];
  /** In a profile there is no tier to leave: Pass goes on to the next profile. */
  readonly isProfile: boolean;
  readonly logSubject: LogSubject;
  /** What Allow does. */
  readonly allow: readonly Expr[];
}

export interface RenderedList {
  /** The list's own chain first. */
  readonly chains: readonly NftChain[];
  readonly literals: readonly LiteralSet[];
  readonly ipSetIds: ReadonlySet<string>;
  /** Some rule sets the Pass mark. */
  readonly passes: boolean;
  /** Why the chain drops all. */
  readonly problem?: string;
}

export function renderRuleList(
  list: RuleList,
  context: MatchContext,
  config: NftPolicyConfig,
): RenderedList {
  const ipSetIds = new Set(
    list.rules.flatMap((rule) => (rule === undefined ? [] : ipSetIdsOf(rule))),
  );
  try {
    const renderer = new ListRenderer(list, config);
    for (const [index, rule] of list.rules.entries()) {
      if (rule !== undefined) renderer.rule(index, rule, context);
    }
    return { ...renderer.finish(), ipSetIds };
  } catch (error) {
    return { ...failClosed(list.chain, `${list.title}: ${messageOf(error)}`), ipSetIds };
  }
}

/** A chain in place of one that cannot be enforced. */
export function failClosed(chain: string, problem: string): RenderedList {
  const rules = [nftRule(dropExprs(), problem)];
  return {
    chains: [{ name: chain, rules }],
    literals: [],
    ipSetIds: new Set(),
    passes: false,
    problem,
  };
}

class ListRenderer {
  readonly #list: RuleList;
  readonly #config: NftPolicyConfig;
  readonly #rules: NftRule[] = [];
  readonly #chains: NftChain[] = [];
  readonly #literals: LiteralSet[] = [];
  #passes = false;

  constructor(list: RuleList, config: NftPolicyConfig) {
    this.#list = list;
    this.#config = config;
  }

  rule(index: number, rule: Rule, context: MatchContext): void {
    const action = this.#action(rule);
    const comment = `${this.#list.title} rule ${index + 1}`;
    const mayChain = rule.action !== "next-tier";
    for (const [nth, match] of matchesOf(rule, context).entries()) {
      this.#literals.push(...match.literals);
      const combinations = match.choices.reduce((product, choice) => product * choice.length, 1);
      // A Log rule must log once, though several alternatives may hold.
      const limit = rule.action === "log" ? 1 : MAX_WRITTEN_OUT;
      if (mayChain && combinations > limit) {
        this.#chained(match, action, comment, `${index + 1}.${nth}`, rule.action === "log");
      } else if (combinations <= MAX_COMBINATIONS) this.#writtenOut(match, action, comment);
      else {
        throw inputError("unusable-rule", `${comment} has too many alternatives`, {
          fields: { combinations, limit: MAX_COMBINATIONS },
        });
      }
    }
  }

  /** Throws an input error for what the kernel would not take. */
  finish(): Pick<RenderedList, "chains" | "literals" | "passes"> {
    const own: NftChain = { name: this.#list.chain, rules: this.#rules };
    for (const { exprs, comment } of [own, ...this.#chains].flatMap(({ rules }) => rules)) {
      if (exprs.length <= MAX_EXPRS) continue;
      throw inputError("unusable-rule", `${comment ?? ""} has too many conditions for one rule`, {
        fields: { expressions: exprs.length, limit: MAX_EXPRS },
      });
    }
    return { chains: [own, ...this.#chains], literals: this.#literals, passes: this.#passes };
  }

  #action(rule: Rule): readonly Expr[] {
    switch (rule.action) {
      case "allow":
        return this.#list.allow;
      case "deny":
        return denyExprs(this.#config, this.#list.logSubject);
      case "log":
        return logExprs(this.#config, this.#list.logSubject);
      case "next-tier":
        if (this.#list.isProfile) return [counter, returnToCaller];
        this.#passes = true;
        return passExprs(this.#config);
      default:
        return unreachable(rule.action);
    }
  }

  #writtenOut(match: Match, action: readonly Expr[], comment: string): void {
    let heads: (readonly Expr[])[] = [match.fixed];
    for (const choice of match.choices) {
      heads = heads.flatMap((head) => choice.map((alternative) => [...head, ...alternative]));
    }
    for (const head of heads) this.#rules.push(nftRule([...head, ...action], comment));
  }

  #chained(
    match: Match,
    action: readonly Expr[],
    comment: string,
    label: string,
    once: boolean,
  ): void {
    const nameOf = (step: number): string => ruleChain(this.#list.chain, `${label}.${step}`);
    const last = once ? [...action, returnToCaller] : action;
    for (const [step, choice] of match.choices.entries()) {
      const next = step === match.choices.length - 1 ? last : [goto(nameOf(step + 1))];
      const rules = choice.map((alternative) =>
        nftRule([...match.family, ...alternative, ...next], comment),
      );
      this.#chains.push({ name: nameOf(step), rules });
    }
    this.#rules.push(nftRule([...match.fixed, jump(nameOf(0))], comment));
  }
}
