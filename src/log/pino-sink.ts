/** The sink over pino: one serialisation, several destinations with their own severities. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import pino from "pino";
import type { LogFields, LogLevel, LogRecord, LogSink } from "./logger.ts";
import { formatPretty, plainField } from "./pretty.ts";

export interface PinoSinkOptions {
  readonly threshold: LogLevel;
  readonly screen: {
    readonly level: LogLevel;
    readonly pretty: boolean;
    readonly write: (text: string) => void;
  };
  readonly file?: { readonly path: string; readonly level: LogLevel };
}

export function makePinoSink(options: PinoSinkOptions): {
  readonly sink: LogSink;
  readonly fileError?: Error;
} {
  const streams: pino.StreamEntry[] = [];
  const { screen } = options;
  if (screen.level !== "off") {
    const write = screen.pretty ? (line: string) => screen.write(prettyLine(line)) : screen.write;
    streams.push({ level: screen.level, stream: { write } });
  }
  let fileError: Error | undefined;
  let file: ReturnType<typeof pino.destination> | undefined;
  if (options.file !== undefined && options.file.level !== "off") {
    try {
      mkdirSync(dirname(options.file.path), { recursive: true });
      file = pino.destination({ dest: options.file.path, sync: true, append: true });
      // A disk that fills up later must not end the agent; the screen still has the record.
      file.on("error", () => undefined);
      streams.push({ level: options.file.level, stream: file });
    } catch (error) {
      fileError = error instanceof Error ? error : new Error(String(error));
    }
  }
  const log = pino(
    {
      level: options.threshold === "off" ? "silent" : options.threshold,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.multistream(streams),
  );
  const sink: LogSink = {
    threshold: options.threshold,
    write: (record: LogRecord) =>
      log[record.level](
        { component: record.component, ...plainFields(record.fields) },
        record.message,
      ),
    flush: () => file?.flushSync(),
  };
  return fileError === undefined ? { sink } : { sink, fileError };
}

function plainFields(fields: LogFields): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) plain[key] = plainField(value);
  return plain;
}

function prettyLine(line: string): string {
  const { level, time, component, msg, ...fields } = JSON.parse(line) as {
    level: string;
    time: string;
    component: string;
    msg: string;
  };
  return formatPretty(
    { timeMs: Date.parse(time), level, component, message: msg, fields },
    process.env["NO_COLOR"] === undefined,
  );
}
