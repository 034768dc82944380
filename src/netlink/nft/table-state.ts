/**
 * What a table shall hold against what the kernel is known to hold, and the names of what differs,
 * kept at every change. No input or output of its own.
 */
import { inputError } from "#std";
import { DesiredSet } from "./desired.ts";
import {
  handlesAfter,
  sameHook,
  type DesiredChain,
  type KnownChain,
  type KnownSet,
  type KnownTable,
  type Plan,
} from "./plan.ts";
import type { KernelSet, KernelTable } from "./readback.ts";
import { encodeRule } from "./rule.ts";
import type { NftChain, NftElement, NftSet } from "./types.ts";

export class TableState {
  readonly chains = new Map<string, DesiredChain>();
  readonly sets = new Map<string, DesiredSet>();
  readonly dirtyChains = new Set<string>();
  readonly dirtySets = new Set<string>();
  /** Undefined: the table must be read back before anything is written. */
  known: KnownTable | undefined;
  /** Sets that the kernel still has, with what is known of them, in case they come back. */
  readonly #removedSets = new Map<string, DesiredSet>();

  /** Names of chains and sets that are not as wanted. */
  pending(): ReadonlySet<string> {
    return new Set([...this.dirtyChains, ...this.dirtySets]);
  }

  setChain(chain: NftChain): void {
    const rules = chain.rules.map((rule) => encodeRule(rule));
    this.chains.set(chain.name, { name: chain.name, hook: chain.hook, rules });
    this.#noteChain(chain.name);
  }

  removeChain(name: string): void {
    if (this.chains.delete(name)) this.#noteChain(name);
  }

  setSet(spec: NftSet, elements: Iterable<NftElement>): void {
    const fresh = new DesiredSet(spec);
    const current = this.sets.get(spec.name) ?? this.#removedSets.get(spec.name);
    const set = current?.layout.signature === fresh.layout.signature ? current : fresh;
    set.replace(elements);
    this.#removedSets.delete(spec.name);
    this.sets.set(spec.name, set);
    this.#noteSet(spec.name, set);
  }

  /** Input error `no-such-set` when it was never set. */
  addElements(name: string, elements: Iterable<NftElement>): void {
    const set = this.#setNamed(name);
    set.add(elements);
    this.#noteSet(name, set);
  }

  /** As `addElements`. */
  removeElements(name: string, elements: Iterable<NftElement>): void {
    const set = this.#setNamed(name);
    set.remove(elements);
    this.#noteSet(name, set);
  }

  removeSet(name: string): void {
    const set = this.sets.get(name);
    if (set === undefined) return;
    this.sets.delete(name);
    if (this.known?.sets.has(name) === true) {
      this.#removedSets.set(name, set);
      this.dirtySets.add(name);
    } else {
      this.dirtySets.delete(name);
    }
  }

  #setNamed(name: string): DesiredSet {
    const set = this.sets.get(name);
    if (set === undefined) throw inputError("no-such-set", `no set ${name} in the table`);
    return set;
  }

  #noteSet(name: string, set: DesiredSet): void {
    if (set.dirty) this.dirtySets.add(name);
    else this.dirtySets.delete(name);
  }

  #noteChain(name: string): void {
    const known = this.known?.chains.get(name);
    const chain = this.chains.get(name);
    if (!sameChain(chain, known)) {
      this.dirtyChains.add(name);
      return;
    }
    this.dirtyChains.delete(name);
    // Equal rules are held once.
    if (chain !== undefined && known !== undefined) {
      this.chains.set(name, { ...chain, rules: known.rules });
    }
  }

  /** The whole table as the kernel has it. `news`: something differs that was not waiting before. */
  adopt(kernel: KernelTable): { readonly known: KnownTable; readonly news: boolean } {
    const known = knownFrom(kernel);
    this.known = known;
    const wanted = this.pending();
    this.dirtyChains.clear();
    this.dirtySets.clear();
    this.#removedSets.clear();
    for (const name of new Set([...this.chains.keys(), ...known.chains.keys()])) {
      this.#noteChain(name);
    }
    for (const [name, set] of this.sets) this.#learn(set, kernel.sets.get(name));
    for (const name of known.sets.keys()) if (!this.sets.has(name)) this.dirtySets.add(name);
    const news = [...this.dirtyChains, ...this.dirtySets].some((name) => !wanted.has(name));
    return { known, news };
  }

  /** One chain as the kernel has it. */
  adoptChain(known: KnownTable, name: string, found: KnownChain | undefined): void {
    if (found === undefined) known.chains.delete(name);
    else known.chains.set(name, found);
    this.#noteChain(name);
  }

  /** One set as the kernel has it. */
  adoptSet(known: KnownTable, name: string, found: KernelSet | undefined): void {
    if (found === undefined) known.sets.delete(name);
    else known.sets.set(name, knownSet(found));
    this.#removedSets.delete(name);
    const set = this.sets.get(name);
    if (set !== undefined) this.#learn(set, found);
    else if (found === undefined) this.dirtySets.delete(name);
    else this.dirtySets.add(name);
  }

  #learn(set: DesiredSet, found: KernelSet | undefined): void {
    const usable = found?.layout.signature === set.layout.signature;
    set.known(usable ? found.elements : undefined);
    this.#noteSet(set.spec.name, set);
  }

  /** The plan was committed: nothing differs. */
  settle(known: KnownTable, plan: Plan): void {
    known.exists ||= this.chains.size + this.sets.size > 0;
    known.objects = [];
    for (const name of this.dirtyChains) if (!this.chains.has(name)) known.chains.delete(name);
    for (const edit of plan.edits) {
      const { name, hook, rules } = edit.chain;
      known.chains.set(name, { hook, rules, handles: handlesAfter(edit, plan.batch) });
    }
    for (const name of this.dirtySets) {
      const set = this.sets.get(name);
      set?.committed();
      if (set === undefined) known.sets.delete(name);
    }
    for (const [name, set] of plan.sets) known.sets.set(name, set);
    this.dirtyChains.clear();
    this.dirtySets.clear();
    this.#removedSets.clear();
  }
}

function sameChain(desired: DesiredChain | undefined, known: KnownChain | undefined): boolean {
  if (desired === undefined || known === undefined) return desired === known;
  return (
    sameHook(desired.hook, known.hook) &&
    desired.hook?.policy === known.hook?.policy &&
    desired.rules.length === known.rules.length &&
    desired.rules.every((rule, index) => rule === known.rules[index])
  );
}

function knownFrom(kernel: KernelTable): KnownTable {
  return {
    exists: kernel.exists,
    generation: kernel.generation,
    chains: new Map(kernel.chains),
    sets: new Map([...kernel.sets].map(([name, set]) => [name, knownSet(set)])),
    objects: kernel.objects,
  };
}

function knownSet({ layout, capacity }: KernelSet): KnownSet {
  return { signature: layout.signature, capacity };
}
