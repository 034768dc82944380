/** The configuration as a dataplane is told of it, in Felix's words. */
import type { ToDataplane } from "#calc";
import type { FelixConfig, RawConfig, RawSources } from "./resolve.ts";

/** Felix's names of the sources, by ascending rank from 1. */
const SOURCES: readonly (readonly [name: string, source: keyof RawSources])[] = [
  ["datastore (global)", "datastore (global)"],
  ["datastore (per-node-selector)", "datastore (per-selector)"],
  ["datastore (per-host)", "datastore (per-host)"],
  ["config file", "config file"],
  ["environment variable", "environment variable"],
];

export function configUpdate({ raw, sources }: FelixConfig): ToDataplane {
  const entries = SOURCES.map(([name, source], index) => [
    index + 1,
    { source: name, config: given(source, sources[source] ?? {}) },
  ]);
  return {
    case: "configUpdate",
    value: { config: raw, sourceToRawConfig: Object.fromEntries(entries) },
  };
}

/** What it says anything of. Felix lower-cases the names of environment variables. */
function given(source: string, config: RawConfig): RawConfig {
  const entries = Object.entries(config).filter(([, value]) => value !== "");
  if (source !== "environment variable") return Object.fromEntries(entries);
  return Object.fromEntries(entries.map(([name, value]) => [name.toLowerCase(), value]));
}
