/**
 * JSON as Go's `encoding/json` reads and writes it where JavaScript's own differs: 64-bit integers
 * keep every digit, keys keep the order given, `<`, `>`, `&` and the line separators are escaped.
 */
import { compareBytes, inputError, messageOf } from "#std";

/** Integers beyond 2^53 come as bigint. Throws `bad-json`. */
export function parseJson(text: string): unknown {
  const exact = (_key: string, value: unknown, context?: { readonly source?: string }): unknown =>
    typeof value === "number" &&
    !Number.isSafeInteger(value) &&
    /^-?\d+$/.test(context?.source ?? "")
      ? BigInt(context?.source ?? 0)
      : value;
  try {
    return JSON.parse(text, exact);
  } catch (error) {
    throw inputError("bad-json", `no JSON: ${messageOf(error)}`, { cause: error });
  }
}

export type Entries = readonly (readonly [key: string, value: unknown])[];

/** An object with its keys in this order; those with an undefined value are left out. */
export class Ordered {
  readonly entries: Entries;

  constructor(entries: Entries) {
    this.entries = entries;
  }
}

/** As Go writes a map: by key, in byte order. JavaScript would put `"10"` after `"2"`. */
export function sortedMap(entries: Iterable<readonly [string, unknown]>): Ordered {
  return new Ordered([...entries].toSorted(([a], [b]) => compareBytes(a, b)));
}

export function writeJson(value: unknown): string {
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "string") return JSON.stringify(value).replace(HTML, escaped);
  if (value instanceof Ordered) {
    const fields = value.entries
      .filter(([, content]) => content !== undefined)
      .map(([key, content]) => `${writeJson(key)}:${writeJson(content)}`);
    return `{${fields.join(",")}}`;
  }
  if (Array.isArray(value)) return `[${value.map(writeJson).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    return writeJson(new Ordered(Object.entries(value)));
  }
  return JSON.stringify(value ?? null);
}

/** `undefined` when it is no object. */
export function recordOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}

const HTML = /[<>&\u2028\u2029]/g;

function escaped(one: string): string {
  return `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
