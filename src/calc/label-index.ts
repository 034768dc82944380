/**
 * Which selectors match which labelled items, kept up to date from both sides. Items inherit labels
 * from parents (profiles): own labels win, then the first parent in the item's order that has the
 * label.
 *
 *     item changes    → the selectors shelved under its labels are evaluated, the others never seen
 *     selector comes  → the items shelved under the selector's most telling label are evaluated
 *
 * So a change costs what is related to it, not all there is. An item may carry data, which whoever
 * is told of a match gets with it. There may be hundreds of thousands of items, so each holds little.
 */
import type { LabelGetter, Labels, Selector } from "#selector";
import {
  ItemShelves,
  putIn,
  SelectorShelves,
  takeOut,
  thingsIn,
  type Place,
  type Shelved,
} from "./label-shelves.ts";

/** Lists of parents that are remembered for each first one; they are searched one by one. */
const MAX_LISTS = 8;
const NO_LABELS: Labels = {};
const NO_MATCHES: readonly never[] = Object.freeze([]);
const NO_PARENTS: readonly never[] = Object.freeze([]);

interface Parent<S, I, D> {
  readonly name: string;
  /** Undefined: there is no such profile (yet); it gives nothing. */
  labels: Labels | undefined;
  /** Undefined only while it is being made or dropped. */
  items: Place<Item<S, I, D>> | undefined;
  /** Lists of parents that begin with this one: many items have the same. */
  readonly lists: (readonly Parent<S, I, D>[])[];
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
  #alone: readonly Filed<S>[] | undefined;

  constructor(id: S, selector: Selector) {
    this.id = id;
    this.selector = selector;
  }

  /** The matches of all items that match only this. */
  get alone(): readonly Filed<S>[] {
    return (this.#alone ??= [this]);
  }
}

class Item<S, I, D> implements LabelGetter {
  readonly id: I;
  labels: Labels;
  parents: readonly Parent<S, I, D>[];
  data: D;
  matches: readonly Filed<S>[] = NO_MATCHES;

  constructor(id: I, labels: Labels, parents: readonly Parent<S, I, D>[], data: D) {
    this.id = id;
    this.labels = labels;
    this.parents = parents;
    this.data = data;
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

export interface LabelIndexEvents<S, I, D = undefined> {
  onMatchStarted(selector: S, item: I, data: D): void;
  onMatchStopped(selector: S, item: I, data: D): void;
  /** Of an item that matches; before its labels are looked at. */
  onDataChanged?(selector: S, item: I, before: D, after: D): void;
}

export interface LabelIndexStatistics {
  readonly items: number;
  /** Selectors that only items with a certain label are tried on. */
  readonly optimizedSelectors: number;
  /** Selectors that every item is tried on. */
  readonly otherSelectors: number;
  /** Since the start: how often a selector was tried on an item, and matched. */
  readonly hits: number;
  readonly misses: number;
}

export class LabelIndex<S, I, D = undefined> {
  readonly #events: LabelIndexEvents<S, I, D>;
  readonly #items = new Map<I, Item<S, I, D>>();
  readonly #parentLabels: Map<string, Labels>;
  /** Those that items name. */
  readonly #parents = new Map<string, Parent<S, I, D>>();
  readonly #selectors = new Map<S, Filed<S>>();
  readonly #selectorShelves = new SelectorShelves<Filed<S>>();
  readonly #itemShelves = new ItemShelves<Item<S, I, D>>();
  readonly #scratch: Filed<S>[] = [];
  #mark = 0;
  #hits = 0;
  #misses = 0;

  /** `parentLabels` may be one for several indexes that are told the same of parents. */
  constructor(events: LabelIndexEvents<S, I, D>, parentLabels = new Map<string, Labels>()) {
    this.#events = events;
    this.#parentLabels = parentLabels;
  }

  statistics(): LabelIndexStatistics {
    const otherSelectors = this.#selectorShelves.unshelvedCount;
    return {
      items: this.#items.size,
      optimizedSelectors: this.#selectors.size - otherSelectors,
      otherSelectors,
      hits: this.#hits,
      misses: this.#misses,
    };
  }

  dataOf(id: I): D | undefined {
    return this.#items.get(id)?.data;
  }

  itemIds(): MapIterator<I> {
    return this.#items.keys();
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

  /** Idempotent; replaces what the item was. Returns whether it is new. */
  setItem(id: I, labels: Labels, parentNames: readonly string[], data: D): boolean {
    const known = this.#items.get(id);
    const parents = this.#parentsOf(parentNames, known?.parents);
    if (known === undefined) {
      const item = new Item<S, I, D>(id, labels, parents, data);
      this.#items.set(id, item);
      for (const parent of parents) addChild(parent, item);
      this.#itemShelves.add(item);
      this.#rematch(item);
      return true;
    }
    const before = known.data;
    known.data = data;
    for (const filed of known.matches) this.#events.onDataChanged?.(filed.id, id, before, data);
    if (parents === known.parents && sameLabels(known.labels, labels)) return false;
    this.#itemShelves.remove(known);
    known.labels = labels;
    if (parents !== known.parents) this.#adopt(known, parents);
    this.#itemShelves.add(known);
    this.#rematch(known);
    return false;
  }

  /** Stops its matches. Returns whether it was there. */
  deleteItem(id: I): boolean {
    const item = this.#items.get(id);
    if (item === undefined) return false;
    this.#itemShelves.remove(item);
    this.#items.delete(id);
    this.#adopt(item, NO_PARENTS);
    const { matches } = item;
    item.matches = NO_MATCHES;
    for (const filed of matches) this.#stopped(filed, item);
    return true;
  }

  /** `null` when the parent has no labels (any more). */
  setParent(name: string, labels: Labels | null): void {
    const after = labels ?? undefined;
    if (after === undefined) this.#parentLabels.delete(name);
    else if (this.#parentLabels.get(name) !== after) this.#parentLabels.set(name, after);
    const parent = this.#parents.get(name);
    if (parent === undefined) return;
    if (sameLabels(parent.labels ?? NO_LABELS, after ?? NO_LABELS)) {
      parent.labels = after;
      return;
    }
    for (const item of thingsIn(parent.items)) this.#itemShelves.remove(item);
    parent.labels = after;
    for (const item of thingsIn(parent.items)) {
      this.#itemShelves.add(item);
      this.#rematch(item);
    }
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
      if (item.matches.includes(filed) || !this.#isMatch(filed, item)) continue;
      item.matches = item.matches.length === 0 ? filed.alone : [...item.matches, filed];
      this.#started(filed, item);
    }
  }

  deleteSelector(id: S): void {
    const filed = this.#selectors.get(id);
    if (filed === undefined) return;
    this.#selectors.delete(id);
    for (const item of this.#matching(filed)) {
      item.matches = without(item.matches, filed);
      this.#stopped(filed, item);
    }
    this.#unshelve(filed);
  }

  /** What both selectors match goes over silently, the rest stops. */
  #exchange(before: Filed<S>, after: Filed<S>): void {
    for (const item of this.#matching(before)) {
      const stays = after.selector.matchesWith(item);
      const others = without(item.matches, before);
      item.matches = stays ? [...others, after] : others;
      if (stays) after.matchCount++;
      else this.#events.onMatchStopped(before.id, item.id, item.data);
    }
    this.#unshelve(before);
  }

  #unshelve(filed: Filed<S>): void {
    this.#selectorShelves.remove(filed);
    this.#itemShelves.release(filed);
  }

  /** Starts are told before stops, so that what moves from one match to another does not flap. */
  #rematch(item: Item<S, I, D>): void {
    const candidates = this.#candidatesFor(item);
    const before = item.matches;
    if (candidates.length === 0 && before.length === 0) return;
    const was = ++this.#mark;
    for (const filed of before) filed.mark = was;
    const is = ++this.#mark;
    let now: Filed<S>[] | undefined;
    let started: Filed<S>[] | undefined;
    for (const filed of candidates) {
      if (filed.mark === is || !this.#isMatch(filed, item)) continue;
      if (filed.mark !== was) (started ??= []).push(filed);
      filed.mark = is;
      (now ??= []).push(filed);
    }
    item.matches = (now?.length === 1 ? now[0]?.alone : now) ?? NO_MATCHES;
    for (const filed of started ?? NO_MATCHES) this.#started(filed, item);
    for (const filed of before) if (filed.mark !== is) this.#stopped(filed, item);
  }

  #isMatch({ selector }: Filed<S>, item: Item<S, I, D>): boolean {
    const matches = selector.matchesWith(item);
    if (matches) this.#hits++;
    else this.#misses++;
    return matches;
  }

  /** Good until the next call. */
  #candidatesFor(item: Item<S, I, D>): readonly Filed<S>[] {
    const found = this.#scratch;
    found.length = 0;
    this.#selectorShelves.collect(item, found);
    return found;
  }

  #started(filed: Filed<S>, item: Item<S, I, D>): void {
    filed.matchCount++;
    this.#events.onMatchStarted(filed.id, item.id, item.data);
  }

  #stopped(filed: Filed<S>, item: Item<S, I, D>): void {
    filed.matchCount--;
    this.#events.onMatchStopped(filed.id, item.id, item.data);
  }

  /** Items that the selector may match; none twice, since an item has one value of a label. */
  #candidates(filed: Filed<S>): Iterable<Item<S, I, D>> {
    return this.#itemShelves.candidates(filed) ?? this.#items.values();
  }

  /** A copy, as the matches are about to change. */
  #matching(filed: Filed<S>): readonly Item<S, I, D>[] {
    const found: Item<S, I, D>[] = [];
    if (filed.matchCount === 0) return found;
    for (const item of this.#candidates(filed)) if (item.matches.includes(filed)) found.push(item);
    return found;
  }

  /** One list for all items with the same parents. */
  #parentsOf(
    names: readonly string[],
    known: readonly Parent<S, I, D>[] | undefined,
  ): readonly Parent<S, I, D>[] {
    if (known !== undefined && areNamed(known, names)) return known;
    const [name] = names;
    if (name === undefined) return NO_PARENTS;
    const first = this.#parentNamed(name);
    const at = first.lists.findIndex((list) => areNamed(list, names));
    const listed = first.lists[at];
    if (listed?.every((parent) => this.#parents.get(parent.name) === parent)) return listed;
    const list =
      names.length === 1 ? [first] : [...new Set(names)].map((one) => this.#parentNamed(one));
    if (at >= 0) first.lists[at] = list;
    else if (list.length === names.length && first.lists.length < MAX_LISTS) first.lists.push(list);
    return list;
  }

  #parentNamed(name: string): Parent<S, I, D> {
    const known = this.#parents.get(name);
    if (known !== undefined) return known;
    const labels = this.#parentLabels.get(name);
    const parent: Parent<S, I, D> = { name, labels, items: undefined, lists: [] };
    this.#parents.set(name, parent);
    return parent;
  }

  #adopt(item: Item<S, I, D>, parents: readonly Parent<S, I, D>[]): void {
    const left = item.parents;
    item.parents = parents;
    for (const parent of parents) if (!left.includes(parent)) addChild(parent, item);
    for (const parent of left) {
      if (parents.includes(parent)) continue;
      parent.items = takeOut(parent.items, item);
      if (parent.items === undefined) this.#parents.delete(parent.name);
    }
  }
}

function addChild<S, I, D>(parent: Parent<S, I, D>, item: Item<S, I, D>): void {
  parent.items = putIn(parent.items, item);
}

function without<S>(matches: readonly Filed<S>[], filed: Filed<S>): readonly Filed<S>[] {
  return matches.length === 1 ? NO_MATCHES : matches.filter((one) => one !== filed);
}

function areNamed(
  parents: readonly { readonly name: string }[],
  names: readonly string[],
): boolean {
  if (parents.length !== names.length) return false;
  for (let at = 0; at < names.length; at++) if (parents[at]?.name !== names[at]) return false;
  return true;
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
