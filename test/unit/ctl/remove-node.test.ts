/** A node that is deleted takes along what was its alone, and nothing of others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "#ctl";
import { formatIp, parseCidr } from "#ip";
import { audit, readSnapshot } from "#ipam";
import { IpamWorld } from "../../support/ipam-world.ts";

const SPEC = { cidr: "10.65.0.0/24", blockSize: 28 };

async function clusterOfTwo(): Promise<{ world: IpamWorld; client: Client }> {
  const world = new IpamWorld();
  await world.pool("p", SPEC.cidr, { blockSize: SPEC.blockSize });
  for (const name of ["a", "b"]) {
    await world.node(name);
    const { ipv4 } = await world.ipam().autoAssign({ host: name, ipv4: 1, handle: `h-${name}` });
    const [first] = ipv4.assigned;
    assert.ok(first);
    await client(world).create({
      kind: "WorkloadEndpoint",
      apiVersion: "projectcalico.org/v3",
      metadata: {
        name: `${name}-k8s-pod-eth0`,
        namespace: "default",
        labels: {
          "projectcalico.org/namespace": "default",
          "projectcalico.org/orchestrator": "k8s",
        },
      },
      spec: {
        orchestrator: "k8s",
        node: name,
        pod: "pod",
        endpoint: "eth0",
        ipNetworks: [`${formatIp(first.ip)}/32`],
        interfaceName: "cali0",
      },
    });
    await world.put("BGPPeer", `tor-${name}`, { node: name, peerIP: "10.0.0.9", asNumber: 65_000 });
    await world.put("FelixConfiguration", `node.${name}`, {
      defaultEndpointToHostAction: "Return",
    });
    await world.store.put(`/calico/felix/v2/no-region/host/${name}/last_reported_status`, "{}");
  }
  await world.put("BGPPeer", "for-all", { peerIP: "10.0.0.8", asNumber: 65_000 });
  return { world, client: client(world) };
}

function client(world: IpamWorld): Client {
  return new Client(world.store);
}

async function keysNaming(world: IpamWorld, name: string): Promise<string[]> {
  const { kvs } = await world.store.list("/calico/");
  const pattern = new RegExp(
    `/${name}(?:/|-|$)|tor-${name}|node\\.${name}|h-${name}|host:${name}"`,
    "m",
  );
  return kvs.flatMap(({ key, value }) => (pattern.test(`${key}\n${value}`) ? [key] : []));
}

test("deleting a node reclaims its addresses and blocks, and removes what names it alone", async () => {
  const { world, client: made } = await clusterOfTwo();
  const before = await keysNaming(world, "b");
  assert.equal((await keysNaming(world, "a")).length, 8);
  await made.delete("Node", "a");
  assert.deepEqual(await keysNaming(world, "a"), []);
  assert.deepEqual(await keysNaming(world, "b"), before);
  assert.ok(await made.find("BGPPeer", "for-all"));
  assert.deepEqual(audit(await readSnapshot(world.store)).problems, []);
});

test("a deletion that is refused removes nothing", async () => {
  const { world, client: made } = await clusterOfTwo();
  const before = await keysNaming(world, "a");
  await assert.rejects(made.delete("Node", "a", { resourceVersion: "1" }), /conflict|revision/i);
  await assert.rejects(made.delete("Node", "nobody"), /not exist|not found/i);
  assert.deepEqual(await keysNaming(world, "a"), before);
});

test("a pool that is deleted gives back its blocks; addresses in use stay with their holders", async () => {
  const { world } = await clusterOfTwo();
  await world.pool("other", "10.66.0.0/24", { blockSize: SPEC.blockSize });
  await world.ipam().claimAffinity(parseCidr("10.66.0.0/28"), { type: "host", name: "b" });
  const pool = await client(world).get("IPPool", "p");
  await assert.rejects(
    client(world).delete("IPPool", "p", { resourceVersion: "1" }),
    (error: { code?: string }) => error.code === "conflict",
  );
  assert.equal((await client(world).get("IPPool", "p")).spec.disabled ?? false, false);
  const version = pool.metadata.resourceVersion;
  await client(world).delete(
    "IPPool",
    "p",
    version === undefined ? {} : { resourceVersion: version },
  );
  assert.deepEqual(
    (await client(world).list("IPPool")).resources.map(({ metadata }) => metadata.name),
    ["other"],
  );
  const { kvs } = await world.store.list("/calico/ipam/v2/host/");
  assert.deepEqual(
    kvs.map(({ key }) => key),
    ["/calico/ipam/v2/host/b/ipv4/block/10.66.0.0-28"],
  );
  const [held] = await world.ipam().ipsByHandle("h-a");
  assert.ok(held !== undefined && formatIp(held).startsWith("10.65.0."));
});
