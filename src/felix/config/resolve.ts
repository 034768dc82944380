/**
 * Merges the sources of configuration: for each parameter the value of the highest source wins.
 * A value that does not parse falls back to the default (not to a lower source, as Felix does), or
 * ends the agent where the table says so; raw `none` is the kind's zero value. Pure: sources in,
 * values, origins and problems out.
 */
import { didYouMean, inputError, messageOf } from "#std";
import type { Param } from "./kinds.ts";
import { PARAMS, paramNamed, type FelixValues, type ParamName } from "./params.ts";

/** Ascending. */
export const SOURCES = [
  "default",
  "datastore (global)",
  "datastore (per-selector)",
  "datastore (per-host)",
  "config file",
  "environment variable",
] as const;
type Source = (typeof SOURCES)[number];
const LOCAL_SOURCES: ReadonlySet<Source> = new Set(["config file", "environment variable"]);

/** Raw text by name, in any capitalisation. */
export type RawConfig = Readonly<Record<string, string>>;
export type RawSources = Readonly<Partial<Record<Exclude<Source, "default">, RawConfig>>>;

export interface Problem {
  readonly severity: "info" | "warn";
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

interface Origin {
  readonly source: Source;
  /** As it was given; for the default as it is declared. */
  readonly raw: string;
}

export interface FelixConfig {
  readonly values: FelixValues;
  readonly origins: Readonly<Record<ParamName, Origin>>;
  /** What the dataplane is told: raw values that were set, and unknown ones as they are. */
  readonly raw: RawConfig;
  /** What it was merged from. */
  readonly sources: RawSources;
  readonly problems: readonly Problem[];
}

/** Throws MargayError `invalid-config` where the agent must not start. */
export function resolveConfig(sources: RawSources, hostnameDefault: string): FelixConfig {
  const values: Record<string, unknown> = {};
  const origins: Record<string, Origin> = {};
  const raw: Record<string, string> = {};
  const problems: Problem[] = [];
  for (const [name, declared] of Object.entries(PARAMS)) {
    values[name] = defaultOf(declared);
    origins[name] = { source: "default", raw: declared.default };
  }
  values["FelixHostname"] = hostnameDefault;
  origins["FelixHostname"] = { source: "default", raw: hostnameDefault };

  for (const source of SOURCES) {
    if (source === "default") continue;
    for (const [rawName, rawValue] of Object.entries(sources[source] ?? {})) {
      if (rawValue === "") continue; // As Felix: only `none` switches off.
      const name = paramNamed(rawName);
      if (name === undefined) {
        raw[rawName] = rawValue;
        problems.push(unknownParam(rawName, source));
        continue;
      }
      const declared: Param<unknown> = PARAMS[name];
      if (declared.local && !LOCAL_SOURCES.has(source)) {
        problems.push({
          severity: "warn",
          message: "local-only parameter ignored",
          fields: { name, source },
        });
        continue;
      }
      values[name] = parseOne(name, declared, rawValue, source, problems);
      origins[name] = { source, raw: rawValue };
      raw[name] = rawValue;
    }
  }
  warnUnused(values, origins, problems);
  return {
    values: values as unknown as FelixValues,
    origins: origins as Record<ParamName, Origin>,
    raw,
    sources,
    problems,
  };
}

function parseOne(
  name: ParamName,
  declared: Param<unknown>,
  rawValue: string,
  source: Source,
  problems: Problem[],
): unknown {
  if (rawValue.toLowerCase() === "none") {
    if (!declared.nonZero) return declared.kind.zero;
    throw inputError("invalid-config", `${name} from ${source} cannot be none`, {
      fields: { name, source },
    });
  }
  try {
    return declared.kind.parse(rawValue);
  } catch (error) {
    const message = `${name} from ${source}: ${messageOf(error)}`;
    if (declared.dieOnFail) {
      throw inputError("invalid-config", message, { cause: error, fields: { name, source } });
    }
    problems.push({
      severity: "warn",
      message: "invalid value replaced with the default",
      fields: {
        name,
        source,
        value: rawValue,
        allowed: declared.kind.schema,
        default: declared.default,
      },
    });
    return defaultOf(declared);
  }
}

function defaultOf(declared: Param<unknown>): unknown {
  return declared.default === "" ? declared.kind.zero : declared.kind.parse(declared.default);
}

function unknownParam(rawName: string, source: Source): Problem {
  const guess = didYouMean(rawName, Object.keys(PARAMS));
  return {
    severity: "info",
    message: "unknown parameter ignored",
    fields: { name: rawName, source, ...(guess === undefined ? {} : { didYouMean: guess }) },
  };
}

/** Said by name, and only when the value is not what it would be anyway. */
function warnUnused(
  values: Readonly<Record<string, unknown>>,
  origins: Readonly<Record<string, Origin>>,
  problems: Problem[],
): void {
  const names = Object.entries(PARAMS)
    .filter(
      ([name, declared]: [string, Param<unknown>]) =>
        !declared.used &&
        origins[name]?.source !== "default" &&
        declared.kind.show(values[name]) !== declared.kind.show(defaultOf(declared)),
    )
    .map(([name]) => name);
  if (names.length === 0) return;
  problems.push({
    severity: "warn",
    message: "parameters set that this build does not use",
    fields: { names },
  });
}

/** Parameters whose change the running agent takes without a restart. */
const LIVE: ReadonlySet<string> = new Set<ParamName>([
  "CalicoVersion",
  "ClusterGUID",
  "ClusterType",
  "HealthTimeoutOverrides",
]);

export interface Change {
  readonly name: ParamName;
  readonly from: string;
  readonly to: string;
  readonly needsRestart: boolean;
}

/** What differs in meaning (not in spelling) between two configurations. */
export function changesBetween(before: FelixConfig, after: FelixConfig): readonly Change[] {
  return Object.entries(PARAMS).flatMap(([key, declared]: [string, Param<unknown>]) => {
    const name = key as ParamName;
    const from = declared.kind.show(before.values[name]);
    const to = declared.kind.show(after.values[name]);
    return from === to ? [] : [{ name, from, to, needsRestart: !LIVE.has(name) }];
  });
}
