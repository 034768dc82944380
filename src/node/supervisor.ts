/**
 * Runs a node's services under runit's `runsvdir` and stops them all when asked to. What an earlier
 * process of ours left running when it was killed is stopped first: it has the environment of then.
 * Neither felix nor BIRD loses a packet by that.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { logger } from "#log";
import { Backoff, inputError, systemError } from "#std";
import { isSupervised, readFailure, tellRunsv } from "./runit.ts";
import { enabledDir, layOut } from "./services.ts";

const log = logger("node");

const MARGAY = fileURLToPath(new URL("../../bin/margay", import.meta.url));
/** Debian keeps `runsvdir` and `bird` where an ordinary PATH may not look. */
const SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
const STOP_MS = 10_000;
const POLL_MS = 50;

export interface SupervisorOptions {
  readonly serviceDir: string;
  readonly services: readonly string[];
  readonly fileLogging: boolean;
  /** Of the services. */
  readonly env: NodeJS.ProcessEnv;
}

/** Until the signal aborts; then all services have ended. Throws `already-running`, `no-runit`. */
export async function supervise(options: SupervisorOptions, signal: AbortSignal): Promise<void> {
  const { serviceDir, services, fileLogging } = options;
  claim(serviceDir);
  const backoff = new Backoff({ initialMs: 200, maxMs: 10_000, random: Math.random });
  try {
    while (!signal.aborted) {
      await stopServices(serviceDir);
      layOut(serviceDir, services, { fileLogging });
      const startedMs = performance.now();
      const watching = watchFailures(serviceDir, services);
      try {
        await runUntil(options, signal);
      } finally {
        watching.close();
      }
      if (signal.aborted) break;
      if (performance.now() - startedMs > 60_000) backoff.reset();
      log.error("runsvdir ended; starting it and the services again");
      await sleep(backoff.nextMs());
    }
  } finally {
    await stopServices(serviceDir);
    rmSync(pidFile(serviceDir), { force: true });
  }
}

/** Until runsvdir ends or is no longer wanted. */
async function runUntil(options: SupervisorOptions, signal: AbortSignal): Promise<void> {
  const child = await startRunsvdir(options);
  log.info("services started", { services: options.services, directory: options.serviceDir });
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  child.once("exit", () => resolve());
  const stop = (): void => {
    child.kill("SIGHUP");
  };
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  await ended;
  signal.removeEventListener("abort", stop);
}

async function startRunsvdir({ serviceDir, env }: SupervisorOptions): Promise<ChildProcess> {
  const PATH = `${env["PATH"] ?? ""}:${SYSTEM_PATH}`;
  const child = spawn("runsvdir", ["-P", enabledDir(serviceDir)], {
    stdio: ["ignore", "inherit", "inherit"],
    // A session of its own: Ctrl-C is for us, and we stop the services in order.
    detached: true,
    env: { MARGAY, ...env, PATH },
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  child.once("spawn", resolve);
  child.once("error", reject);
  try {
    await promise;
  } catch (error) {
    throw systemError(
      "no-runit",
      "runsvdir cannot be started: install it (apt-get install --no-install-recommends runit)",
      { cause: error },
    );
  }
  writePids(serviceDir, child.pid);
  return child;
}

/** Ends every runsv of the directory and waits for it; kills what does not end in time. */
async function stopServices(serviceDir: string): Promise<void> {
  const old = readPids(serviceDir)?.runsvdir;
  if (old !== undefined && isRunsvdir(old, serviceDir)) tryKill(old, "SIGHUP");
  const enabled = enabledDir(serviceDir);
  const directories = listed(enabled).map((name) => join(enabled, name));
  for (const directory of directories) tellRunsv(directory, "x");
  const deadline = performance.now() + STOP_MS;
  let killed = false;
  for (;;) {
    const left = directories.filter((directory) => isSupervised(directory));
    if (left.length === 0) return;
    if (performance.now() > deadline && !killed) {
      killed = true;
      log.warn("services do not stop; killing them", { directories: left });
      for (const directory of left) tellRunsv(directory, "k");
    }
    if (performance.now() > deadline + STOP_MS) {
      throw systemError("still-running", `runsv does not end: ${left.join(", ")}`);
    }
    await sleep(POLL_MS);
  }
}

/** Reports each service that ends again soon after its start. */
function watchFailures(serviceDir: string, services: readonly string[]): { close(): void } {
  const watchers = services.map((name) => {
    const directory = join(enabledDir(serviceDir), name);
    let told = 0;
    return watch(directory, (_, file) => {
      if (file !== "failures") return;
      const failure = readFailure(directory);
      if (failure === undefined || failure.inARow === told) return;
      told = failure.inARow;
      const { code, signal, inARow, pauseSeconds } = failure;
      const fields = { service: name, code, signal, inARow, pauseSeconds };
      if (inARow < 3) log.warn("a service ended; it starts again", fields);
      else log.error("a service keeps ending; it waits before it starts again", fields);
    });
  });
  return {
    close: () => {
      for (const one of watchers) one.close();
    },
  };
}

interface Pids {
  readonly node: number;
  readonly nodeStart: string;
  readonly runsvdir?: number;
}

function pidFile(serviceDir: string): string {
  return join(serviceDir, "pids.json");
}

function readPids(serviceDir: string): Pids | undefined {
  try {
    return JSON.parse(readFileSync(pidFile(serviceDir), "utf8")) as Pids;
  } catch {
    return undefined;
  }
}

function writePids(serviceDir: string, runsvdir?: number): void {
  const pids: Pids = {
    node: process.pid,
    nodeStart: startOf(process.pid) ?? "",
    ...(runsvdir === undefined ? {} : { runsvdir }),
  };
  writeFileSync(pidFile(serviceDir), `${JSON.stringify(pids)}\n`);
}

/** Two that supervise one directory would stop each other's services. */
function claim(serviceDir: string): void {
  mkdirSync(serviceDir, { recursive: true });
  const pids = readPids(serviceDir);
  if (pids !== undefined && pids.node !== process.pid && startOf(pids.node) === pids.nodeStart) {
    throw inputError(
      "already-running",
      `margay node runs the services in ${serviceDir} already, as process ${pids.node}: stop that one, or choose another --service-dir`,
    );
  }
  writePids(serviceDir, pids?.runsvdir);
}

/** When a process started, in ticks since the boot: a process id alone may be another's by now. */
function startOf(pid: number): string | undefined {
  try {
    // proc_pid_stat(5): the fields after the last parenthesis begin with the third; it is the 22nd.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

function isRunsvdir(pid: number, serviceDir: string): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return words[0]?.endsWith("runsvdir") === true && words.includes(enabledDir(serviceDir));
  } catch {
    return false;
  }
}

function tryKill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone already.
  }
}

function listed(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
