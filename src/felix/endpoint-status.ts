/**
 * Writes what the dataplane says about local endpoints to the datastore, where Calico writes it:
 *
 *   /calico/felix/v2/<region>/host/<host>/workload/<orchestrator>/<workload>/endpoint/<endpoint>
 *   /calico/felix/v1/host/<host>/endpoint/<host endpoint>
 *   {"status":"up"}          up, down or error
 *
 * Only what changed is written, at most one round in `delayMs`; a round that fails is retried with
 * growing pauses and never holds up the dataplane. After the first full state, statuses that a
 * previous life left behind are removed.
 */
import type { EndpointState, FromDataplane, WorkloadEndpointId } from "#calc";
import type { Datastore } from "#datastore";
import { logger } from "#log";
import { hostEndpointStatusPath, workloadStatusPath } from "#model";

const log = logger("felix.status");
const MAX_PAUSE_MS = 30_000;

export class EndpointStatusReporter {
  readonly #store: Datastore;
  readonly #prefix: string;
  readonly #hostname: string;
  readonly #delayMs: number;
  /** What should be there; null: nothing. Entries leave `#pending` when they are written. */
  readonly #desired = new Map<string, string>();
  readonly #pending = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;
  #pauseMs: number;
  #failed = false;
  #closed = false;
  #sweep = false;

  /** `prefix` is the host's, as `felixStatusPrefix` gives it. */
  constructor(store: Datastore, prefix: string, hostname: string, delayMs: number) {
    this.#store = store;
    this.#prefix = prefix;
    this.#hostname = hostname;
    this.#delayMs = Math.max(1, delayMs);
    this.#pauseMs = this.#delayMs;
  }

  onStatus(message: FromDataplane): void {
    switch (message.case) {
      case "workloadEndpointStatusUpdate":
        this.#set(this.#pathOf(message.value.id), message.value.status);
        return;
      case "workloadEndpointStatusRemove":
        this.#remove(this.#pathOf(message.value.id));
        return;
      case "hostEndpointStatusUpdate":
        this.#set(this.#hostPathOf(message.value.id.endpointId), message.value.status);
        return;
      case "hostEndpointStatusRemove":
        this.#remove(this.#hostPathOf(message.value.id.endpointId));
        return;
      default:
    }
  }

  #set(path: string, status: EndpointState): void {
    const value = JSON.stringify({ status });
    if (this.#desired.get(path) === value) return;
    this.#desired.set(path, value);
    this.#want(path);
  }

  #remove(path: string): void {
    this.#desired.delete(path);
    this.#want(path);
  }

  /** The dataplane has reported on every endpoint: what else is in the datastore is stale. */
  sweepStale(): void {
    this.#sweep = true;
    this.#schedule();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#round;
  }

  #pathOf({ orchestratorId, workloadId, endpointId }: WorkloadEndpointId): string {
    return workloadStatusPath(this.#prefix, orchestratorId, workloadId, endpointId);
  }

  #hostPathOf(endpointId: string): string {
    return hostEndpointStatusPath(this.#hostname, endpointId);
  }

  #want(path: string): void {
    this.#pending.add(path);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#closed || this.#timer !== undefined || this.#round !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#round = this.#write().finally(() => {
        this.#round = undefined;
        if (this.#pending.size > 0 || this.#sweep) this.#schedule();
      });
    }, this.#pauseMs);
  }

  /** Never rejects. */
  async #write(): Promise<void> {
    try {
      if (this.#sweep) await this.#findStale();
      for (const path of this.#pending) {
        if (this.#closed) return;
        const value = this.#desired.get(path);
        if (value === undefined) await this.#store.delete(path);
        else await this.#store.put(path, value);
        // Changed again meanwhile: stays pending.
        if (this.#desired.get(path) === value) this.#pending.delete(path);
      }
      if (this.#failed) log.info("endpoint status is written again");
      this.#failed = false;
      this.#pauseMs = this.#delayMs;
    } catch (error) {
      if (!this.#failed) log.warn("endpoint status could not be written; retrying", { error });
      this.#failed = true;
      this.#pauseMs = Math.min(MAX_PAUSE_MS, this.#pauseMs * 2);
    }
  }

  async #findStale(): Promise<void> {
    const workloads = await this.#store.list(`${this.#prefix}workload/`);
    const hosts = await this.#store.list(this.#hostPathOf(""));
    this.#sweep = false;
    const stored = new Map([...workloads.kvs, ...hosts.kvs].map(({ key, value }) => [key, value]));
    for (const key of stored.keys()) if (!this.#desired.has(key)) this.#pending.add(key);
    for (const [path, value] of this.#desired) {
      if (stored.get(path) === value) this.#pending.delete(path);
      else this.#pending.add(path);
    }
  }
}
