/** Template resources, `conf.d/*.toml`: which template makes which file of which keys (confd's format). */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { parse, TomlError } from "smol-toml";
import { didYouMean, inputError, messageOf } from "#std";

export interface TemplateResource {
  /** The file that says so. */
  readonly file: string;
  /** Path of the template. */
  readonly src: string;
  readonly dest: string;
  readonly mode: number;
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** Whole key prefixes; what lies outside of them the template does not see. */
  readonly keys: readonly string[];
  /** Taken off the keys that the template sees. */
  readonly prefix: string;
  readonly checkCommand?: string;
  readonly reloadCommand?: string;
}

const FIELDS = [
  "src",
  "dest",
  "mode",
  "uid",
  "gid",
  "keys",
  "prefix",
  "check_cmd",
  "reload_cmd",
] as const;
const DEFAULT_MODE = "0644";

/** `DIR/conf.d/*.toml`, by name. Without that directory there are none. Throws `bad-template`. */
export function templateResources(confDir: string): TemplateResource[] {
  const directory = join(confDir, "conf.d");
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith(".toml"))
    .toSorted()
    .map((name) => readResource(confDir, join(directory, name)));
}

function readResource(confDir: string, file: string): TemplateResource {
  const reader = new Fields(file);
  const src = reader.text("src");
  const dest = reader.text("dest");
  if (src === undefined) throw reader.fault("src", "is missing: the name of a file in templates/");
  if (dest === undefined) throw reader.fault("dest", "is missing: the path of the file to write");
  const mode = reader.text("mode") ?? DEFAULT_MODE;
  if (!/^0?[0-7]{3}$/.test(mode)) throw reader.fault("mode", `is "${mode}": expected e.g. "0644"`);
  const [uid, gid] = [reader.id("uid"), reader.id("gid")];
  const prefix = trimmed(reader.text("prefix") ?? "/");
  const keys = reader.list("keys").map((key) => `${prefix}/${key.replace(/^\//, "")}`);
  if (keys.length === 0) {
    throw reader.fault("keys", 'is missing: which keys the file is made of, e.g. ["/bgp/v1"]');
  }
  const checkCommand = reader.text("check_cmd");
  const reloadCommand = reader.text("reload_cmd");
  return {
    file,
    src: isAbsolute(src) ? src : join(confDir, "templates", src),
    dest: isAbsolute(dest) ? dest : join(confDir, dest),
    mode: Number.parseInt(mode, 8),
    ...(uid === undefined && gid === undefined
      ? {}
      : { owner: { uid: uid ?? -1, gid: gid ?? -1 } }),
    keys,
    prefix,
    ...(checkCommand === undefined ? {} : { checkCommand }),
    ...(reloadCommand === undefined ? {} : { reloadCommand }),
  };
}

/** The `[template]` table of one file, field by field. */
class Fields {
  readonly #file: string;
  readonly #table: Readonly<Record<string, unknown>>;

  constructor(file: string) {
    this.#file = file;
    let parsed: Readonly<Record<string, unknown>>;
    try {
      parsed = parse(readFileSync(file, "utf8"));
    } catch (error) {
      const at = error instanceof TomlError ? `:${error.line}:${error.column}` : "";
      const [first = ""] = messageOf(error).split("\n");
      throw inputError("bad-template", `${file}${at}: ${first}`, { cause: error });
    }
    const table = parsed["template"];
    if (typeof table !== "object" || table === null) {
      throw inputError("bad-template", `${file}: there is no [template] table`);
    }
    this.#table = table as Readonly<Record<string, unknown>>;
    for (const name of Object.keys(this.#table)) {
      if ((FIELDS as readonly string[]).includes(name)) continue;
      const guess = didYouMean(name, FIELDS);
      throw this.fault(
        name,
        `is not known${guess === undefined ? "" : `; did you mean ${guess}?`}`,
      );
    }
  }

  fault(name: string, problem: string) {
    return inputError("bad-template", `${this.#file}: template.${name} ${problem}`);
  }

  text(name: string): string | undefined {
    const value = this.#table[name];
    if (value === undefined || value === "") return undefined;
    if (typeof value !== "string") throw this.fault(name, "is no string");
    return value;
  }

  id(name: string): number | undefined {
    const value = this.#table[name];
    if (value === undefined) return undefined;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0) return value;
    throw this.fault(name, "is no number of a user or group");
  }

  list(name: string): string[] {
    const value = this.#table[name] ?? [];
    if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value;
    throw this.fault(name, "is no list of strings");
  }
}

/** `/calico` for `/calico/`, nothing for `/`. */
function trimmed(prefix: string): string {
  const path = prefix.startsWith("/") ? prefix : `/${prefix}`;
  return path.replace(/\/+$/, "");
}
