/** Door of the syncer. */
export type { SyncCallbacks, SyncStatus } from "./port.ts";
export { startSyncer, type Syncer, type SyncerOptions } from "./syncer.ts";
export { PrefixFollower, type Change } from "./prefix-follower.ts";
