/** A node's tunnel addresses: whom they are taken from, when they go back, and what a crash leaves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "#ctl";
import type { Datastore } from "#datastore";
import { audit, readSnapshot } from "#ipam";
import type { NodeSpec } from "#resource";
import { systemError } from "#std";
import { allocateTunnelAddresses } from "../../../src/node/tunnel-addresses.ts";
import { IpamWorld } from "../../support/ipam-world.ts";

async function worldWith(pools: Readonly<Record<string, object>>): Promise<IpamWorld> {
  const world = new IpamWorld();
  await world.put("Node", "host-a", { bgp: { ipv4Address: "10.0.0.1/24" } }, { rack: "r1" });
  for (const [name, spec] of Object.entries(pools)) await world.put("IPPool", name, spec);
  return world;
}

async function allocate(world: IpamWorld, store: Datastore = world.store): Promise<void> {
  await allocateTunnelAddresses(new Client(store), world.ipam(store), "host-a");
}

async function specOf(world: IpamWorld): Promise<NodeSpec> {
  return (await new Client(world.store).get("Node", "host-a")).spec;
}

const VXLAN4 = { cidr: "10.65.0.0/24", vxlanMode: "Always" };
const VXLAN6 = { cidr: "fd65::/112", vxlanMode: "CrossSubnet" };
const IPIP = { cidr: "10.66.0.0/24", ipipMode: "CrossSubnet" };

test("each tunnel that a pool asks for gets an address, in Calico's records", async () => {
  const world = await worldWith({ a: VXLAN4, b: VXLAN6, c: IPIP });
  await allocate(world);
  const spec = await specOf(world);
  assert.match(spec.ipv4VXLANTunnelAddr ?? "", /^10\.65\.0\.\d+$/);
  assert.match(spec.ipv6VXLANTunnelAddr ?? "", /^fd65::/);
  assert.match(spec.bgp?.ipv4IPIPTunnelAddr ?? "", /^10\.66\.0\.\d+$/);
  assert.equal(spec.bgp?.ipv4Address, "10.0.0.1/24");
  const records = Object.values(await world.dump()).join("\n");
  for (const [handle, type] of [
    ["vxlan-tunnel-addr-host-a", "vxlanTunnelAddress"],
    ["vxlan-v6-tunnel-addr-host-a", "vxlanV6TunnelAddress"],
    ["ipip-tunnel-addr-host-a", "ipipTunnelAddress"],
  ]) {
    assert.ok(
      records.includes(`{"handle_id":"${handle}","secondary":{"node":"host-a","type":"${type}"}}`),
      records,
    );
  }
  const before = await world.dump();
  await allocate(world);
  assert.deepEqual(await world.dump(), before, "again: nothing changes");
});

test("pools that may not be used give none, and an address goes back when its pool stops", async () => {
  const world = await worldWith({
    disabled: { ...VXLAN4, disabled: true },
    elsewhere: { ...VXLAN6, nodeSelector: "rack == 'r2'" },
    workloads: { ...IPIP, allowedUses: ["Workload"] },
  });
  await allocate(world);
  assert.deepEqual(await specOf(world), { bgp: { ipv4Address: "10.0.0.1/24" } });
  await world.put("IPPool", "disabled", { ...VXLAN4, assignmentMode: "Manual" });
  await allocate(world);
  assert.ok((await specOf(world)).ipv4VXLANTunnelAddr, "manual pools serve tunnels");
  await world.put("IPPool", "disabled", { ...VXLAN4, vxlanMode: "Never" });
  await allocate(world);
  assert.deepEqual(await specOf(world), { bgp: { ipv4Address: "10.0.0.1/24" } });
  const { problems } = audit(await readSnapshot(world.store));
  assert.deepEqual(problems, []);
});

test("when the pool moves, so does the address; what somebody wrote by hand is replaced", async () => {
  const world = await worldWith({ a: VXLAN4 });
  await allocate(world);
  await world.store.delete("/calico/resources/v3/projectcalico.org/ippools/a");
  await world.put("IPPool", "b", { ...VXLAN4, cidr: "10.67.0.0/24" });
  await allocate(world);
  const { ipv4VXLANTunnelAddr: moved = "" } = await specOf(world);
  assert.match(moved, /^10\.67\.0\./);
  await world.put("Node", "host-a", { ipv4VXLANTunnelAddr: "10.67.0.200" });
  await allocate(world);
  assert.equal((await specOf(world)).ipv4VXLANTunnelAddr, moved, "the one that IPAM knows");
});

test("a full pool is an error that says so, and does not hold back the other tunnels", async () => {
  const world = await worldWith({ a: { ...VXLAN4, cidr: "10.65.0.0/32", blockSize: 32 }, c: IPIP });
  await world.ipam().autoAssign({ host: "host-b", ipv4: 1, pools4: ["10.65.0.0/32"] });
  await assert.rejects(
    allocate(world),
    /node host-a: vxlanTunnelAddress: no free address in 10\.65\.0\.0\/32/,
  );
  assert.ok((await specOf(world)).bgp?.ipv4IPIPTunnelAddr);
});

/** Dead from that write on; `after` lets the write happen and only its answer be lost. */
function dyingStore(store: Datastore, write: number, after: boolean): Datastore {
  let writes = 0;
  let died = false;
  const dead = () => systemError("unavailable", "dead");
  const change = async <T>(run: () => Promise<T>): Promise<T> => {
    if (died) throw dead();
    if (++writes < write) return await run();
    died = true;
    if (after) await run();
    throw dead();
  };
  return {
    get: async (key) => {
      if (died) throw dead();
      return await store.get(key);
    },
    list: async (prefix) => {
      if (died) throw dead();
      return await store.list(prefix);
    },
    put: async (...args) => await change(() => store.put(...args)),
    delete: async (...args) => await change(() => store.delete(...args)),
    watch: (...args) => store.watch(...args),
    close: async () => {},
  };
}

for (const [name, prepare] of Object.entries({
  "taking addresses": async () => undefined,
  "giving them back": async (world: IpamWorld) => {
    await allocate(world);
    await world.put("IPPool", "a", { ...VXLAN4, vxlanMode: "Never" });
    await world.put("IPPool", "b", { ...VXLAN6, vxlanMode: "Never" });
  },
})) {
  test(`killed at any write while ${name}, the next run ends where an undisturbed one does`, async () => {
    let deaths = 0;
    for (const after of [false, true]) {
      for (let write = 1; write < 60; write++) {
        const world = await worldWith({ a: VXLAN4, b: VXLAN6 });
        await prepare(world);
        const died = await allocate(world, dyingStore(world.store, write, after)).then(
          () => false,
          () => true,
        );
        if (!died) break;
        deaths++;
        await allocate(world);
        const spec = await specOf(world);
        const isTaking = name === "taking addresses";
        assert.equal(spec.ipv4VXLANTunnelAddr !== undefined, isTaking);
        assert.equal(spec.ipv6VXLANTunnelAddr !== undefined, isTaking);
        const { problems } = audit(await readSnapshot(world.store));
        const lost = problems.filter(({ kind }) =>
          ["leaked", "not-allocated", "duplicate", "outside-pools"].includes(kind),
        );
        assert.deepEqual(lost, [], `write ${write}`);
      }
    }
    assert.ok(deaths >= 4, `${deaths} deaths`);
  });
}
