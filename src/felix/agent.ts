/**
 * The life of the agent, as a machine of four states:
 *
 *   waiting ──in-sync, ready, configuration valid──▶ running ──stop / restart needed──▶ ended
 *
 * While waiting, updates build up the graph but nothing touches the kernel. Running, the pipeline
 * carries changes to it; a lost datastore changes nothing. It ends by itself when a parameter
 * changes that needs a restart, when the datastore is declared not ready, or when the
 * configuration has become one it must not run with.
 */
import type { FromDataplane, GraphSettings, ToDataplane } from "#calc";
import type { Dataplane } from "#dataplane";
import { logger } from "#log";
import { counter, gauge, histogram } from "#metrics";
import type { ModelUpdate } from "#model";
import { messageOf } from "#std";
import type { SyncCallbacks, SyncStatus } from "#sync";
import { DatastoreSources } from "./config/datastore-sources.ts";
import {
  changesBetween,
  resolveConfig,
  type FelixConfig,
  type Problem,
  type RawSources,
} from "./config/resolve.ts";
import { configUpdate } from "./config/message.ts";
import { graphSettings } from "./graph-settings.ts";
import { Pipeline } from "./pipeline.ts";

const log = logger("felix");

const resyncState = gauge(
  "felix_resync_state",
  "Datastore state: 0 waiting for it, 1 reading it, 2 in sync.",
);
const resyncs = counter("felix_resyncs_started", "Times a resync with the datastore began.");
const updatesProcessed = counter(
  "felix_calc_graph_updates_processed",
  "Datastore updates the calculation graph has processed.",
);

const invalidObjects = gauge(
  "margay_datastore_invalid_objects",
  "Objects of the datastore that are not valid: a policy denies, a network set loses members, all else is absent.",
);
const updateSeconds = histogram(
  "felix_calc_graph_update_time_seconds",
  "Time to take one batch of datastore updates into the calculation graph.",
);

/** What the agent needs of the calculation graph. */
export interface AgentGraph {
  configure(settings: GraphSettings): void;
  onUpdates(updates: readonly ModelUpdate[]): void;
  onStatus(status: SyncStatus): void;
  flush(emit: (message: ToDataplane) => void): void;
}

export type AgentEnd =
  | { readonly reason: "stopped" }
  | { readonly reason: "config-changed"; readonly names: readonly string[] }
  | { readonly reason: "not-ready" }
  | { readonly reason: "failed"; readonly error: unknown };

export interface AgentOptions {
  readonly hostname: string;
  readonly local: RawSources;
  readonly hostnameDefault: string;
  readonly graph: AgentGraph;
  /** Called once, when the configuration is known: logs, servers, and the dataplane itself. */
  readonly start: (config: FelixConfig) => Promise<Dataplane>;
  /** Parameters that the running agent takes. */
  readonly reconfigure?: (config: FelixConfig) => void;
  readonly onMessage?: (message: ToDataplane) => void;
  readonly onDataplaneStatus?: (message: FromDataplane) => void;
  /** The first complete apply is done. */
  readonly onProgrammed?: () => void;
  /** Monotonic. */
  readonly nowMs: () => number;
}

type State =
  | { readonly name: "waiting" }
  | { readonly name: "starting" }
  | {
      readonly name: "running";
      readonly dataplane: Dataplane;
      readonly pipeline: Pipeline;
      config: FelixConfig;
    }
  | { readonly name: "ended" };

export class Agent {
  readonly #options: AgentOptions;
  readonly #sources: DatastoreSources;
  readonly #ended = Promise.withResolvers<AgentEnd>();
  #state: State = { name: "waiting" };
  #status: SyncStatus = "wait-for-datastore";
  #programmed = false;
  #waitingFor = "";

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#sources = new DatastoreSources(options.hostname);
  }

  /** Resolves when the agent has come to its end; `close` it then. */
  get ended(): Promise<AgentEnd> {
    return this.#ended.promise;
  }

  get syncStatus(): SyncStatus {
    return this.#status;
  }

  /** Everything was in the kernel at least once. */
  get programmed(): boolean {
    return this.#programmed;
  }

  /** How long the round of the dataplane that is under way has taken, if there is one. */
  roundAgeMs(): number | undefined {
    return this.#state.name === "running" ? this.#state.pipeline.roundAgeMs() : undefined;
  }

  /** What keeps the agent from starting; "" when nothing does. */
  get waitingFor(): string {
    return this.#waitingFor;
  }

  get callbacks(): SyncCallbacks {
    return {
      onStatus: (status) => this.#onStatus(status),
      onUpdates: (updates) => this.#onUpdates(updates),
      onInvalid: ({ path, message }) =>
        log.warn(
          "invalid object in the datastore: a policy denies, a network set loses members, else it is absent",
          {
            path,
            reason: message,
          },
        ),
      onInvalidCount: (count) => invalidObjects.set(count),
    };
  }

  stop(): void {
    this.#end({ reason: "stopped" });
  }

  /** Something of ours broke: better started anew than half alive. */
  fail(error: unknown): void {
    this.#end({ reason: "failed", error });
  }

  /** SIGHUP: read everything again, by a restart. */
  reload(): void {
    this.#end({ reason: "config-changed", names: [] });
  }

  async close(): Promise<void> {
    const state = this.#state;
    this.#state = { name: "ended" };
    if (state.name === "running") await state.pipeline.close();
  }

  #onStatus(status: SyncStatus): void {
    if (status !== this.#status) log.info("datastore", { status });
    if (status === "resync") resyncs.inc();
    resyncState.set({ "wait-for-datastore": 0, resync: 1, "in-sync": 2 }[status]);
    this.#status = status;
    this.#options.graph.onStatus(status);
    this.#proceed();
  }

  #onUpdates(updates: readonly ModelUpdate[]): void {
    const eventMs = this.#options.nowMs();
    let configTouched = false;
    for (const update of updates) {
      if (this.#sources.onUpdate(update)) configTouched = true;
    }
    updatesProcessed.inc(updates.length);
    this.#options.graph.onUpdates(updates);
    updateSeconds.observe((this.#options.nowMs() - eventMs) / 1000);
    if (this.#state.name === "running") this.#state.pipeline.onEvents(eventMs);
    if (configTouched) this.#proceed();
  }

  /** Looks again at what the present state is waiting for. */
  #proceed(): void {
    try {
      if (this.#state.name === "waiting") this.#tryStart();
      else if (this.#state.name === "running") this.#checkConfig(this.#state);
    } catch (error) {
      this.#end({ reason: "failed", error });
    }
  }

  #tryStart(): void {
    const waitingFor =
      this.#status === "in-sync" ? (this.#sources.notReady() ?? "") : "the datastore";
    if (waitingFor !== this.#waitingFor && waitingFor !== "") {
      log.info("waiting", { waitingFor });
    }
    this.#waitingFor = waitingFor;
    if (waitingFor !== "") return;
    const config = this.#resolve();
    this.#options.graph.configure(graphSettings(config.values));
    this.#state = { name: "starting" };
    this.#options.start(config).then(
      (dataplane) => this.#run(dataplane, config),
      (error: unknown) => this.#end({ reason: "failed", error }),
    );
  }

  #run(dataplane: Dataplane, config: FelixConfig): void {
    if (this.#state.name !== "starting") {
      dataplane.close().catch((error: unknown) => {
        log.warn("dataplane did not close", { reason: messageOf(error) });
      });
      return;
    }
    const { graph, onMessage, onDataplaneStatus, nowMs } = this.#options;
    if (onDataplaneStatus !== undefined) dataplane.onStatus(onDataplaneStatus);
    dataplane.onMessage(configUpdate(config));
    const pipeline = new Pipeline({
      dataplane,
      flush: (emit) => graph.flush(emit),
      ...(onMessage === undefined ? {} : { onMessage }),
      onApplied: ({ complete }) => {
        if (!complete || this.#programmed) return;
        this.#programmed = true;
        this.#options.onProgrammed?.();
      },
      nowMs,
    });
    this.#state = { name: "running", dataplane, pipeline, config };
    pipeline.kick();
    // Configuration may have changed while the dataplane was being set up.
    this.#proceed();
  }

  /** Between two full snapshots an absence means nothing. */
  #checkConfig(state: Extract<State, { name: "running" }>): void {
    if (this.#status !== "in-sync") return;
    const notReady = this.#sources.notReady();
    if (notReady !== undefined) {
      log.warn("the datastore is no longer ready", { reason: notReady });
      this.#end({ reason: "not-ready" });
      return;
    }
    const config = this.#resolveAgain();
    if (config === undefined) return;
    const changes = changesBetween(state.config, config);
    if (changes.length === 0) return;
    for (const { name, from, to, needsRestart } of changes) {
      log.info("configuration changed", { name, from, to, needsRestart });
    }
    const names = changes.filter((change) => change.needsRestart).map((change) => change.name);
    if (names.length > 0) {
      this.#end({ reason: "config-changed", names });
      return;
    }
    state.config = config;
    this.#options.graph.configure(graphSettings(config.values));
    this.#options.reconfigure?.(config);
    state.dataplane.onMessage(configUpdate(config));
    state.pipeline.kick();
  }

  #resolve(): FelixConfig {
    const config = resolveConfig(this.#allSources(), this.#options.hostnameDefault);
    logProblems(config.problems);
    return config;
  }

  /** A running agent keeps its configuration when the new one is not valid: policy stays in force. */
  #resolveAgain(): FelixConfig | undefined {
    try {
      return resolveConfig(this.#allSources(), this.#options.hostnameDefault);
    } catch (error) {
      log.error("the new configuration is not valid; the present one stays", { error });
      return undefined;
    }
  }

  #allSources(): RawSources {
    return { ...this.#sources.sources(), ...this.#options.local };
  }

  #end(end: AgentEnd): void {
    this.#ended.resolve(end);
  }
}

function logProblems(problems: readonly Problem[]): void {
  for (const { severity, message, fields } of problems) {
    if (severity === "warn") log.warn(message, fields);
    else log.info(message, fields);
  }
}
