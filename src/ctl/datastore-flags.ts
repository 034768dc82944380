/** Flags of `margay datastore`: etcd's own names, meanings and `ETCD_*` variables. */
import { resolve } from "node:path";
import { Command, Option } from "commander";
import { defaultDataDir, type AutoCompaction, type ServerTls } from "#datastore";
import { logLevelOf, type LogLevel } from "#log";
import { inputError } from "#std";

export interface DatastoreFlags {
  readonly dataDir: string;
  readonly listenUrls: readonly string[];
  readonly advertiseUrls: readonly string[];
  readonly name: string;
  readonly tls: ServerTls | undefined;
  readonly quotaBytes: number;
  readonly maxRequestBytes: number;
  readonly maxTxnOps: number;
  readonly progressIntervalMs: number;
  readonly autoCompaction: AutoCompaction | undefined;
  readonly logLevel: LogLevel;
}

interface RawFlags {
  readonly dataDir?: string;
  readonly listenClientUrls?: string;
  readonly advertiseClientUrls?: string;
  readonly name: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly trustedCaFile?: string;
  readonly clientCertAuth?: string | boolean;
  readonly quotaBackendBytes: string;
  readonly maxRequestBytes: string;
  readonly maxTxnOps: string;
  readonly experimentalWatchProgressNotifyInterval: string;
  readonly autoCompactionMode: string;
  readonly autoCompactionRetention?: string;
  readonly logLevel: string;
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

export function datastoreProgram(help: string): Command {
  const program = new Command("margay datastore").description(
    "Serves the embedded store as etcd v3: for several processes of this host, or for other hosts",
  );
  const flag = (flags: string, env: string, text: string) =>
    new Option(flags, text).env(`ETCD_${env}`);
  return program
    .addOption(flag("--data-dir <dir>", "DATA_DIR", `where the data is (${defaultDataDir()})`))
    .addOption(
      flag(
        "--listen-client-urls <urls>",
        "LISTEN_CLIENT_URLS",
        "more places to listen on than DIR/margay.sock: http://, https://, unix://; commas between",
      ),
    )
    .addOption(
      flag(
        "--advertise-client-urls <urls>",
        "ADVERTISE_CLIENT_URLS",
        "what `etcdctl member list` shows",
      ),
    )
    .addOption(flag("--name <name>", "NAME", "the member's name").default("default"))
    .addOption(flag("--cert-file <pem>", "CERT_FILE", "server certificate, for https://"))
    .addOption(flag("--key-file <pem>", "KEY_FILE", "its key"))
    .addOption(flag("--trusted-ca-file <pem>", "TRUSTED_CA_FILE", "CA of the clients"))
    .addOption(
      flag("--client-cert-auth [bool]", "CLIENT_CERT_AUTH", "refuse clients without certificate"),
    )
    .addOption(
      flag(
        "--quota-backend-bytes <n>",
        "QUOTA_BACKEND_BYTES",
        "refuse writes above this size; 0 is no limit",
      ).default("0"),
    )
    .addOption(
      flag("--max-request-bytes <n>", "MAX_REQUEST_BYTES", "largest write").default("1572864"),
    )
    .addOption(
      flag("--max-txn-ops <n>", "MAX_TXN_OPS", "most operations of a transaction").default("128"),
    )
    .addOption(
      flag(
        "--auto-compaction-mode <mode>",
        "AUTO_COMPACTION_MODE",
        "what the retention counts: periodic or revision",
      ).default("periodic"),
    )
    .addOption(
      flag(
        "--auto-compaction-retention <n>",
        "AUTO_COMPACTION_RETENTION",
        "history to keep: 1h, 30m, or a count; 0 is all of it (default: 10000 revisions)",
      ),
    )
    .addOption(
      flag(
        "--experimental-watch-progress-notify-interval <time>",
        "EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL",
        "how often idle watches are told the revision",
      ).default("10m"),
    )
    .addOption(flag("--log-level <level>", "LOG_LEVEL", "debug, info, warn, error").default("info"))
    .addHelpText("after", help)
    .allowExcessArguments(false)
    .exitOverride();
}

/** Go's flags may have one dash: `-data-dir` is `--data-dir`. */
export function withTwoDashes(argv: readonly string[]): string[] {
  return argv.map((word) => (/^-[a-z]{2}/.test(word) ? `-${word}` : word));
}

/** Throws `invalid-flag` with the flag's name and what it takes. */
export function readFlags(program: Command, env: NodeJS.ProcessEnv): DatastoreFlags {
  const raw = program.opts<RawFlags>();
  const dataDir = resolve(raw.dataDir ?? env["MARGAY_DATA_DIR"] ?? defaultDataDir(env));
  const logLevel = logLevelOf(raw.logLevel);
  if (logLevel === undefined)
    throw badFlag("--log-level", raw.logLevel, "debug, info, warn, error");
  return {
    dataDir,
    listenUrls: splitUrls(raw.listenClientUrls),
    advertiseUrls: splitUrls(raw.advertiseClientUrls),
    name: raw.name,
    tls: readTlsFlags(raw),
    quotaBytes: readCount("--quota-backend-bytes", raw.quotaBackendBytes),
    maxRequestBytes: readCount("--max-request-bytes", raw.maxRequestBytes),
    maxTxnOps: readCount("--max-txn-ops", raw.maxTxnOps),
    progressIntervalMs: readDuration(
      "--experimental-watch-progress-notify-interval",
      raw.experimentalWatchProgressNotifyInterval,
    ),
    autoCompaction: readAutoCompaction(raw),
    logLevel,
  };
}

function readTlsFlags(raw: RawFlags): ServerTls | undefined {
  const { certFile, keyFile, trustedCaFile } = raw;
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile === undefined)
    throw badFlag("--cert-file", "nothing", "a file, as --key-file is set");
  if (keyFile === undefined)
    throw badFlag("--key-file", "nothing", "a file, as --cert-file is set");
  return { certFile, keyFile, trustedCaFile, clientCertAuth: readBoolean(raw.clientCertAuth) };
}

function readAutoCompaction(raw: RawFlags): AutoCompaction | undefined {
  const retention = raw.autoCompactionRetention;
  if (retention === undefined) return undefined;
  if (retention === "0") return { mode: "off" };
  switch (raw.autoCompactionMode) {
    case "revision":
      return { mode: "revision", revisions: readCount("--auto-compaction-retention", retention) };
    case "periodic": {
      // A bare number is hours.
      const text = /^\d+$/.test(retention) ? `${retention}h` : retention;
      return { mode: "periodic", retentionMs: readDuration("--auto-compaction-retention", text) };
    }
    default:
      throw badFlag("--auto-compaction-mode", raw.autoCompactionMode, "periodic or revision");
  }
}

function readBoolean(value: string | boolean | undefined): boolean {
  if (value === undefined || typeof value === "boolean") return value ?? false;
  if (/^(true|1|t)$/i.test(value)) return true;
  if (/^(false|0|f|)$/i.test(value)) return false;
  throw badFlag("--client-cert-auth", value, "true or false");
}

function readCount(flag: string, value: string): number {
  const count = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(count)) throw badFlag(flag, value, "a number");
  return count;
}

/** Go's durations: `90s`, `1h30m`, `500ms`. */
function readDuration(flag: string, value: string): number {
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([text]) => text).join("") !== value) {
    throw badFlag(flag, value, "a duration such as 90s, 30m or 1h");
  }
  let total = 0;
  for (const [, amount, unit] of parts)
    total += Number(amount) * (DURATION_UNITS_MS[unit ?? ""] ?? 0);
  return total;
}

function splitUrls(value: string | undefined): string[] {
  return (value ?? "")
    .split(",")
    .map((url) => url.trim())
    .filter((url) => url !== "");
}

function badFlag(flag: string, value: string, expected: string) {
  return inputError("invalid-flag", `${flag}: ${JSON.stringify(value)} is not ${expected}`);
}
