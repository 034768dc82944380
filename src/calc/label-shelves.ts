/**
 * Shelves of the label index: selectors under the label that tells most about them, and items under
 * the labels that selectors are shelved under.
 */
import { isUnsatisfiable, type Selector } from "#selector";

/** Where a selector is: undefined label: nothing tells; undefined values: the label with any value. */
export interface Shelved {
  readonly selector: Selector;
  label: string | undefined;
  values: readonly string[] | undefined;
}

export interface Labelled {
  get(label: string): string | undefined;
  /** Every label with its effective value, perhaps some twice. */
  eachLabel(visit: (label: string, value: string) => void): void;
}

/** More values than this are as good as any value. */
const MANY_VALUES = 100;
/** Labels of items that are indexed one by one; when more are asked for, all of them are. */
const MAX_SINGLE_LABELS = 32;
/** Labels that nothing asks for any more and that stay indexed: policies come and go. */
const MAX_IDLE_LABELS = 16;

/** What lies in one place. Most places hold one thing, for which a set would be a big box. */
type Place<T extends object> = T | Set<T>;

interface SelectorShelf<F extends object> {
  readonly byValue: Map<string, Place<F>>;
  readonly anyValue: Set<F>;
}

export class SelectorShelves<F extends Shelved> {
  readonly #shelves = new Map<string, SelectorShelf<F>>();
  readonly #unshelved = new Set<F>();

  /** Chooses the selector's place. */
  add(filed: F, items: Pick<ItemShelves<Labelled>, "cost">): void {
    let cheapest = Number.POSITIVE_INFINITY;
    for (const [label, restriction] of filed.selector.restrictions) {
      const listed = restriction.mustHaveOneOfValues;
      const values = listed !== undefined && listed.length <= MANY_VALUES ? listed : undefined;
      if (isUnsatisfiable(restriction)) {
        // Matches nothing ever: no item looks where there is no value.
        filed.label = label;
        filed.values = [];
        return;
      }
      if (!restriction.mustBePresent) continue;
      const cost = this.#cost(label, values) + items.cost(label, values);
      if (cost >= cheapest) continue;
      cheapest = cost;
      filed.label = label;
      filed.values = values;
    }
    if (filed.label === undefined) this.#unshelved.add(filed);
    else this.#put(filed, filed.label);
  }

  remove(filed: F): void {
    if (filed.label === undefined) {
      this.#unshelved.delete(filed);
      return;
    }
    const shelf = this.#shelves.get(filed.label);
    if (shelf === undefined) return;
    shelf.anyValue.delete(filed);
    for (const value of filed.values ?? []) takeFrom(shelf.byValue, value, filed);
    if (shelf.anyValue.size === 0 && shelf.byValue.size === 0) this.#shelves.delete(filed.label);
  }

  /** Selectors that may match the item, perhaps some twice. */
  eachCandidate(item: Labelled, visit: (filed: F) => void): void {
    if (this.#shelves.size > 0) {
      item.eachLabel((label, value) => {
        const shelf = this.#shelves.get(label);
        if (shelf === undefined) return;
        const ofValue = shelf.byValue.get(value);
        if (ofValue instanceof Set) for (const filed of ofValue) visit(filed);
        else if (ofValue !== undefined) visit(ofValue);
        for (const filed of shelf.anyValue) visit(filed);
      });
    }
    for (const filed of this.#unshelved) visit(filed);
  }

  #put(filed: F, label: string): void {
    let shelf = this.#shelves.get(label);
    if (shelf === undefined) {
      shelf = { byValue: new Map(), anyValue: new Set() };
      this.#shelves.set(label, shelf);
    }
    if (filed.values === undefined) shelf.anyValue.add(filed);
    else for (const value of filed.values) putInto(shelf.byValue, value, filed);
  }

  /**
   * Every later change of an item with such a label pays for each selector beside, so an empty
   * place is worth most, whatever label comes first in the text.
   */
  #cost(label: string, values: readonly string[] | undefined): number {
    const shelf = this.#shelves.get(label);
    if (values === undefined) return 1e9 + 1e4 * (shelf?.anyValue.size ?? 0);
    let beside = 0;
    for (const value of values) beside += sizeOf(shelf?.byValue.get(value));
    return 1e4 * beside + values.length;
  }
}

export class ItemShelves<T extends Labelled> {
  readonly #shelves = new Map<string, Map<string, Place<T>>>();
  /** Label → how many selectors are shelved under it. */
  readonly #claims = new Map<string, number>();
  readonly #idle = new Set<string>();
  #hasAllLabels = false;

  /** Makes sure that the items are shelved under the selector's label. */
  claim({ label, values }: Shelved, items: Iterable<T>): void {
    if (label === undefined || values?.length === 0) return;
    this.#claims.set(label, (this.#claims.get(label) ?? 0) + 1);
    this.#idle.delete(label);
    if (this.#hasAllLabels || this.#shelves.has(label)) return;
    if (this.#shelves.size < MAX_SINGLE_LABELS) this.#shelve(label, items);
    else this.#shelveAll(items);
  }

  release({ label, values }: Shelved): void {
    if (label === undefined || values?.length === 0) return;
    const left = (this.#claims.get(label) ?? 0) - 1;
    if (left > 0) {
      this.#claims.set(label, left);
      return;
    }
    this.#claims.delete(label);
    if (this.#hasAllLabels) return;
    this.#idle.add(label);
    if (this.#idle.size <= MAX_IDLE_LABELS) return;
    for (const idle of this.#idle) this.#shelves.delete(idle);
    this.#idle.clear();
  }

  add(item: T): void {
    if (!this.#hasAllLabels && this.#shelves.size === 0) return;
    item.eachLabel((label, value) => {
      const shelf = this.#shelfFor(label);
      if (shelf !== undefined) putInto(shelf, value, item);
    });
  }

  /** Call before the item's labels, or those that it inherits, change. */
  remove(item: T): void {
    if (this.#shelves.size === 0) return;
    item.eachLabel((label, value) => {
      const shelf = this.#shelves.get(label);
      if (shelf === undefined) return;
      takeFrom(shelf, value, item);
      if (this.#hasAllLabels && shelf.size === 0) this.#shelves.delete(label);
    });
  }

  /** Items that may match, each once; undefined: any may. */
  candidates({ label, values }: Shelved): Iterable<T> | undefined {
    if (label === undefined) return undefined;
    const shelf = this.#shelves.get(label);
    if (shelf === undefined || values?.length === 0) return [];
    return flatten(shelf, values ?? shelf.keys());
  }

  /** What it costs to look at the items of that place; an unknown number, and a shelf to be made. */
  cost(label: string, values: readonly string[] | undefined): number {
    const shelf = this.#shelves.get(label);
    if (shelf === undefined) return this.#hasAllLabels ? 0 : 5000;
    let count = 0;
    for (const value of values ?? []) count += sizeOf(shelf.get(value));
    return 10 * Math.min(count, 900);
  }

  #shelve(label: string, items: Iterable<T>): void {
    const shelf = new Map<string, Place<T>>();
    this.#shelves.set(label, shelf);
    for (const item of items) {
      const value = item.get(label);
      if (value !== undefined) putInto(shelf, value, item);
    }
  }

  /** Beyond some labels, a pass over the items for each would cost more than the memory. */
  #shelveAll(items: Iterable<T>): void {
    this.#hasAllLabels = true;
    this.#shelves.clear();
    this.#idle.clear();
    for (const item of items) this.add(item);
  }

  #shelfFor(label: string): Map<string, Place<T>> | undefined {
    const known = this.#shelves.get(label);
    if (known !== undefined || !this.#hasAllLabels) return known;
    const shelf = new Map<string, Place<T>>();
    this.#shelves.set(label, shelf);
    return shelf;
  }
}

function sizeOf(place: object | undefined): number {
  if (place === undefined) return 0;
  return place instanceof Set ? place.size : 1;
}

function putInto<T extends object>(shelf: Map<string, Place<T>>, value: string, one: T): void {
  const place = shelf.get(value);
  if (place === undefined) shelf.set(value, one);
  else if (place instanceof Set) place.add(one);
  else if (place !== one) shelf.set(value, new Set([place, one]));
}

function takeFrom<T extends object>(shelf: Map<string, Place<T>>, value: string, one: T): void {
  const place = shelf.get(value);
  if (place instanceof Set) {
    place.delete(one);
    if (place.size === 0) shelf.delete(value);
  } else if (place === one) {
    shelf.delete(value);
  }
}

function* flatten<T extends object>(
  shelf: ReadonlyMap<string, Place<T>>,
  values: Iterable<string>,
): Generator<T, undefined> {
  for (const value of values) {
    const place = shelf.get(value);
    if (place instanceof Set) yield* place;
    else if (place !== undefined) yield place;
  }
}
