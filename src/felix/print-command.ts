/**
 * `--print-config`: also asks the datastore, without waiting for one that is away; touches neither
 * the kernel nor the store.
 */
import { openDatastore, type Datastore, type DatastoreSettings } from "#datastore";
import { messageOf } from "#std";
import { startSyncer } from "#sync";
import { existsSync } from "node:fs";
import { DatastoreSources } from "./config/datastore-sources.ts";
import { datastoreSettings } from "./config/datastore-settings.ts";
import { printConfig, type PrintFormat } from "./config/print.ts";
import { resolveConfig, type RawSources } from "./config/resolve.ts";

const PATIENCE_MS = 3000;

export async function printableConfig(
  local: RawSources,
  hostnameDefault: string,
  format: PrintFormat,
): Promise<string> {
  const localConfig = resolveConfig(local, hostnameDefault);
  const settings = datastoreSettings(localConfig, process.env);
  const fromStore = await readStore(settings, localConfig.values.FelixHostname);
  if (typeof fromStore === "string") {
    process.stderr.write(`margay felix: without the datastore's settings: ${fromStore}\n`);
    return printConfig(localConfig, format);
  }
  return printConfig(resolveConfig({ ...fromStore, ...local }, hostnameDefault), format);
}

/** The datastore's sources, or why there are none. */
async function readStore(
  settings: DatastoreSettings,
  hostname: string,
): Promise<RawSources | string> {
  if (settings.type === "embedded" && !existsSync(settings.embedded.dataDir)) {
    return `there is no embedded store in ${settings.embedded.dataDir}`;
  }
  let store: Datastore;
  try {
    store = await openDatastore(settings, { lockTimeoutMs: PATIENCE_MS });
  } catch (error) {
    return messageOf(error);
  }
  try {
    return (await snapshot(store, hostname)) ?? `no answer within ${PATIENCE_MS / 1000} s`;
  } finally {
    await store.close();
  }
}

async function snapshot(store: Datastore, hostname: string): Promise<RawSources | undefined> {
  const sources = new DatastoreSources(hostname);
  const done = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => done.resolve(false), PATIENCE_MS);
  const syncer = startSyncer({
    store,
    callbacks: {
      onStatus: (status) => {
        if (status === "in-sync") done.resolve(true);
      },
      onUpdates: (updates) => {
        for (const update of updates) sources.onUpdate(update);
      },
      onInvalid: () => undefined,
      onInvalidCount: () => undefined,
    },
  });
  const inSync = await done.promise;
  clearTimeout(timer);
  await syncer.close();
  return inSync ? sources.sources() : undefined;
}
