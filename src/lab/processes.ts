/** The lab's processes: Margay's own commands, each in its namespace, with its log in a file. */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { systemError } from "#std";
import { LAB_DIR, margayCommand } from "./sandbox.ts";

export interface LabProcess {
  readonly name: string;
  readonly child: ChildProcess;
  readonly logFile: string;
}

export class LabProcesses {
  readonly #running = new Map<string, LabProcess>();
  readonly #onExit: (process: LabProcess, detail: string) => void;

  constructor(onExit: (process: LabProcess, detail: string) => void) {
    this.#onExit = onExit;
  }

  /** `netns` is a path; absent = the lab's own namespace. */
  start(
    name: string,
    args: readonly string[],
    netns: string | undefined,
    env: Readonly<Record<string, string>>,
  ): LabProcess {
    const command = margayCommand(...args);
    const argv =
      netns === undefined
        ? [command.program, ...command.args]
        : ["nsenter", `--net=${netns}`, "--", command.program, ...command.args];
    const logFile = `${LAB_DIR}/${name}.log`;
    const log = openSync(logFile, "a");
    const child = spawn(argv[0] ?? "", argv.slice(1), {
      stdio: ["ignore", log, log],
      env: { ...process.env, ...env },
    });
    closeSync(log);
    const started: LabProcess = { name, child, logFile };
    this.#running.set(name, started);
    child.once("error", (error) => this.#ended(started, error.message));
    child.once("exit", (code, signal) =>
      this.#ended(started, signal === null ? `exit ${code ?? "?"}` : signal),
    );
    return started;
  }

  #ended(ended: LabProcess, detail: string): void {
    if (this.#running.get(ended.name) !== ended) return;
    this.#running.delete(ended.name);
    this.#onExit(ended, detail);
  }

  list(): { readonly name: string; readonly pid: number }[] {
    return [...this.#running.values()].map(({ name, child }) => ({ name, pid: child.pid ?? 0 }));
  }

  /** Forgets them, so that their end is no news, and asks them to stop. */
  stopAll(): void {
    const all = [...this.#running.values()];
    this.#running.clear();
    for (const { child } of all) child.kill("SIGTERM");
  }
}

/** The end of a process's log, for an error message. */
export function logTail(logFile: string, lines = 15): string {
  try {
    return readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  } catch (error) {
    throw systemError("lab-log", `${logFile} cannot be read`, { cause: error });
  }
}
