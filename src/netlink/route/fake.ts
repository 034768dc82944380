/**
 * A namespace in memory behind the same port as the kernel, under the same contract tests: routes
 * need an interface that is up, go with it in silence (IPv4) or with a notification (IPv6), and a
 * replacement takes the place of the route with the same destination, TOS and metric.
 */
import { formatCidr, formatIp, hostCidr, type Ip, type IpFamily } from "#ip";
import { unreachable } from "#std";
import type { NetlinkRefusal } from "../socket.ts";
import { RT_SCOPE_UNIVERSE, RT_TABLE_MAIN, RTN_BLACKHOLE } from "./constants.ts";
import type { RouteKernel } from "./kernel.ts";
import type {
  ForwardingEntry,
  InterfaceAddress,
  Link,
  Neighbour,
  NewLink,
  Route,
  RouteChange,
  RouteEvent,
} from "./types.ts";

const IPV6_DEFAULT_METRIC = 1024;

export class FakeRouteKernel implements RouteKernel {
  readonly #links = new Map<number, Link>();
  readonly #addresses = new Map<string, InterfaceAddress>();
  readonly #routes = new Map<string, Route>();
  readonly #neighbours = new Map<string, Neighbour>();
  readonly #forwarding = new Map<string, ForwardingEntry>();
  #callback: ((event: RouteEvent) => void) | undefined;
  #nextIndex = 2;
  #failNext: { readonly errno: string; readonly kind?: RouteChange["kind"] } | undefined;
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

  forwarding(ifindex: number): ForwardingEntry[] {
    return [...this.#forwarding.values()].filter((entry) => entry.ifindex === ifindex);
  }

  write(changes: readonly RouteChange[]): ReadonlyMap<number, NetlinkRefusal> {
    const refusals = new Map<number, NetlinkRefusal>();
    const { errno: failure = "", kind } = this.#failNext ?? {};
    const fails = kind === undefined || changes.some((change) => change.kind === kind);
    if (fails) this.#failNext = undefined;
    for (const [index, change] of changes.entries()) {
      this.writes++;
      const errno = failure === "" || !fails ? this.#apply(change) : failure;
      if (errno !== "") refusals.set(index, { seq: index, errno });
    }
    return refusals;
  }

  watch(callback: (event: RouteEvent) => void): void {
    this.#callback = callback;
  }

  close(): void {
    this.#callback = undefined;
  }

  /** The next `write`, or the next with such a change, is refused as a whole with this errno. */
  failNext(errno: string, kind?: RouteChange["kind"]): void {
    this.#failNext = kind === undefined ? { errno } : { errno, kind };
  }

  /** Somebody gives an interface an address, or takes it away. */
  setAddress(ifindex: number, address: Ip, present: boolean): void {
    const entry: InterfaceAddress = { ifindex, address, prefixLen: hostCidr(address).prefixLen };
    const key = addressKey(entry);
    if (present) this.#addresses.set(key, entry);
    else this.#addresses.delete(key);
    this.#callback?.({ kind: "address", address: entry, present });
  }

  /** Somebody creates, renames or switches an interface. Returns its index. */
  setLink(name: string, state: { up: boolean; index?: number; carrier?: boolean }): number {
    const known = [...this.#links.values()].find((link) => link.name === name);
    const index = state.index ?? known?.index ?? this.#nextIndex++;
    const link: Link = {
      ...known,
      index,
      name,
      adminUp: state.up,
      operUp: state.up && (state.carrier ?? true),
      mtu: known?.mtu ?? 1500,
    };
    this.#links.set(index, link);
    if (!state.up) this.#flush(index);
    this.#callback?.({ kind: "link", link, present: true });
    return index;
  }

  removeLink(name: string): void {
    const link = [...this.#links.values()].find((each) => each.name === name);
    if (link === undefined) return;
    this.#forgetLink(link.index);
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
    } else if (this.#apply(change) === "") {
      if (change.kind === "replaceForwarding" || change.kind === "deleteForwarding") {
        const present = change.kind === "replaceForwarding";
        this.#callback?.({ kind: "forwarding", entry: change.entry, present });
      } else if (change.kind === "replaceNeighbour" || change.kind === "deleteNeighbour") {
        const present = change.kind === "replaceNeighbour";
        this.#callback?.({ kind: "neighbour", neighbour: change.neighbour, present });
      } else if (change.kind === "setLink") {
        const link = this.#links.get(change.index);
        if (link !== undefined) this.#callback?.({ kind: "link", link, present: true });
      }
    }
  }

  loseEvents(): void {
    this.#callback?.({ kind: "lost" });
  }

  #apply(change: RouteChange): string {
    switch (change.kind) {
      case "replaceRoute": {
        const { oif, type } = change.route;
        if (oif !== undefined && type !== RTN_BLACKHOLE) {
          if (!this.#links.has(oif)) return "ENODEV";
          if (this.#links.get(oif)?.adminUp !== true) return "ENETDOWN";
        }
        const route = normalized(change.route);
        this.#routes.set(routeKey(route), route);
        return "";
      }
      case "deleteRoute": {
        const key = routeKey(change.route);
        const found = this.#routes.get(key);
        const { oif, type } = change.route;
        if (found === undefined || (oif !== undefined && found.oif !== oif)) return "ESRCH";
        if (found.dst.family === 4 && found.type !== type) return "ESRCH";
        this.#routes.delete(key);
        return "";
      }
      case "replaceNeighbour":
        if (!this.#links.has(change.neighbour.ifindex)) return "ENODEV";
        this.#neighbours.set(neighbourKey(change.neighbour), change.neighbour);
        return "";
      case "deleteNeighbour":
        return this.#neighbours.delete(neighbourKey(change.neighbour)) ? "" : "ENOENT";
      case "replaceForwarding":
        if (!this.#links.has(change.entry.ifindex)) return "ENODEV";
        this.#forwarding.set(forwardingKey(change.entry), change.entry);
        return "";
      case "deleteForwarding":
        return this.#forwarding.delete(forwardingKey(change.entry)) ? "" : "ENOENT";
      case "addAddress":
        if (!this.#links.has(change.address.ifindex)) return "ENODEV";
        this.#addresses.set(addressKey(change.address), change.address);
        return "";
      case "deleteAddress":
        return this.#addresses.delete(addressKey(change.address)) ? "" : "EADDRNOTAVAIL";
      case "createLink":
        return this.#createLink(change.link);
      case "setLink":
        return this.#changeLink(change);
      case "deleteLink":
        return this.#forgetLink(change.index) ? "" : "ENODEV";
      default:
        return unreachable(change);
    }
  }

  #createLink({ kind, name, mac, mtu, vxlan }: NewLink): string {
    if ([...this.#links.values()].some((link) => link.name === name)) return "EEXIST";
    const index = this.#nextIndex++;
    const settings = vxlan === undefined ? { kind } : { kind, vxlan };
    const common = { index, name, adminUp: false, operUp: false, mtu, ...settings };
    this.#links.set(index, mac === undefined ? common : { ...common, mac });
    return "";
  }

  #changeLink({ index, up, mtu, mac }: Extract<RouteChange, { kind: "setLink" }>): string {
    const link = this.#links.get(index);
    if (link === undefined) return "ENODEV";
    this.#links.set(index, {
      ...link,
      ...(up === undefined ? {} : { adminUp: true, operUp: true }),
      ...(mtu === undefined ? {} : { mtu }),
      ...(mac === undefined ? {} : { mac }),
    });
    return "";
  }

  #forgetLink(index: number): boolean {
    this.#flush(index);
    for (const [key, { ifindex }] of this.#addresses) {
      if (ifindex === index) this.#addresses.delete(key);
    }
    for (const [key, { ifindex }] of this.#forwarding) {
      if (ifindex === index) this.#forwarding.delete(key);
    }
    return this.#links.delete(index);
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

function addressKey({ ifindex, address }: InterfaceAddress): string {
  return `${ifindex} ${formatIp(address)}`;
}

function forwardingKey({ ifindex, mac }: ForwardingEntry): string {
  return `${ifindex} ${mac}`;
}

function neighbourKey({ ifindex, address }: Neighbour): string {
  return `${ifindex} ${formatIp(address)}`;
}
