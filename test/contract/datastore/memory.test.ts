import { MemoryDatastore } from "#datastore";
import { datastoreContract } from "./suite.ts";

datastoreContract("memory", async () => {
  const stores: MemoryDatastore[] = [];
  return {
    open: async () => {
      const store = new MemoryDatastore();
      stores.push(store);
      return store;
    },
    compact: async (revision) => stores[0]?.compact(revision),
  };
});
