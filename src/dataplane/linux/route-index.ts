/**
 * The routes that a driver knows, found by the numbers that identify a route in its table: a resync
 * looks up tens of thousands, and makes no string for any.
 */
import type { Route } from "#netlink";

export interface KnownRoute {
  readonly key: string;
  readonly route: Route;
  /** The resync that saw it last. */
  round: number;
  next: KnownRoute | undefined;
}

export class RouteIndex {
  /** By destination; others of the same destination follow through `next`. */
  readonly #first = new Map<number, KnownRoute>();

  find(route: Route): KnownRoute | undefined {
    let known = this.#first.get(hashOf(route));
    while (known !== undefined && !sameIdentity(known.route, route)) known = known.next;
    return known;
  }

  /** In the place of the one with the same identity. */
  set(key: string, route: Route, round: number): void {
    this.delete(route);
    const hash = hashOf(route);
    this.#first.set(hash, { key, route, round, next: this.#first.get(hash) });
  }

  delete(route: Route): void {
    const hash = hashOf(route);
    let before: KnownRoute | undefined;
    let known = this.#first.get(hash);
    while (known !== undefined && !sameIdentity(known.route, route)) {
      before = known;
      known = known.next;
    }
    if (known === undefined) return;
    if (before !== undefined) before.next = known.next;
    else if (known.next !== undefined) this.#first.set(hash, known.next);
    else this.#first.delete(hash);
  }

  *[Symbol.iterator](): Generator<KnownRoute> {
    for (const first of this.#first.values()) {
      for (let known: KnownRoute | undefined = first; known; known = known.next) yield known;
    }
  }
}

/** A small integer; those take no memory of their own in a Map. */
function hashOf({ dst }: Route): number {
  return dst.w0 ^ Math.imul(dst.w1, 31) ^ Math.imul(dst.w2, 961) ^ Math.imul(dst.w3, 29_791);
}

/** Destination, TOS, metric, interface: what tells routes of one table apart. */
function sameIdentity(a: Route, b: Route): boolean {
  const x = a.dst;
  const y = b.dst;
  return (
    x.w0 === y.w0 &&
    x.w1 === y.w1 &&
    x.w2 === y.w2 &&
    x.w3 === y.w3 &&
    x.prefixLen === y.prefixLen &&
    x.family === y.family &&
    a.oif === b.oif &&
    a.priority === b.priority &&
    a.tos === b.tos
  );
}
