/**
 * Tells the datastore every ReportingIntervalSecs that this agent lives: `…/status`, which vanishes
 * after ReportingTTLSecs without a report, and `…/last_reported_status`, which stays. With an
 * external dataplane it is the driver that says so, when it likes.
 */
import type { Datastore } from "#datastore";
import { logger } from "#log";

const log = logger("felix.status");

/** `uptime` in seconds. */
interface ProcessReport {
  readonly time: string;
  readonly uptime: number;
}

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
  #closed = false;
  /** A driver's report that came during a write. */
  #next: ProcessReport | undefined;
  #first = true;
  #failed = false;

  constructor(store: Datastore, options: ProcessStatusOptions) {
    this.#store = store;
    this.#options = options;
  }

  start(): void {
    this.#reportSelf();
    this.#timer = setInterval(() => this.#reportSelf(), this.#options.intervalMs);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#writing;
  }

  #reportSelf(): void {
    const { now, uptimeSeconds } = this.#options;
    const time = now()
      .toISOString()
      .replace(/\.\d+Z$/, "Z");
    this.report({ time, uptime: uptimeSeconds() });
  }

  /** One write at a time, and of what came meanwhile the newest: the datastore may be away. */
  report(report: ProcessReport): void {
    this.#next = report;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
    });
  }

  async #writeAll(): Promise<void> {
    while (this.#next !== undefined && !this.#closed) {
      const report = this.#next;
      this.#next = undefined;
      await this.#write(report);
    }
  }

  async #write({ time, uptime }: ProcessReport): Promise<void> {
    const { prefix, ttlMs } = this.#options;
    const text = JSON.stringify({ time, uptime, first_update: this.#first });
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
