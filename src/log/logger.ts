/**
 * Structured logs: a constant message and fields apart, so that a reader can search for the message
 * and a machine can read the fields. Nothing is formatted when the level is off. Records are written
 * synchronously: what was logged before a crash is there.
 *
 * Until `configureLogging` has run, warnings and worse go to stderr as text; the rest is dropped.
 */
import { writeSync } from "node:fs";
import { formatPretty } from "./pretty.ts";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "off";
export type LogFields = Readonly<Record<string, unknown>>;

/** Numbers as in pino, so that records are readable by its tools. */
const SEVERITY: Readonly<Record<LogLevel, number>> = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
  off: Infinity,
};

export interface LogRecord {
  readonly level: Exclude<LogLevel, "off">;
  readonly component: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** Where records go. `threshold` is the lowest severity that any destination wants. */
export interface LogSink {
  readonly threshold: LogLevel;
  write(record: LogRecord): void;
  flush(): void;
}

export interface Logger {
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  fatal(message: string, fields?: LogFields): void;
  /** A logger that adds these fields to each record. */
  child(fields: LogFields): Logger;
  isEnabled(level: LogLevel): boolean;
}

const stderrSink: LogSink = {
  threshold: "warn",
  write(record) {
    writeAll(2, formatPretty({ ...record, timeMs: Date.now() }, false));
  },
  flush() {},
};

let sink: LogSink = stderrSink;
let thresholdSeverity = SEVERITY.warn;
const counts = { warn: 0, error: 0, fatal: 0 };

export function setSink(next: LogSink): void {
  sink = next;
  thresholdSeverity = SEVERITY[next.threshold];
}

/** Writes what is buffered; records are synchronous, so this only matters for files. */
export function flushLogs(): void {
  sink.flush();
}

/** How many records of a severity were written since the start (`felix_log_errors`). */
export function logCounts(): Readonly<typeof counts> {
  return counts;
}

/** A logger for one part of the program; cheap, made once per module. */
export function logger(component: string, fields: LogFields = {}): Logger {
  const emit = (
    level: Exclude<LogLevel, "off">,
    message: string,
    more: LogFields | undefined,
  ): void => {
    if (SEVERITY[level] < thresholdSeverity) return;
    if (level === "warn" || level === "error" || level === "fatal") counts[level] += 1;
    sink.write({
      level,
      component,
      message,
      fields: more === undefined ? fields : { ...fields, ...more },
    });
  };
  return {
    trace: (message, more) => emit("trace", message, more),
    debug: (message, more) => emit("debug", message, more),
    info: (message, more) => emit("info", message, more),
    warn: (message, more) => emit("warn", message, more),
    error: (message, more) => emit("error", message, more),
    fatal: (message, more) => emit("fatal", message, more),
    child: (more) => logger(component, { ...fields, ...more }),
    isEnabled: (level) => SEVERITY[level] >= thresholdSeverity,
  };
}

/** The lower of two thresholds. */
export function lowerLevel(a: LogLevel, b: LogLevel): LogLevel {
  return SEVERITY[a] <= SEVERITY[b] ? a : b;
}

/** Logging never fails the program: a full disk or a closed pipe loses the record, not the agent. */
export function writeAll(fd: number, text: string): void {
  try {
    writeSync(fd, text);
  } catch {
    // EPIPE, EAGAIN, ENOSPC: nowhere to say it.
  }
}
