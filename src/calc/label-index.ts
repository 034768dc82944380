/**
 * Which selectors match which labelled items, kept up to date. Items inherit labels from parents
 * (profiles): own labels win, then the first parent in the item's order that has the label. Selectors
 * and items are shelved by label and value, so a change costs what is related to it, not all there is.
 */
import { isUnsatisfiable, type LabelGetter, type Labels, type Selector } from "#selector";
import { MultiMap } from "#std";
import { LabelShelf, SelectorShelf } from "./label-shelves.ts";

const NO_LABELS: Labels = {};

class Item<I> implements LabelGetter {
  readonly id: I;
  labels: Labels;
  parents: readonly string[];
  readonly #parentLabels: ReadonlyMap<string, Labels>;

  constructor(id: I, labels: Labels, parents: readonly string[], all: ReadonlyMap<string, Labels>) {
    this.id = id;
    this.labels = labels;
    this.parents = parents;
    this.#parentLabels = all;
  }

  get(label: string): string | undefined {
    const own = ownValue(this.labels, label);
    if (own !== undefined) return own;
    for (const parent of this.parents) {
      const inherited = ownValue(this.#parentLabels.get(parent) ?? NO_LABELS, label);
      if (inherited !== undefined) return inherited;
    }
    return undefined;
  }

  /** Every label that may have a value, perhaps twice. */
  *effective(): Generator<readonly [string, string]> {
    yield* Object.entries(this.labels);
    for (const parent of this.parents) {
      for (const [label, value] of Object.entries(this.#parentLabels.get(parent) ?? NO_LABELS)) {
        if (this.get(label) === value) yield [label, value];
      }
    }
  }
}

function ownValue(labels: Labels, label: string): string | undefined {
  return Object.hasOwn(labels, label) ? labels[label] : undefined;
}

export interface LabelIndexEvents<S, I> {
  onMatchStarted(selector: S, item: I): void;
  onMatchStopped(selector: S, item: I): void;
}

export class LabelIndex<S, I> {
  readonly #events: LabelIndexEvents<S, I>;
  readonly #items = new Map<I, Item<I>>();
  readonly #parents = new Map<string, Labels>();
  readonly #children = new MultiMap<string, I>();
  readonly #selectors = new Map<S, Selector>();
  readonly #matchesOfItem = new MultiMap<I, S>();
  readonly #matchesOfSelector = new MultiMap<S, I>();
  readonly #itemShelf = new LabelShelf<I>();
  readonly #parentShelf = new LabelShelf<string>();
  readonly #selectorShelf = new SelectorShelf<S>();

  constructor(events: LabelIndexEvents<S, I>) {
    this.#events = events;
  }

  matchesOfItem(item: I): ReadonlySet<S> {
    return this.#matchesOfItem.get(item);
  }

  matchesOfSelector(selector: S): ReadonlySet<I> {
    return this.#matchesOfSelector.get(selector);
  }

  /** Idempotent; replaces what the item was. */
  setItem(id: I, labels: Labels, parents: readonly string[]): void {
    let item = this.#items.get(id);
    if (item === undefined) {
      item = new Item(id, labels, parents, this.#parents);
      this.#items.set(id, item);
    } else {
      if (sameLabels(item.labels, labels) && sameList(item.parents, parents)) return;
      this.#itemShelf.remove(id, item.labels);
      for (const parent of item.parents) this.#children.delete(parent, id);
      item.labels = labels;
      item.parents = parents;
    }
    this.#itemShelf.add(id, labels);
    for (const parent of parents) this.#children.add(parent, id);
    this.#rescanItem(item);
  }

  /** Stops its matches. Unknown ids are ignored. */
  deleteItem(id: I): void {
    const item = this.#items.get(id);
    if (item === undefined) return;
    for (const selector of this.#matchesOfItem.get(id)) this.#stop(selector, id);
    this.#itemShelf.remove(id, item.labels);
    for (const parent of item.parents) this.#children.delete(parent, id);
    this.#items.delete(id);
  }

  /** `null` when the parent has no labels (any more). */
  setParent(name: string, labels: Labels | null): void {
    const before = this.#parents.get(name) ?? NO_LABELS;
    const after = labels ?? NO_LABELS;
    const changed = changedLabels(before, after);
    if (changed.size === 0) return;
    this.#parentShelf.remove(name, before);
    this.#parentShelf.add(name, after);
    if (labels === null) this.#parents.delete(name);
    else this.#parents.set(name, labels);
    for (const child of this.#children.get(name)) {
      const item = this.#items.get(child);
      if (item !== undefined) this.#rescanItem(item, changed);
    }
  }

  /** Idempotent; replaces the selector of that id. */
  setSelector(id: S, selector: Selector): void {
    const before = this.#selectors.get(id);
    if (before?.canonical === selector.canonical) return;
    if (before !== undefined) this.#selectorShelf.remove(id, before);
    this.#selectors.set(id, selector);
    this.#selectorShelf.add(id, selector);
    for (const item of this.#matchesOfSelector.get(id)) {
      const known = this.#items.get(item);
      if (known === undefined || !selector.matchesWith(known)) this.#stop(id, item);
    }
    for (const item of this.#candidates(selector)) {
      if (selector.matchesWith(item)) this.#start(id, item.id);
    }
  }

  deleteSelector(id: S): void {
    const selector = this.#selectors.get(id);
    if (selector === undefined) return;
    for (const item of this.#matchesOfSelector.get(id)) this.#stop(id, item);
    this.#selectorShelf.remove(id, selector);
    this.#selectors.delete(id);
  }

  /** `changed`: only selectors that look at one of these labels can answer otherwise than before. */
  #rescanItem(item: Item<I>, changed?: ReadonlySet<string>): void {
    const concerns = (selector: Selector): boolean =>
      changed === undefined || intersects(selector.usedLabels, changed);
    for (const id of this.#matchesOfItem.get(item.id)) {
      const selector = this.#selectors.get(id);
      if (selector === undefined || (concerns(selector) && !selector.matchesWith(item))) {
        this.#stop(id, item.id);
      }
    }
    const consider = (id: S): void => {
      const selector = this.#selectors.get(id);
      if (selector !== undefined && concerns(selector) && selector.matchesWith(item)) {
        this.#start(id, item.id);
      }
    };
    for (const id of this.#selectorShelf.unrestricted) consider(id);
    for (const [label, value] of item.effective()) {
      for (const id of this.#selectorShelf.forLabel(label)) consider(id);
      for (const id of this.#selectorShelf.forValue(label, value)) consider(id);
    }
  }

  /** Items that keep the selector's cheapest restriction; perhaps the same twice. */
  *#candidates(selector: Selector): Generator<Item<I>> {
    let best: { label: string; values: readonly string[] | undefined; cost: number } | undefined;
    for (const [label, restriction] of selector.restrictions) {
      if (isUnsatisfiable(restriction)) return;
      if (!restriction.mustBePresent) continue;
      const values = restriction.mustHaveOneOfValues;
      const cost =
        this.#itemShelf.count(label, values) +
        this.#childrenOf(this.#parentShelf.find(label, values));
      if (best === undefined || cost < best.cost) best = { label, values, cost };
    }
    if (best === undefined || best.cost >= this.#items.size) {
      yield* this.#items.values();
      return;
    }
    for (const id of this.#itemShelf.find(best.label, best.values)) yield* this.#itemOf(id);
    for (const parent of this.#parentShelf.find(best.label, best.values)) {
      for (const id of this.#children.get(parent)) yield* this.#itemOf(id);
    }
  }

  *#itemOf(id: I): Generator<Item<I>> {
    const item = this.#items.get(id);
    if (item !== undefined) yield item;
  }

  #childrenOf(parents: Iterable<string>): number {
    let count = 0;
    for (const parent of parents) count += this.#children.get(parent).size;
    return count;
  }

  #start(selector: S, item: I): void {
    if (!this.#matchesOfSelector.add(selector, item)) return;
    this.#matchesOfItem.add(item, selector);
    this.#events.onMatchStarted(selector, item);
  }

  #stop(selector: S, item: I): void {
    if (!this.#matchesOfSelector.delete(selector, item)) return;
    this.#matchesOfItem.delete(item, selector);
    this.#events.onMatchStopped(selector, item);
  }
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one, index) => one === b[index]);
}

function sameLabels(a: Labels, b: Labels): boolean {
  return a === b || changedLabels(a, b).size === 0;
}

function changedLabels(a: Labels, b: Labels): ReadonlySet<string> {
  const changed = new Set<string>();
  for (const label of Object.keys(a)) if (a[label] !== ownValue(b, label)) changed.add(label);
  for (const label of Object.keys(b)) if (b[label] !== ownValue(a, label)) changed.add(label);
  return changed;
}

function intersects(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  const [small, large] = a.size <= b.size ? [a, b] : [b, a];
  for (const one of small) if (large.has(one)) return true;
  return false;
}
