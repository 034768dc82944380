/** Checks of single values that have more than one spelling. */
import { didYouMean } from "#std";
import type { Context } from "./context.ts";
import {
  canonicalPort,
  formatDuration,
  parseDuration,
  parsePort,
  PROTOCOL_NAMES,
} from "./scalars.ts";

/** `the number 5`, `a list`, … for "is …, expected …". */
export function describeType(value: unknown): string {
  if (value === null || value === undefined) return "empty";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "number") return `the number ${value}`;
  if (typeof value === "boolean") return `the truth value ${String(value)}`;
  if (typeof value === "string") return `the text ${JSON.stringify(value)}`;
  return typeof value === "object" ? "a mapping" : `a ${typeof value}`;
}

export function checkDuration(value: unknown, context: Context): unknown {
  const allowed = "a duration such as 90s, 1m30s or 250ms";
  if (typeof value !== "string") {
    context.report("duration", {
      message: `is ${describeType(value)}`,
      value,
      allowed,
      hint: typeof value === "number" ? `did you mean ${value}s?` : undefined,
    });
    return undefined;
  }
  const nanoseconds = parseDuration(value);
  if (nanoseconds !== undefined) return formatDuration(nanoseconds);
  context.report("duration", {
    message: `${JSON.stringify(value)} is no duration`,
    value,
    allowed,
    hint: /^\d+$/.test(value) ? `did you mean ${value}s?` : undefined,
  });
  return undefined;
}

export function checkPort(value: unknown, context: Context): unknown {
  const allowed = 'a number 1–65535, a range such as "8000:8100", or the name of an endpoint port';
  if (typeof value !== "number" && typeof value !== "string") {
    context.report("port", { message: `is ${describeType(value)}`, value, allowed });
    return undefined;
  }
  const parsed = parsePort(value);
  // `80-90` is a lawful name that no endpoint has: in a manifest it is a range gone wrong.
  const dashed = typeof value === "string" && /^\d+-\d+$/.test(value.replaceAll(" ", ""));
  const slip = dashed && context.unknownFields === "error";
  if (typeof parsed !== "string" && !slip) return canonicalPort(parsed);
  context.report("port", {
    message: `${JSON.stringify(value)}: ${typeof parsed === "string" ? parsed : "not a range"}`,
    value,
    allowed,
    hint: dashed ? `did you mean "${value.replaceAll(" ", "").replace("-", ":")}"?` : undefined,
  });
  return undefined;
}

const PROTOCOLS = new Set<string>(PROTOCOL_NAMES);

export function checkProtocol(value: unknown, context: Context): unknown {
  const number = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
  if (typeof number === "number") {
    if (Number.isInteger(number) && number >= 1 && number <= 255) return number;
  } else if (typeof number === "string" && PROTOCOLS.has(number)) return number;
  const guess = typeof value === "string" ? didYouMean(value, PROTOCOL_NAMES) : undefined;
  context.report("protocol", {
    message: `${JSON.stringify(value)} is no protocol`,
    value,
    allowed: `${PROTOCOL_NAMES.join(", ")} or a number 1–255`,
    hint: guess === undefined ? undefined : `did you mean ${guess}?`,
  });
  return undefined;
}

/** `"64512"` or RFC 5396 asdot `"1.10"`; stored as a number. */
export function checkAsNumber(value: string, context: Context): number | undefined {
  const match = /^(?:(\d{1,5})\.)?(\d{1,10})$/.exec(value);
  const high = Number(match?.[1] ?? 0);
  const low = Number(match?.[2] ?? NaN);
  const dotted = match?.[1] !== undefined;
  if (high <= 0xffff && low <= (dotted ? 0xffff : 0xffffffff)) return high * 0x10000 + low;
  context.report("as-number", {
    message: `${JSON.stringify(value)} is no AS number`,
    value,
    allowed: "0–4294967295, or dotted as in 1.10",
  });
  return undefined;
}
