/** Shelves of the label index: what carries a label, and what asks for one. */
import { isUnsatisfiable, type Labels, type Selector } from "#selector";
import { MultiMap } from "#std";

/** Label → value → ids. */
export class LabelShelf<I> {
  readonly #byLabel = new Map<string, MultiMap<string, I>>();

  add(id: I, labels: Labels): void {
    for (const [label, value] of Object.entries(labels)) {
      let byValue = this.#byLabel.get(label);
      if (byValue === undefined) this.#byLabel.set(label, (byValue = new MultiMap()));
      byValue.add(value, id);
    }
  }

  remove(id: I, labels: Labels): void {
    for (const [label, value] of Object.entries(labels)) {
      const byValue = this.#byLabel.get(label);
      byValue?.delete(value, id);
      if (byValue?.size === 0) this.#byLabel.delete(label);
    }
  }

  /** Ids with one of the values, or with any value. */
  *find(label: string, values: readonly string[] | undefined): Generator<I> {
    const byValue = this.#byLabel.get(label);
    if (byValue === undefined) return;
    for (const value of values ?? byValue.keys()) yield* byValue.get(value);
  }

  count(label: string, values: readonly string[] | undefined): number {
    const byValue = this.#byLabel.get(label);
    if (byValue === undefined) return 0;
    let count = 0;
    for (const value of values ?? byValue.keys()) count += byValue.get(value).size;
    return count;
  }
}

/** More values than this are as good as any value. */
const MANY_VALUES = 100;

type Place =
  | { readonly kind: "nowhere" }
  | { readonly kind: "unrestricted" }
  | { readonly kind: "label"; readonly label: string }
  | { readonly kind: "values"; readonly label: string; readonly values: readonly string[] };

/** Selectors by the one label that narrows them most. */
export class SelectorShelf<S> {
  readonly unrestricted = new Set<S>();
  readonly #byLabel = new MultiMap<string, S>();
  readonly #byValue = new Map<string, MultiMap<string, S>>();

  add(id: S, selector: Selector): void {
    const place = placeOf(selector);
    switch (place.kind) {
      case "nowhere":
        return;
      case "unrestricted":
        this.unrestricted.add(id);
        return;
      case "label":
        this.#byLabel.add(place.label, id);
        return;
      case "values": {
        let byValue = this.#byValue.get(place.label);
        if (byValue === undefined) this.#byValue.set(place.label, (byValue = new MultiMap()));
        for (const value of place.values) byValue.add(value, id);
      }
    }
  }

  remove(id: S, selector: Selector): void {
    const place = placeOf(selector);
    switch (place.kind) {
      case "nowhere":
        return;
      case "unrestricted":
        this.unrestricted.delete(id);
        return;
      case "label":
        this.#byLabel.delete(place.label, id);
        return;
      case "values": {
        const byValue = this.#byValue.get(place.label);
        for (const value of place.values) byValue?.delete(value, id);
        if (byValue?.size === 0) this.#byValue.delete(place.label);
      }
    }
  }

  forLabel(label: string): ReadonlySet<S> {
    return this.#byLabel.get(label);
  }

  forValue(label: string, value: string): ReadonlySet<S> {
    return this.#byValue.get(label)?.get(value) ?? NONE;
  }
}

const NONE: ReadonlySet<never> = new Set<never>();

function placeOf(selector: Selector): Place {
  let best: Place = { kind: "unrestricted" };
  let fewest = Number.POSITIVE_INFINITY;
  for (const [label, restriction] of selector.restrictions) {
    if (isUnsatisfiable(restriction)) return { kind: "nowhere" };
    const values = restriction.mustHaveOneOfValues;
    if (values !== undefined && values.length <= MANY_VALUES) {
      if (values.length < fewest) best = { kind: "values", label, values };
      fewest = Math.min(fewest, values.length);
    } else if (restriction.mustBePresent && best.kind === "unrestricted") {
      best = { kind: "label", label };
    }
  }
  return best;
}
