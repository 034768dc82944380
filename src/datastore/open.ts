/** Opens the datastore that the settings name. */
import { datastoreError } from "./errors.ts";
import type { Datastore } from "./port.ts";
import type { DatastoreSettings } from "./settings.ts";

export interface OpenOptions {
  /**
   * For long-lived owners of an embedded store: also serve its socket, so that commands reach the
   * same store while this process lives.
   */
  readonly serve?: boolean;
  /** Names this process to others that find the store in use; for example `margay felix`. */
  readonly owner?: string;
  /** How long to wait for another process to leave the embedded store. */
  readonly lockTimeoutMs?: number;
}

export async function openDatastore(
  settings: DatastoreSettings,
  _options: OpenOptions = {},
): Promise<Datastore> {
  // Loaded on use: the gRPC client costs start-up time that the embedded store does not need.
  if (settings.type === "etcdv3") {
    const { EtcdDatastore } = await import("./etcd/adapter.ts");
    const { EtcdClient } = await import("./etcd/client.ts");
    return new EtcdDatastore(new EtcdClient(settings.etcd));
  }
  throw datastoreError("unavailable", "the embedded store is not built into this version");
}
