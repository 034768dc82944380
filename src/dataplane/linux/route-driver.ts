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
  type Route,
  type RouteChange,
  type RouteKernel,
} from "#netlink";
import { DeltaTracker, MultiMap } from "#std";
import { isWorkloadInterface, type LinuxDataplaneConfig } from "./config.ts";
import { NOTHING_DONE, type DriverResult } from "./driver.ts";
import { sameIp } from "./interfaces.ts";
import { RouteChoices, type RouteClass } from "./route-choices.ts";
import { RouteIndex } from "./route-index.ts";
import { IPIP_DEVICE, TUNNEL_DEVICES } from "./tunnels/names.ts";

const FOREIGN_GRACE_MS = 10_000;
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
  readonly #tracker = new DeltaTracker<string, Route>({ equal: sameRoute });
  /** The tracker's actual routes. */
  readonly #index = new RouteIndex();
  #round = 0;
  readonly #actualKeysByOif = new MultiMap<number, string>();
  /** What is desired for each destination. */
  readonly #choices = new RouteChoices();
  /** When others' routes that must go were first seen. */
  readonly #foreignSinceMs = new Map<string, number>();
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
    return this.#tracker.actual.size;
  }

  wants(dst: Cidr): boolean {
    return this.#choices.best(formatCidr(dst)) !== undefined;
  }

  /** The desired route to `dst` is in the kernel, if not with all that it should have. */
  isPresent(dst: Cidr): boolean {
    const best = this.#choices.best(formatCidr(dst));
    return best !== undefined && this.#tracker.actual.has(best.key);
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
    const text = formatCidr(dst);
    const before = this.#choices.best(text)?.key;
    this.#choices.set(text, routeClass, route && { key: routeKey(route), route });
    const best = this.#choices.best(text);
    if (before !== undefined && before !== best?.key) this.#tracker.deleteDesired(before);
    if (best === undefined) this.#setProblem(text, undefined);
    else this.#tracker.setDesired(best.key, best.route);
  }

  /** A route came, was replaced or went, by another's hand. */
  observe(route: Route, present: boolean, replaced: boolean): void {
    const key = routeKey(route);
    if (!present) return this.#setAbsent(key);
    if (replaced) this.#displaced(route, key);
    if (this.#isOurs(route)) this.#setPresent(key, route);
  }

  /** A replacement leaves one route for a destination and metric; no deletion is told. */
  #displaced(route: Route, key: string): void {
    const desired = this.#choices.best(formatCidr(route.dst))?.key;
    if (desired === undefined || desired === key) return;
    const known = this.#tracker.actual.get(desired);
    if (known?.priority === route.priority && known.tos === route.tos) this.#setAbsent(desired);
  }

  /** The interface went down or away, and its routes with it; IPv4 tells of no deletion. */
  forgetInterface(index: number, family?: IpFamily): void {
    for (const key of this.#actualKeysByOif.get(index)) {
      const route = this.#tracker.actual.get(key);
      if (family === undefined || route?.dst.family === family) this.#setAbsent(key);
    }
  }

  /** Reads all back. `observe` sees each of the main table's routes. */
  resync(observe: (route: Route) => void): void {
    const round = ++this.#round;
    let seen = 0;
    const visit = (route: Route): void => {
      observe(route);
      if (!this.#isOurs(route)) return;
      const known = this.#index.find(route);
      if (known?.round !== round) seen++;
      if (known !== undefined && sameRoute(known.route, route)) known.round = round;
      else this.#setPresent(known?.key ?? routeKey(route), route);
    };
    for (const family of [4, 6] as const) this.#options.kernel.routes(family, visit);
    if (seen === this.#tracker.actual.size) return;
    for (const { key, round: last } of this.#index) if (last !== round) this.#setAbsent(key);
  }

  /** Something can be written now. */
  get dirty(): boolean {
    if (this.#tracker.pendingUpdates.size > 0) return true;
    for (const key of this.#tracker.pendingDeletions) if (this.#mayDelete(key)) return true;
    return false;
  }

  /** Milliseconds until a route of others may be removed; undefined: none waits. */
  graceLeftMs(): number | undefined {
    let left: number | undefined;
    for (const key of this.#tracker.pendingDeletions) {
      const since = this.#foreignSinceMs.get(key);
      if (since === undefined) continue;
      const ms = Math.max(0, since + FOREIGN_GRACE_MS - this.#options.nowMs());
      left = Math.min(left ?? ms, ms);
    }
    return left;
  }

  apply(): DriverResult {
    const { pendingUpdates, pendingDeletions } = this.#tracker;
    if (pendingUpdates.size === 0 && pendingDeletions.size === 0) return NOTHING_DONE;
    const changes: RouteChange[] = [];
    const keys: string[] = [];
    for (const [key, route] of pendingUpdates) {
      changes.push({ kind: "replaceRoute", route });
      keys.push(key);
    }
    for (const key of pendingDeletions) {
      const route = this.#tracker.actual.get(key);
      if (route === undefined || !this.#mayDelete(key)) continue;
      if (!this.#isOurs(route)) {
        // Its interface was renamed since: none of ours any more.
        this.#setAbsent(key);
        continue;
      }
      changes.push({ kind: "deleteRoute", route });
      keys.push(key);
    }
    if (changes.length === 0) return NOTHING_DONE;
    return this.#write(changes, keys);
  }

  #write(changes: readonly RouteChange[], keys: readonly string[]): DriverResult {
    const refusals = this.#options.kernel.write(changes);
    const errors: Error[] = [];
    for (const [index, change] of changes.entries()) {
      if (change.kind !== "replaceRoute" && change.kind !== "deleteRoute") continue;
      const key = keys[index] ?? "";
      const dst = formatCidr(change.route.dst);
      const refusal = refusals.get(index);
      const gone = change.kind === "deleteRoute" && refusal?.errno === "ESRCH";
      if (refusal !== undefined && !gone) {
        const verb = change.kind === "replaceRoute" ? "set" : "delete";
        const error = refusalError(`${verb} route ${dst}`, refusal);
        errors.push(error);
        if (change.kind === "replaceRoute") this.#setProblem(dst, error.message);
      } else if (change.kind === "replaceRoute") {
        this.#setProblem(dst, undefined);
        this.#setPresent(key, change.route);
      } else {
        this.#setAbsent(key);
        if (this.#choices.best(dst) === undefined) this.#options.onStale(change.route.dst);
      }
    }
    return { writes: changes.length - errors.length, errors };
  }

  #setProblem(dst: string, problem: string | undefined): void {
    if (this.#problems.get(dst) === problem) return;
    if (problem === undefined) this.#problems.delete(dst);
    else this.#problems.set(dst, problem);
    this.#options.onProblem(dst);
  }

  #setPresent(key: string, route: Route): void {
    this.#tracker.setActual(key, route);
    this.#index.set(key, route, this.#round);
    if (route.oif !== undefined) this.#actualKeysByOif.add(route.oif, key);
    if (route.protocol === this.#options.config.routeProtocol) this.#foreignSinceMs.delete(key);
    else if (!this.#foreignSinceMs.has(key)) {
      this.#foreignSinceMs.set(key, this.#options.nowMs());
    }
  }

  #setAbsent(key: string): void {
    const route = this.#tracker.actual.get(key);
    if (route === undefined) return;
    if (route.oif !== undefined) this.#actualKeysByOif.delete(route.oif, key);
    this.#index.delete(route);
    this.#tracker.deleteActual(key);
    this.#foreignSinceMs.delete(key);
  }

  #mayDelete(key: string): boolean {
    const since = this.#foreignSinceMs.get(key);
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

const OUR_TYPES: ReadonlySet<number> = new Set([RTN_UNICAST, RTN_LOCAL, RTN_BLACKHOLE]);

/** Destination, TOS, metric and interface in 16-bit units. */
function routeKey({ dst, tos, priority, oif = 0 }: Route): string {
  const { w0, w1, w2, w3, prefixLen } = dst;
  const rest = String.fromCharCode(
    w0 >>> 16,
    w0 & UNIT,
    (tos << 8) | prefixLen,
    priority >>> 16,
    priority & UNIT,
    oif >>> 16,
    oif & UNIT,
  );
  if (dst.family === 4) return rest;
  return (
    rest + String.fromCharCode(w1 >>> 16, w1 & UNIT, w2 >>> 16, w2 & UNIT, w3 >>> 16, w3 & UNIT)
  );
}

const UNIT = 0xffff;

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
