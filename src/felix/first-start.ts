/**
 * On a cluster somebody else makes the ClusterInformation that the agent waits for. The embedded
 * store of one host has nobody else: the agent makes it, as the first write of a client would.
 */
import { randomUUID } from "node:crypto";
import type { Datastore } from "#datastore";
import { logger } from "#log";
import { resourcePath } from "#resource";

const log = logger("felix");

export async function initialiseEmbeddedStore(store: Datastore): Promise<void> {
  const { kv } = await store.get(resourcePath("ClusterInformation", "default"));
  if (kv !== null) return;
  log.info("the embedded store is new; making its first objects");
  const { ensureInitialised } = await import("#ctl");
  await ensureInitialised(
    store,
    (resource) => ({
      ...resource,
      metadata: {
        ...resource.metadata,
        uid: randomUUID(),
        creationTimestamp: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
      },
    }),
    randomUUID,
  );
}
