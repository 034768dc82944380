/** Two nodes and one address: whatever the order of their steps, never both have it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "#ctl";
import { MemoryDatastore, type Datastore } from "#datastore";
import { parseIp } from "#ip";
import type { HostInterface } from "../../../src/node/autodetect.ts";
import { nodeSettings } from "../../../src/node/settings.ts";
import { writeAddresses } from "../../../src/node/startup.ts";

const interfaces: readonly HostInterface[] = [
  { name: "eth0", index: 2, up: true, addresses: [{ ip: parseIp("10.0.0.1"), prefixLen: 24 }] },
];
const host = {
  interfaces: () => interfaces,
  sourceTowards: async () => undefined,
  internalIps: async () => [],
};
const settingsOf = (name: string, more: Readonly<Record<string, string>> = {}) =>
  nodeSettings({ NODENAME: name, IP: "autodetect", ...more });

async function addressOf(store: Datastore, name: string): Promise<string | undefined> {
  return (await new Client(store).find("Node", name))?.spec.bgp?.ipv4Address;
}

/** Holds a store's `put` of nodes until both are about to write. */
function rendezvous(store: Datastore, parties: number): () => Datastore {
  let waiting = 0;
  const all = Promise.withResolvers<void>();
  return () => ({
    get: (key) => store.get(key),
    list: (prefix) => store.list(prefix),
    delete: (...args) => store.delete(...args),
    watch: (...args) => store.watch(...args),
    close: async () => {},
    put: async (key, ...rest) => {
      if (key.includes("/nodes/") && ++waiting >= parties) all.resolve();
      if (key.includes("/nodes/")) await all.promise;
      return await store.put(key, ...rest);
    },
  });
}

test("the second node is refused, and the error names the first", async () => {
  const client = new Client(new MemoryDatastore());
  assert.equal(await writeAddresses(client, settingsOf("a"), host), true);
  assert.equal(await writeAddresses(client, settingsOf("a"), host), false, "nothing is new");
  await assert.rejects(
    writeAddresses(client, settingsOf("b"), host),
    /10\.0\.0\.1 \(IP\) is the address of node a\..*margay delete node a/,
  );
  assert.equal(await client.find("Node", "b"), undefined);
  const unchecked = settingsOf("b", { DISABLE_NODE_IP_CHECK: "true" });
  assert.equal(await writeAddresses(client, unchecked, host), true);
});

test("a node that moved onto another's address gives its old one back, and keeps what else it has", async () => {
  const client = new Client(new MemoryDatastore());
  await writeAddresses(client, settingsOf("a"), host);
  await client.create({
    kind: "Node",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "b" },
    spec: { bgp: { ipv4Address: "10.0.0.2/24", asNumber: 65_001 } },
  });
  await assert.rejects(writeAddresses(client, settingsOf("b"), host), /is the address of node a/);
  assert.deepEqual((await client.get("Node", "b")).spec.bgp, { asNumber: 65_001 });
});

test("of two that start at the same moment, not both keep the address", async () => {
  const store = new MemoryDatastore();
  await new Client(store).create({
    kind: "Node",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "z" },
    spec: {},
  });
  const together = rendezvous(store, 2);
  const outcomes = await Promise.allSettled(
    ["a", "b"].map((name) => writeAddresses(new Client(together()), settingsOf(name), host)),
  );
  const held = [await addressOf(store, "a"), await addressOf(store, "b")];
  assert.ok(held.filter((address) => address !== undefined).length < 2, JSON.stringify(held));
  assert.ok(outcomes.some(({ status }) => status === "rejected"));
});
