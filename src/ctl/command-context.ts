/** What a command gets: its arguments, its options, and the world. */
import { kindByAlias, type KindInfo } from "#resource";
import { inputError } from "#std";
import type { Client } from "./client.ts";
import type { CommandName } from "./command-line.ts";
import { readManifests } from "./input-files.ts";
import { kindHint } from "./references.ts";
import type { CtlIo } from "./run.ts";
import type { ManifestResource } from "#resource";

export interface Options {
  readonly config?: string;
  readonly filename?: readonly string[];
  readonly recursive?: boolean;
  readonly skipEmpty?: boolean;
  readonly datastore?: boolean;
  readonly namespace?: string;
  readonly allNamespaces?: boolean;
  readonly output?: string;
  readonly export?: boolean;
  readonly skipExists?: boolean;
  readonly skipNotExists?: boolean;
  readonly overwrite?: boolean;
  readonly remove?: boolean;
  readonly patch?: string;
  readonly type?: string;
}

export interface CommandContext {
  readonly name: CommandName;
  readonly args: readonly string[];
  readonly options: Options;
  readonly io: CtlIo;
  /** Connects on the first call: `validate` and a wrong command line need no datastore. */
  readonly client: () => Promise<Client>;
}

/** For namespaced kinds when no namespace is named, as Calico's tool has it. */
const DEFAULT_NAMESPACE = "default";

/** `np`, `networkpolicy`, `NetworkPolicies`, …; throws `unknown-kind` with the likely one. */
export function kindNamed(name: string, verb: string): KindInfo {
  const info = kindByAlias(name);
  if (info !== undefined) return info;
  throw inputError(
    "unknown-kind",
    `failed to ${verb} resources: resource type '${name}' is not supported${kindHint(name)}`,
  );
}

/** `undefined` for a global kind. */
export function namespaceFor(info: KindInfo, options: Options): string | undefined {
  return info.namespaced ? (options.namespace ?? DEFAULT_NAMESPACE) : undefined;
}

export async function manifestsOf({ options, io }: CommandContext): Promise<ManifestResource[]> {
  const files = options.filename ?? [];
  const resources = await readManifests(files, {
    recursive: options.recursive ?? false,
    namespace: options.namespace,
    stdin: io.stdin,
  });
  if (resources.length === 0 && options.skipEmpty !== true) {
    throw inputError("no-resources", `no resources specified in ${files.join(", ")}`);
  }
  return resources;
}

/** A count on a terminal while many objects are handled; silent in a pipe. */
export class Progress {
  static readonly MIN_TOTAL = 20;
  static readonly INTERVAL_MS = 100;
  readonly #io: CtlIo;
  readonly #total: number;
  readonly #word: string;
  #shownAt = 0;
  #shown = false;

  constructor(io: CtlIo, total: number, word: string) {
    this.#io = io;
    this.#total = total;
    this.#word = word;
  }

  step(done: number): void {
    if (this.#io.stderr.isTTY !== true || this.#total < Progress.MIN_TOTAL) return;
    const now = performance.now();
    if (now - this.#shownAt < Progress.INTERVAL_MS) return;
    this.#shownAt = now;
    this.#shown = true;
    this.#io.stderr.write(`\r${this.#word} ${done} of ${this.#total}\u001B[K`);
  }

  end(): void {
    if (this.#shown) this.#io.stderr.write("\r\u001B[K");
  }
}
