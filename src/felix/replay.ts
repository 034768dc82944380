/**
 * `margay felix --replay FILE`: a dataplane is told what a file has recorded, without a datastore.
 * The file is read and checked as a whole before anything is touched; what it leads to at its end is
 * programmed at once. Then the dataplane is kept so, or with `once` left as it is.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ToDataplane } from "#calc";
import { readRecording, type ApplyResult, type Dataplane } from "#dataplane";
import { logger } from "#log";
import { inputError, MargayError, messageOf, systemError } from "#std";
import {
  resolveConfig,
  type FelixConfig,
  type RawConfig,
  type RawSources,
} from "./config/resolve.ts";
import { makeDataplane } from "./dataplane.ts";
import { Pipeline } from "./pipeline.ts";
import { applyLogConfig } from "./run.ts";
import { asSoleAgent } from "./sole-agent.ts";

const log = logger("felix.replay");
/** What cannot be programmed in this time will not be by `--once`. */
const ONCE_PATIENCE_MS = 10_000;
/** What drove the recorded dataplane, and where the agent logged, is for this host to say. */
const NOT_FROM_RECORDING =
  /^(?:useinternaldataplanedriver|dataplanedriver|logfilepath|logseverity\w+)$/i;

export interface ReplayOptions {
  readonly local: RawSources;
  readonly hostnameDefault: string;
  readonly file: string;
  readonly once: boolean;
}

/** Resolves with the exit code. Rejects, with nothing touched, when the file is not a whole stream. */
export async function replay(options: ReplayOptions): Promise<number> {
  const { messages, unknownPayloads } = readRecording(options.file);
  const config = replayConfig(options, messages);
  await applyLogConfig(config);
  log.info("replaying", { file: options.file, messages: messages.length });
  if (unknownPayloads.length > 0) {
    log.warn("the recording has messages that this build does not know", {
      payloadFields: unknownPayloads,
    });
  }
  return asSoleAgent(config, (stopping) => program(config, messages, options.once, stopping));
}

/** What the recorded agent was configured with, below what this host says. */
function replayConfig(
  { local, hostnameDefault }: ReplayOptions,
  messages: readonly ToDataplane[],
): FelixConfig {
  const update = messages.findLast((message) => message.case === "configUpdate");
  const recorded: RawConfig = Object.fromEntries(
    Object.entries(update?.value.config ?? {}).filter(([name]) => !NOT_FROM_RECORDING.test(name)),
  );
  return resolveConfig({ "datastore (global)": recorded, ...local }, hostnameDefault);
}

async function program(
  config: FelixConfig,
  messages: readonly ToDataplane[],
  once: boolean,
  stopping: AbortSignal,
): Promise<number> {
  const outcome = Promise.withResolvers<MargayError | undefined>();
  const programmed = Promise.withResolvers<void>();
  const ending = new AbortController();
  const dataplane = await makeDataplane(config, {
    onLost: (error) => outcome.resolve(asMargayError(error)),
    ending: ending.signal,
  });
  // A driver has been told before it has acted; it says itself when it has.
  const external = !config.values.UseInternalDataplaneDriver;
  dataplane.onStatus((message) => {
    if (message.case === "dataplaneInSync") programmed.resolve();
  });
  let last: ApplyResult | undefined;
  try {
    tell(dataplane, messages);
  } catch (error) {
    await dataplane.close();
    throw error;
  }
  const pipeline = new Pipeline({
    dataplane,
    flush: () => undefined,
    onApplied: (result) => {
      if (result.complete && last?.complete !== true) {
        const told = external ? "the driver has the recording" : "programmed from the recording";
        log.info(told, { writes: result.writes });
        if (!external) programmed.resolve();
      }
      last = result;
    },
    nowMs: () => performance.now(),
  });
  pipeline.kick();
  stopping.addEventListener("abort", () => outcome.resolve(undefined), { once: true });
  if (stopping.aborted) outcome.resolve(undefined);
  if (once) void endOnce(programmed.promise, () => last).then(outcome.resolve);
  const error = await outcome.promise;
  ending.abort();
  await pipeline.close();
  if (error === undefined) return 0;
  log.fatal("stopping: the recording is not in force", { error });
  return 1;
}

/** The dataplane gets everything before its first apply. What it does not take must not be half in force. */
function tell(dataplane: Dataplane, messages: readonly ToDataplane[]): void {
  for (const [index, message] of messages.entries()) {
    try {
      dataplane.onMessage(message);
    } catch (error) {
      throw inputError(
        "bad-recording",
        `message ${index} (${message.case}) cannot be programmed: ${messageOf(error)}`,
        { cause: error, fields: { index } },
      );
    }
  }
}

async function endOnce(
  programmed: Promise<void>,
  last: () => ApplyResult | undefined,
): Promise<MargayError | undefined> {
  const timer = new AbortController();
  const late = delay(ONCE_PATIENCE_MS, "late", { signal: timer.signal }).catch(() => "stopped");
  const first = await Promise.race([programmed.then(() => "programmed"), late]);
  timer.abort();
  if (first !== "late") return undefined;
  const reasons = last()?.errors.map(messageOf) ?? [];
  return systemError("not-programmed", "the dataplane is not whole after 10 s", {
    fields: { errors: reasons },
  });
}

function asMargayError(error: unknown): MargayError {
  return error instanceof MargayError
    ? error
    : systemError("dataplane-lost", messageOf(error), { cause: error });
}
