/** The resource client over a store: races, references, what stays and what may not change. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "#ctl";
import { MemoryDatastore, type Datastore } from "#datastore";
import type { GlobalNetworkPolicy, GlobalNetworkSet, IPPool, Resource, Tier } from "#resource";

const apiVersion = "projectcalico.org/v3";
const set = (nets: string[], metadata = {}): GlobalNetworkSet => ({
  apiVersion,
  kind: "GlobalNetworkSet",
  metadata: { name: "s", ...metadata },
  spec: { nets },
});
const tier = (name: string): Tier => ({
  apiVersion,
  kind: "Tier",
  metadata: { name },
  spec: { order: 1, defaultAction: "Deny" },
});
const policy = (name: string, inTier: string): GlobalNetworkPolicy => ({
  apiVersion,
  kind: "GlobalNetworkPolicy",
  metadata: { name },
  spec: { tier: inTier, types: ["Ingress"] },
});
const pool = (name: string, cidr: string, blockSize = 26): IPPool =>
  ({ apiVersion, kind: "IPPool", metadata: { name }, spec: { cidr, blockSize } }) as IPPool;

const code = (wanted: string) => (error: unknown) => {
  assert.equal((error as { code?: unknown }).code, wanted, String(error));
  return true;
};

test("create, get, update, apply and delete keep identity and birth", async () => {
  const client = new Client(new MemoryDatastore());
  const made = await client.create(set(["10.0.0.0/8"]));
  assert.match(made.metadata.uid ?? "", /^[0-9a-f-]{36}$/);
  assert.match(made.metadata.creationTimestamp ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  assert.deepEqual(await client.get("GlobalNetworkSet", "s"), made);
  await assert.rejects(client.create(set([])), code("already-exists"));

  const { resource, outcome } = await client.update(set(["11.0.0.0/8"]));
  assert.equal(outcome, "updated");
  assert.equal(resource.metadata.uid, made.metadata.uid);
  assert.equal(resource.metadata.creationTimestamp, made.metadata.creationTimestamp);
  assert.notEqual(resource.metadata.resourceVersion, made.metadata.resourceVersion);
  const again = await client.apply(set(["11.0.0.0/8"]));
  assert.equal(again.outcome, "unchanged");
  assert.deepEqual(again.resource, resource);

  await client.delete("GlobalNetworkSet", "s");
  await assert.rejects(client.delete("GlobalNetworkSet", "s"), code("not-found"));
  await assert.rejects(client.get("GlobalNetworkSet", "s"), code("not-found"));
  await assert.rejects(client.update(set([])), code("not-found"));
});

test("a stale revision is refused, for update, apply and delete", async () => {
  const client = new Client(new MemoryDatastore());
  const { metadata } = await client.create(set(["10.0.0.0/8"]));
  const { resourceVersion = "" } = metadata;
  await client.update(set(["11.0.0.0/8"]));
  const stale = set(["12.0.0.0/8"], { resourceVersion });
  await assert.rejects(client.update(stale), code("conflict"));
  await assert.rejects(client.apply(stale), /the store has revision \d+, this one was read at \d+/);
  await assert.rejects(
    client.delete("GlobalNetworkSet", "s", { resourceVersion }),
    code("conflict"),
  );
  const now = await client.get("GlobalNetworkSet", "s");
  assert.deepEqual(now.spec.nets, ["11.0.0.0/8"]);
  await client.delete("GlobalNetworkSet", "s", {
    resourceVersion: now.metadata.resourceVersion ?? "",
  });
});

test("writers that race all win in some order, and none writes over another unseen", async () => {
  const store = new MemoryDatastore();
  const clients = Array.from({ length: 4 }, () => new Client(store));
  await Promise.all(clients.map((client, index) => client.apply(set([`10.${index}.0.0/16`]))));
  const { resources } = await new Client(store).list("GlobalNetworkSet");
  assert.equal(resources.length, 1);
  const tiers = await new Client(store).list("Tier");
  assert.deepEqual(
    tiers.resources.map((one) => one.metadata.name),
    ["default", "kube-admin", "kube-baseline"],
  );
});

test("a write that loses every race ends in conflict", async () => {
  const store = new MemoryDatastore();
  await new Client(store).create(set(["10.0.0.0/8"]));
  let round = 0;
  const contended: Datastore = {
    get: (key) => store.get(key),
    list: (prefix) => store.list(prefix),
    delete: (key, options) => store.delete(key, options),
    watch: (prefix, from, signal) => store.watch(prefix, from, signal),
    close: () => store.close(),
    put: async (key, value, options) => {
      const { kv } = await store.get(key);
      if (kv !== null) await store.put(key, `${kv.value.slice(0, -1)},"round":${round++}}`);
      return await store.put(key, value, options);
    },
  };
  await assert.rejects(new Client(contended).update(set(["11.0.0.0/8"])), code("conflict"));
  assert.ok(round > 1, "tried once only");
});

test("a policy needs its tier, and a peer its filters", async () => {
  const client = new Client(new MemoryDatastore());
  await assert.rejects(client.create(policy("p", "securty")), code("missing-reference"));
  await client.create(tier("security"));
  await assert.rejects(client.apply(policy("p", "securty")), /did you mean security\?/);
  await client.create(policy("p", "security"));
  await assert.rejects(client.update(policy("p", "gone")), code("missing-reference"));
  const peer: Resource = {
    apiVersion,
    kind: "BGPPeer",
    metadata: { name: "b" },
    spec: { peerIP: "10.0.0.1", asNumber: 1, filters: ["f"] },
  };
  await assert.rejects(client.create(peer), code("missing-reference"));
});

test("tiers with policies and built-in tiers stay", async () => {
  const client = new Client(new MemoryDatastore());
  await client.create(tier("t"));
  await client.create(policy("p", "t"));
  await assert.rejects(client.delete("Tier", "t"), code("unsupported"));
  await client.delete("GlobalNetworkPolicy", "p");
  await client.delete("Tier", "t");
  for (const name of ["default", "kube-admin", "kube-baseline"]) {
    await assert.rejects(client.delete("Tier", name), code("unsupported"));
  }
  await assert.rejects(
    client.delete("Profile", "projectcalico-default-allow"),
    code("unsupported"),
  );
});

test("pools do not overlap, and keep their block and block size", async () => {
  const client = new Client(new MemoryDatastore());
  await client.create(pool("a", "10.0.0.0/16"));
  await assert.rejects(
    client.create(pool("b", "10.0.128.0/20")),
    /overlaps 10\.0\.0\.0\/16 of IPPool a/,
  );
  await client.create(pool("b", "10.1.0.0/16"));
  await assert.rejects(client.update(pool("a", "10.2.0.0/16")), /spec\.cidr: cannot change/);
  await assert.rejects(
    client.update(pool("a", "10.0.0.0/16", 27)),
    /spec\.blockSize: cannot change/,
  );
  const { outcome } = await client.update({
    ...pool("a", "10.0.0.0/16"),
    spec: { ...pool("a", "10.0.0.0/16").spec, disabled: true },
  });
  assert.equal(outcome, "updated");
});

test("an invalid object in the store is told apart, and can be replaced", async () => {
  const store = new MemoryDatastore();
  const client = new Client(store);
  await client.create(set(["10.0.0.0/8"]));
  const key = "/calico/resources/v3/projectcalico.org/globalnetworksets/s";
  await store.put(key, "{broken");
  const { resources, invalid } = await client.list("GlobalNetworkSet");
  assert.deepEqual(resources, []);
  assert.equal(invalid[0]?.key, key);
  await assert.rejects(client.get("GlobalNetworkSet", "s"), code("invalid-resource"));
  const { resource } = await client.apply(set(["10.0.0.0/8"]));
  assert.ok(resource.metadata.uid !== undefined);
});

test("a status that a node wrote outlives a change of its spec", async () => {
  const client = new Client(new MemoryDatastore());
  const node: Resource = { apiVersion, kind: "Node", metadata: { name: "n" }, spec: {} };
  await client.create({ ...node, status: { wireguardPublicKey: "k" } });
  await client.apply({ ...node, spec: { bgp: { asNumber: 64512 } } });
  const { spec, status } = await client.get("Node", "n");
  assert.deepEqual(
    { spec, status },
    { spec: { bgp: { asNumber: 64512 } }, status: { wireguardPublicKey: "k" } },
  );
  await client.apply({ ...node, status: {} });
  assert.deepEqual((await client.get("Node", "n")).status, {});
});

test("an invalid resource is not written", async () => {
  const store = new MemoryDatastore();
  await assert.rejects(new Client(store).create(set(["10.0.0.0/33"])), code("invalid-resource"));
  assert.deepEqual((await store.list("/")).kvs, []);
});
