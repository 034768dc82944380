/** Door of the node: start-up, its services under a supervisor, their health and status. */
export { nodeCommand } from "./command.ts";
