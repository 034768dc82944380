/**
 * The stored bytes, as Go's `encoding/json` writes Calico's structs: fields in struct order, maps
 * by key, `<`, `>`, `&` and the line separators escaped, no blanks. Fields that the schema does not
 * know (of a newer version) follow the known ones.
 */
import { inputError, messageOf, compareBytes } from "#std";
import { kindInfo } from "./registry.ts";
import type { Fields, FieldSpec, ObjectSpec, TypeSpec } from "./schema.ts";
import { documentSpec, validateResource } from "./validate.ts";
import { formatFieldError } from "./context.ts";
import type { Resource } from "./types.ts";

/** Expects what validation returned: normal form, defaults filled in. */
export function encodeStored(resource: Resource): string {
  const withoutRevision = stripRevision(resource);
  return encode(specOf(resource.kind), withStatus(withoutRevision), "", "");
}

/** As `get -o json` prints it: two spaces, resourceVersion shown. */
export function encodePretty(resource: Resource): string {
  return encode(specOf(resource.kind), resource, "\n", "  ");
}

function specOf(kind: string): ObjectSpec {
  const spec = documentSpec(kind);
  if (spec === undefined)
    throw inputError("unknown-kind", `kind ${JSON.stringify(kind)} is not known`);
  return spec;
}

function stripRevision(resource: Resource): Resource {
  if (resource.metadata.resourceVersion === undefined) return resource;
  const { resourceVersion: _unused, ...metadata } = resource.metadata;
  return { ...resource, metadata };
}

/** Go writes a status struct even when nothing is in it. */
const EMPTY_NODE_STATUS = {
  lastUpdated: null,
  agent: { birdV4: {}, birdV6: {} },
  bgp: {
    numberEstablishedV4: 0,
    numberNotEstablishedV4: 0,
    numberEstablishedV6: 0,
    numberNotEstablishedV6: 0,
  },
  routes: {},
};

function withStatus(resource: Resource): Resource {
  const status = (resource as { readonly status?: unknown }).status;
  if (kindInfo(resource.kind)?.status === undefined || status !== undefined) return resource;
  return {
    ...resource,
    status: resource.kind === "CalicoNodeStatus" ? EMPTY_NODE_STATUS : {},
  } as Resource;
}

function encode(
  type: TypeSpec | undefined,
  value: unknown,
  newline: string,
  indent: string,
): string {
  if (Array.isArray(value)) {
    const item = type?.kind === "list" ? type.of : undefined;
    const inner = newline === "" ? "" : newline + indent;
    if (value.length === 0) return "[]";
    return `[${inner}${value.map((one) => encode(item, one, inner, indent)).join(`,${inner}`)}${newline}]`;
  }
  if (typeof value !== "object" || value === null) return scalar(value);
  const fields = type?.kind === "object" ? type.fields : undefined;
  return encodeObject(fields, value as Fields, newline, indent, type?.kind === "map");
}

function encodeObject(
  fields: readonly FieldSpec[] | undefined,
  value: Fields,
  newline: string,
  indent: string,
  sorted: boolean,
): string {
  const inner = newline === "" ? "" : newline + indent;
  const colon = newline === "" ? ":" : ": ";
  const parts: string[] = [];
  const known = new Set<string>();
  for (const one of fields ?? []) {
    known.add(one.name);
    const content = value[one.name];
    if (content === undefined) continue;
    parts.push(`"${one.name}"${colon}${encode(one.type, content, inner, indent)}`);
  }
  const rest = Object.keys(value).filter((key) => !known.has(key));
  if (sorted) rest.sort(compareBytes);
  for (const key of rest) {
    if (value[key] === undefined) continue;
    parts.push(`${scalar(key)}${colon}${encode(undefined, value[key], inner, indent)}`);
  }
  return parts.length === 0 ? "{}" : `{${inner}${parts.join(`,${inner}`)}${newline}}`;
}

const HTML = /[<>&\u2028\u2029]/g;

function scalar(value: unknown): string {
  const text = JSON.stringify(value ?? null);
  return typeof value === "string"
    ? text.replace(HTML, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`)
    : text;
}

/**
 * Reads a stored value. Unknown fields stay; defaults that an older writer left out are filled in.
 * Throws `invalid-resource` with every fault, an input error.
 */
export function decodeStored(text: string): Resource {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw inputError("invalid-resource", `the stored value is no JSON: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const result = validateResource(value);
  if (result.ok) return result.value;
  throw inputError("invalid-resource", result.errors.map(formatFieldError).join("; "), {
    fields: { errors: result.errors },
  });
}
