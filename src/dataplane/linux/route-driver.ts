/**
 * Routes to workloads, here and on other nodes, in the main table: desired against what the kernel
 * has, the difference in one batch, additions first.
 *
 * Ours: routes with our protocol number, wherever; and on workload interfaces and tunnel devices those
 * of others, unless told to leave them, but never the kernel's own nor a router advertisement's. A
 * route of others goes only after a grace period: a CNI plugin makes the route before it tells the
 * datastore.
 */
import { formatCidr, type Cidr, type IpFamily } from "#ip";
import {
  refusalError,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_LOCAL,
  RTN_UNICAST,
  RTPROT_BIRD,
  RTPROT_BOOT,
  RTPROT_KERNEL,
  RTPROT_RA,
  type Link,
  type NetlinkRefusal,
  type Route,
  type RouteChange,
  type RouteKernel,
} from "#netlink";
import { bug } from "#std";
import { isWorkloadInterface, type LinuxDataplaneConfig } from "./config.ts";
import { NOTHING_DONE, type DriverResult } from "./driver.ts";
import { sameIp } from "./interfaces.ts";
import {
  choose,
  obtainSlot,
  RouteTable,
  SlotsByOif,
  type RouteClass,
  type Slot,
} from "./route-table.ts";
import { IPIP_DEVICE, TUNNEL_DEVICES } from "./tunnels/names.ts";

const FOREIGN_GRACE_MS = 10_000;
/** What is made for a write is garbage after it: better a little often than much of it alive at once. */
const SLOTS_PER_WRITE = 1000;
const IPV6_LINK_LOCAL_W0 = 0xfe80;

export interface RouteDriverOptions {
  readonly kernel: RouteKernel;
  readonly config: LinuxDataplaneConfig;
  readonly linkByIndex: (index: number) => Link | undefined;
  readonly nowMs: () => number;
  /** A route of ours to nobody's address any more was deleted. */
  readonly onStale: (dst: Cidr) => void;
  /** `problemOf` the destination changed. */
  readonly onProblem: (dst: string) => void;
}

export class RouteDriver {
  readonly #options: RouteDriverOptions;
  readonly #table = new RouteTable();
  /** Slots of which something must be written, and some of which nothing has to be any more. */
  #queue: Slot[] = [];
  /** How many of them there is something to write of. */
  #pending = 0;
  readonly #actualByOif = new SlotsByOif();
  #actualCount = 0;
  #round = 0;
  /** When others' routes that must go were first seen. */
  readonly #foreignSinceMs = new Map<Slot, number>();
  readonly #problems = new Map<string, string>();

  constructor(options: RouteDriverOptions) {
    this.#options = options;
  }

  /** Why there is no route to the destination though there should be one. */
  problemOf(dst: string): string | undefined {
    return this.#problems.get(dst);
  }

  /** Routes that are ours, in the kernel. */
  get count(): number {
    return this.#actualCount;
  }

  wants(dst: Cidr): boolean {
    return this.#table.find(dst)?.wanted !== undefined;
  }

  /** The desired route to `dst` is in the kernel, if not with all that it should have. */
  isPresent(dst: Cidr): boolean {
    return this.#table.find(dst)?.wanted?.actual !== undefined;
  }

  /** Packets to `dst` go out of this interface; undefined: no route of ours. */
  setWorkload(dst: Cidr, ifindex: number | undefined): void {
    if (ifindex === undefined) return this.set("local-workload", dst, undefined);
    const { config } = this.#options;
    const v4 = dst.family === 4;
    const prefSrc = v4 ? config.ipv4RouteSource : config.ipv6RouteSource;
    this.set("local-workload", dst, {
      dst,
      table: RT_TABLE_MAIN,
      protocol: config.routeProtocol,
      type: RTN_UNICAST,
      scope: v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
      tos: 0,
      priority: v4 ? config.ipv4RoutePriority : config.ipv6RoutePriority,
      oif: ifindex,
      ...(prefSrc === undefined ? {} : { prefSrc }),
    });
  }

  /** The route of this class to `dst`; of several classes' the first one's is made. */
  set(routeClass: RouteClass, dst: Cidr, route: Route | undefined): void {
    const table = this.#table;
    const destination = route === undefined ? table.find(dst) : table.obtain(dst);
    if (destination === undefined) return;
    choose(destination, routeClass, route);
    const best = destination.choice?.route;
    const before = destination.wanted;
    const wanted = best && obtainSlot(destination, best);
    destination.wanted = wanted;
    if (wanted !== undefined) {
      wanted.desired = best;
      this.#compare(wanted);
    }
    if (before !== undefined && before !== wanted) {
      before.desired = undefined;
      this.#compare(before);
    }
    if (wanted === undefined) this.#setProblem(dst, undefined);
  }

  #compare(slot: Slot): void {
    const { actual, desired } = slot;
    const right = desired !== undefined && actual !== undefined && sameRoute(desired, actual);
    let pending: Slot["pending"] = "nothing";
    if (desired !== undefined) pending = right ? "nothing" : "update";
    else if (actual !== undefined) pending = "deletion";
    if (pending !== slot.pending) {
      this.#pending += Number(pending !== "nothing") - Number(slot.pending !== "nothing");
      slot.pending = pending;
      if (pending !== "nothing") this.#enqueue(slot);
      else if (this.#pending === 0) this.#takeQueue();
    }
    if (desired === undefined && actual === undefined) this.#table.prune(slot.destination);
  }

  #enqueue(slot: Slot): void {
    if (slot.queued) return;
    slot.queued = true;
    this.#queue.push(slot);
  }

  #takeQueue(): readonly Slot[] {
    const queue = this.#queue;
    this.#queue = [];
    for (const slot of queue) slot.queued = false;
    return queue;
  }

  /** A route came, was replaced or went, by another's hand. */
  observe(route: Route, present: boolean, replaced: boolean): void {
    if (!present) {
      const slot = this.#table.findSlot(route);
      if (slot !== undefined) this.#setAbsent(slot);
      return;
    }
    if (replaced) this.#displace(route);
    if (this.#isOurs(route)) this.#setPresent(route);
  }

  /** A replacement leaves one route for a destination and metric; no deletion is told. */
  #displace({ dst, oif = 0, priority, tos }: Route): void {
    const displaced: Slot[] = [];
    for (let slot = this.#table.find(dst)?.slot; slot; slot = slot.next) {
      if (slot.priority === priority && slot.tos === tos && slot.oif !== oif) displaced.push(slot);
    }
    for (const slot of displaced) this.#setAbsent(slot);
  }

  /** The interface went down or away, and its routes with it; IPv4 tells of no deletion. */
  forgetInterface(index: number, family?: IpFamily): void {
    for (const slot of this.#actualByOif.get(index)) {
      if (family === undefined || slot.destination.dst.family === family) this.#setAbsent(slot);
    }
  }

  /** Reads all back. `observe` sees each of the main table's routes. */
  resync(observe: (route: Route) => void): void {
    const round = ++this.#round;
    let seen = 0;
    const visit = (route: Route): void => {
      observe(route);
      if (!this.#isOurs(route)) return;
      const known = this.#table.findSlot(route);
      if (known?.actual === undefined || known.round !== round) seen++;
      if (known?.actual !== undefined && sameRoute(known.actual, route)) known.round = round;
      else this.#setPresent(route);
    };
    for (const family of [4, 6] as const) this.#options.kernel.routes(family, visit);
    if (seen === this.#actualCount) return;
    const gone = [...this.#table.slots()].filter((slot) => slot.actual && slot.round !== round);
    for (const slot of gone) this.#setAbsent(slot);
  }

  /** Something can be written now. */
  get dirty(): boolean {
    return this.#queue.some(
      (slot) => slot.pending === "update" || (slot.pending === "deletion" && this.#mayDelete(slot)),
    );
  }

  /** Milliseconds until a route of others may be removed; undefined: none waits. */
  graceLeftMs(): number | undefined {
    let left: number | undefined;
    for (const slot of this.#queue) {
      const since = slot.pending === "deletion" ? this.#foreignSinceMs.get(slot) : undefined;
      if (since === undefined) continue;
      const ms = Math.max(0, since + FOREIGN_GRACE_MS - this.#options.nowMs());
      left = Math.min(left ?? ms, ms);
    }
    return left;
  }

  apply(): DriverResult {
    if (this.#queue.length === 0) return NOTHING_DONE;
    const queue = this.#takeQueue();
    try {
      return this.#writeAll(queue);
    } finally {
      // What was not written, or has to wait, comes again.
      for (const slot of queue) if (slot.pending !== "nothing") this.#enqueue(slot);
    }
  }

  #writeAll(queue: readonly Slot[]): DriverResult {
    const slots = queue.filter((slot) => slot.pending === "update");
    for (const slot of queue) {
      if (slot.pending !== "deletion" || slot.actual === undefined) continue;
      if (!this.#mayDelete(slot)) continue;
      if (this.#isOurs(slot.actual)) slots.push(slot);
      // Its interface was renamed since: none of ours any more.
      else this.#setAbsent(slot);
    }
    if (slots.length === 0) return NOTHING_DONE;
    const errors: Error[] = [];
    let writes = 0;
    for (let start = 0; start < slots.length; start += SLOTS_PER_WRITE) {
      writes += this.#write(slots.slice(start, start + SLOTS_PER_WRITE), errors);
    }
    return { writes, errors };
  }

  /** Returns how many were written. */
  #write(slots: readonly Slot[], errors: Error[]): number {
    const changes = slots.map(changeOf);
    const refusals = this.#options.kernel.write(changes);
    let writes = 0;
    for (let index = 0; index < slots.length; index++) {
      const slot = slots[index];
      const change = changes[index];
      if (slot === undefined || change === undefined) continue;
      const error = this.#settle(slot, change, refusals.get(index));
      if (error === undefined) writes++;
      else if (error !== "vanished") errors.push(error);
    }
    for (const { destination, actual, desired } of slots) {
      // What others have there may not be deleted yet, but is not there any more.
      const several = destination.slot?.next !== undefined;
      if (several && actual !== undefined && actual === desired) this.#displace(actual);
    }
    return writes;
  }

  /** Notes what became of a change. `vanished`: its interface is gone, a notification is on its way. */
  #settle(
    slot: Slot,
    { kind, route }: SlotChange,
    refusal: NetlinkRefusal | undefined,
  ): Error | "vanished" | undefined {
    const replaces = kind === "replaceRoute";
    if (replaces && refusal?.errno === "ENODEV") return "vanished";
    const gone = !replaces && refusal?.errno === "ESRCH";
    if (refusal !== undefined && !gone) {
      const verb = replaces ? "set" : "delete";
      const error = refusalError(`${verb} route ${formatCidr(route.dst)}`, refusal);
      if (replaces) this.#setProblem(route.dst, error.message);
      return error;
    }
    if (replaces) {
      this.#setProblem(route.dst, undefined);
      this.#setPresent(route, slot);
    } else {
      this.#setAbsent(slot);
      if (slot.destination.wanted === undefined) this.#options.onStale(route.dst);
    }
    return undefined;
  }

  #setProblem(dst: Cidr, problem: string | undefined): void {
    if (problem === undefined && this.#problems.size === 0) return;
    const text = formatCidr(dst);
    if (this.#problems.get(text) === problem) return;
    if (problem === undefined) this.#problems.delete(text);
    else this.#problems.set(text, problem);
    this.#options.onProblem(text);
  }

  #setPresent(route: Route, known?: Slot): void {
    const slot = known ?? obtainSlot(this.#table.obtain(route.dst), route);
    if (slot.actual === undefined) {
      this.#actualCount++;
      if (route.oif !== undefined) this.#actualByOif.add(slot);
    }
    slot.actual = route;
    slot.round = this.#round;
    if (route.protocol === this.#options.config.routeProtocol) this.#foreignSinceMs.delete(slot);
    else if (!this.#foreignSinceMs.has(slot)) {
      this.#foreignSinceMs.set(slot, this.#options.nowMs());
    }
    this.#compare(slot);
  }

  #setAbsent(slot: Slot): void {
    if (slot.actual === undefined) return;
    this.#actualCount--;
    if (slot.actual.oif !== undefined) this.#actualByOif.delete(slot);
    slot.actual = undefined;
    this.#foreignSinceMs.delete(slot);
    this.#compare(slot);
  }

  #mayDelete(slot: Slot): boolean {
    const since = this.#foreignSinceMs.get(slot);
    return since === undefined || this.#options.nowMs() - since >= FOREIGN_GRACE_MS;
  }

  #isOurs(route: Route): boolean {
    const { config, linkByIndex } = this.#options;
    if (!OUR_TYPES.has(route.type)) return false;
    if (route.protocol === RTPROT_KERNEL || route.protocol === RTPROT_RA) return false;
    if (route.dst.family === 6 && route.dst.w0 >>> 16 === IPV6_LINK_LOCAL_W0) return false;
    if (route.protocol === config.routeProtocol && route.protocol !== RTPROT_BOOT) return true;
    const name = route.oif === undefined ? undefined : linkByIndex(route.oif)?.name;
    if (name === undefined) return false;
    if (name === IPIP_DEVICE) {
      return config.tunnels.programsIpipRoutes && route.protocol === RTPROT_BIRD;
    }
    if (TUNNEL_DEVICES.has(name)) return true;
    if (!config.removeExternalRoutes && route.protocol !== config.routeProtocol) return false;
    return isWorkloadInterface(config, name);
  }
}

type SlotChange = RouteChange & { readonly route: Route };

/** Of a slot with something to be written. */
function changeOf({ desired, actual }: Slot): SlotChange {
  if (desired !== undefined) return { kind: "replaceRoute", route: desired };
  if (actual === undefined) throw bug("a route that is neither wanted nor there was to be written");
  return { kind: "deleteRoute", route: actual };
}

const OUR_TYPES: ReadonlySet<number> = new Set([RTN_UNICAST, RTN_LOCAL, RTN_BLACKHOLE]);

/** IPv6 routes have no scope, and the kernel tells none. */
function sameRoute(desired: Route, actual: Route): boolean {
  return (
    desired.protocol === actual.protocol &&
    desired.type === actual.type &&
    (desired.dst.family === 6 || desired.scope === actual.scope) &&
    desired.onlink === actual.onlink &&
    desired.mtu === actual.mtu &&
    sameIp(desired.prefSrc, actual.prefSrc) &&
    sameIp(desired.gateway, actual.gateway)
  );
}
