/**
 * Workloads send everything to 169.254.1.1, for which the host answers ARP in place of a router. The
 * kernel does that (proxy_arp) only for what it has a route to; a default route is enough. On a host
 * that has none, a local route for the address itself takes its place.
 */
import { cidrContainsIp, hostCidr, parseIp } from "#ip";
import {
  RT_SCOPE_HOST,
  RT_TABLE_MAIN,
  RTN_LOCAL,
  RTN_UNICAST,
  type Link,
  type Route,
} from "#netlink";

const GATEWAY = parseIp("169.254.1.1");
export const GATEWAY_CIDR = hostCidr(GATEWAY);
/** `lo` is always the first. */
const LOOPBACK_INDEX = 1;

export class WorkloadGateway {
  readonly #protocol: number;
  readonly #linkByIndex: (index: number) => Link | undefined;
  /** Others' routes that cover the gateway. */
  readonly #covering = new Map<string, Route>();

  constructor(protocol: number, linkByIndex: (index: number) => Link | undefined) {
    this.#protocol = protocol;
    this.#linkByIndex = linkByIndex;
  }

  beginResync(): void {
    this.#covering.clear();
  }

  /** Each change of the main table. */
  observe(route: Route, present: boolean): void {
    if (route.dst.family !== 4 || route.type !== RTN_UNICAST) return;
    if (route.protocol === this.#protocol || !cidrContainsIp(route.dst, GATEWAY)) return;
    const key = `${route.dst.prefixLen} ${route.tos} ${route.priority} ${route.oif ?? ""}`;
    if (present) this.#covering.set(key, route);
    else this.#covering.delete(key);
  }

  /** The interface went down or away; IPv4 tells nothing of its routes. */
  forgetInterface(index: number): void {
    for (const [key, route] of this.#covering) {
      if (route.oif === index) this.#covering.delete(key);
    }
  }

  /** The route that the host lacks; undefined: it has one, or cannot have it while `lo` is down. */
  get missingRoute(): Route | undefined {
    if (this.#covering.size > 0 || this.#linkByIndex(LOOPBACK_INDEX)?.adminUp !== true) {
      return undefined;
    }
    return {
      dst: GATEWAY_CIDR,
      table: RT_TABLE_MAIN,
      protocol: this.#protocol,
      type: RTN_LOCAL,
      scope: RT_SCOPE_HOST,
      tos: 0,
      priority: 1024,
      oif: LOOPBACK_INDEX,
    };
  }
}
