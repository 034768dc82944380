/**
 * etcd's members by DNS, as its own clients find them (etcd, "Clustering guide", DNS discovery):
 * SRV records of `_etcd-client-ssl._tcp.DOMAIN`, spoken to by TLS, else of `_etcd-client._tcp.DOMAIN`.
 */
import { resolveSrv } from "node:dns/promises";
import { messageOf } from "#std";
import { datastoreError } from "../errors.ts";

const SERVICES = [
  ["_etcd-client-ssl._tcp", "https"],
  ["_etcd-client._tcp", "http"],
] as const;

/**
 * Endpoints in the order of their priority. TLS goes first: a cluster that offers it is never asked
 * without. Throws `unavailable` when no record is to be had; the resolver is the system's.
 */
export async function discoverEndpoints(domain: string): Promise<readonly string[]> {
  const reasons: string[] = [];
  for (const [service, scheme] of SERVICES) {
    const name = `${service}.${domain}`;
    try {
      const records = await resolveSrv(name);
      if (records.length > 0) {
        return records
          .toSorted((a, b) => a.priority - b.priority || b.weight - a.weight)
          .map((record) => `${scheme}://${record.name.replace(/\.$/, "")}:${record.port}`);
      }
      reasons.push(`${name}: no records`);
    } catch (error) {
      reasons.push(messageOf(error));
      // Without an answer it is not known whether TLS is offered.
      if (!isAbsent(error)) break;
    }
  }
  throw datastoreError("unavailable", `no etcd endpoint found by DNS: ${reasons.join("; ")}`, {
    fields: { domain },
  });
}

function isAbsent(error: unknown): boolean {
  const code = (error as { readonly code?: unknown }).code;
  return code === "ENOTFOUND" || code === "ENODATA";
}
