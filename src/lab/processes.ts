/**
 * The lab's processes, each with its log in a file. A machine is a host, a router, a member of etcd or
 * `datastore`; what was started on it is remembered, so that what was killed can be started again.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { systemError } from "#std";
import { LAB_DIR } from "./names.ts";

export interface Recipe {
  readonly machine: string;
  /** `felix`, `bird`, …; unique on the machine. */
  readonly process: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface ProcessState {
  readonly machine: string;
  readonly process: string;
  /** Inside the lab; absent = it does not run. */
  readonly pid?: number;
  /** How it ended. */
  readonly ended?: string;
}

interface Kept {
  readonly recipe: Recipe;
  child: ChildProcess | null;
  ended: string;
}

export class LabProcesses {
  readonly #kept = new Map<string, Kept>();
  readonly #onEnd: (recipe: Recipe, detail: string) => void;

  /** `onEnd` hears of what ended by itself. */
  constructor(onEnd: (recipe: Recipe, detail: string) => void) {
    this.#onEnd = onEnd;
  }

  start(recipe: Recipe): ChildProcess {
    const kept: Kept = { recipe, child: null, ended: "" };
    this.#kept.set(keyOf(recipe), kept);
    return this.#spawn(kept);
  }

  #spawn(kept: Kept): ChildProcess {
    const { recipe } = kept;
    const file = logFileOf(recipe);
    mkdirSync(dirname(file), { recursive: true });
    const log = openSync(file, "a");
    const child = spawn(recipe.argv[0] ?? "", recipe.argv.slice(1), {
      stdio: ["ignore", log, log],
      env: { ...process.env, ...recipe.env },
    });
    closeSync(log);
    kept.child = child;
    kept.ended = "";
    const ended = (detail: string): void => {
      if (kept.child !== child) return;
      kept.child = null;
      kept.ended = detail;
      if (this.#kept.get(keyOf(recipe)) === kept) this.#onEnd(recipe, detail);
    };
    child.once("error", (error) => ended(error.message));
    child.once("exit", (code, signal) => ended(signal ?? `exit ${code ?? "?"}`));
    return child;
  }

  list(): ProcessState[] {
    return [...this.#kept.values()].map(({ recipe: { machine, process: name }, child, ended }) =>
      child?.pid === undefined
        ? { machine, process: name, ended }
        : { machine, process: name, pid: child.pid },
    );
  }

  /** SIGKILL, and their end awaited; all of the machine's without a name. Returns the names of those that ran. */
  async kill(machine: string, name?: string): Promise<string[]> {
    const wanted = this.#of(machine).filter(
      ({ recipe, child }) => child !== null && (name === undefined || recipe.process === name),
    );
    await Promise.all(
      wanted.map(async (kept) => {
        const { child } = kept;
        kept.child = null;
        kept.ended = "killed";
        const { promise, resolve } = Promise.withResolvers<void>();
        child?.once("exit", () => resolve());
        child?.kill("SIGKILL");
        await promise;
      }),
    );
    return wanted.map(({ recipe }) => recipe.process);
  }

  /** Starts what does not run. Returns the names. */
  revive(machine: string): string[] {
    const gone = this.#of(machine).filter(({ child }) => child === null);
    for (const kept of gone) this.#spawn(kept);
    return gone.map(({ recipe }) => recipe.process);
  }

  async remove(machine: string): Promise<void> {
    await this.kill(machine);
    for (const { recipe } of this.#of(machine)) this.#kept.delete(keyOf(recipe));
  }

  #of(machine: string): Kept[] {
    return [...this.#kept.values()].filter(({ recipe }) => recipe.machine === machine);
  }

  machines(): string[] {
    return [...new Set([...this.#kept.values()].map(({ recipe }) => recipe.machine))];
  }

  /** Forgets them, so that their end is no news, and asks them to stop. */
  stopAll(): void {
    const all = [...this.#kept.values()];
    this.#kept.clear();
    for (const { child } of all) child?.kill("SIGTERM");
  }
}

function keyOf({ machine, process: name }: Recipe): string {
  return `${machine}/${name}`;
}

export function logFileOf({ machine, process: name }: Pick<Recipe, "machine" | "process">): string {
  return `${LAB_DIR}/log/${machine}/${name}.log`;
}

/** The end of a process's log, for an error message. */
export function logTail(logFile: string, lines = 15): string {
  try {
    return readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  } catch (error) {
    throw systemError("lab-log", `${logFile} cannot be read`, { cause: error });
  }
}
