/** One log record as a line for people: time, severity, component, message, `key=value`. */
import type { LogFields } from "./logger.ts";

export interface PrettyRecord {
  readonly timeMs: number;
  readonly level: string;
  readonly component: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** SGR colours (ECMA-48 §8.3.117) by severity. */
const COLOURS: Readonly<Record<string, number>> = {
  trace: 90,
  debug: 90,
  info: 36,
  warn: 33,
  error: 31,
  fatal: 35,
};

export function formatPretty(record: PrettyRecord, colour: boolean): string {
  const time = new Date(record.timeMs).toISOString().slice(11, 23);
  const level = record.level.toUpperCase().padEnd(5);
  const paint = COLOURS[record.level] ?? 0;
  const head = colour ? `\u001B[${paint}m${level}\u001B[0m` : level;
  const pairs = Object.entries(record.fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${fieldText(value)}`)
    .join("");
  return `${time} ${head} ${record.component}: ${record.message}${pairs}\n`;
}

/** Errors become their message and fields: a stack is for `--debug`. */
export function plainField(value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  const extra = value as Error & { code?: unknown; fields?: unknown };
  return {
    message: value.message,
    ...(extra.code === undefined ? {} : { code: extra.code }),
    ...(extra.fields === undefined ? {} : { fields: extra.fields }),
    ...(value.cause instanceof Error ? { cause: value.cause.message } : {}),
  };
}

function fieldText(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message);
  if (typeof value === "string")
    return /^[\w./:@%+,-]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value) ?? String(value);
}
