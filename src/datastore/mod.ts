/**
 * Door of the datastore: the port, its adapters and the factory that opens what is configured.
 */
export type {
  Datastore,
  DatastoreErrorCode,
  KeyValue,
  PutOptions,
  Revision,
  WatchBatch,
  WatchEvent,
} from "./port.ts";
export { MemoryDatastore, type MemoryClock } from "./memory.ts";
export { EtcdDatastore } from "./etcd/adapter.ts";
export { EtcdClient, type EtcdClientSettings } from "./etcd/client.ts";
export {
  DEFAULT_ETCD_ENDPOINTS,
  datastoreSettingsFromEnv,
  defaultDataDir,
  etcdSettingsFromEnv,
  splitEndpoints,
  type DatastoreSettings,
  type EmbeddedSettings,
} from "./settings.ts";
export { embeddedSocketPath, openDatastore, type OpenOptions } from "./open.ts";
export {
  DEFAULT_AUTO_COMPACTION,
  Engine,
  type AutoCompaction,
  type EngineOptions,
} from "./embedded/engine.ts";
export { DatastoreServer, type ServerOptions } from "./server/server.ts";
export type { ServerTls } from "./server/tls-files.ts";
