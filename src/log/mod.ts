/** Structured logs; the only importer of pino. */
export { configureLogging, logLevelOf, type LogConfig } from "./configure.ts";
export {
  flushLogs,
  logCounts,
  logger,
  type LogFields,
  type Logger,
  type LogLevel,
} from "./logger.ts";
