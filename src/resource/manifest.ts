/**
 * Manifests: YAML or JSON text, one or many documents, lists of resources. Every fault of every
 * document is found in one pass, with its place in the file. Numbers and truth values follow
 * YAML 1.2, so `on` and `8000:8100` are texts.
 */
import {
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  type Document,
  type ParsedNode,
} from "yaml";
import type { ConstraintId } from "./constraints.ts";
import {
  formatFieldError,
  formatPath,
  parsePath,
  type FieldError,
  type PathSegment,
  type Position,
} from "./context.ts";
import { workloadEndpointName } from "./kinds/endpoints.ts";
import { kindInfo } from "./registry.ts";
import type { Resource, WorkloadEndpointSpec } from "./types.ts";
import { validateResource } from "./validate.ts";

export interface ManifestResource {
  readonly resource: Resource;
  readonly file: string;
  readonly position: Position;
}

export type ManifestError = Omit<FieldError, "constraint"> & {
  readonly constraint: ConstraintId | "syntax";
  readonly file: string;
  readonly position: Position;
};

export interface Manifest {
  readonly resources: readonly ManifestResource[];
  /** Not empty: nothing of the file should be used. */
  readonly errors: readonly ManifestError[];
}

export interface ManifestOptions {
  /** For namespaced resources that name none; `default` when absent. */
  readonly namespace?: string;
}

type Fields = Readonly<Record<string, unknown>>;

export function parseManifest(text: string, file: string, options: ManifestOptions = {}): Manifest {
  return new ManifestReader(file, options.namespace ?? "default").read(text);
}

/** `file:line:column: path: message; expected … (hint)`. */
export function formatManifestError(error: ManifestError): string {
  const { line, column } = error.position;
  return `${error.file}:${line}:${column}: ${formatFieldError(error as FieldError)}`;
}

class ManifestReader {
  readonly #file: string;
  readonly #namespace: string;
  readonly #lines = new LineCounter();
  readonly #resources: ManifestResource[] = [];
  readonly #errors: ManifestError[] = [];

  constructor(file: string, namespace: string) {
    this.#file = file;
    this.#namespace = namespace;
  }

  read(text: string): Manifest {
    try {
      const documents = parseAllDocuments(text, {
        lineCounter: this.#lines,
        prettyErrors: false,
        logLevel: "error",
        merge: true,
      });
      for (const document of documents) this.#readDocument(document);
    } catch (error) {
      // The parser's stack ends where brackets are nested by the thousand.
      if (!(error instanceof RangeError)) throw error;
      this.#syntax("nested too deeply to be read", 0);
    }
    return { resources: this.#resources, errors: this.#errors };
  }

  #readDocument(document: Document.Parsed): void {
    // A warning (a tag that nobody knows) means data that would not be what it looks like.
    const faults = [...document.errors, ...document.warnings];
    for (const fault of faults) this.#syntax(fault.message, fault.pos[0]);
    if (faults.length > 0 || document.contents === null) return;
    let value: unknown;
    try {
      value = document.toJS();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#syntax(message, document.contents.range[0]);
      return;
    }
    if (value === null || value === undefined) return;
    this.#readValue(value, [], document);
  }

  /** A resource, a bare list of them, or an object of kind List. */
  #readValue(value: unknown, at: readonly PathSegment[], document: Document.Parsed): void {
    if (Array.isArray(value)) {
      value.forEach((one, index) => this.#readValue(one, [...at, index], document));
      return;
    }
    const { kind, items } = (value ?? {}) as { readonly kind?: unknown; readonly items?: unknown };
    if (typeof kind === "string" && kind.endsWith("List") && Array.isArray(items)) {
      this.#readValue(items, [...at, "items"], document);
      return;
    }
    const result = validateResource(this.#complete(value), { unknownFields: "error" });
    if (result.ok) {
      const position = this.#positionOf(document, at, false);
      this.#resources.push({ resource: result.value, file: this.#file, position });
      return;
    }
    const faults: ManifestError[] = [];
    for (const error of result.errors) {
      const path = [...at, ...parsePath(error.path)];
      const ofKey = error.constraint === "unknown-field" || error.constraint === "label-key";
      faults.push({
        ...error,
        path: formatPath(path),
        file: this.#file,
        position: this.#positionOf(document, path, ofKey),
      });
    }
    this.#errors.push(...faults.sort((a, b) => comparePositions(a.position, b.position)));
  }

  /** Fills in what may be left out of a manifest but not of the store. */
  #complete(value: unknown): unknown {
    const { kind, metadata, spec } = (value ?? {}) as Fields;
    const info = typeof kind === "string" ? kindInfo(kind) : undefined;
    if (info?.namespaced !== true || !isFields(metadata ?? {})) return value;
    const completed: Record<string, unknown> = { ...(metadata as Fields) };
    if ((completed["namespace"] ?? "") === "") completed["namespace"] = this.#namespace;
    if (kind === "WorkloadEndpoint" && completed["name"] === undefined && isFields(spec)) {
      const derived = workloadEndpointName(textsOf(spec));
      if ("name" in derived) completed["name"] = derived.name;
    }
    return { ...(value as Fields), metadata: completed };
  }

  #syntax(message: string, offset: number): void {
    const [first = message] = message.split("\n");
    this.#errors.push({
      path: "",
      constraint: "syntax",
      message: first,
      ...syntaxHint(first),
      file: this.#file,
      position: this.#at(offset),
    });
  }

  /** Of the value at the path, or of what is nearest above it. */
  #positionOf(document: Document.Parsed, path: readonly PathSegment[], ofKey: boolean): Position {
    let node: ParsedNode | null = document.contents;
    let offset = node?.range[0] ?? 0;
    for (const [depth, segment] of path.entries()) {
      if (isAlias(node)) node = (node.resolve(document) as ParsedNode | undefined) ?? null;
      if (!isCollection(node)) break;
      const pair = isMap(node)
        ? node.items.find((item) => isScalar(item.key) && String(item.key.value) === segment)
        : undefined;
      const next = isSeq(node) && typeof segment === "number" ? node.items[segment] : pair?.value;
      const wantsKey = ofKey && depth === path.length - 1 && pair !== undefined;
      const place = wantsKey ? pair.key : (next ?? pair?.key);
      if (place === undefined || place === null) break;
      offset = place.range[0];
      node = next ?? null;
    }
    return this.#at(offset);
  }

  #at(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }
}

function comparePositions(a: Position, b: Position): number {
  return a.line - b.line || a.column - b.column;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Only texts can be part of a name; a number there is reported by validation. */
function textsOf(spec: Fields): WorkloadEndpointSpec {
  return Object.fromEntries(Object.entries(spec).filter(([, value]) => typeof value === "string"));
}

function syntaxHint(message: string): { readonly hint?: string } {
  if (/Map keys must be unique/i.test(message)) return { hint: "remove one of the two" };
  if (/tab/i.test(message)) return { hint: "indent with blanks" };
  if (/indent|compact mapping|implicit key/i.test(message)) {
    return { hint: "check the indentation and the colons of this line and the one before" };
  }
  return {};
}
