/**
 * One configuration file and the BIRD process that reads it. A text replaces the file only after
 * `bird -p` has accepted it, and in one step; the process then takes it over without letting go of
 * sessions that did not change. A file with passwords is for its owner alone.
 */
import { execFile } from "node:child_process";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { logger } from "#log";
import { messageOf, systemError } from "#std";
import { birdCommand } from "./birdc.ts";
import { currentText, replaceFile } from "./replace-file.ts";

const log = logger("confd");
const run = promisify(execFile);

const CHECK_TIMEOUT_MS = 10_000;

export interface TargetOptions {
  readonly confDir: string;
  readonly runDir: string;
  readonly family: 4 | 6;
  /** The program that checks: a name or path; default `bird`. */
  readonly bird?: string;
  readonly keepStageFile?: boolean;
}

/** Where the BIRD of a family listens for commands. */
export function socketOf(runDir: string, family: 4 | 6): string {
  return join(runDir, family === 4 ? "bird.ctl" : "bird6.ctl");
}

export class Target {
  readonly path: string;
  readonly socketPath: string;
  readonly #options: TargetOptions;
  #refused: string | undefined;
  /** BIRD may not have read the file that is there. */
  #stale = true;

  constructor(options: TargetOptions) {
    const name = options.family === 4 ? "bird" : "bird6";
    this.#options = options;
    this.path = join(options.confDir, "config", `${name}.cfg`);
    this.socketPath = socketOf(options.runDir, options.family);
  }

  get needsReload(): boolean {
    return this.#stale;
  }

  /**
   * Returns whether the file is now another one. Throws the system errors `bird-rejects`, when
   * `bird -p` does, and `cannot-write`; the old file is then as it was.
   */
  async write(text: string, hasSecrets: boolean): Promise<boolean> {
    const mode = hasSecrets ? 0o600 : 0o640;
    if (currentText(this.path) === text) {
      // Nothing to write; and whoever opened it to others, closes it by this.
      if (hasSecrets) chmodSync(this.path, mode);
      return false;
    }
    // It would be refused again, and has been told.
    if (this.#refused === text) return false;
    await replaceFile({
      path: this.path,
      text,
      mode,
      keepStageFile: this.#options.keepStageFile === true,
      check: (stage) => this.#check(stage, text),
    });
    this.#refused = undefined;
    this.#stale = true;
    return true;
  }

  /** Throws what `birdCommand` throws; until it succeeds, `needsReload` stays. */
  async reload(): Promise<void> {
    const lines = await birdCommand(this.socketPath, `configure "${this.path}"`);
    this.#stale = false;
    log.info("BIRD has taken the configuration over", {
      path: this.path,
      reply: lines.at(-1)?.text ?? "",
    });
  }

  async #check(stage: string, text: string): Promise<void> {
    const { bird = "bird" } = this.#options;
    try {
      await run(bird, ["-p", "-c", stage], {
        timeout: CHECK_TIMEOUT_MS,
        // Debian keeps it where an ordinary user's PATH does not look.
        env: { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
      });
    } catch (error) {
      const { code, stderr } = error as { readonly code?: unknown; readonly stderr?: string };
      if (code === "ENOENT") {
        log.warn("there is no program bird to check the configuration with", { path: this.path });
        return;
      }
      const isVerdict = typeof code === "number";
      if (isVerdict) this.#refused = text;
      const said = (stderr ?? messageOf(error)).replaceAll(stage, this.path).trim();
      throw systemError(
        "bird-rejects",
        `bird -p rejects the new ${this.path}, which stays as it was: ${said}`,
        { cause: error },
      );
    }
  }
}
