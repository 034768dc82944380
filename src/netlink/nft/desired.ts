/**
 * The desired content of one set beside what is known of the kernel's: one store of elements, and
 * for those that differ the value that the kernel still has. So a small change costs its own size
 * and 100,000 elements are held once.
 */
import {
  checkElement,
  elementKey,
  elementValue,
  type ElementKey,
  type Elements,
  type ElementValue,
} from "./elements.ts";
import { layoutOf, type SetLayout } from "./sets.ts";
import type { NftElement, NftSet } from "./types.ts";

export class DesiredSet {
  readonly spec: NftSet;
  readonly layout: SetLayout;
  #wanted: Elements = new Map();
  /** Key → the kernel's value (undefined: not there), where it is not the wanted one. */
  readonly #pending = new Map<ElementKey, ElementValue | undefined>();
  /** False while the kernel has no such set: then everything is to be sent. */
  #tracking = false;

  constructor(spec: NftSet) {
    this.spec = spec;
    this.layout = layoutOf(spec);
  }

  /** True if the differences to the kernel are known, so they alone need sending. */
  get tracking(): boolean {
    return this.#tracking;
  }

  get wanted(): ReadonlyMap<ElementKey, ElementValue> {
    return this.#wanted;
  }

  /** Only meaningful once the kernel's content was given by `known` or `committed`. */
  get dirty(): boolean {
    return !this.#tracking || this.#pending.size > 0;
  }

  add(elements: Iterable<NftElement>): void {
    for (const element of elements) {
      checkElement(this.spec.name, this.layout, element);
      this.#set(elementKey(this.layout, element.key), elementValue(this.layout, element));
    }
  }

  /** Only the key counts. */
  remove(elements: Iterable<NftElement>): void {
    for (const element of elements) this.#delete(elementKey(this.layout, element.key));
  }

  replace(elements: Iterable<NftElement>): void {
    const next: Elements = new Map();
    for (const element of elements) {
      checkElement(this.spec.name, this.layout, element);
      next.set(elementKey(this.layout, element.key), elementValue(this.layout, element));
    }
    if (!this.#tracking) {
      this.#wanted = next;
      return;
    }
    for (const key of this.#wanted.keys()) if (!next.has(key)) this.#delete(key);
    for (const [key, value] of next) this.#set(key, value);
  }

  clear(): void {
    this.replace([]);
  }

  #set(key: ElementKey, value: ElementValue): void {
    const old = this.#wanted.get(key);
    if (old === value) return;
    this.#wanted.set(key, value);
    this.#note(key, old, value);
  }

  #delete(key: ElementKey): void {
    const old = this.#wanted.get(key);
    if (old === undefined) return;
    this.#wanted.delete(key);
    this.#note(key, old, undefined);
  }

  #note(key: ElementKey, old: ElementValue | undefined, now: ElementValue | undefined): void {
    if (!this.#tracking) return;
    if (!this.#pending.has(key)) this.#pending.set(key, old);
    else if (this.#pending.get(key) === now) this.#pending.delete(key);
  }

  /** What the kernel has; undefined: no such set, or one that must be made anew. */
  known(kernel: Elements | undefined): void {
    this.#pending.clear();
    this.#tracking = kernel !== undefined;
    if (kernel === undefined) return;
    for (const [key, value] of kernel) {
      if (this.#wanted.get(key) !== value) this.#pending.set(key, value);
    }
    for (const key of this.#wanted.keys()) {
      if (!kernel.has(key)) this.#pending.set(key, undefined);
    }
  }

  /** The kernel has what is wanted. */
  committed(): void {
    this.#pending.clear();
    this.#tracking = true;
  }

  *additions(): Generator<readonly [ElementKey, ElementValue]> {
    for (const key of this.#pending.keys()) {
      const value = this.#wanted.get(key);
      if (value !== undefined) yield [key, value];
    }
  }

  *deletions(): Generator<readonly [ElementKey, ElementValue]> {
    for (const [key, value] of this.#pending) if (value !== undefined) yield [key, value];
  }
}
