/**
 * `NftTable` in memory, for tests of what builds on it. It refuses what the kernel refuses (jumps
 * and lookups into nothing, removal of what is in use, endless jumps) and then leaves its kernel as
 * it was; the kernel part may be shared by several tables, as by an agent that was started again.
 */
import { inputError } from "#std";
import { refusalError } from "../socket.ts";
import { checkElement, elementKey, elementValue, type ElementKey } from "./elements.ts";
import { encodeRule } from "./rule.ts";
import { layoutOf } from "./sets.ts";
import { countObjects, type NftApplyResult, type NftCounts, type NftTable } from "./table.ts";
import type { NftChain, NftElement, NftSet, Verdict } from "./types.ts";

export interface FakeNftSet {
  readonly spec: NftSet;
  readonly elements: Map<ElementKey, NftElement>;
}

/** What is committed. Tests may edit it as another program would, and then call `changed`. */
export class FakeNftKernel {
  readonly chains = new Map<string, NftChain>();
  readonly sets = new Map<string, FakeNftSet>();
  generation = 1;
  readonly #watchers = new Set<(by: object | undefined) => void>();

  watch(watcher: (by: object | undefined) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** A commit; without `by`, of another program. */
  changed(by?: object): void {
    this.generation++;
    for (const watcher of this.#watchers) watcher(by);
  }
}

export class FakeNftTable implements NftTable {
  readonly kernel: FakeNftKernel;
  readonly #chains = new Map<string, NftChain>();
  readonly #sets = new Map<string, FakeNftSet>();
  readonly #dirtyChains = new Set<string>();
  readonly #dirtySets = new Set<string>();
  readonly #callbacks: (() => void)[] = [];
  readonly #unwatch: () => void;
  #known = false;
  #foreign = false;
  #repairs = 0;
  #failure: string | undefined;

  constructor(kernel: FakeNftKernel = new FakeNftKernel()) {
    this.kernel = kernel;
    this.#unwatch = kernel.watch((by) => {
      if (by === this) return;
      this.#known = false;
      this.#foreign = true;
      for (const callback of this.#callbacks) callback();
    });
  }

  get repairs(): number {
    return this.#repairs;
  }

  counts(): NftCounts {
    return countObjects(
      this.#chains.values(),
      this.#sets.values().map(({ spec }) => spec),
    );
  }

  get dirty(): boolean {
    return !this.#known || this.#dirtyChains.size > 0 || this.#dirtySets.size > 0;
  }

  /** The next `apply` that would send something is refused with this errno. */
  failNextApply(errno = "ENOMEM"): void {
    this.#failure = errno;
  }

  setChain(chain: NftChain): void {
    this.#chains.set(chain.name, chain);
    this.#noteChain(chain.name);
  }

  removeChain(name: string): void {
    this.#chains.delete(name);
    this.#noteChain(name);
  }

  setSet(spec: NftSet, elements: Iterable<NftElement>): void {
    this.#sets.set(spec.name, { spec, elements: new Map() });
    this.#dirtySets.add(spec.name);
    this.addElements(spec.name, elements);
  }

  addElements(name: string, elements: Iterable<NftElement>): void {
    const set = this.#setNamed(name);
    const layout = layoutOf(set.spec);
    for (const element of elements) {
      checkElement(name, layout, element);
      set.elements.set(elementKey(layout, element.key), element);
    }
    this.#noteSet(name);
  }

  removeElements(name: string, elements: Iterable<NftElement>): void {
    const set = this.#setNamed(name);
    const layout = layoutOf(set.spec);
    for (const element of elements) set.elements.delete(elementKey(layout, element.key));
    this.#noteSet(name);
  }

  removeSet(name: string): void {
    this.#sets.delete(name);
    this.#noteSet(name);
  }

  #setNamed(name: string): FakeNftSet {
    const set = this.#sets.get(name);
    if (set === undefined) throw inputError("no-such-set", `no set ${name} in the table`);
    return set;
  }

  #noteChain(name: string): void {
    mark(this.#dirtyChains, name, !sameChain(this.#chains.get(name), this.kernel.chains.get(name)));
  }

  #noteSet(name: string): void {
    mark(this.#dirtySets, name, !sameSet(this.#sets.get(name), this.kernel.sets.get(name)));
  }

  async apply(): Promise<NftApplyResult> {
    const damaged = this.#known ? false : this.#readBack();
    const messages = this.#dirtyChains.size + this.#dirtySets.size;
    if (messages > 0) this.#commit();
    if (damaged) this.#repairs++;
    this.#foreign = false;
    return { messages, generation: this.kernel.generation };
  }

  /** True if others changed something that is wanted otherwise. */
  #readBack(): boolean {
    const before = this.#dirtyChains.size + this.#dirtySets.size;
    for (const name of [...this.#chains.keys(), ...this.kernel.chains.keys()])
      this.#noteChain(name);
    for (const name of [...this.#sets.keys(), ...this.kernel.sets.keys()]) this.#noteSet(name);
    this.#known = true;
    return this.#foreign && this.#dirtyChains.size + this.#dirtySets.size > before;
  }

  #commit(): void {
    const errno = this.#failure;
    this.#failure = undefined;
    try {
      if (errno !== undefined) throw refusalError("commit to the fake table", { seq: 0, errno });
      this.#check();
    } catch (error) {
      this.#known = false;
      throw error;
    }
    for (const name of this.#dirtyChains) copyEntry(name, this.#chains, this.kernel.chains);
    for (const name of this.#dirtySets) {
      const set = this.#sets.get(name);
      if (set === undefined) this.kernel.sets.delete(name);
      else this.kernel.sets.set(name, { spec: set.spec, elements: new Map(set.elements) });
    }
    this.#dirtyChains.clear();
    this.#dirtySets.clear();
    this.kernel.changed(this);
  }

  /** Every name that is used must exist, and no jump may lead back to itself. */
  #check(): void {
    const done = new Set<string>();
    const visit = (name: string, path: readonly string[]): void => {
      if (path.includes(name)) throw refused(`add a rule to chain ${path.at(-1)}`, "ELOOP");
      if (done.has(name)) return;
      for (const target of this.#targets(name)) visit(target, [...path, name]);
      done.add(name);
    };
    for (const name of this.#chains.keys()) visit(name, []);
    for (const [name, set] of this.#sets) {
      for (const { data } of set.elements.values()) this.#target(data, `set ${name}`);
    }
  }

  #targets(name: string): string[] {
    const targets: string[] = [];
    for (const { exprs } of this.#chains.get(name)?.rules ?? []) {
      for (const expr of exprs) {
        if (expr.type === "verdict") targets.push(...this.#target(expr.verdict, `chain ${name}`));
        if (expr.type !== "lookup") continue;
        const set = this.#sets.get(expr.set);
        if (set === undefined) {
          const was = this.kernel.sets.has(expr.set);
          throw refused(`add a rule to chain ${name}`, was ? "EBUSY" : "ENOENT");
        }
        for (const { data } of set.elements.values()) {
          targets.push(...this.#target(data, `set ${expr.set}`));
        }
      }
    }
    return targets;
  }

  #target(data: Uint8Array | Verdict | undefined, where: string): string[] {
    if (data === undefined || data instanceof Uint8Array) return [];
    if (data.kind !== "jump" && data.kind !== "goto") return [];
    if (this.#chains.has(data.chain)) return [data.chain];
    throw refused(`commit ${where}`, this.kernel.chains.has(data.chain) ? "EBUSY" : "ENOENT");
  }

  onForeignChange(callback: () => void): void {
    this.#callbacks.push(callback);
  }

  close(): void {
    this.#callbacks.length = 0;
    this.#unwatch();
  }
}

function refused(what: string, errno: string): Error {
  return refusalError(what, { seq: 0, errno });
}

function mark(names: Set<string>, name: string, dirty: boolean): void {
  if (dirty) names.add(name);
  else names.delete(name);
}

function copyEntry<T>(name: string, from: ReadonlyMap<string, T>, to: Map<string, T>): void {
  const value = from.get(name);
  if (value === undefined) to.delete(name);
  else to.set(name, value);
}

function sameChain(a: NftChain | undefined, b: NftChain | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    JSON.stringify(a.hook) === JSON.stringify(b.hook) &&
    a.rules.length === b.rules.length &&
    a.rules.every((rule, index) => {
      const other = b.rules[index];
      return other !== undefined && encodeRule(rule) === encodeRule(other);
    })
  );
}

function sameSet(a: FakeNftSet | undefined, b: FakeNftSet | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  const layout = layoutOf(a.spec);
  if (layout.signature !== layoutOf(b.spec).signature) return false;
  if (a.elements.size !== b.elements.size) return false;
  for (const [key, element] of a.elements) {
    const other = b.elements.get(key);
    if (other === undefined) return false;
    if (elementValue(layout, element) !== elementValue(layout, other)) return false;
  }
  return true;
}
