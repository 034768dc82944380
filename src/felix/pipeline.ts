/**
 * From the graph to the kernel, driven by events alone:
 *
 *   updates ──▶ graph ──(idle? flush)──▶ messages ──▶ dataplane.apply() ──(more came? flush again)
 *
 * An update that finds the pipeline idle is applied in the same turn of the event loop. While an
 * apply runs, updates gather in the graph, which keeps one pending message per object; so a burst
 * becomes one transaction after another, each as large as what came meanwhile, without a timer.
 * What an apply could not reach is retried after the pause that the dataplane asks for.
 */
import type { ToDataplane } from "#calc";
import type { ApplyResult, Dataplane } from "#dataplane";
import { logger } from "#log";
import { counter, gauge, histogram, LATENCY_BUCKETS } from "#metrics";
import { messageOf } from "#std";

const log = logger("felix.pipeline");

const applySeconds = histogram(
  "felix_int_dataplane_apply_time_seconds",
  "Time to apply one round of changes to the kernel.",
);
const eventSeconds = histogram(
  "margay_datastore_to_kernel_seconds",
  "Time from a datastore event to the kernel's commit of its consequences.",
  [...LATENCY_BUCKETS],
);
const initialSeconds = gauge(
  "felix_int_dataplane_initial_resync_time_seconds",
  "Time that the first complete round took.",
);
const outputEvents = counter(
  "felix_calc_graph_output_events",
  "Messages that the calculation graph has put out.",
);
const failures = counter(
  "felix_int_dataplane_failures",
  "Rounds that could not be applied completely.",
);
const messages = counter("felix_int_dataplane_messages", "Messages to the dataplane, by kind.", [
  "type",
]);
const batchSize = histogram(
  "felix_int_dataplane_msg_batch_size",
  "Messages in one round.",
  [1, 2, 5, 10, 20, 50, 100, 1000, 10_000],
);

export interface PipelineOptions {
  readonly dataplane: Dataplane;
  /** Emits what the graph has pending, in the sequencer's order. */
  readonly flush: (emit: (message: ToDataplane) => void) => void;
  readonly onMessage?: (message: ToDataplane) => void;
  /** After each round. */
  readonly onApplied?: (result: ApplyResult) => void;
  /** Monotonic. */
  readonly nowMs: () => number;
}

export class Pipeline {
  readonly #options: PipelineOptions;
  #running: Promise<void> | undefined;
  #wanted = false;
  #closed = false;
  #retry: NodeJS.Timeout | undefined;
  #roundStartedMs: number | undefined;
  /** When the oldest event that is not in the kernel yet came. */
  #oldestEventMs: number | undefined;
  #lastComplaint = "";

  constructor(options: PipelineOptions) {
    this.#options = options;
    options.dataplane.onWanted(() => this.kick());
  }

  /** The graph has new input, received at `eventMs`. */
  onEvents(eventMs: number): void {
    this.#oldestEventMs ??= eventMs;
    this.kick();
  }

  /** Flush and apply soon; at once when idle. */
  kick(): void {
    if (this.#closed) return;
    this.#wanted = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** How long the present round has been running, if one is. */
  roundAgeMs(): number | undefined {
    return this.#roundStartedMs === undefined
      ? undefined
      : this.#options.nowMs() - this.#roundStartedMs;
  }

  /** Waits for the round that is under way; what is in the kernel stays. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    await this.#running;
    await this.#options.dataplane.close();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    while (this.#wanted && !this.#closed) {
      this.#wanted = false;
      await this.#round();
    }
  }

  async #round(): Promise<void> {
    const { dataplane, nowMs, onApplied } = this.#options;
    clearTimeout(this.#retry);
    const startedMs = nowMs();
    this.#roundStartedMs = startedMs;
    const eventMs = this.#oldestEventMs;
    this.#oldestEventMs = undefined;
    try {
      this.#flush();
      const result = await dataplane.apply();
      const doneMs = nowMs();
      applySeconds.observe((doneMs - startedMs) / 1000);
      if (eventMs !== undefined && result.complete) {
        eventSeconds.observe((doneMs - eventMs) / 1000);
      }
      if (result.complete && initialSeconds.value() === 0) {
        initialSeconds.set((doneMs - startedMs) / 1000);
      }
      this.#judge(result);
      onApplied?.(result);
    } catch (error) {
      // A dataplane says what failed in its result; this is a bug of ours. The state is still there.
      log.error("apply ended with an exception", { error, stack: (error as Error).stack });
      this.#judge({ complete: false, errors: [], writes: 0 });
    } finally {
      this.#roundStartedMs = undefined;
    }
  }

  #flush(): void {
    let count = 0;
    this.#options.flush((message) => {
      count += 1;
      messages.inc(1, { type: message.case });
      outputEvents.inc();
      this.#options.onMessage?.(message);
      this.#options.dataplane.onMessage(message);
    });
    if (count > 0) batchSize.observe(count);
  }

  #judge(result: ApplyResult): void {
    const complaint = result.errors.map(messageOf).join("; ");
    if (complaint !== "" && complaint !== this.#lastComplaint) {
      log.error("part of the dataplane could not be programmed; retrying", {
        errors: result.errors.map(messageOf),
        retryAfterMs: result.retryAfterMs,
      });
    }
    if (result.complete && this.#lastComplaint !== "") log.info("the dataplane is whole again");
    if (result.complete || complaint !== "") this.#lastComplaint = complaint;
    if (result.complete) return;
    failures.inc();
    if (this.#closed) return;
    this.#retry = setTimeout(() => this.kick(), result.retryAfterMs ?? 1000);
  }
}
