/** The records of three container addresses, one of them released, byte for byte as Calico's. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { hostOwner } from "#ipam";
import { parseCidr, parseIp } from "#ip";
import { IpamWorld } from "../../support/ipam-world.ts";

/** Times and sequence numbers are placeholders in the file. */
function masked(dump: Readonly<Record<string, string>>): Record<string, string> {
  const mask = (value: string) =>
    value
      .replaceAll(/"(affinity_claim_time|timestamp)":"[^"]*"/g, '"$1":"<time>"')
      .replaceAll(/"sequenceNumber":\d+/g, '"sequenceNumber":<seq>')
      .replaceAll(/"(\d+)":\d{15,}/g, '"$1":<seq>');
  return Object.fromEntries(Object.entries(dump).map(([key, value]) => [key, mask(value)]));
}

const golden = JSON.parse(readFileSync("test/golden/calicoctl/ipam.json", "utf8")) as Record<
  string,
  string
>;

async function likeGolden(): Promise<IpamWorld> {
  const world = new IpamWorld();
  await world.pool("pool-ipip", "172.20.0.0/20", { ipipMode: "Always" });
  await world.node("host-a");
  const ipam = world.ipam();
  // Which block a host begins with is chance; the plugin's was this one.
  assert.equal(await ipam.claimAffinity(parseCidr("172.20.5.0/26"), hostOwner("host-a")), true);
  for (const at of [1, 2, 3]) {
    world.nowMs += 1000;
    const { ipv4 } = await ipam.autoAssign({
      host: "host-a",
      ipv4: 1,
      handle: `margay.cid${at}`,
      attributes: {
        pod: `p${at}`,
        namespace: "default",
        timestamp: new Date(world.nowMs).toISOString(),
      },
    });
    assert.equal(ipv4.assigned.length, 1);
    assert.deepEqual(ipv4.assigned[0]?.ip, parseIp(`172.20.5.${at - 1}`));
  }
  return world;
}

test("allocate three, release the second by handle: Calico's bytes", async () => {
  const world = await likeGolden();
  const released = await world.ipam().releaseByHandle("margay.cid2");
  assert.deepEqual(released, [parseIp("172.20.5.1")]);
  assert.deepEqual(masked(await world.dump()), golden);
});

test("the same by address", async () => {
  const world = await likeGolden();
  const outcomes = await world.ipam().release([{ ip: parseIp("172.20.5.1") }]);
  assert.deepEqual([...outcomes], [["172.20.5.1", "released"]]);
  assert.deepEqual(masked(await world.dump()), golden);
});

test("sequence numbers keep all 19 digits over a change", async () => {
  const world = await likeGolden();
  const key = "/calico/ipam/v2/assignment/ipv4/block/172.20.5.0-26";
  const number = "1755820800000000003";
  const before = (await world.dump())[key] ?? "";
  await world.store.put(key, before.replace(/"sequenceNumber":\d+/, `"sequenceNumber":${number}`));
  await world.ipam().autoAssign({ host: "host-a", ipv4: 1, handle: "h" });
  const after = (await world.dump())[key] ?? "";
  assert.match(after, /"sequenceNumber":1755820800000000004,/);
  assert.match(after, /"3":1755820800000000003/);
});
