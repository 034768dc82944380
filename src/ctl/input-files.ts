/**
 * The manifests of `-f`: files, directories, `-` for standard input. Everything is read and
 * validated before anything is done with it, and all faults are shown together.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import {
  formatManifestError,
  parseManifest,
  type ManifestError,
  type ManifestResource,
} from "#resource";
import { compareBytes, inputError, messageOf } from "#std";

const SUFFIX = /\.(?:ya?ml|json)$/i;

export interface InputOptions {
  readonly recursive: boolean;
  readonly namespace: string | undefined;
  readonly stdin: NodeJS.ReadableStream;
}

/** Throws `invalid-manifest`, whose message lists every fault, one a line. */
export async function readManifests(
  names: readonly string[],
  options: InputOptions,
): Promise<ManifestResource[]> {
  const resources: ManifestResource[] = [];
  const errors: ManifestError[] = [];
  for (const name of names) {
    for (const file of filesOf(name, options.recursive)) {
      const content = file === "-" ? await text(options.stdin) : readText(file);
      const shownName = file === "-" ? "<stdin>" : file;
      const manifest = parseManifest(
        content,
        shownName,
        options.namespace === undefined ? {} : { namespace: options.namespace },
      );
      resources.push(...manifest.resources);
      errors.push(...manifest.errors);
    }
  }
  if (errors.length === 0) return resources;
  const count = errors.length === 1 ? "1 fault" : `${errors.length} faults`;
  throw inputError(
    "invalid-manifest",
    `${errors.map(formatManifestError).join("\n")}\n${count}; nothing was done`,
    { fields: { errors } },
  );
}

function filesOf(name: string, recursive: boolean): string[] {
  if (name === "-") return [name];
  let isDirectory: boolean;
  try {
    isDirectory = statSync(name).isDirectory();
  } catch (error) {
    throw inputError("no-such-file", `cannot read ${name}: ${messageOf(error)}`, { cause: error });
  }
  if (!isDirectory) return [name];
  const found = readdirSync(name, { recursive, withFileTypes: true })
    .filter((entry) => entry.isFile() && SUFFIX.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted(compareBytes);
  if (found.length > 0) return found;
  throw inputError(
    "no-such-file",
    `${name} holds no .yaml, .yml or .json file${recursive ? "" : "; -R looks in its directories too"}`,
  );
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw inputError("no-such-file", `cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}
