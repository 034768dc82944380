/** A user's template and the keys that it may see → text. The only importer of `eta`. */
import { posix } from "node:path";
import { Eta } from "eta";
import { inputError, messageOf } from "#std";

interface Entry {
  readonly key: string;
  readonly value: string;
}

const eta = new Eta({ autoEscape: false, autoTrim: false, cache: false });

/**
 * `keys`: as the template names them, in order. In the template, `it` has confd's functions for keys.
 * Throws `bad-template` with the file's name for a template that cannot be read or fails.
 */
export function renderTemplate(
  file: string,
  template: string,
  keys: ReadonlyMap<string, string>,
): string {
  try {
    return eta.renderString(template, functionsOver(keys));
  } catch (error) {
    throw inputError("bad-template", `${file}: ${messageOf(error)}`, { cause: error });
  }
}

/** confd's template functions (docs/templates.md of confd); what JavaScript has itself is not here. */
function functionsOver(keys: ReadonlyMap<string, string>) {
  const known = (key: string): string => {
    const value = keys.get(key);
    if (value === undefined) throw new Error(`there is no key ${key}`);
    return value;
  };
  const matching = (pattern: string): Entry[] => {
    const found: Entry[] = [];
    for (const [key, value] of keys) {
      if (posix.matchesGlob(key, pattern)) found.push({ key, value });
    }
    return found;
  };
  /** Next parts of the names below a path; with more parts after them, or without. */
  const below = (path: string, deeper: boolean): string[] => {
    const start = path.endsWith("/") ? path : `${path}/`;
    const names = new Set<string>();
    for (const key of keys.keys()) {
      if (!key.startsWith(start)) continue;
      const [name = "", ...rest] = key.slice(start.length).split("/");
      if (!deeper || rest.length > 0) names.add(name);
    }
    return [...names];
  };
  return {
    exists: (key: string) => keys.has(key),
    get: (key: string): Entry => ({ key, value: known(key) }),
    gets: matching,
    getv: (key: string, otherwise?: string) =>
      otherwise === undefined ? known(key) : (keys.get(key) ?? otherwise),
    getvs: (pattern: string) => matching(pattern).map(({ value }) => value),
    ls: (path: string) => below(path, false),
    lsdir: (path: string) => below(path, true),
    json: (text: string): unknown => JSON.parse(text),
    jsonArray: (text: string): unknown => JSON.parse(text),
    base: (path: string) => posix.basename(path),
    dir: (path: string) => posix.dirname(path),
    getenv: (name: string, otherwise = "") => process.env[name] ?? otherwise,
  };
}
