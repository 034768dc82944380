/**
 * Opens the datastore that the settings name. The embedded store has one owner at a time: whoever
 * finds its socket alive is a client of the owner; whoever does not becomes the owner.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MargayError } from "#std";
import type { Datastore } from "./port.ts";
import type { DatastoreSettings, EmbeddedSettings, EtcdSettings } from "./settings.ts";

export interface OpenOptions {
  /**
   * For long-lived owners of an embedded store: also serve its socket, so that commands reach the
   * same store while this process lives.
   */
  readonly serve?: boolean;
  /** Names this process to others that find the store in use; for example `margay felix`. */
  readonly owner?: string;
  /** How long to wait for another process to leave the embedded store, ms. */
  readonly lockTimeoutMs?: number;
}

const DEFAULT_LOCK_TIMEOUT_MS = 5000;
const LOCK_POLL_MS = 20;

/**
 * Throws `invalid` for settings that cannot work. Connections to etcd are made on the first call; only
 * its names are looked up here, if they are to be found by DNS.
 */
export async function openDatastore(
  settings: DatastoreSettings,
  options: OpenOptions = {},
): Promise<Datastore> {
  if (settings.type === "embedded") return await openEmbedded(settings.embedded, options);
  return await openEtcd(settings.etcd);
}

/** Where the owner of an embedded store listens. */
export function embeddedSocketPath(dataDir: string): string {
  return join(dataDir, "margay.sock");
}

async function openEmbedded(settings: EmbeddedSettings, options: OpenOptions): Promise<Datastore> {
  const { dataDir } = settings;
  const socketPath = embeddedSocketPath(dataDir);
  const deadline = performance.now() + (options.lockTimeoutMs ?? DEFAULT_LOCK_TIMEOUT_MS);
  for (;;) {
    if (existsSync(socketPath)) {
      const { socketAnswers } = await import("./server/listener.ts");
      if (await socketAnswers(socketPath)) {
        return await openEtcd({ endpoints: [`unix://${socketPath}`] });
      }
    }
    try {
      return await own(dataDir, options);
    } catch (error) {
      // The holder may be a short command, or about to listen.
      if (!isBusy(error) || performance.now() > deadline) throw error;
    }
    await sleep(LOCK_POLL_MS);
  }
}

async function own(dataDir: string, options: OpenOptions): Promise<Datastore> {
  const [{ Engine }, { LocalApi }, { EtcdDatastore }] = await Promise.all([
    import("./embedded/engine.ts"),
    import("./embedded/local-api.ts"),
    import("./etcd/adapter.ts"),
  ]);
  const engine = Engine.open(dataDir, { owner: options.owner ?? "margay" });
  if (options.serve !== true) {
    return new EtcdDatastore(new LocalApi(engine, () => engine.close()));
  }
  try {
    const { DatastoreServer } = await import("./server/server.ts");
    const listenUrls = [`unix://${embeddedSocketPath(dataDir)}`];
    const server = await DatastoreServer.start(engine, { listenUrls });
    const close = async () => {
      await server.close();
      await engine.close();
    };
    return new EtcdDatastore(new LocalApi(engine, close));
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** Loaded on use: the gRPC client costs start-up time that the embedded store does not need. */
async function openEtcd(settings: EtcdSettings): Promise<Datastore> {
  const [{ EtcdDatastore }, { EtcdClient }] = await Promise.all([
    import("./etcd/adapter.ts"),
    import("./etcd/client.ts"),
  ]);
  const { discoverySrv } = settings;
  if (discoverySrv === undefined) return new EtcdDatastore(new EtcdClient(settings));
  const { discoverEndpoints } = await import("./etcd/discovery.ts");
  const endpoints = await discoverEndpoints(discoverySrv);
  return new EtcdDatastore(new EtcdClient({ ...settings, endpoints }));
}

function isBusy(error: unknown): boolean {
  return error instanceof MargayError && error.fields["busy"] === true;
}
