/**
 * What goes with a node that is gone for good, as in Calico: its workload endpoints and addresses, its
 * blocks, peers and settings that name it alone, and its agent's last words. The Node itself goes last,
 * so that a removal that was cut short can be repeated.
 */
import { felixStatusPrefix } from "#model";
import { MargayError } from "#std";
import type { Client } from "./client.ts";

export async function removeBelongings(client: Client, node: string): Promise<void> {
  for (const { metadata, spec } of (await client.list("WorkloadEndpoint")).resources) {
    if (spec.node !== node) continue;
    await removed(client.delete("WorkloadEndpoint", metadata.name, namespaceOf(metadata)));
  }
  // Loaded on use: no other command on resources needs it.
  const { Ipam } = await import("#ipam");
  await new Ipam(client.store).removeHost(node);
  for (const { metadata, spec } of (await client.list("BGPPeer")).resources) {
    if (spec.node === node) await removed(client.delete("BGPPeer", metadata.name));
  }
  await removed(client.delete("FelixConfiguration", `node.${node}`));
  await removed(client.delete("BGPConfiguration", `node.${node}`));
  const { kvs } = await client.store.list(felixStatusPrefix("", node));
  for (const { key } of kvs) await client.store.delete(key);
}

function namespaceOf({ namespace }: { readonly namespace?: string }): { namespace?: string } {
  return namespace === undefined ? {} : { namespace };
}

/** Gone already is as good. */
async function removed(deletion: Promise<void>): Promise<void> {
  try {
    await deletion;
  } catch (error) {
    if (!(error instanceof MargayError) || error.code !== "not-found") throw error;
  }
}
