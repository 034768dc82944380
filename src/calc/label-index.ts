/**
 * Which selectors match which labelled items, kept up to date from both sides. Items inherit labels
 * from parents (profiles): own labels win, then the first parent in the item's order that has the
 * label.
 *
 *     item changes    → the selectors shelved under its labels are evaluated, the others never seen
 *     selector comes  → the items shelved under the selector's most telling label are evaluated
 *
 * So a change costs what is related to it, not all there is.
 */
import type { LabelGetter, Labels, Selector } from "#selector";
import { ItemShelves, SelectorShelves, type Shelved } from "./label-shelves.ts";

const NO_LABELS: Labels = {};

interface Parent<S, I> {
  readonly name: string;
  /** Undefined: there is no such profile (yet); it gives nothing. */
  labels: Labels | undefined;
  /** Absent until an item names the parent: most profiles concern one index only. */
  items: Set<Item<S, I>> | undefined;
}

/** A selector in the index. */
class Filed<S> implements Shelved {
  readonly id: S;
  readonly selector: Selector;
  label: string | undefined;
  values: readonly string[] | undefined;
  matchCount = 0;
  /** Set while one item's matches are compared. */
  mark = 0;

  constructor(id: S, selector: Selector) {
    this.id = id;
    this.selector = selector;
  }
}

class Item<S, I> implements LabelGetter {
  readonly id: I;
  labels: Labels;
  parents: readonly Parent<S, I>[];
  matches: readonly Filed<S>[] = [];

  constructor(id: I, labels: Labels, parents: readonly Parent<S, I>[]) {
    this.id = id;
    this.labels = labels;
    this.parents = parents;
  }

  /** A text can only be the item's own: what every object inherits is functions. */
  get(label: string): string | undefined {
    const own: unknown = this.labels[label];
    if (typeof own === "string") return own;
    for (const { labels } of this.parents) {
      const inherited: unknown = labels?.[label];
      if (typeof inherited === "string") return inherited;
    }
    return undefined;
  }

  /** Every label with its effective value; one that two parents have alike may come twice. */
  eachLabel(visit: (label: string, value: string) => void): void {
    const { labels } = this;
    for (const label in labels) visit(label, labels[label] ?? "");
    for (const parent of this.parents) {
      const inherited = parent.labels;
      if (inherited === undefined) continue;
      for (const label in inherited) {
        const value = inherited[label] ?? "";
        if (this.get(label) === value && typeof labels[label] !== "string") visit(label, value);
      }
    }
  }
}

export interface LabelIndexEvents<S, I> {
  onMatchStarted(selector: S, item: I): void;
  onMatchStopped(selector: S, item: I): void;
}

export class LabelIndex<S, I> {
  readonly #events: LabelIndexEvents<S, I>;
  readonly #items = new Map<I, Item<S, I>>();
  readonly #parents = new Map<string, Parent<S, I>>();
  readonly #selectors = new Map<S, Filed<S>>();
  readonly #selectorShelves = new SelectorShelves<Filed<S>>();
  readonly #itemShelves = new ItemShelves<Item<S, I>>();
  #mark = 0;

  constructor(events: LabelIndexEvents<S, I>) {
    this.#events = events;
  }

  matchesOfItem(id: I): readonly S[] {
    return (this.#items.get(id)?.matches ?? []).map((filed) => filed.id);
  }

  /** Whether the item's labels, own and inherited, match; for selectors that are not in the index. */
  itemMatches(id: I, selector: Selector): boolean {
    const item = this.#items.get(id);
    return item !== undefined && selector.matchesWith(item);
  }

  /** How many items the selector matches. */
  matchCount(id: S): number {
    return this.#selectors.get(id)?.matchCount ?? 0;
  }

  /** Idempotent; replaces what the item was. */
  setItem(id: I, labels: Labels, parentNames: readonly string[]): void {
    const known = this.#items.get(id);
    const parents = this.#parentsOf(parentNames, known?.parents);
    if (known === undefined) {
      const item = new Item<S, I>(id, labels, parents);
      this.#items.set(id, item);
      for (const parent of parents) addChild(parent, item);
      this.#itemShelves.add(item);
      this.#rematch(item);
      return;
    }
    if (parents === known.parents && sameLabels(known.labels, labels)) return;
    this.#itemShelves.remove(known);
    known.labels = labels;
    if (parents !== known.parents) this.#adopt(known, parents);
    this.#itemShelves.add(known);
    this.#rematch(known);
  }

  /** Stops its matches. Unknown ids are ignored. */
  deleteItem(id: I): void {
    const item = this.#items.get(id);
    if (item === undefined) return;
    this.#itemShelves.remove(item);
    this.#items.delete(id);
    this.#adopt(item, []);
    const { matches } = item;
    item.matches = [];
    for (const filed of matches) this.#stopped(filed, item);
  }

  /** `null` when the parent has no labels (any more). */
  setParent(name: string, labels: Labels | null): void {
    const parent = this.#parents.get(name) ?? this.#addParent(name);
    const after = labels ?? undefined;
    if (sameLabels(parent.labels ?? NO_LABELS, after ?? NO_LABELS)) {
      parent.labels = after;
    } else {
      const { items = [] } = parent;
      for (const item of items) this.#itemShelves.remove(item);
      parent.labels = after;
      for (const item of items) {
        this.#itemShelves.add(item);
        this.#rematch(item);
      }
    }
    this.#dropUnused(parent);
  }

  /** Idempotent; replaces the selector of that id. */
  setSelector(id: S, selector: Selector): void {
    const before = this.#selectors.get(id);
    if (before?.selector.canonical === selector.canonical) return;
    const filed = new Filed(id, selector);
    this.#selectors.set(id, filed);
    if (before !== undefined) this.#exchange(before, filed);
    this.#selectorShelves.add(filed, this.#itemShelves);
    this.#itemShelves.claim(filed, this.#items.values());
    for (const item of this.#candidates(filed)) {
      if (item.matches.includes(filed) || !selector.matchesWith(item)) continue;
      item.matches = [...item.matches, filed];
      this.#started(filed, item);
    }
  }

  deleteSelector(id: S): void {
    const filed = this.#selectors.get(id);
    if (filed === undefined) return;
    this.#selectors.delete(id);
    for (const item of this.#matching(filed)) {
      item.matches = item.matches.filter((one) => one !== filed);
      this.#stopped(filed, item);
    }
    this.#unshelve(filed);
  }

  /** What both selectors match goes over silently, the rest stops. */
  #exchange(before: Filed<S>, after: Filed<S>): void {
    for (const item of this.#matching(before)) {
      const stays = after.selector.matchesWith(item);
      const others = item.matches.filter((one) => one !== before);
      item.matches = stays ? [...others, after] : others;
      if (stays) after.matchCount++;
      else this.#events.onMatchStopped(before.id, item.id);
    }
    this.#unshelve(before);
  }

  #unshelve(filed: Filed<S>): void {
    this.#selectorShelves.remove(filed);
    this.#itemShelves.release(filed);
  }

  /** Starts are told before stops, so that what moves from one match to another does not flap. */
  #rematch(item: Item<S, I>): void {
    const before = item.matches;
    const was = ++this.#mark;
    for (const filed of before) filed.mark = was;
    const is = ++this.#mark;
    const now: Filed<S>[] = [];
    let started: Filed<S>[] | undefined;
    this.#selectorShelves.eachCandidate(item, (filed) => {
      if (filed.mark === is || !filed.selector.matchesWith(item)) return;
      if (filed.mark !== was) (started ??= []).push(filed);
      filed.mark = is;
      now.push(filed);
    });
    if (now.length === 0 && before.length === 0) return;
    item.matches = now;
    const stopped = before.filter((filed) => filed.mark !== is);
    for (const filed of started ?? []) this.#started(filed, item);
    for (const filed of stopped) this.#stopped(filed, item);
  }

  #started(filed: Filed<S>, item: Item<S, I>): void {
    filed.matchCount++;
    this.#events.onMatchStarted(filed.id, item.id);
  }

  #stopped(filed: Filed<S>, item: Item<S, I>): void {
    filed.matchCount--;
    this.#events.onMatchStopped(filed.id, item.id);
  }

  /** Items that the selector may match; none twice, since an item has one value of a label. */
  #candidates(filed: Filed<S>): Iterable<Item<S, I>> {
    return this.#itemShelves.candidates(filed) ?? this.#items.values();
  }

  /** A copy, as the matches are about to change. */
  #matching(filed: Filed<S>): readonly Item<S, I>[] {
    const found: Item<S, I>[] = [];
    if (filed.matchCount === 0) return found;
    for (const item of this.#candidates(filed)) if (item.matches.includes(filed)) found.push(item);
    return found;
  }

  #parentsOf(
    names: readonly string[],
    known: readonly Parent<S, I>[] | undefined,
  ): readonly Parent<S, I>[] {
    if (known?.length === names.length && names.every((name, at) => known[at]?.name === name)) {
      return known;
    }
    return [...new Set(names)].map((name) => this.#parents.get(name) ?? this.#addParent(name));
  }

  #addParent(name: string): Parent<S, I> {
    const parent: Parent<S, I> = { name, labels: undefined, items: undefined };
    this.#parents.set(name, parent);
    return parent;
  }

  #adopt(item: Item<S, I>, parents: readonly Parent<S, I>[]): void {
    const left = item.parents;
    item.parents = parents;
    for (const parent of parents) addChild(parent, item);
    for (const parent of left) {
      if (parents.includes(parent)) continue;
      if (parent.items?.delete(item) && parent.items.size === 0) parent.items = undefined;
      this.#dropUnused(parent);
    }
  }

  #dropUnused(parent: Parent<S, I>): void {
    if (parent.items === undefined && parent.labels === undefined)
      this.#parents.delete(parent.name);
  }
}

function addChild<S, I>(parent: Parent<S, I>, item: Item<S, I>): void {
  if (parent.items === undefined) parent.items = new Set([item]);
  else parent.items.add(item);
}

function sameLabels(a: Labels, b: Labels): boolean {
  if (a === b) return true;
  let more = 0;
  for (const label in a) {
    if (a[label] !== b[label]) return false;
    more++;
  }
  for (const _ in b) more--;
  return more === 0;
}
