/**
 * How packets get to workloads and back: interfaces, and on them routes, neighbours and settings;
 * tunnels to those of other nodes.
 *
 *   endpoints with policy in force ──▶ addresses ─┐
 *   kernel events ──▶ interfaces ─────────────────┼▶ desired routes, neighbours, settings ──▶ kernel
 *   routes, tunnel ends ──▶ tunnels ──────────────┘
 */
import type { ToDataplane, WorkloadEndpoint, WorkloadEndpointId } from "#calc";
import { isHostCidr, type Cidr } from "#ip";
import { logger } from "#log";
import type {
  ConntrackKernel,
  InterfaceAddress,
  Link,
  Route,
  RouteEvent,
  RouteKernel,
} from "#netlink";
import { unreachable } from "#std";
import { isWorkloadInterface, type LinuxDataplaneConfig } from "./config.ts";
import { ConnectionCleaner } from "./connection-cleaner.ts";
import type { DriverResult } from "./driver.ts";
import { GATEWAY_CIDR, WorkloadGateway } from "./gateway.ts";
import { HostAddresses } from "./host-addresses.ts";
import { Interfaces, type InterfaceChange } from "./interfaces.ts";
import { NeighbourDriver } from "./neighbour-driver.ts";
import { Refresh } from "./refresh.ts";
import { RouteDriver } from "./route-driver.ts";
import type { Sysctls } from "./sysctls.ts";
import { TUNNEL_DEVICES } from "./tunnels/names.ts";
import { Tunnels } from "./tunnels/tunnels.ts";
import { WorkloadAddresses, type AddressTarget, type LocalEndpoint } from "./workload-addresses.ts";

const log = logger("dataplane.linux");

export interface HostPathsOptions {
  readonly config: LinuxDataplaneConfig;
  readonly kernel: RouteKernel;
  readonly conntrack: ConntrackKernel;
  readonly sysctls: Sysctls;
  /** Monotonic. */
  readonly nowMs: () => number;
  /** There is something to apply. */
  readonly onWanted: () => void;
  /** `stateOf` the endpoint may have changed. */
  readonly onTouched: (id: WorkloadEndpointId) => void;
}

/** What became of an endpoint; `ready`: all that this host can do for it is done. */
export type PathState =
  | { readonly state: "ready" }
  | { readonly state: "waiting" | "failed"; readonly reason: string };

/** As Felix looks after its devices. */
const TUNNEL_CHECK_MS = 10_000;

type Part = readonly [name: string, apply: () => DriverResult];

export class HostPaths {
  readonly #options: HostPathsOptions;
  readonly #interfaces: Interfaces;
  readonly #hostAddresses: HostAddresses;
  readonly #addresses: WorkloadAddresses;
  readonly #routes: RouteDriver;
  readonly #neighbours: NeighbourDriver;
  readonly #gateway: WorkloadGateway;
  readonly #tunnels: Tunnels;
  readonly #connections: ConnectionCleaner;
  #watching = false;
  /** What is in the kernel is another life's: nothing of ours was written yet. */
  #former = true;
  readonly #interfaceRefresh: Refresh;
  readonly #routeRefresh: Refresh;
  #interfaceChanged = false;
  #closed = false;
  #soon: NodeJS.Immediate | undefined;
  #graceTimer: NodeJS.Timeout | undefined;

  constructor(options: HostPathsOptions) {
    const { config, conntrack, kernel, nowMs } = options;
    this.#options = options;
    this.#interfaceRefresh = new Refresh(config.interfaceRefreshMs, () => this.#want());
    this.#routeRefresh = new Refresh(config.routeRefreshMs, () => {
      options.sysctls.recheckAll();
      this.#want();
    });
    this.#connections = new ConnectionCleaner(conntrack);
    this.#interfaces = new Interfaces(config.interfaceExclude, (change) =>
      this.#onInterface(change),
    );
    this.#hostAddresses = new HostAddresses(this.#interfaces);
    const linkByIndex = (index: number): Link | undefined => this.#interfaces.byIndex(index);
    const { ipv6Support, nat } = config.policy;
    this.#addresses = new WorkloadAddresses(
      { families: ipv6Support ? [4, 6] : [4], floatingIps: nat.floatingIps },
      (name) => this.#interfaces.byName(name),
    );
    this.#routes = new RouteDriver({
      kernel,
      config,
      linkByIndex,
      nowMs,
      onStale: (dst) => this.#connections.forget(dst),
      onProblem: (dst) => this.#touch(this.#addresses.keysWith(dst)),
    });
    this.#neighbours = new NeighbourDriver(kernel, config.routeProtocol, (index) =>
      TUNNEL_DEVICES.has(this.#interfaces.byIndex(index)?.name ?? ""),
    );
    this.#tunnels = new Tunnels({
      config,
      kernel,
      interfaces: this.#interfaces,
      addresses: this.#hostAddresses,
      neighbours: this.#neighbours,
      routes: this.#routes,
    });
    this.#gateway = new WorkloadGateway(config.routeProtocol, linkByIndex);
    if (config.ipForwarding) options.sysctls.wantForwarding();
  }

  endpoint(key: string): LocalEndpoint | undefined {
    return this.#addresses.get(key);
  }

  /** False: `takeHostAddresses` does not tell all that there are. */
  get hostAddressesKnown(): boolean {
    return this.#hostAddresses.known;
  }

  /** Interface → addresses of this host; undefined: as when last asked. */
  takeHostAddresses(): ReadonlyMap<string, readonly string[]> | undefined {
    return this.#hostAddresses.changed ? this.#hostAddresses.take() : undefined;
  }

  /** Undefined: there is no such interface. */
  link(name: string): Link | undefined {
    return this.#interfaces.byName(name);
  }

  /** Routes of ours in the kernel. */
  get routeCount(): number {
    return this.#routes.count;
  }

  /** False until all that is there has been read, and while it must be read again. */
  get known(): boolean {
    return !this.#interfaceRefresh.due && !this.#routeRefresh.due;
  }

  /** Records what concerns other nodes. */
  onMessage(message: ToDataplane): void {
    this.#tunnels.onMessage(message);
  }

  /** Its policy is in force (or, undefined, gone): traffic may be attracted. */
  setEndpoint(id: WorkloadEndpointId, key: string, endpoint: WorkloadEndpoint | undefined): void {
    const before = this.#addresses.get(key)?.endpoint.name;
    if (endpoint === undefined) this.#addresses.remove(id);
    else this.#addresses.set(id, endpoint);
    for (const name of new Set([before, endpoint?.name])) {
      if (name !== undefined) this.#settleInterface(name);
    }
    this.#options.onTouched(id);
  }

  /** Undefined: no such endpoint. */
  stateOf(key: string): PathState | undefined {
    const entry = this.#addresses.get(key);
    if (entry === undefined) return undefined;
    const { endpoint, id } = entry;
    for (const net of [...endpoint.ipv4Nets, ...endpoint.ipv6Nets]) {
      const reason = this.#routes.problemOf(net);
      if (reason !== undefined) return { state: "failed", reason };
    }
    const waiting = (reason: string): PathState => ({ state: "waiting", reason });
    const { name, state } = endpoint;
    if (state !== "active") return waiting("administratively down");
    if (this.#addresses.owner(name)?.id !== id) {
      return waiting(`another endpoint has interface ${name}`);
    }
    const link = this.#interfaces.byName(name);
    if (link === undefined) return waiting(`no interface ${name}`);
    if (!link.operUp) return waiting(`interface ${name} is down`);
    const problem = this.#options.sysctls.problemOf(name);
    return problem === undefined ? { state: "ready" } : waiting(problem);
  }

  /** Reads what is due; nothing may be written before it succeeded once. Throws. */
  readBack(): DriverResult {
    const { kernel } = this.#options;
    if (!this.#watching) {
      kernel.watch((event) => this.#onKernelEvent(event));
      this.#watching = true;
    }
    if (this.#interfaceRefresh.due) {
      this.#interfaces.resync(kernel);
      this.#hostAddresses.resync(kernel);
      this.#tunnels.resync();
      if (this.#tunnels.active && !this.#routeRefresh.due) this.#neighbours.resync();
      this.#interfaceRefresh.done();
    }
    if (this.#routeRefresh.due) {
      this.#gateway.beginResync();
      this.#routes.resync((route) => this.#gateway.observe(route, true));
      this.#neighbours.resync();
      this.#routeRefresh.done();
    }
    return { writes: 0, errors: [] };
  }

  /** Brings desired state up to date; the parts then write, each on its own. */
  prepare(): readonly Part[] {
    this.#interfaceChanged = false;
    this.#addresses.resolve((address, target) => this.#setTarget(address, target));
    this.#former = false;
    this.#connections.cleanHeld();
    this.#routes.set("local-workload", GATEWAY_CIDR, this.#gatewayRoute);
    const onProblem = (name: string): void => this.#touch(this.#addresses.keysOn(name));
    return [
      ["tunnels", () => this.#applyTunnels()],
      ["neighbours", () => this.#neighbours.apply()],
      ["routes", () => this.#routes.apply()],
      ["sysctls", () => this.#options.sysctls.apply(onProblem)],
    ];
  }

  #applyTunnels(): DriverResult {
    const result = this.#tunnels.apply();
    // What tunnels stand on may change without a notification that we would understand.
    const { interfaceRefreshMs: ms } = this.#options.config;
    const often = this.#tunnels.active && (ms <= 0 || ms > TUNNEL_CHECK_MS);
    this.#interfaceRefresh.setInterval(often ? TUNNEL_CHECK_MS : ms);
    // A host endpoint may be declared by the address that a device just got.
    if (this.#hostAddresses.changed) this.#want();
    return result;
  }

  #setTarget(address: Cidr, target: AddressTarget | undefined): void {
    const link = target?.link;
    const policed = link !== undefined && isWorkloadInterface(this.#options.config, link.name);
    // The kernel takes no route over an interface that is off.
    const ifindex = policed && link.adminUp ? link.index : undefined;
    this.#routes.setWorkload(address, ifindex);
    if (isHostCidr(address)) this.#neighbours.set(address, ifindex, target?.endpoint.mac);
    if (target !== undefined) this.#options.onTouched(target.id);
    this.#connections.setHolder(address, target?.key);
    // Without its route of the former life the address may have been another's then.
    if (this.#former && ifindex !== undefined && !this.#routes.isPresent(address)) {
      this.#connections.forget(address);
    }
  }

  get #gatewayRoute(): Route | undefined {
    return this.#addresses.hasIpv4 ? this.#gateway.missingRoute : undefined;
  }

  /** Routes of others that are still in their grace period are looked at again when it ends. */
  scheduleGrace(): void {
    clearTimeout(this.#graceTimer);
    const leftMs = this.#routes.graceLeftMs();
    if (leftMs === undefined || this.#closed) return;
    this.#graceTimer = setTimeout(() => this.#want(), leftMs + 1).unref();
  }

  #onKernelEvent(event: RouteEvent): void {
    switch (event.kind) {
      case "link":
        if (event.present) this.#interfaces.update(event.link);
        else this.#interfaces.remove(event.link);
        break;
      case "address":
        this.#hostAddresses.update(event.address, event.present);
        if (!event.present) this.#addressGone(event.address);
        this.#hostChanged(this.#interfaces.byIndex(event.address.ifindex)?.name);
        return this.#wantSoon();
      case "neighbour":
        this.#neighbours.observe(event.neighbour, event.present);
        return this.#wantSoon();
      case "forwarding":
        this.#tunnels.observe(event.entry, event.present);
        return this.#wantSoon();
      case "route":
        this.#gateway.observe(event.route, event.present);
        this.#routes.observe(event.route, event.present, event.replaced);
        break;
      case "lost":
        log.warn("kernel notifications were lost; reading everything again");
        this.#interfaceRefresh.mark();
        this.#routeRefresh.mark();
        break;
      default:
        unreachable(event);
    }
    if (this.#dirty) this.#want();
  }

  /** With its last IPv4 address an interface loses its IPv4 routes, and nothing tells of that. */
  #addressGone({ address, ifindex }: InterfaceAddress): void {
    const left = this.#hostAddresses.of(ifindex);
    if (address.family === 6 || left.some((entry) => entry.address.family === 4)) return;
    this.#routes.forgetInterface(ifindex, 4);
    this.#gateway.forgetInterface(ifindex);
  }

  /** What an interface loses is told before that it goes: such news waits for the rest of it. */
  #wantSoon(): void {
    this.#soon ??= setImmediate(() => {
      this.#soon = undefined;
      if (this.#dirty) this.#want();
    });
  }

  get #dirty(): boolean {
    return (
      !this.known ||
      this.#interfaceChanged ||
      this.#hostAddresses.changed ||
      this.#addresses.dirty ||
      this.#routes.dirty ||
      this.#routes.wants(GATEWAY_CIDR) !== (this.#gatewayRoute !== undefined) ||
      this.#neighbours.dirty ||
      this.#tunnels.dirty
    );
  }

  #onInterface({ before, after, renamed }: InterfaceChange): void {
    if (renamed === true) this.#routeRefresh.mark();
    const sameDevice = before?.index === after?.index;
    if (!sameDevice || before?.name !== after?.name) this.#hostAddresses.interfaceChanged();
    if (before !== undefined && !(sameDevice && after?.adminUp === true)) {
      this.#routes.forgetInterface(before.index);
      this.#neighbours.forgetInterface(before.index);
      this.#gateway.forgetInterface(before.index);
    }
    const name = after?.name ?? before?.name ?? "";
    this.#hostChanged(name);
    if (this.#addresses.keysOn(name).size === 0) return;
    this.#interfaceChanged = true;
    this.#addresses.interfaceChanged(name);
    this.#settleInterface(name);
    if (after !== undefined && (!sameDevice || before?.adminUp !== after.adminUp)) {
      this.#options.sysctls.recheck(name);
    }
  }

  /** Tunnels go by the host's interfaces, not by those of workloads. */
  #hostChanged(name: string | undefined): void {
    const isWorkload = name !== undefined && isWorkloadInterface(this.#options.config, name);
    if (!isWorkload) this.#tunnels.hostChanged();
  }

  /** Another endpoint may have the interface now, or none; or the interface came or went. */
  #settleInterface(name: string): void {
    const { config, sysctls } = this.#options;
    const endpoint = this.#addresses.owner(name)?.endpoint;
    const present =
      this.#interfaces.byName(name) !== undefined && isWorkloadInterface(config, name);
    const spoofing = config.policy.workloadSourceSpoofing === "Any";
    const settings =
      endpoint?.state === "active" && present
        ? { spoofingAllowed: spoofing && endpoint.allowSpoofedSourcePrefixes.length > 0 }
        : undefined;
    sysctls.setInterface(name, settings);
    this.#touch(this.#addresses.keysOn(name));
  }

  #touch(keys: Iterable<string>): void {
    for (const key of keys) {
      const known = this.#addresses.get(key);
      if (known !== undefined) this.#options.onTouched(known.id);
    }
  }

  #want(): void {
    if (!this.#closed) this.#options.onWanted();
  }

  /** What is in the kernel stays. */
  close(): void {
    this.#closed = true;
    clearImmediate(this.#soon);
    clearTimeout(this.#graceTimer);
    this.#interfaceRefresh.close();
    this.#routeRefresh.close();
    this.#options.kernel.close();
    this.#connections.close();
  }
}
