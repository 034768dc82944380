/** What `get` prints, in each of its formats. */
import { encodePretty, kindInfo, toYaml, type Kind, type Resource } from "#resource";
import { compareBytes, didYouMean, inputError } from "#std";
import { COLUMNS, PROBLEM, type TableContext } from "./columns.ts";
import { parseJsonPath, printJsonPath, type Template } from "./json-path.ts";
import { textTable } from "./text-table.ts";

const FORMATS = ["table", "ps", "wide", "yaml", "json", "name"] as const;
const CUSTOM = "custom-columns=";
const JSON_PATH = "jsonpath=";

export type OutputFormat =
  | { readonly format: (typeof FORMATS)[number] }
  | { readonly format: "custom"; readonly columns: readonly string[] }
  | { readonly format: "jsonpath"; readonly template: Template };

/** Throws `bad-option`. */
export function parseFormat(text: string): OutputFormat {
  const known = FORMATS.find((one) => one === text);
  if (known !== undefined) return { format: known };
  if (text.startsWith(CUSTOM)) {
    const names = text.slice(CUSTOM.length).split(",");
    return { format: "custom", columns: names.map((name) => name.trim().toUpperCase()) };
  }
  if (text.startsWith(JSON_PATH)) {
    return { format: "jsonpath", template: parseJsonPath(text.slice(JSON_PATH.length)) };
  }
  if (/^go-template(-file)?(=|$)/.test(text)) {
    throw inputError(
      "bad-option",
      `output format ${JSON.stringify(text)} is not known; for templates use -o ${JSON_PATH}…, as in -o ${JSON_PATH}'{range .items[*]}{.metadata.name}{"\\n"}{end}'`,
    );
  }
  const guess = didYouMean(text, FORMATS);
  throw inputError(
    "bad-option",
    `output format ${JSON.stringify(text)} is not known: one of ${FORMATS.join(", ")}, ${CUSTOM}NAME,…, ${JSON_PATH}{.path}` +
      (guess === undefined ? "" : `; did you mean ${guess}?`),
  );
}

export interface Printed {
  readonly kind: Kind;
  readonly resources: readonly Resource[];
  /** A whole list rather than objects asked for by name. */
  readonly isList: boolean;
  readonly revision: number;
}

export interface PrintOptions {
  readonly format: OutputFormat;
  readonly showNamespace: boolean;
  /** Without what belongs to this datastore: uid, revision, creation time. */
  readonly exported: boolean;
  readonly table: TableContext;
}

export function print(groups: readonly Printed[], options: PrintOptions): string {
  const { format } = options.format;
  if (options.format.format === "jsonpath") {
    return printJsonPath(options.format.template, asDocument(groups, options));
  }
  if (format === "yaml") return toYaml(asDocument(groups, options));
  if (format === "json") return printJson(groups, options);
  if (format === "name") {
    return groups.flatMap((group) => group.resources.map(qualifiedName)).join("");
  }
  return groups.map((group) => printTable(group, options)).join("");
}

function qualifiedName({ kind, metadata }: Resource): string {
  const scope = metadata.namespace === undefined ? "" : `${metadata.namespace}/`;
  return `${kind.toLowerCase()}/${scope}${metadata.name}\n`;
}

function printTable(group: Printed, options: PrintOptions): string {
  const columns = COLUMNS[group.kind];
  const { format } = options;
  const hasProblem = group.resources.some((one) => options.table.problems.has(one));
  const names =
    format.format === "custom"
      ? format.columns
      : [
          ...(options.showNamespace && kindInfo(group.kind)?.namespaced === true
            ? ["NAMESPACE"]
            : []),
          ...(format.format === "wide" ? columns.wide : columns.narrow),
          ...(format.format === "wide" && hasProblem ? [PROBLEM] : []),
        ];
  const cells = names.map((name) => {
    const cell = columns.cells[name];
    if (cell !== undefined) return cell;
    const known = Object.keys(columns.cells);
    const guess = didYouMean(name, known);
    throw inputError(
      "bad-option",
      `${group.kind} has no column ${name}: one of ${known.join(", ")}` +
        (guess === undefined ? "" : `; did you mean ${guess}?`),
    );
  });
  const rows = sortRows(group).map((one) => cells.map((cell) => cell(one, options.table)));
  return textTable([names, ...rows]);
}

/** Tiers as they are evaluated, all else by namespace and name. */
function sortRows({ kind, resources }: Printed): readonly Resource[] {
  const byName = (a: Resource, b: Resource): number =>
    compareBytes(a.metadata.namespace ?? "", b.metadata.namespace ?? "") ||
    compareBytes(a.metadata.name, b.metadata.name);
  if (kind !== "Tier") return resources.toSorted(byName);
  const order = (one: Resource): number =>
    (one.spec as { readonly order?: number }).order ?? Infinity;
  return resources.toSorted((a, b) => {
    const [x, y] = [order(a), order(b)];
    return x === y ? byName(a, b) : x - y;
  });
}

function asDocument(groups: readonly Printed[], options: PrintOptions): unknown {
  const one = (resource: Resource): unknown => clean(resource, options.exported);
  const documents = groups.flatMap((group) =>
    group.isList
      ? [
          {
            apiVersion: "projectcalico.org/v3",
            kind: `${group.kind}List`,
            metadata: { resourceVersion: String(group.revision) },
            items: group.resources.map(one),
          },
        ]
      : group.resources.map(one),
  );
  return documents.length === 1 ? documents[0] : documents;
}

function clean(resource: Resource, exported: boolean): Resource {
  if (!exported) return resource;
  const { uid: _1, resourceVersion: _2, creationTimestamp: _3, ...metadata } = resource.metadata;
  return { ...resource, metadata };
}

/** Fields in stored order; a list's frame is made here. */
function printJson(groups: readonly Printed[], options: PrintOptions): string {
  const texts = groups.flatMap((group) => {
    const items = group.resources.map((one) => encodePretty(clean(one, options.exported)));
    if (!group.isList) return items;
    const frame = {
      kind: `${group.kind}List`,
      apiVersion: "projectcalico.org/v3",
      metadata: { resourceVersion: String(group.revision) },
    };
    const head = JSON.stringify(frame, undefined, 2).slice(0, -2);
    return [`${head},\n  "items": ${jsonArray(items, "  ")}\n}`];
  });
  return `${texts.length === 1 ? (texts[0] ?? "") : jsonArray(texts, "")}\n`;
}

function jsonArray(items: readonly string[], indent: string): string {
  if (items.length === 0) return "[]";
  const shifted = items.map((item) => `${indent}  ${item.replaceAll("\n", `\n${indent}  `)}`);
  return `[\n${shifted.join(",\n")}\n${indent}]`;
}
