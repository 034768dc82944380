/** One file of a user's, made from a template: rendered when its keys changed, checked, replaced, told. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { logger } from "#log";
import { inputError, messageOf, systemError } from "#std";
import { currentText, replaceFile } from "../replace-file.ts";
import type { KeyView } from "./keys.ts";
import { renderTemplate } from "./render.ts";
import type { TemplateResource } from "./resource.ts";

const log = logger("confd.templates");
const run = promisify(execFile);
const COMMAND_TIMEOUT_MS = 30_000;

export class TemplateFile {
  readonly resource: TemplateResource;
  readonly #keepStageFile: boolean;
  /** Keys and template of the last rendering that is done with, whatever came of it. */
  #done: string | undefined;
  #needsReload = false;

  constructor(resource: TemplateResource, keepStageFile: boolean) {
    this.resource = resource;
    this.#keepStageFile = keepStageFile;
  }

  /**
   * Brings the file up to date and runs `reload_cmd` when it is another one. Throws `bad-template`,
   * `check-failed` (both until keys or template change), `cannot-write` and `reload-failed` (to be
   * tried again); the old file is then as it was, but for the last.
   */
  async update(view: KeyView): Promise<void> {
    const { dest, mode, owner, src } = this.resource;
    const keys = this.#visible(view);
    const template = this.#template();
    const input = JSON.stringify([template, ...keys]);
    if (input !== this.#done) {
      const text = this.#lasting(input, () => renderTemplate(src, template, keys));
      if (currentText(dest) !== text) {
        await replaceFile({
          path: dest,
          text,
          mode,
          ...(owner === undefined ? {} : { owner }),
          keepStageFile: this.#keepStageFile,
          check: (stage) => this.#check(stage, input),
        });
        this.#needsReload = true;
        log.info("file written", { path: dest });
      }
      this.#done = input;
    }
    if (this.#needsReload) await this.#reload();
  }

  #visible(view: KeyView): Map<string, string> {
    const { keys, prefix } = this.resource;
    const visible = new Map<string, string>();
    for (const [key, value] of view) {
      if (!keys.some((wanted) => isBelow(key, wanted))) continue;
      visible.set(key.slice(prefix.length), value);
    }
    return visible;
  }

  #template(): string {
    const { file, src } = this.resource;
    try {
      return readFileSync(src, "utf8");
    } catch (error) {
      throw inputError("bad-template", `${file}: template.src: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** What fails for its input's sake is not tried again before that changes. */
  #lasting<T>(input: string, body: () => T): T {
    try {
      return body();
    } catch (error) {
      this.#done = input;
      throw error;
    }
  }

  async #check(stage: string, input: string): Promise<void> {
    const { checkCommand, dest } = this.resource;
    if (checkCommand === undefined) return;
    const said = await failureOf(checkCommand, stage);
    if (said === undefined) return;
    this.#done = input;
    throw systemError(
      "check-failed",
      `check_cmd rejects the new ${dest}, which stays as it was: ${said}`,
    );
  }

  async #reload(): Promise<void> {
    const { reloadCommand, dest } = this.resource;
    if (reloadCommand !== undefined) {
      const said = await failureOf(reloadCommand, dest);
      if (said !== undefined) {
        throw systemError("reload-failed", `${dest} is new, but reload_cmd failed: ${said}`, {
          retryable: true,
        });
      }
    }
    this.#needsReload = false;
  }
}

/** Runs a command line with `{{.src}}` or `{{src}}` in it; undefined: it went well. */
async function failureOf(command: string, path: string): Promise<string | undefined> {
  const line = command.replaceAll(/\{\{\s*\.?src\s*\}\}/g, () => shellQuoted(path));
  try {
    await run("/bin/sh", ["-c", line], { timeout: COMMAND_TIMEOUT_MS });
    return undefined;
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    return `${stdout}${stderr}`.trim() || messageOf(error);
  }
}

function shellQuoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}

/** `/a/b` and `/a/b/c` are below `/a/b`, `/a/bc` is not. */
function isBelow(key: string, path: string): boolean {
  const folder = path.replace(/\/$/, "");
  return key === folder || key.startsWith(`${folder}/`);
}
