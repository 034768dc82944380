/** What this node is called in the datastore. */
import { hostname } from "node:os";

/** As given in NODENAME; otherwise the host's name, in lower case as Kubernetes has it. */
export function nodeNameFrom(env: Readonly<Record<string, string | undefined>>): string {
  const given = (env["NODENAME"] ?? "").trim();
  if (given !== "") return given;
  return ((env["HOSTNAME"] ?? "").trim() || hostname().trim()).toLowerCase();
}
