/**
 * Which nodes of the cluster live: every agent renews a key of the datastore that vanishes by itself
 * (`…/status`, ReportingTTLSecs), and leaves its last report beside it.
 */
import type { Client } from "#ctl";
import { textTable } from "#ctl";
import { felixStatusPrefix } from "#model";

export interface NodeLife {
  readonly node: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** `never`: its agent has not reported yet, or reports are switched off. */
  readonly agent: "alive" | "dead" | "never";
  /** When it reported last, as it wrote it. */
  readonly lastReport: string;
}

export async function readAllNodes(client: Client, region: string): Promise<NodeLife[]> {
  const { resources } = await client.list("Node");
  return await Promise.all(
    resources.map(async ({ metadata: { name }, spec: { bgp = {} } }): Promise<NodeLife> => {
      const prefix = felixStatusPrefix(region, name);
      const [now, last] = await Promise.all([
        client.store.get(`${prefix}status`),
        client.store.get(`${prefix}last_reported_status`),
      ]);
      const agent = now.kv === null ? (last.kv === null ? "never" : "dead") : "alive";
      const lastReport = timeIn(now.kv?.value ?? last.kv?.value);
      const { ipv4Address: ipv4 = "", ipv6Address: ipv6 = "" } = bgp;
      return { node: name, ipv4, ipv6, agent, lastReport };
    }),
  );
}

function timeIn(text: string | undefined): string {
  if (text === undefined) return "";
  try {
    const { time } = JSON.parse(text) as { readonly time?: unknown };
    return typeof time === "string" ? time : "";
  } catch {
    return "";
  }
}

const STATES: Readonly<Record<NodeLife["agent"], string>> = {
  alive: "alive",
  dead: "DEAD",
  never: "never reported",
};

export function nodesTable(nodes: readonly NodeLife[]): string {
  const rows = nodes.map(({ node, ipv4, ipv6, agent, lastReport }) => [
    node,
    ipv4,
    ipv6,
    STATES[agent],
    lastReport,
  ]);
  return textTable([["NODE", "IPV4", "IPV6", "AGENT", "LAST REPORT"], ...rows]);
}
