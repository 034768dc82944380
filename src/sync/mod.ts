export type { SyncCallbacks, SyncStatus } from "./port.ts";
export { startSyncer, type Syncer, type SyncerOptions } from "./syncer.ts";
export { WATCHED_PREFIXES } from "./decode.ts";
