/**
 * Several parts may want a route to the same destination: an address that moves is a local workload's
 * before the other node's claim is gone. The kernel has one route for a destination and metric, so
 * the first class in this order gets it; the others' wishes are kept until it withdraws.
 */
import type { Route } from "#netlink";

/** As Felix ranks them. */
const ROUTE_CLASSES = [
  "local-workload",
  "vxlan-same-subnet",
  "vxlan-tunnel",
  "ipip-same-subnet",
  "ipip-tunnel",
  "no-encap",
  "blackhole-vxlan",
  "blackhole-ipip",
  "blackhole-no-encap",
] as const;
export type RouteClass = (typeof ROUTE_CLASSES)[number];

export interface ChosenRoute {
  readonly key: string;
  readonly route: Route;
}

interface Choice extends ChosenRoute {
  readonly rank: number;
  /** What would come in its place. */
  next: Choice | undefined;
}

const RANKS: ReadonlyMap<RouteClass, number> = new Map(
  ROUTE_CLASSES.map((routeClass, rank) => [routeClass, rank]),
);

export class RouteChoices {
  readonly #byDst = new Map<string, Choice>();

  best(dst: string): ChosenRoute | undefined {
    return this.#byDst.get(dst);
  }

  set(dst: string, routeClass: RouteClass, chosen: ChosenRoute | undefined): void {
    const rank = RANKS.get(routeClass) ?? 0;
    const others = without(this.#byDst.get(dst), rank);
    const first =
      chosen === undefined ? others : insert(others, { ...chosen, rank, next: undefined });
    if (first === undefined) this.#byDst.delete(dst);
    else this.#byDst.set(dst, first);
  }
}

function without(first: Choice | undefined, rank: number): Choice | undefined {
  if (first === undefined) return undefined;
  if (first.rank === rank) return first.next;
  first.next = without(first.next, rank);
  return first;
}

function insert(first: Choice | undefined, choice: Choice): Choice {
  if (first === undefined || choice.rank < first.rank) {
    choice.next = first;
    return choice;
  }
  first.next = insert(first.next, choice);
  return first;
}
