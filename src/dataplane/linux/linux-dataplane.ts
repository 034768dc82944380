/**
 * The dataplane that programs this host: the policy table, then routes, neighbours and sysctls.
 *
 *   ToDataplane ─ onMessage ─▶ policy compiler ──▶ one nf_tables transaction
 *                         └──▶ staged endpoints ─(it succeeded)─▶ addresses ──▶ routes, neighbours, sysctls
 *   kernel events ────────────▶ interfaces, routes ─(something to do)─▶ onWanted
 *
 * Nothing is written before in-sync. An endpoint's addresses attract traffic only after its policy is
 * in the kernel; a failed part stays dirty while the others go on. What the kernel already has is
 * read back, so a start with nothing new writes nothing.
 */
import type { FromDataplane, ToDataplane, WorkloadEndpoint, WorkloadEndpointId } from "#calc";
import { isHostCidr, type Cidr } from "#ip";
import { logger } from "#log";
import type { ConntrackKernel, NftTable, Route, RouteEvent, RouteKernel } from "#netlink";
import { Backoff, messageOf, unreachable } from "#std";
import type { ApplyResult, Dataplane } from "../port.ts";
import type { LinuxDataplaneConfig } from "./config.ts";
import { ConnectionCleaner } from "./connection-cleaner.ts";
import type { DriverResult } from "./driver.ts";
import { EndpointStatuses, type EndpointStatus } from "./endpoint-statuses.ts";
import { GATEWAY_CIDR, WorkloadGateway } from "./gateway.ts";
import { Interfaces, type InterfaceChange } from "./interfaces.ts";
import { NeighbourDriver } from "./neighbour-driver.ts";
import type { PolicyCompiler } from "./nft/compiler.ts";
import { RouteDriver } from "./route-driver.ts";
import type { Sysctls } from "./sysctls.ts";
import { endpointKey, WorkloadAddresses, type AddressTarget } from "./workload-addresses.ts";

const log = logger("dataplane.linux");

const RETRY_INITIAL_MS = 50;
const RETRY_MAX_MS = 10_000;
const NOTHING: ApplyResult = { complete: true, errors: [], writes: 0 };

export interface LinuxDataplaneParts {
  readonly config: LinuxDataplaneConfig;
  readonly table: NftTable;
  readonly compiler: Pick<PolicyCompiler, "onMessage" | "flush" | "problemOf">;
  readonly kernel: RouteKernel;
  readonly conntrack: ConntrackKernel;
  readonly sysctls: Sysctls;
  /** Monotonic. */
  readonly nowMs: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** Null: removed. */
interface Staged {
  readonly id: WorkloadEndpointId;
  readonly endpoint: WorkloadEndpoint | null;
}

export class LinuxDataplane implements Dataplane {
  readonly #parts: LinuxDataplaneParts;
  readonly #interfaces: Interfaces;
  readonly #addresses: WorkloadAddresses;
  readonly #routes: RouteDriver;
  readonly #neighbours: NeighbourDriver;
  readonly #gateway: WorkloadGateway;
  readonly #statuses = new EndpointStatuses();
  readonly #backoff: Backoff;
  /** Endpoints whose policy is not in the kernel yet. */
  readonly #staged = new Map<string, Staged>();
  /** Why the staged ones are not. */
  #policyProblem: string | undefined;
  /** The policy table was complete at least once. */
  #policyInForce = false;
  readonly #connections: ConnectionCleaner;
  #interfaceChanged = false;
  #inSync = false;
  #watching = false;
  #interfacesDue = true;
  #routesDue = true;
  #closed = false;
  #wanted: (() => void)[] = [];
  #interfaceTimer: NodeJS.Timeout | undefined;
  #routeTimer: NodeJS.Timeout | undefined;
  #graceTimer: NodeJS.Timeout | undefined;

  constructor(parts: LinuxDataplaneParts) {
    const { config, kernel, nowMs, random, table } = parts;
    this.#parts = parts;
    this.#connections = new ConnectionCleaner(parts.conntrack);
    this.#interfaces = new Interfaces(config.interfaceExclude, (change) =>
      this.#onInterface(change),
    );
    const linkByIndex = this.#interfaces.byIndex.bind(this.#interfaces);
    this.#addresses = new WorkloadAddresses(
      config.policy.ipv6Support ? [4, 6] : [4],
      this.#interfaces.byName.bind(this.#interfaces),
    );
    this.#routes = new RouteDriver({
      kernel,
      config,
      linkByIndex,
      nowMs,
      onStale: (dst) => this.#connections.forget(dst),
      onProblem: (dst) => this.#touch(this.#addresses.keysWith(dst)),
    });
    this.#neighbours = new NeighbourDriver(kernel, config.routeProtocol);
    this.#gateway = new WorkloadGateway(config.routeProtocol, linkByIndex);
    this.#backoff = new Backoff({ initialMs: RETRY_INITIAL_MS, maxMs: RETRY_MAX_MS, random });
    table.onForeignChange(() => this.#want());
    if (config.ipForwarding) parts.sysctls.wantForwarding();
  }

  onMessage(message: ToDataplane): void {
    this.#parts.compiler.onMessage(message);
    switch (message.case) {
      case "workloadEndpointUpdate":
        return this.#stage(message.value.id, message.value.endpoint);
      case "workloadEndpointRemove":
        return this.#stage(message.value.id, null);
      case "inSync":
        this.#inSync = true;
        return;
      default:
    }
  }

  #stage(id: WorkloadEndpointId, endpoint: WorkloadEndpoint | null): void {
    this.#staged.set(endpointKey(id), { id, endpoint });
    this.#statuses.touch(id);
  }

  async apply(): Promise<ApplyResult> {
    if (!this.#inSync || this.#closed) return NOTHING;
    const results = [
      // Before the first write: what is there already.
      this.#guard("read interfaces and routes", () => this.#readBack()),
      this.#guard("policy", () => this.#applyPolicy()),
    ];
    // Routes of a former life stay until the policy is known to be in force, and nothing is changed
    // without knowledge of what is there.
    const known = !this.#interfacesDue && !this.#routesDue;
    if (known && this.#policyInForce) results.push(...this.#applyPaths());
    this.#connections.apply();
    this.#statuses.report((key) => this.#statusOf(key));
    this.#scheduleGrace();
    const errors = results.flatMap((result) => result.errors);
    const writes = results.reduce((sum, result) => sum + result.writes, 0);
    if (errors.length > 0) {
      return { complete: false, retryAfterMs: this.#backoff.nextMs(), errors, writes };
    }
    this.#backoff.reset();
    return { complete: true, errors, writes };
  }

  /** How packets get to workloads and back. */
  #applyPaths(): DriverResult[] {
    this.#interfaceChanged = false;
    this.#addresses.resolve((address, target) => this.#setTarget(address, target));
    const gateway = this.#gatewayRoute;
    if (gateway === undefined) this.#routes.removeSpecial(GATEWAY_CIDR);
    else this.#routes.setSpecial(gateway);
    const onProblem = (name: string): void => this.#touch(this.#addresses.keysOn(name));
    return [
      this.#guard("routes", () => this.#routes.apply()),
      this.#guard("neighbours", () => this.#neighbours.apply()),
      this.#guard("sysctls", () => this.#parts.sysctls.apply(onProblem)),
    ];
  }

  get #gatewayRoute(): Route | undefined {
    return this.#addresses.hasIpv4 ? this.#gateway.missingRoute : undefined;
  }

  /** What one part throws must not keep the others from going on. */
  #guard(what: string, part: () => DriverResult): DriverResult {
    try {
      return part();
    } catch (error) {
      log.debug("part of an apply failed", { what, reason: messageOf(error) });
      return { writes: 0, errors: [error instanceof Error ? error : new Error(String(error))] };
    }
  }

  #readBack(): DriverResult {
    const { kernel } = this.#parts;
    if (!this.#watching) {
      kernel.watch((event) => this.#onKernelEvent(event));
      this.#watching = true;
    }
    if (this.#interfacesDue) {
      this.#interfaces.resync(kernel);
      this.#interfacesDue = false;
      clearTimeout(this.#interfaceTimer);
      this.#interfaceTimer = this.#due(this.#parts.config.interfaceRefreshMs, () => {
        this.#interfacesDue = true;
      });
    }
    if (this.#routesDue) {
      this.#gateway.beginResync();
      this.#routes.resync((route) => this.#gateway.observe(route, true));
      this.#neighbours.resync();
      this.#routesDue = false;
      clearTimeout(this.#routeTimer);
      this.#routeTimer = this.#due(this.#parts.config.routeRefreshMs, () => {
        this.#routesDue = true;
        this.#parts.sysctls.recheckAll();
      });
    }
    return { writes: 0, errors: [] };
  }

  #due(afterMs: number, mark: () => void): NodeJS.Timeout | undefined {
    if (afterMs <= 0) return undefined;
    return setTimeout(() => {
      mark();
      this.#want();
    }, afterMs).unref();
  }

  /** One transaction; when it succeeds, the endpoints it knows may have routes. */
  #applyPolicy(): DriverResult {
    const { compiler, table } = this.#parts;
    try {
      for (const id of compiler.flush().problemsChanged) this.#statuses.touch(id);
      const writes = table.dirty ? table.apply().messages : 0;
      this.#policyProblem = undefined;
      this.#policyInForce = true;
      this.#commitStaged();
      return { writes, errors: [] };
    } catch (error) {
      this.#policyProblem = messageOf(error);
      for (const { id } of this.#staged.values()) this.#statuses.touch(id);
      throw error;
    }
  }

  #commitStaged(): void {
    for (const [key, { id, endpoint }] of this.#staged) {
      const before = this.#addresses.get(key)?.endpoint.name;
      if (endpoint === null) this.#addresses.remove(id);
      else this.#addresses.set(id, endpoint);
      for (const name of new Set([before, endpoint?.name])) {
        if (name !== undefined) this.#settleInterface(name);
      }
      this.#statuses.touch(id);
    }
    this.#staged.clear();
  }

  /** Another endpoint may have the interface now, or none. */
  #settleInterface(name: string): void {
    const endpoint = this.#addresses.owner(name)?.endpoint;
    const present = this.#interfaces.byName(name) !== undefined;
    const { config, sysctls } = this.#parts;
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
      if (known !== undefined) this.#statuses.touch(known.id);
    }
  }

  #setTarget(address: Cidr, target: AddressTarget | undefined): void {
    const link = target?.link;
    // The kernel takes no route over an interface that is off.
    const ifindex = link?.adminUp === true ? link.index : undefined;
    this.#routes.setWorkload(address, ifindex);
    if (isHostCidr(address)) this.#neighbours.set(address, ifindex, target?.endpoint.mac);
    if (target !== undefined) this.#statuses.touch(target.id);
    this.#connections.setHolder(address, target?.key);
  }

  /** Undefined: there is no such endpoint. */
  #statusOf(key: string): EndpointStatus | undefined {
    const { compiler, sysctls } = this.#parts;
    const staged = this.#staged.get(key);
    if (staged !== undefined && this.#policyProblem !== undefined) {
      return staged.endpoint === null
        ? undefined
        : { status: "error", reason: `policy not programmed: ${this.#policyProblem}` };
    }
    const known = this.#addresses.get(key);
    if (known === undefined) return undefined;
    const { endpoint, id } = known;
    const problem = compiler.problemOf(id) ?? this.#routeProblem(endpoint);
    if (problem !== undefined) return { status: "error", reason: problem };
    if (endpoint.state !== "active") return { status: "down", reason: "administratively down" };
    if (this.#addresses.owner(endpoint.name)?.id !== id) {
      return { status: "down", reason: `another endpoint has interface ${endpoint.name}` };
    }
    const link = this.#interfaces.byName(endpoint.name);
    if (link === undefined) return { status: "down", reason: `no interface ${endpoint.name}` };
    if (!link.operUp) return { status: "down", reason: `interface ${endpoint.name} is down` };
    const setting = sysctls.problemOf(endpoint.name);
    return setting === undefined ? { status: "up" } : { status: "down", reason: setting };
  }

  #routeProblem(endpoint: WorkloadEndpoint): string | undefined {
    for (const net of [...endpoint.ipv4Nets, ...endpoint.ipv6Nets]) {
      const problem = this.#routes.problemOf(net);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  /** Routes of others that are still in their grace period are looked at again when it ends. */
  #scheduleGrace(): void {
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
      case "route":
        this.#gateway.observe(event.route, event.present);
        this.#routes.observe(event.route, event.present, event.replaced);
        break;
      case "lost":
        log.warn("kernel notifications were lost; reading everything again");
        this.#interfacesDue = true;
        this.#routesDue = true;
        break;
      default:
        unreachable(event);
    }
    if (this.#dirty) this.#want();
  }

  get #dirty(): boolean {
    return (
      this.#interfacesDue ||
      this.#routesDue ||
      this.#interfaceChanged ||
      this.#addresses.dirty ||
      this.#routes.dirty ||
      this.#routes.wants(GATEWAY_CIDR) !== (this.#gatewayRoute !== undefined) ||
      this.#neighbours.dirty
    );
  }

  #onInterface({ before, after, renamed }: InterfaceChange): void {
    if (renamed === true) this.#routesDue = true;
    const sameDevice = before?.index === after?.index;
    if (before !== undefined && !(sameDevice && after?.adminUp === true)) {
      this.#routes.forgetInterface(before.index);
      this.#neighbours.forgetInterface(before.index);
      this.#gateway.forgetInterface(before.index);
    }
    const name = after?.name ?? before?.name ?? "";
    if (this.#addresses.keysOn(name).size === 0 && name !== "lo") return;
    this.#interfaceChanged = true;
    this.#addresses.interfaceChanged(name);
    this.#settleInterface(name);
    if (after !== undefined && (!sameDevice || before?.adminUp !== after.adminUp)) {
      this.#parts.sysctls.recheck(name);
    }
  }

  onWanted(callback: () => void): void {
    this.#wanted.push(callback);
  }

  onStatus(callback: (message: FromDataplane) => void): void {
    this.#statuses.listen(callback);
  }

  #want(): void {
    if (this.#closed) return;
    for (const callback of this.#wanted) callback();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of [this.#interfaceTimer, this.#routeTimer, this.#graceTimer]) {
      clearTimeout(timer);
    }
    this.#wanted = [];
    this.#statuses.close();
    this.#parts.kernel.close();
    this.#parts.conntrack.close();
    this.#parts.table.close();
  }
}
