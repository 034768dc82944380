/**
 * Sets where logs go and from which severity on: the screen (stderr; JSON lines, or text on a
 * terminal) and a file. pino and its load time are spent only by long-running commands.
 */
import { lowerLevel, setSink, writeAll, type LogLevel } from "./logger.ts";

export interface LogConfig {
  /** Lowest severity on stderr. */
  readonly screen: LogLevel;
  /** Absent: no file. */
  readonly file?: { readonly path: string; readonly level: LogLevel };
  /** Text instead of JSON on the screen; by default when stderr is a terminal. */
  readonly pretty?: boolean;
}

/**
 * Returns what could not be set up (a log file that cannot be opened); the screen always works.
 */
export async function configureLogging(config: LogConfig): Promise<{ readonly fileError?: Error }> {
  const { makePinoSink } = await import("./pino-sink.ts");
  const pretty = config.pretty ?? process.stderr.isTTY;
  const threshold =
    config.file === undefined ? config.screen : lowerLevel(config.screen, config.file.level);
  const { sink, fileError } = makePinoSink({
    threshold,
    screen: {
      level: config.screen,
      pretty,
      write: (text) => writeAll(2, text),
    },
    ...(config.file === undefined ? {} : { file: config.file }),
  });
  setSink(sink);
  return fileError === undefined ? {} : { fileError };
}

/** Felix's names (`LogSeverityScreen`) in any case; `none` and "" switch off. */
export function logLevelOf(name: string): LogLevel | undefined {
  switch (name.toLowerCase()) {
    case "trace":
      return "trace";
    case "debug":
      return "debug";
    case "info":
      return "info";
    case "warning":
    case "warn":
      return "warn";
    case "error":
      return "error";
    case "fatal":
    case "critical":
      return "fatal";
    case "none":
    case "off":
    case "":
      return "off";
    default:
      return undefined;
  }
}
