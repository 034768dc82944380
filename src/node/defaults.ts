/** What every cluster gets from its first node on; what is there already stays as it is. */
import type { Client } from "#ctl";
import { tryParseCidr, type Ip } from "#ip";
import { logger } from "#log";
import { API_VERSION, type FelixConfiguration, type Resource } from "#resource";
import { bug, MargayError } from "#std";
import { poolObject, type DefaultPool } from "./pools.ts";

const log = logger("node");

/** A pool of each wanted family that has none. */
export async function ensurePools(
  client: Client,
  wanted: readonly DefaultPool[],
  hostIps: readonly Ip[],
): Promise<void> {
  const { resources, invalid } = await client.list("IPPool");
  const families = new Set(resources.map(({ spec }) => tryParseCidr(spec.cidr)?.family));
  for (const one of wanted) {
    if (families.has(one.family)) continue;
    // A pool that cannot be read may be of this family: two pools are worse than none.
    if (invalid.length > 0) {
      const keys = invalid.map(({ key }) => key);
      log.warn("no default pool is made while a pool is not valid", { family: one.family, keys });
      continue;
    }
    const pool = poolObject(one, hostIps);
    if (await createOnce(client, pool)) {
      log.info("default pool made", { name: pool.metadata.name, cidr: pool.spec.cidr });
    }
  }
}

/** The cluster's types gain ours, comma-separated; the datastore is marked as ready if nobody did. */
export async function ensureClusterInformation(
  client: Client,
  types: readonly string[],
): Promise<void> {
  for (;;) {
    const found = await client.find("ClusterInformation", "default");
    if (found === undefined) throw bug("no ClusterInformation after a write");
    const before = found.spec.clusterType ?? "";
    const known = before === "" ? [] : before.split(",");
    const clusterType = [...new Set([...known, ...types])].join(",");
    if (clusterType === before) return;
    try {
      await client.update({ ...found, spec: { ...found.spec, clusterType } });
      return;
    } catch (error) {
      if (!(error instanceof MargayError) || error.code !== "conflict") throw error;
    }
  }
}

/**
 * As calico-node, except for reportingInterval, which it sets to 0: then no agent would report that
 * it lives, and nobody could see that a node is dead.
 */
export async function ensureFelixConfiguration(client: Client, node: string): Promise<void> {
  await ensureField(client, "default", "logSeverityScreen", "Info");
  await ensureField(client, `node.${node}`, "defaultEndpointToHostAction", "Return");
}

async function ensureField(
  client: Client,
  name: string,
  field: string,
  value: string,
): Promise<void> {
  const found = await client.find("FelixConfiguration", name);
  if (found?.spec[field] !== undefined) return;
  const spec = { ...found?.spec, [field]: value };
  const wanted: FelixConfiguration = {
    kind: "FelixConfiguration",
    apiVersion: API_VERSION,
    metadata: { name },
    spec,
  };
  try {
    if (found === undefined) await client.create(wanted);
    else await client.update({ ...found, spec });
  } catch (error) {
    // Somebody else was faster: what they wrote counts.
    if (!isLostRace(error)) throw error;
  }
}

/** An empty one, for people to change. */
export async function ensureBgpConfiguration(client: Client): Promise<void> {
  if ((await client.find("BGPConfiguration", "default")) !== undefined) return;
  await createOnce(client, {
    kind: "BGPConfiguration",
    apiVersion: API_VERSION,
    metadata: { name: "default" },
    spec: { logSeverityScreen: "Info", serviceLoadBalancerAggregation: "Enabled" },
  });
}

/** False when somebody else made it meanwhile. */
async function createOnce(client: Client, resource: Resource): Promise<boolean> {
  try {
    await client.create(resource);
    return true;
  } catch (error) {
    if (isLostRace(error)) return false;
    throw error;
  }
}

function isLostRace(error: unknown): boolean {
  return error instanceof MargayError && ["already-exists", "conflict"].includes(error.code);
}
