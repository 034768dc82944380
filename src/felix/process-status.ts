/**
 * Tells the datastore every ReportingIntervalSecs that this agent lives: `…/status`, which vanishes
 * after ReportingTTLSecs without a report, and `…/last_reported_status`, which stays.
 */
import type { Datastore } from "#datastore";
import { logger } from "#log";

const log = logger("felix.status");

export interface ProcessStatusOptions {
  readonly prefix: string;
  readonly intervalMs: number;
  readonly ttlMs: number;
  /** Wall clock. */
  readonly now: () => Date;
  /** Seconds since the process began. */
  readonly uptimeSeconds: () => number;
}

export class ProcessStatusReporter {
  readonly #store: Datastore;
  readonly #options: ProcessStatusOptions;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #first = true;
  #failed = false;

  constructor(store: Datastore, options: ProcessStatusOptions) {
    this.#store = store;
    this.#options = options;
  }

  start(): void {
    this.#report();
    this.#timer = setInterval(() => this.#report(), this.#options.intervalMs);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#writing;
  }

  /** A report that is still under way is not doubled: the datastore may be away. */
  #report(): void {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  async #write(): Promise<void> {
    const { prefix, ttlMs, now, uptimeSeconds } = this.#options;
    const text = JSON.stringify({
      time: now()
        .toISOString()
        .replace(/\.\d+Z$/, "Z"),
      uptime: uptimeSeconds(),
      first_update: this.#first,
    });
    try {
      await this.#store.put(`${prefix}status`, text, { ttlSeconds: Math.ceil(ttlMs / 1000) });
      await this.#store.put(`${prefix}last_reported_status`, text);
      this.#first = false;
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) log.warn("own status could not be written; retrying", { error });
      this.#failed = true;
    }
  }
}
