/** The sources on this host: the environment and the configuration file. */
import { readFileSync } from "node:fs";
import { inputError, messageOf, systemError } from "#std";
import type { RawConfig } from "./resolve.ts";

export const DEFAULT_CONFIG_FILE = "/etc/calico/felix.cfg";

/** `FELIX_<name>` in any capitalisation. */
export function configFromEnvironment(environment: Readonly<NodeJS.ProcessEnv>): RawConfig {
  const raw: Record<string, string> = {};
  for (const [key, value] of Object.entries(environment)) {
    if (/^felix_./i.test(key) && value !== undefined) raw[key.slice(6)] = value.trim();
  }
  return raw;
}

/** A missing file is an empty one, unless it was asked for by name. */
export function configFromFile(path: string, required: boolean): RawConfig {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" && !required) return {};
    throw systemError("config-file", `cannot read ${path}: ${messageOf(error)}`, {
      cause: error,
      fields: { path },
    });
  }
  return parseIni(text, path);
}

/** `key = value` lines; sections group for the eye only; `#` and `;` begin a comment line. */
export function parseIni(text: string, path: string): RawConfig {
  const raw: Record<string, string> = {};
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const trimmed = line.trim();
    if (trimmed === "" || /^[#;]/.test(trimmed) || /^\[.*\]$/.test(trimmed)) continue;
    const at = trimmed.search(/[=:]/);
    if (at < 1) {
      throw inputError("config-file", `${path}:${index + 1}: expected key = value`, {
        fields: { path, line: index + 1 },
      });
    }
    raw[trimmed.slice(0, at).trim()] = trimmed.slice(at + 1).trim();
  }
  return raw;
}
