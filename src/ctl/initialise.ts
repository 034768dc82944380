/**
 * What a datastore holds from its first write on: the built-in tiers and a ClusterInformation that
 * says that it is ready. Several writers may do this at once; each object is made at most once.
 */
import type { Datastore } from "#datastore";
import { API_VERSION, DEFAULT_TIERS, encodeStored, resourcePath, type Resource } from "#resource";
import { MargayError } from "#std";

export async function ensureInitialised(
  store: Datastore,
  stamp: (resource: Resource) => Resource,
  uuid: () => string,
): Promise<void> {
  const wanted: Resource[] = [
    {
      kind: "ClusterInformation",
      apiVersion: API_VERSION,
      metadata: { name: "default" },
      spec: { clusterGUID: uuid().replaceAll("-", ""), datastoreReady: true },
    },
    ...DEFAULT_TIERS.map(({ name, order, defaultAction }): Resource => ({
      kind: "Tier",
      apiVersion: API_VERSION,
      metadata: { name },
      spec: { order, defaultAction },
    })),
  ];
  for (const resource of wanted) {
    const key = resourcePath(resource.kind, resource.metadata.name);
    if ((await store.get(key)).kv !== null) continue;
    try {
      await store.put(key, encodeStored(stamp(resource)), { ifModRevision: 0 });
    } catch (error) {
      const lost = error instanceof MargayError && ["exists", "conflict"].includes(error.code);
      if (!lost) throw error;
    }
  }
}
