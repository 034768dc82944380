/** The node agent: from the datastore to the kernel. */
export { felixCommand } from "./command.ts";
