/**
 * Rules in force, told with what of them cannot be decided. That depends on whether the datastore has
 * endpoints of services at all; when it gets or loses them, the rules that are concerned are told again.
 */
import type { Profile } from "#policy";
import { RuleScanner, type ModelRuleLists, type RuleSets } from "./rule-scanner.ts";
import { decidesByService, unsupportedFields } from "./unsupported.ts";

export class DecidedRules {
  readonly #scanner: RuleScanner;
  /** Owner of rules that decide by service → tells them. */
  readonly #concerned = new Map<string, () => void>();
  /** As of the last review: what was told since goes by that, and is told again if it changed. */
  #knowsServices = false;

  constructor(sets: RuleSets) {
    this.#scanner = new RuleScanner(sets);
  }

  /** Replaces the owner's rules; `tell` gets them when their sets exist, and perhaps again later. */
  set(owner: string, lists: ModelRuleLists, tell: (rules: Profile) => void): void {
    const tellAll = (): void =>
      this.#scanner.setRules(owner, lists, (rules) => {
        const unsupported = unsupportedFields(lists, this.#knowsServices);
        tell(unsupported.length === 0 ? rules : { ...rules, unsupported });
      });
    if (decidesByService(lists)) this.#concerned.set(owner, tellAll);
    else this.#concerned.delete(owner);
    tellAll();
  }

  /** Call when the owner's rules are withdrawn. */
  delete(owner: string): void {
    this.#concerned.delete(owner);
    this.#scanner.deleteRules(owner);
  }

  review(knowsServices: boolean): void {
    if (knowsServices === this.#knowsServices) return;
    this.#knowsServices = knowsServices;
    for (const tellAgain of this.#concerned.values()) tellAgain();
  }
}
