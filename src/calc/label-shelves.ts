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

/** When this few labels are asked for, asking an item for each is cheaper than going over its own. */
const FEW_LABELS = 4;

/**
 * What lies in one place: most hold one thing, for which a set would be a big box; and to find a thing
 * in a list costs less than a set's memory, until the list is long. A long list becomes a set when
 * something is first taken out: to put things in one by one, as at the start, a list is quicker.
 */
export type Place<T extends object> = T | T[] | Set<T>;
const LONGEST_SEARCHED = 512;

interface SelectorShelf<F extends object> {
  readonly byValue: Map<string, Place<F>>;
  readonly anyValue: Set<F>;
}

/**
 * Shelves by label. To go over a map makes a list for each entry, and that at every change of an item:
 * so while there are few, there is a list of them, too.
 */
class Shelves<V> {
  readonly #byLabel = new Map<string, V>();
  #few: readonly { readonly label: string; readonly shelf: V }[] | undefined = [];

  get size(): number {
    return this.#byLabel.size;
  }

  /** All of them; undefined: they are not few. */
  get few(): readonly { readonly label: string; readonly shelf: V }[] | undefined {
    return this.#few;
  }

  get(label: string): V | undefined {
    return this.#byLabel.get(label);
  }

  set(label: string, shelf: V): void {
    this.#byLabel.set(label, shelf);
    this.#changed();
  }

  delete(label: string): void {
    if (this.#byLabel.delete(label)) this.#changed();
  }

  clear(): void {
    this.#byLabel.clear();
    this.#changed();
  }

  #changed(): void {
    this.#few =
      this.#byLabel.size > FEW_LABELS
        ? undefined
        : Array.from(this.#byLabel, ([label, shelf]) => ({ label, shelf }));
  }
}

export class SelectorShelves<F extends Shelved> {
  readonly #shelves = new Shelves<SelectorShelf<F>>();
  readonly #unshelved = new Set<F>();

  get unshelvedCount(): number {
    return this.#unshelved.size;
  }

  /** Chooses the selector's place. */
  add(filed: F, items: Pick<ItemShelves<Labelled>, "cost">): void {
    let cheapest = Number.POSITIVE_INFINITY;
    const { restrictions } = filed.selector;
    const isOnly = restrictions.size === 1;
    for (const [label, restriction] of restrictions) {
      const listed = restriction.mustHaveOneOfValues;
      const values = listed !== undefined && listed.length <= MANY_VALUES ? listed : undefined;
      if (isUnsatisfiable(restriction)) {
        // Matches nothing ever: no item looks where there is no value.
        filed.label = label;
        filed.values = [];
        return;
      }
      if (!restriction.mustBePresent) continue;
      const cost = isOnly ? 0 : this.#cost(label, values) + items.cost(label, values);
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

  /** Appends the selectors that may match the item, perhaps some twice. */
  collect(item: Labelled, into: F[]): void {
    const { few } = this.#shelves;
    if (few !== undefined) {
      for (const { label, shelf } of few) {
        const value = item.get(label);
        if (value !== undefined) collectFrom(shelf, value, into);
      }
    } else {
      item.eachLabel((label, value) => {
        const shelf = this.#shelves.get(label);
        if (shelf !== undefined) collectFrom(shelf, value, into);
      });
    }
    if (this.#unshelved.size > 0) for (const filed of this.#unshelved) into.push(filed);
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

function collectFrom<F extends object>(
  { byValue, anyValue }: SelectorShelf<F>,
  value: string,
  into: F[],
): void {
  const ofValue = byValue.get(value);
  if (ofValue !== undefined) for (const filed of thingsIn(ofValue)) into.push(filed);
  // Mostly empty, and to find that out by going over it makes an iterator.
  if (anyValue.size > 0) for (const filed of anyValue) into.push(filed);
}

export class ItemShelves<T extends Labelled> {
  readonly #shelves = new Shelves<Map<string, Place<T>>>();
  /** Label → how many selectors are shelved under it. */
  readonly #claims = new Map<string, number>();
  readonly #idle = new Set<string>();
  #hasAllLabels = false;

  /** Makes sure that the items are shelved under the selector's label. */
  claim({ label, values }: Shelved, items: Iterable<T>): void {
    if (label === undefined || values?.length === 0) return;
    this.#claims.set(label, (this.#claims.get(label) ?? 0) + 1);
    this.#idle.delete(label);
    if (this.#hasAllLabels || this.#shelves.get(label) !== undefined) return;
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
    const few = this.#hasAllLabels ? undefined : this.#shelves.few;
    if (few !== undefined) {
      for (const { label, shelf } of few) {
        const value = item.get(label);
        if (value !== undefined) putInto(shelf, value, item);
      }
      return;
    }
    item.eachLabel((label, value) => {
      const shelf = this.#shelfFor(label);
      if (shelf !== undefined) putInto(shelf, value, item);
    });
  }

  /** Call before the item's labels, or those that it inherits, change. */
  remove(item: T): void {
    const few = this.#hasAllLabels ? undefined : this.#shelves.few;
    if (few !== undefined) {
      for (const { label, shelf } of few) {
        const value = item.get(label);
        if (value !== undefined) takeFrom(shelf, value, item);
      }
      return;
    }
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
    if (values?.length === 1) return thingsIn(shelf.get(values[0] ?? ""));
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
  if (Array.isArray(place)) return place.length;
  return place instanceof Set ? place.size : 1;
}

/** What is in the place then. What is there already was put there last, if it is not in a set. */
export function putIn<T extends object>(place: Place<T> | undefined, one: T): Place<T> {
  if (place === undefined || place === one) return one;
  if (place instanceof Set) return place.add(one);
  if (!Array.isArray(place)) return [place, one];
  if (place[place.length - 1] === one) return place;
  place.push(one);
  return place;
}

/** What is in the place then; undefined: nothing. */
export function takeOut<T extends object>(
  place: Place<T> | undefined,
  one: T,
): Place<T> | undefined {
  if (place instanceof Set) return place.delete(one) && place.size === 0 ? undefined : place;
  if (!Array.isArray(place)) return place === one ? undefined : place;
  if (place.length > LONGEST_SEARCHED) {
    const set = new Set(place);
    set.delete(one);
    return set;
  }
  const at = place.indexOf(one);
  const last = at < 0 ? undefined : place.pop();
  if (last !== undefined && last !== one) place[at] = last;
  return place.length === 0 ? undefined : place;
}

export function thingsIn<T extends object>(place: Place<T> | undefined): Iterable<T> {
  if (place === undefined) return [];
  return place instanceof Set || Array.isArray(place) ? place : [place];
}

function putInto<T extends object>(shelf: Map<string, Place<T>>, value: string, one: T): void {
  const place = shelf.get(value);
  const after = putIn(place, one);
  if (after !== place) shelf.set(value, after);
}

function takeFrom<T extends object>(shelf: Map<string, Place<T>>, value: string, one: T): void {
  const place = shelf.get(value);
  if (place === undefined) return;
  const after = takeOut(place, one);
  if (after === undefined) shelf.delete(value);
  else if (after !== place) shelf.set(value, after);
}

function* flatten<T extends object>(
  shelf: ReadonlyMap<string, Place<T>>,
  values: Iterable<string>,
): Generator<T, undefined> {
  for (const value of values) yield* thingsIn(shelf.get(value));
}
