/** Door of the command line for resources and the embedded store, and of the resource client. */
export { Client, type ClientOptions, type Listed, type Written } from "./client.ts";
export { connect, datastoreSettings } from "./connect.ts";
export { ensureInitialised } from "./initialise.ts";
export { ctlCommand, runCtl, type CtlIo } from "./run.ts";
export { datastoreCommand } from "./commands/datastore.ts";
export { completionScript } from "./completion.ts";
export { ipamCommand } from "./commands/ipam.ts";
export { policyCommand } from "./commands/policy.ts";
export { HostState } from "./policy-eval/host-state.ts";
export { nodeNameFrom } from "./node-name.ts";
export { readManifests } from "./input-files.ts";
export { textTable } from "./text-table.ts";
export { unifiedDiff } from "./unified-diff.ts";
