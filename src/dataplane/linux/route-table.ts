/**
 * The routes that a driver wants and those that the kernel has, by destination:
 *
 *     destination ─┬ choices: the route that each class wants; the first class's is desired
 *                  └ slots: routes that the kernel tells apart (TOS, metric, interface),
 *                           each desired, actual, or both
 *
 * A table has tens of thousands and a resync looks up each, so nothing here makes a string.
 */
import type { Cidr } from "#ip";
import type { Route } from "#netlink";

/**
 * Several parts may want a route to one destination: an address that moves is a local workload's
 * before the other node's claim is gone. The kernel has one for a destination and metric, so the first
 * class in this order, Felix's, gets it; the others' wishes are kept until it withdraws.
 */
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

const RANKS: ReadonlyMap<RouteClass, number> = new Map(
  ROUTE_CLASSES.map((routeClass, rank) => [routeClass, rank]),
);

interface Choice {
  readonly rank: number;
  readonly route: Route;
  next: Choice | undefined;
}

export interface Destination {
  readonly dst: Cidr;
  /** In the order of classes. */
  choice: Choice | undefined;
  slot: Slot | undefined;
  /** The slot whose route is desired; no other's is. */
  wanted: Slot | undefined;
  next: Destination | undefined;
}

export interface Slot {
  readonly destination: Destination;
  readonly tos: number;
  readonly priority: number;
  readonly oif: number;
  desired: Route | undefined;
  actual: Route | undefined;
  /** What must be written. */
  pending: "nothing" | "update" | "deletion";
  /** In the list of what may have to be written. */
  queued: boolean;
  /** The resync that saw the actual route last. */
  round: number;
  /** The destination's. */
  next: Slot | undefined;
  /** With an actual route through the same interface. */
  oifBefore: Slot | undefined;
  oifAfter: Slot | undefined;
}

export class RouteTable {
  /** By the address; others with the same hash follow through `next`. */
  readonly #first = new Map<number, Destination>();

  find(dst: Cidr): Destination | undefined {
    let found = this.#first.get(hashOf(dst));
    while (found !== undefined && !sameCidr(found.dst, dst)) found = found.next;
    return found;
  }

  /** Makes it if there is none. */
  obtain(dst: Cidr): Destination {
    const found = this.find(dst);
    if (found !== undefined) return found;
    const hash = hashOf(dst);
    const next = this.#first.get(hash);
    const made: Destination = { dst, choice: undefined, slot: undefined, wanted: undefined, next };
    this.#first.set(hash, made);
    return made;
  }

  findSlot(route: Route): Slot | undefined {
    const destination = this.find(route.dst);
    return destination && slotIn(destination, route);
  }

  /** Forgets what is neither wanted nor there. */
  prune(destination: Destination): void {
    destination.slot = withoutEmpty(destination.slot);
    if (destination.slot !== undefined || destination.choice !== undefined) return;
    const hash = hashOf(destination.dst);
    const first = without(this.#first.get(hash), destination);
    if (first === undefined) this.#first.delete(hash);
    else this.#first.set(hash, first);
  }

  *slots(): Generator<Slot> {
    for (const first of this.#first.values()) {
      for (let each: Destination | undefined = first; each; each = each.next) {
        for (let slot = each.slot; slot; slot = slot.next) yield slot;
      }
    }
  }
}

/**
 * Slots with an actual route, by interface: linked through the slots themselves, since a set of tens of
 * thousands costs more than all else that is done with a route.
 */
export class SlotsByOif {
  readonly #first = new Map<number, Slot>();

  /** It must not be in yet. */
  add(slot: Slot): void {
    const first = this.#first.get(slot.oif);
    slot.oifAfter = first;
    if (first !== undefined) first.oifBefore = slot;
    this.#first.set(slot.oif, slot);
  }

  /** It must be in. */
  delete(slot: Slot): void {
    const { oifBefore, oifAfter } = slot;
    if (oifAfter !== undefined) oifAfter.oifBefore = oifBefore;
    if (oifBefore !== undefined) oifBefore.oifAfter = oifAfter;
    else if (oifAfter !== undefined) this.#first.set(slot.oif, oifAfter);
    else this.#first.delete(slot.oif);
    slot.oifBefore = undefined;
    slot.oifAfter = undefined;
  }

  /** A copy. */
  get(oif: number): readonly Slot[] {
    const slots: Slot[] = [];
    for (let slot = this.#first.get(oif); slot; slot = slot.oifAfter) slots.push(slot);
    return slots;
  }
}

/** The route of this class; undefined: none. */
export function choose(
  destination: Destination,
  routeClass: RouteClass,
  route: Route | undefined,
): void {
  const rank = RANKS.get(routeClass) ?? 0;
  const others = withoutRank(destination.choice, rank);
  destination.choice =
    route === undefined ? others : insert(others, { rank, route, next: undefined });
}

/** Makes it if there is none. */
export function obtainSlot(destination: Destination, route: Route): Slot {
  const found = slotIn(destination, route);
  if (found !== undefined) return found;
  const { oif = 0, priority, tos } = route;
  const slot: Slot = {
    destination,
    tos,
    priority,
    oif,
    desired: undefined,
    actual: undefined,
    pending: "nothing",
    queued: false,
    round: 0,
    next: destination.slot,
    oifBefore: undefined,
    oifAfter: undefined,
  };
  destination.slot = slot;
  return slot;
}

function slotIn({ slot: first }: Destination, { oif = 0, priority, tos }: Route): Slot | undefined {
  let slot = first;
  while (slot && (slot.oif !== oif || slot.priority !== priority || slot.tos !== tos)) {
    slot = slot.next;
  }
  return slot;
}

function withoutEmpty(first: Slot | undefined): Slot | undefined {
  if (first === undefined) return undefined;
  first.next = withoutEmpty(first.next);
  return first.desired === undefined && first.actual === undefined ? first.next : first;
}

function without(first: Destination | undefined, gone: Destination): Destination | undefined {
  if (first === undefined || first === gone) return first?.next;
  let before = first;
  while (before.next !== undefined && before.next !== gone) before = before.next;
  if (before.next === gone) before.next = gone.next;
  return first;
}

function withoutRank(first: Choice | undefined, rank: number): Choice | undefined {
  if (first === undefined) return undefined;
  if (first.rank === rank) return first.next;
  first.next = withoutRank(first.next, rank);
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

/** A small integer; those take no memory of their own in a Map. */
function hashOf({ prefixLen, w0, w1, w2, w3 }: Cidr): number {
  const low = Math.imul(w1, 31) ^ Math.imul(w2, 961) ^ Math.imul(w3, 29_791);
  return w0 ^ low ^ Math.imul(prefixLen, 0x9e3779b1);
}

function sameCidr(a: Cidr, b: Cidr): boolean {
  return (
    a.w0 === b.w0 &&
    a.w1 === b.w1 &&
    a.w2 === b.w2 &&
    a.w3 === b.w3 &&
    a.prefixLen === b.prefixLen &&
    a.family === b.family
  );
}
