/** The node agent: from the datastore to the kernel. */
export { felixCommand } from "./command.ts";
export { DatastoreSources } from "./config/datastore-sources.ts";
export type { FelixValues } from "./config/params.ts";
export { resolveConfig } from "./config/resolve.ts";
export { forwardOptions } from "./forward-options.ts";
export { graphSettings } from "./graph-settings.ts";
