/**
 * The dataplane that programs this host: the policy table, then routes, neighbours and sysctls.
 *
 *   ToDataplane ─ onMessage ─▶ policy compiler ──▶ one nf_tables transaction
 *                         └──▶ staged endpoints ─(it succeeded)─▶ paths ──▶ routes, neighbours, sysctls
 *   kernel events ──(something to do)──▶ onWanted
 *
 * Nothing is written before in-sync. An endpoint's addresses attract traffic only after its policy is
 * in the kernel; a failed part stays dirty while the others go on. What the kernel already has is
 * read back, so a start with nothing new writes nothing.
 */
import {
  workloadIdentity,
  type FromDataplane,
  type ToDataplane,
  type WorkloadEndpoint,
  type WorkloadEndpointId,
} from "#calc";
import type { ConntrackKernel, NftTable, RouteKernel } from "#netlink";
import { Backoff, messageOf, systemError } from "#std";
import type { ApplyResult, Dataplane } from "../port.ts";
import type { LinuxDataplaneConfig } from "./config.ts";
import type { DriverResult } from "./driver.ts";
import {
  EndpointStatuses,
  hostStatuses,
  workloadStatuses,
  type EndpointStatus,
} from "./endpoint-statuses.ts";
import { HostPaths } from "./host-paths.ts";
import {
  kernelWrites,
  nftCalls,
  nftErrors,
  nftObjects,
  partFailures,
  rulesetRepairs,
  unenforcedPolicies,
  workloadRoutes,
} from "./instruments.ts";
import type { PolicyCompiler } from "./nft/compiler.ts";
import type { Sysctls } from "./sysctls.ts";

const RETRY_INITIAL_MS = 50;
const RETRY_MAX_MS = 10_000;
/** Policies in one apply; should there be more, the next one goes on. */
const MAX_ISOLATED = 16;
const NOTHING: ApplyResult = { complete: true, errors: [], writes: 0 };

export interface LinuxDataplaneParts {
  readonly config: LinuxDataplaneConfig;
  readonly table: NftTable;
  readonly compiler: Pick<
    PolicyCompiler,
    | "onMessage"
    | "flush"
    | "isolate"
    | "problemOf"
    | "unenforcedPolicies"
    | "setHostInterfaces"
    | "hostProblemOf"
    | "hostInterfacesOf"
  >;
  readonly kernel: RouteKernel;
  readonly conntrack: ConntrackKernel;
  readonly sysctls: Sysctls;
  /** Monotonic. */
  readonly nowMs: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** `endpoint` undefined: removed. */
interface Staged {
  readonly id: WorkloadEndpointId;
  readonly endpoint: WorkloadEndpoint | undefined;
}

export class LinuxDataplane implements Dataplane {
  readonly #parts: LinuxDataplaneParts;
  readonly #paths: HostPaths;
  readonly #statuses = new EndpointStatuses(workloadStatuses);
  readonly #hostStatuses = new EndpointStatuses(hostStatuses);
  readonly #hostEndpoints = new Set<string>();
  readonly #backoff: Backoff;
  /** Endpoints whose policy is not in the kernel yet. */
  readonly #staged = new Map<string, Staged>();
  /** Why the staged ones are not. */
  #policyProblem: string | undefined;
  /** The policy table was complete at least once. */
  #policyInForce = false;
  #inSync = false;
  #closed = false;
  #wanted: (() => void)[] = [];

  constructor(parts: LinuxDataplaneParts) {
    const { random, table } = parts;
    this.#parts = parts;
    this.#paths = new HostPaths({
      ...parts,
      onWanted: () => this.#want(),
      onTouched: (id) => this.#statuses.touch(id),
    });
    this.#backoff = new Backoff({ initialMs: RETRY_INITIAL_MS, maxMs: RETRY_MAX_MS, random });
    table.onForeignChange(() => this.#want());
  }

  onMessage(message: ToDataplane): void {
    this.#parts.compiler.onMessage(message);
    this.#paths.onMessage(message);
    const { case: kind, value } = message;
    if (kind === "workloadEndpointUpdate") this.#stage(value.id, value.endpoint);
    else if (kind === "workloadEndpointRemove") this.#stage(value.id, undefined);
    else if (kind === "hostEndpointUpdate") this.#hostEndpoints.add(value.id.endpointId);
    else if (kind === "hostEndpointRemove") {
      this.#hostEndpoints.delete(value.id.endpointId);
      this.#hostStatuses.touch(value.id.endpointId);
    } else if (kind === "inSync") this.#inSync = true;
  }

  #stage(id: WorkloadEndpointId, endpoint: WorkloadEndpoint | undefined): void {
    this.#staged.set(workloadIdentity(id), { id, endpoint });
    this.#statuses.touch(id);
  }

  async apply(): Promise<ApplyResult> {
    if (!this.#inSync || this.#closed) return NOTHING;
    const results = [
      // Before the first write: what is there already.
      await this.#guard("interfaces", () => this.#paths.readBack()),
      await this.#guard("policy", () => this.#applyPolicy()),
    ];
    // Routes of a former life stay until the policy is known to be in force, and nothing is changed
    // without knowledge of what is there.
    if (this.#policyInForce && this.#paths.known) {
      for (const [part, apply] of this.#paths.prepare())
        results.push(await this.#guard(part, apply));
    }
    this.#statuses.report((key) => this.#statusOf(key));
    // They are few, and what they depend on (other endpoints, interfaces, policy) is much.
    for (const id of this.#hostEndpoints) this.#hostStatuses.touch(id);
    this.#hostStatuses.report((id) => this.#hostStatusOf(id));
    this.#paths.scheduleGrace();
    workloadRoutes.set(this.#paths.routeCount);
    unenforcedPolicies.set(this.#parts.compiler.unenforcedPolicies);
    return this.#sumUp(results);
  }

  #sumUp(results: readonly DriverResult[]): ApplyResult {
    const errors = results.flatMap((result) => result.errors);
    const writes = results.reduce((sum, result) => sum + result.writes, 0);
    if (errors.length > 0) {
      return { complete: false, retryAfterMs: this.#backoff.nextMs(), errors, writes };
    }
    this.#backoff.reset();
    return { complete: true, errors, writes };
  }

  /** What one part throws must not keep the others from going on. */
  async #guard(
    part: string,
    apply: () => DriverResult | Promise<DriverResult>,
  ): Promise<DriverResult> {
    let result: DriverResult;
    try {
      result = await apply();
    } catch (error) {
      result = { writes: 0, errors: [error instanceof Error ? error : new Error(String(error))] };
    }
    if (result.writes > 0) kernelWrites.inc(result.writes, { part });
    if (result.errors.length > 0) partFailures.inc(1, { part });
    return result;
  }

  /** One transaction; when it succeeds, the endpoints it knows may have routes. */
  async #applyPolicy(): Promise<DriverResult> {
    const { table } = this.#parts;
    try {
      const repairs = table.repairs;
      const writes = await this.#commitPolicy();
      if (table.repairs > repairs) rulesetRepairs.inc(table.repairs - repairs);
      this.#policyProblem = undefined;
      this.#policyInForce = true;
      for (const [key, { id, endpoint }] of this.#staged) {
        this.#paths.setEndpoint(id, key, endpoint);
      }
      this.#staged.clear();
      return { writes, errors: [] };
    } catch (error) {
      this.#policyProblem = messageOf(error);
      for (const { id } of this.#staged.values()) this.#statuses.touch(id);
      throw error;
    }
  }

  /** A policy that the kernel refuses must not hold back the others: it drops in its place. */
  async #commitPolicy(): Promise<number> {
    const { compiler, table } = this.#parts;
    // A host endpoint that seems to have no interface would leave it open.
    if (this.#hostEndpoints.size > 0 && !this.#paths.hostAddressesKnown) {
      throw systemError("interfaces-unknown", "the host's interfaces could not be read", {
        retryable: true,
      });
    }
    const addresses = this.#paths.takeHostAddresses();
    if (addresses !== undefined) compiler.setHostInterfaces(addresses);
    for (let attempt = 1; ; attempt++) {
      for (const id of compiler.flush().problemsChanged) this.#statuses.touch(id);
      try {
        const messages = table.dirty ? (await table.apply()).messages : 0;
        if (messages > 0) this.#countTransaction();
        return messages;
      } catch (error) {
        nftCalls.inc();
        nftErrors.inc();
        if (attempt > MAX_ISOLATED || !compiler.isolate(error)) throw error;
      }
    }
  }

  #countTransaction(): void {
    nftCalls.inc();
    const counts = this.#parts.table.counts();
    nftObjects.chains.set(counts.chains);
    nftObjects.rules.set(counts.rules);
    nftObjects.sets.set(counts.sets);
    nftObjects.maps.set(counts.maps);
  }

  /** Undefined: there is no such endpoint. */
  #statusOf(key: string): EndpointStatus | undefined {
    const staged = this.#staged.get(key);
    if (staged !== undefined && this.#policyProblem !== undefined) {
      return staged.endpoint === undefined
        ? undefined
        : { status: "error", reason: `policy not programmed: ${this.#policyProblem}` };
    }
    const known = this.#paths.endpoint(key);
    const path = this.#paths.stateOf(key);
    if (known === undefined || path === undefined) return undefined;
    const problem = this.#parts.compiler.problemOf(known.id);
    if (problem !== undefined) return { status: "error", reason: problem };
    if (path.state === "ready") return { status: "up" };
    return { status: path.state === "failed" ? "error" : "down", reason: path.reason };
  }

  /** Undefined: there is no such endpoint. */
  #hostStatusOf(id: string): EndpointStatus | undefined {
    const { compiler } = this.#parts;
    if (!this.#hostEndpoints.has(id)) return undefined;
    if (this.#policyProblem !== undefined) {
      return { status: "error", reason: `policy not programmed: ${this.#policyProblem}` };
    }
    const problem = compiler.hostProblemOf(id);
    if (problem !== undefined) return { status: "error", reason: problem };
    const names = compiler.hostInterfacesOf(id).filter((name) => name !== "*");
    const down = names.find((name) => this.#paths.link(name)?.operUp !== true);
    if (down === undefined) return { status: "up" };
    const reason =
      this.#paths.link(down) === undefined ? `no interface ${down}` : `interface ${down} is down`;
    return { status: "down", reason };
  }

  onWanted(callback: () => void): void {
    this.#wanted.push(callback);
  }

  onStatus(callback: (message: FromDataplane) => void): void {
    this.#statuses.listen(callback);
    this.#hostStatuses.listen(callback);
  }

  #want(): void {
    for (const callback of this.#wanted) callback();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#wanted = [];
    this.#statuses.close();
    this.#hostStatuses.close();
    this.#paths.close();
    this.#parts.table.close();
  }
}
