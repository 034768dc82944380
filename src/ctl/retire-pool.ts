/**
 * What goes before an IPPool is deleted, as in Calico: it is disabled, so that nobody takes a block of it
 * any more, and the blocks that hosts hold are given back. Addresses in use stay with their holders.
 */
import { parseCidr } from "#ip";
import type { IPPool } from "#resource";
import { MargayError } from "#std";
import type { Client } from "./client.ts";

/**
 * `revision`: which the pool must have, if given. Resolves with the one that it has then. Throws
 * `conflict` as `update` does.
 */
export async function retirePool(
  client: Client,
  pool: IPPool,
  revision: string | undefined,
): Promise<string | undefined> {
  const after = await disable(client, pool, revision);
  // Loaded on use: no other command on resources needs it.
  const { Ipam } = await import("#ipam");
  await new Ipam(client.store).releasePoolAffinities(parseCidr(pool.spec.cidr));
  return after;
}

async function disable(
  client: Client,
  pool: IPPool,
  revision: string | undefined,
): Promise<string | undefined> {
  const metadata =
    revision === undefined ? pool.metadata : { ...pool.metadata, resourceVersion: revision };
  try {
    const spec = { ...pool.spec, disabled: true };
    const { resource } = await client.update({ ...pool, metadata, spec });
    return resource.metadata.resourceVersion;
  } catch (error) {
    // What an older version stored may not be valid today: then it goes without.
    if (error instanceof MargayError && error.code === "invalid-resource") return revision;
    throw error;
  }
}
