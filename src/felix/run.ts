/**
 * Puts the agent together and runs it to its end: logs, datastore, syncer, graph, dataplane, health,
 * metrics and status. Whatever ends it, the kernel keeps what was programmed.
 */
import { setTimeout as delay } from "node:timers/promises";
import { CalcGraph } from "#calc";
import { RecordedDataplane, StreamRecorder, type Dataplane } from "#dataplane";
import { openDatastore, type Datastore, type DatastoreSettings } from "#datastore";
import { configureLogging, logger, logLevelOf, type LogLevel } from "#log";
import { MargayError, messageOf, unreachable } from "#std";
import { startSyncer } from "#sync";
import { Agent, type AgentEnd } from "./agent.ts";
import { datastoreSettings } from "./config/datastore-settings.ts";
import { resolveConfig, type FelixConfig, type RawSources } from "./config/resolve.ts";
import { makeDataplane } from "./dataplane.ts";
import { initialiseEmbeddedStore } from "./first-start.ts";
import { Observers } from "./observers.ts";
import { asSoleAgent } from "./sole-agent.ts";

const log = logger("felix");

/** The supervisor starts the agent again at once. */
export const EXIT_RESTART = 129;
/** A restart loop must not spin: the agent lives at least this long before it asks for one. */
const LEAST_LIFE_MS = 2000;
const CLOSE_TIMEOUT_MS = 5000;

export interface RunOptions {
  readonly local: RawSources;
  readonly hostnameDefault: string;
  readonly environment: Readonly<NodeJS.ProcessEnv>;
  /** File that gets what the dataplane is told. */
  readonly recordFile?: string;
}

/** Resolves with the exit code: 0 asked to stop, 129 restart wanted, 1 an error. */
export async function runAgent(options: RunOptions): Promise<number> {
  const config = resolveConfig(options.local, options.hostnameDefault);
  await applyLogConfig(config);
  const recorder =
    options.recordFile === undefined ? undefined : new StreamRecorder(options.recordFile);
  const settings = datastoreSettings(config, options.environment);
  const hostname = config.values.FelixHostname;
  log.info("starting", { hostname, datastore: settings.type, pid: process.pid });
  try {
    return await asSoleAgent(config, async (stopping) => {
      const store = await openWithRetry(settings, stopping);
      if (store === undefined) return 0;
      const embedded = settings.type === "embedded";
      return runWith(options, { store, embedded, config, stopping, recorder });
    });
  } finally {
    recorder?.close();
  }
}

interface RunParts {
  readonly store: Datastore;
  readonly embedded: boolean;
  /** Of the local sources. */
  readonly config: FelixConfig;
  readonly stopping: AbortSignal;
  readonly recorder: StreamRecorder | undefined;
}

async function runWith(options: RunOptions, parts: RunParts): Promise<number> {
  const { store, stopping, recorder } = parts;
  const { FelixHostname: hostname } = parts.config.values;
  const graph = new CalcGraph({
    hostname,
    onRefused: ({ workloadId, endpointId }) =>
      log.warn("a workload asks for spoofed source addresses and is treated as absent", {
        workloadId,
        endpointId,
        fix: "WorkloadSourceSpoofing: Any",
      }),
  });
  const observers = new Observers({
    store,
    hostname,
    embedded: parts.embedded,
    statistics: () => graph.statistics(),
  });
  observers.serveEarly(parts.config.values);
  const ending = new AbortController();
  const agent: Agent = new Agent({
    hostname,
    local: options.local,
    hostnameDefault: options.hostnameDefault,
    graph,
    start: async (config): Promise<Dataplane> => {
      await applyLogConfig(config);
      await observers.start(config);
      const dataplane = await makeDataplane(config, {
        onLost: (error) => agent.fail(error),
        ending: ending.signal,
      });
      return recorder === undefined ? dataplane : new RecordedDataplane(dataplane, recorder);
    },
    reconfigure: (config) => observers.reconfigure(config.values),
    onMessage: (message) => observers.onMessage(message),
    onDataplaneStatus: (message) => observers.onDataplaneStatus(message),
    onProgrammed: () => observers.onProgrammed(),
    nowMs: () => performance.now(),
  });
  observers.watch(agent);
  const reload = (): void => agent.reload();
  const crash = (error: unknown): void => agent.fail(error);
  process.on("SIGHUP", reload).on("uncaughtException", crash).on("unhandledRejection", crash);
  stopping.addEventListener("abort", () => agent.stop(), { once: true });
  if (stopping.aborted) agent.stop();
  const syncer = startSyncer({ store, callbacks: agent.callbacks });
  try {
    const end = await agent.ended;
    ending.abort();
    const code = await exitCodeOf(end, stopping);
    await closeAll([
      () => syncer.close(),
      () => agent.close(),
      () => observers.close(),
      () => store.close(),
    ]);
    log.info("stopped", { exitCode: code });
    return code;
  } finally {
    process.off("SIGHUP", reload).off("uncaughtException", crash).off("unhandledRejection", crash);
  }
}

async function exitCodeOf(end: AgentEnd, stopping: AbortSignal): Promise<number> {
  switch (end.reason) {
    case "stopped":
      log.info("asked to stop; the kernel keeps what is programmed");
      return 0;
    case "config-changed": {
      log.warn("restart wanted: configuration changed", { names: end.names });
      const rest = LEAST_LIFE_MS - process.uptime() * 1000;
      if (rest > 0) await delay(rest, undefined, { signal: stopping }).catch(() => undefined);
      return EXIT_RESTART;
    }
    case "not-ready":
      log.warn("stopping: the datastore is no longer ready");
      return 1;
    case "failed":
      log.fatal("stopping: the agent cannot go on", {
        error: end.error,
        stack: end.error instanceof MargayError ? undefined : (end.error as Error).stack,
      });
      return 1;
    default:
      return unreachable(end);
  }
}

/** Closes in order; one that hangs or fails does not keep the others. */
async function closeAll(closers: readonly (() => Promise<void>)[]): Promise<void> {
  for (const close of closers) {
    const timeout = new AbortController();
    const late = delay(CLOSE_TIMEOUT_MS, "late", { signal: timeout.signal }).catch(() => "done");
    try {
      const outcome = await Promise.race([close(), late]);
      if (outcome === "late") log.warn("closing takes too long; going on without it");
    } catch (error) {
      log.warn("could not close cleanly", { reason: messageOf(error) });
    } finally {
      timeout.abort();
    }
  }
}

/** Retries what may pass (a server that is away, a lock that is held); undefined when stopped. */
async function openWithRetry(
  settings: DatastoreSettings,
  stopping: AbortSignal,
): Promise<Datastore | undefined> {
  let complained = "";
  while (!stopping.aborted) {
    try {
      return await openInitialised(settings);
    } catch (error) {
      if (!(error instanceof MargayError) || !error.retryable) throw error;
      if (error.message !== complained) log.warn("cannot open the datastore; retrying", { error });
      complained = error.message;
      await delay(1000, undefined, { signal: stopping }).catch(() => undefined);
    }
  }
  return undefined;
}

async function openInitialised(settings: DatastoreSettings): Promise<Datastore> {
  const store = await openDatastore(settings, { serve: true, owner: "margay felix" });
  if (settings.type !== "embedded") return store;
  try {
    await initialiseEmbeddedStore(store);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

export async function applyLogConfig({ values }: FelixConfig): Promise<void> {
  const level = (name: string): LogLevel => logLevelOf(name) ?? "info";
  const file = values.LogFilePath;
  const fileLevel = level(values.LogSeverityFile);
  const { fileError } = await configureLogging({
    screen: level(values.LogSeverityScreen),
    ...(file === "" || fileLevel === "off" ? {} : { file: { path: file, level: fileLevel } }),
  });
  if (fileError !== undefined) {
    log.warn("no log file", { path: file, reason: messageOf(fileError) });
  }
}
