/**
 * Group commit. Writes that come while the disk flushes share the next SQLite transaction and the
 * next flush. A write is acknowledged after its flush; a read runs when no commit waits for a flush,
 * so that nobody sees what a power cut could still take back.
 *
 *     write a ─┐                    ┌─ write b, write c ─┐
 *              commit ── flush ── ack a    commit ─ flush ─ ack b, c
 */
import { messageOf } from "#std";
import { datastoreError } from "../errors.ts";
import { faultError, FAULTS } from "../etcd/errors.ts";
import { isDiskFull, type Database } from "./database.ts";
import type { MvccStore, StoredEvent } from "./store.ts";

export interface Written<T> {
  readonly result: T;
  /** Empty for what changes no key: no revision is used. */
  readonly events: readonly StoredEvent[];
  /** Something must reach the disk before the answer. */
  readonly changed: boolean;
}

export type Write<T> = () => Written<T>;

interface Job {
  readonly run: Write<unknown>;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface Outcome {
  readonly jobs: readonly Job[];
  /** The answers, told in this order when the commit is durable; also refusals, which saw its state. */
  readonly answers: readonly (() => void)[];
  readonly events: readonly StoredEvent[];
  readonly changed: boolean;
}

/** Bounds how long one commit keeps the event loop. */
const MAX_BATCH = 500;

export class CommitQueue {
  private readonly db: Database;
  private readonly store: MvccStore;
  private readonly onDurable: (events: readonly StoredEvent[]) => void;
  private jobs: Job[] = [];
  private reads: (() => void)[] = [];
  private running = false;
  private flushing = false;
  private failure: Error | undefined;
  private idle: Promise<void> = Promise.resolve();

  /** `onDurable` gets the events of one or more whole revisions, before their writers are told. */
  constructor(db: Database, store: MvccStore, onDurable: (events: readonly StoredEvent[]) => void) {
    this.db = db;
    this.store = store;
    this.onDurable = onDurable;
  }

  write<T>(run: Write<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.failure !== undefined) {
        reject(this.failure);
        return;
      }
      this.jobs.push({ run, resolve: (result) => resolve(result as T), reject });
      if (!this.running) this.start();
    });
  }

  async read<T>(run: () => T): Promise<T> {
    if (this.flushing) await new Promise<void>((resolve) => this.reads.push(resolve));
    if (this.failure !== undefined) throw this.failure;
    return run();
  }

  /** Refuses new writes, finishes those that wait. */
  async close(): Promise<void> {
    await this.idle;
    this.failure ??= faultError(FAULTS.stopped);
  }

  private start(): void {
    this.running = true;
    // By the end of this turn of the event loop every request that has arrived is in the batch.
    this.idle = new Promise<void>((resolve) => {
      setImmediate(() => void this.drain().finally(resolve));
    });
  }

  private async drain(): Promise<void> {
    while (this.jobs.length > 0) {
      const outcome = this.commit(this.jobs.splice(0, MAX_BATCH));
      if (outcome.changed) {
        this.flushing = true;
        try {
          await this.db.sync();
        } catch (error) {
          this.fail(error, outcome);
          return;
        }
        this.flushing = false;
      }
      if (outcome.events.length > 0) this.onDurable(outcome.events);
      for (const answer of outcome.answers) answer();
      for (const read of this.reads.splice(0)) read();
      // The reads run in this microtask turn, before the next commit makes the state undurable again.
      await Promise.resolve();
    }
    this.running = false;
  }

  private commit(batch: readonly Job[]): Outcome {
    const revision = this.store.revision;
    try {
      this.db.exec("BEGIN IMMEDIATE");
      const outcome = this.runAll(batch);
      this.db.exec("COMMIT");
      return outcome;
    } catch (error) {
      if (this.db.inTransaction) this.db.exec("ROLLBACK");
      this.store.reset(revision);
      return this.afterRollback(batch, error);
    }
  }

  private runAll(batch: readonly Job[]): Outcome {
    const answers: (() => void)[] = [];
    const events: StoredEvent[] = [];
    let changed = false;
    for (const job of batch) {
      const revision = this.store.revision;
      this.db.exec("SAVEPOINT job");
      try {
        const written = job.run();
        if (written.events.length > 0) this.store.revision = revision + 1;
        for (const event of written.events) events.push(event);
        changed ||= written.changed;
        answers.push(() => job.resolve(written.result));
      } catch (error) {
        // SQLite rolls the whole transaction back by itself when the disk is full.
        if (!this.db.inTransaction || isDiskFull(error)) throw error;
        this.db.exec("ROLLBACK TO job");
        this.store.reset(revision);
        answers.push(() => job.reject(error));
      }
      this.db.exec("RELEASE job");
    }
    return { jobs: batch, answers, events, changed };
  }

  /** One write too big for the disk must not fail the others: each alone, once. */
  private afterRollback(batch: readonly Job[], error: unknown): Outcome {
    const [job] = batch;
    if (batch.length === 1 && job !== undefined) {
      const reason = isDiskFull(error) ? faultError(FAULTS.noSpace, error) : error;
      return { jobs: batch, answers: [() => job.reject(reason)], events: [], changed: false };
    }
    const outcomes = batch.map((single) => this.commit([single]));
    return {
      jobs: batch,
      answers: outcomes.flatMap((outcome) => outcome.answers),
      events: outcomes.flatMap((outcome) => outcome.events),
      changed: outcomes.some((outcome) => outcome.changed),
    };
  }

  /**
   * A failed flush may have dropped the pages that it could not write, and the next one would not say
   * so. What is on the disk is unknown: stop, and let a fresh start read it.
   */
  private fail(cause: unknown, outcome: Outcome): void {
    const failure = datastoreError("corrupt", `the disk failed: ${messageOf(cause)}`, { cause });
    this.failure = failure;
    for (const job of [...outcome.jobs, ...this.jobs.splice(0)]) job.reject(failure);
    for (const read of this.reads.splice(0)) read();
  }
}
