/**
 * A namespace in memory behind the same port as the kernel, under the same contract tests: routes
 * need an interface that is up, go with it in silence (IPv4) or with a notification (IPv6), and a
 * replacement takes the place of the route with the same destination, TOS and metric.
 */
import { formatCidr, formatIp, type Ip, type IpFamily } from "#ip";
import { unreachable } from "#std";
import type { NetlinkRefusal } from "../socket.ts";
import { RT_SCOPE_UNIVERSE, RT_TABLE_MAIN } from "./constants.ts";
import type { RouteKernel } from "./kernel.ts";
import type { InterfaceAddress, Link, Neighbour, Route, RouteChange, RouteEvent } from "./types.ts";

const IPV6_DEFAULT_METRIC = 1024;

export class FakeRouteKernel implements RouteKernel {
  readonly #links = new Map<number, Link>();
  readonly #addresses = new Map<string, InterfaceAddress>();
  readonly #routes = new Map<string, Route>();
  readonly #neighbours = new Map<string, Neighbour>();
  #callback: ((event: RouteEvent) => void) | undefined;
  #nextIndex = 2;
  #failNext = "";
  /** Changes that came through `write`, refused ones too. */
  writes = 0;

  links(): Link[] {
    return [...this.#links.values()];
  }

  addresses(): InterfaceAddress[] {
    return [...this.#addresses.values()];
  }

  routes(family: IpFamily, visit: (route: Route) => void): void {
    for (const route of this.#routes.values()) if (route.dst.family === family) visit(route);
  }

  neighbours(family: IpFamily): Neighbour[] {
    return [...this.#neighbours.values()].filter(({ address }) => address.family === family);
  }

  write(changes: readonly RouteChange[]): ReadonlyMap<number, NetlinkRefusal> {
    const refusals = new Map<number, NetlinkRefusal>();
    for (const [index, change] of changes.entries()) {
      this.writes++;
      const errno = this.#failNext === "" ? this.#apply(change) : this.#failNext;
      if (errno !== "") refusals.set(index, { seq: index, errno });
    }
    this.#failNext = "";
    return refusals;
  }

  watch(callback: (event: RouteEvent) => void): void {
    this.#callback = callback;
  }

  close(): void {
    this.#callback = undefined;
  }

  /** The next `write` is refused as a whole with this errno. */
  failNext(errno: string): void {
    this.#failNext = errno;
  }

  /** Somebody gives an interface an address, or takes it away. */
  setAddress(ifindex: number, address: Ip, present: boolean): void {
    const entry: InterfaceAddress = { ifindex, address };
    const key = `${ifindex} ${formatIp(address)}`;
    if (present) this.#addresses.set(key, entry);
    else this.#addresses.delete(key);
    this.#callback?.({ kind: "address", address: entry, present });
  }

  /** Somebody creates, renames or switches an interface. Returns its index. */
  setLink(name: string, state: { up: boolean; index?: number; carrier?: boolean }): number {
    const known = [...this.#links.values()].find((link) => link.name === name);
    const index = state.index ?? known?.index ?? this.#nextIndex++;
    const link: Link = {
      index,
      name,
      adminUp: state.up,
      operUp: state.up && (state.carrier ?? true),
      mtu: 1500,
    };
    this.#links.set(index, link);
    if (!state.up) this.#flush(index);
    this.#callback?.({ kind: "link", link, present: true });
    return index;
  }

  removeLink(name: string): void {
    const link = [...this.#links.values()].find((each) => each.name === name);
    if (link === undefined) return;
    this.#links.delete(link.index);
    this.#flush(link.index);
    this.#callback?.({
      kind: "link",
      link: { ...link, adminUp: false, operUp: false },
      present: false,
    });
  }

  /** Somebody else writes; it is notified, unless it is refused. */
  foreignWrite(change: RouteChange): void {
    if (change.kind === "replaceRoute" || change.kind === "deleteRoute") {
      const replaced = this.#routes.has(routeKey(change.route));
      if (this.#apply(change) !== "") return;
      const present = change.kind === "replaceRoute";
      this.#callback?.({ kind: "route", route: change.route, present, replaced });
    } else {
      this.#apply(change);
    }
  }

  loseEvents(): void {
    this.#callback?.({ kind: "lost" });
  }

  #apply(change: RouteChange): string {
    switch (change.kind) {
      case "replaceRoute": {
        const { oif } = change.route;
        if (oif !== undefined && !this.#links.has(oif)) return "ENODEV";
        if (oif !== undefined && this.#links.get(oif)?.adminUp !== true) return "ENETDOWN";
        const route = normalized(change.route);
        this.#routes.set(routeKey(route), route);
        return "";
      }
      case "deleteRoute": {
        const key = routeKey(change.route);
        const found = this.#routes.get(key);
        const { oif } = change.route;
        if (found === undefined || (oif !== undefined && found.oif !== oif)) return "ESRCH";
        this.#routes.delete(key);
        return "";
      }
      case "replaceNeighbour":
        if (!this.#links.has(change.neighbour.ifindex)) return "ENODEV";
        this.#neighbours.set(neighbourKey(change.neighbour), change.neighbour);
        return "";
      case "deleteNeighbour":
        return this.#neighbours.delete(neighbourKey(change.neighbour)) ? "" : "ENOENT";
      default:
        return unreachable(change);
    }
  }

  /** An interface that goes down takes its routes and neighbours with it. */
  #flush(index: number): void {
    for (const [key, route] of this.#routes) {
      if (route.oif !== index) continue;
      this.#routes.delete(key);
      if (route.dst.family === 6) {
        this.#callback?.({ kind: "route", route, present: false, replaced: false });
      }
    }
    for (const [key, neighbour] of this.#neighbours) {
      if (neighbour.ifindex === index) this.#neighbours.delete(key);
    }
  }
}

function normalized(route: Route): Route {
  if (route.dst.family === 4) return { ...route, table: RT_TABLE_MAIN };
  const priority = route.priority === 0 ? IPV6_DEFAULT_METRIC : route.priority;
  return { ...route, table: RT_TABLE_MAIN, scope: RT_SCOPE_UNIVERSE, priority };
}

function routeKey(route: Route): string {
  const { dst, tos, priority } = normalized(route);
  return `${formatCidr(dst)} ${tos} ${priority}`;
}

function neighbourKey({ ifindex, address }: Neighbour): string {
  return `${ifindex} ${formatIp(address)}`;
}
