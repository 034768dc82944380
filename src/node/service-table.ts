/** The services of this node as `margay node status` shows them. */
import { readdirSync } from "node:fs";
import { textTable } from "#ctl";
import { readService, type ServiceState } from "./runit.ts";
import { enabledDir } from "./services.ts";

/** A service that has run for so long has got over what ended it before. */
const SETTLED_MS = 10_000;

const STATES: Readonly<Record<ServiceState["state"], string>> = {
  run: "up",
  waiting: "backing off",
  down: "down",
  unsupervised: "not supervised",
};

/** Empty where `margay node` has not laid any out. */
export function readServices(serviceDir: string): ServiceState[] {
  const enabled = enabledDir(serviceDir);
  try {
    return readdirSync(enabled)
      .toSorted()
      .map((name) => readService(enabled, name));
  } catch {
    return [];
  }
}

export function serviceTable(services: readonly ServiceState[], nowMs: number): string {
  const rows = services.map((one) => [
    one.name,
    STATES[one.state],
    one.pid === undefined ? "" : String(one.pid),
    one.sinceMs === undefined ? "" : since(one.sinceMs),
    info(one, nowMs),
  ]);
  return textTable([["SERVICE", "STATE", "PID", "SINCE", "INFO"], ...rows]);
}

function since(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}

function info({ state, sinceMs, failure }: ServiceState, nowMs: number): string {
  if (failure === undefined) return "";
  if (state === "run" && nowMs - (sinceMs ?? 0) > SETTLED_MS) return "";
  const { code, signal, inARow, pauseSeconds } = failure;
  const how = code === undefined ? `signal ${signal}` : `exit code ${code}`;
  const times = inARow === 1 ? "ended once" : `ended ${inARow} times in a row`;
  const next = state === "waiting" ? `; starts ${pauseSeconds} s after that` : "";
  return `${times}, last by ${how} at ${since(failure.atMs)}${next}`;
}
