/** What IPAM decides: pools, affinity, limits, borrowing, cool-down, reservations, specific addresses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatCidr, formatIp, parseCidr, parseIp } from "#ip";
import { hostOwner, type AutoAssigned, type AutoAssignRequest, type Ipam } from "#ipam";
import { IpamWorld } from "../../support/ipam-world.ts";

const code = (wanted: string) => (error: unknown) => {
  assert.equal((error as { code?: unknown }).code, wanted, String(error));
  return true;
};
const ips = ({ ipv4, ipv6 }: AutoAssigned) =>
  [...ipv4.assigned, ...ipv6.assigned].map(({ ip }) => formatIp(ip));

async function worldWith(
  pools: Record<string, { cidr: string } & Record<string, unknown>>,
  hosts = ["a", "b"],
) {
  const world = new IpamWorld();
  for (const [name, { cidr, ...spec }] of Object.entries(pools)) await world.pool(name, cidr, spec);
  for (const host of hosts) await world.node(host);
  return world;
}

async function assign(
  ipam: Ipam,
  host: string,
  count: number,
  more: Partial<AutoAssignRequest> = {},
) {
  return await ipam.autoAssign({ host, ipv4: count, ...more });
}

test("each host has its block, and both families come from one request", async () => {
  const world = await worldWith({ p4: { cidr: "10.0.0.0/16" }, p6: { cidr: "fd00::/48" } });
  const ipam = world.ipam();
  const a = await ipam.autoAssign({ host: "a", ipv4: 2, ipv6: 1, handle: "ha" });
  const b = await ipam.autoAssign({ host: "b", ipv4: 1, handle: "hb" });
  assert.equal(ips(a).length, 3);
  const blocks = [...a.ipv4.assigned, ...b.ipv4.assigned].map(({ block }) => formatCidr(block));
  assert.equal(blocks[0], blocks[1]);
  assert.notEqual(blocks[0], blocks[2]);
  assert.equal(a.ipv6.assigned[0]?.block.prefixLen, 122);
  assert.deepEqual((await ipam.ipsByHandle("ha")).map(formatIp).toSorted(), ips(a).toSorted());
  // Deterministic: the same name begins at the same block.
  const again = await worldWith({ p4: { cidr: "10.0.0.0/16" }, p6: { cidr: "fd00::/48" } });
  assert.deepEqual(ips(await again.ipam().autoAssign({ host: "a", ipv4: 2, ipv6: 1 })), ips(a));
});

test("pools: selectors, uses, Manual, named ones, disabled ones, none", async () => {
  const world = await worldWith({
    "1-east": { cidr: "10.1.0.0/24", nodeSelector: "zone == 'east'" },
    "2-manual": { cidr: "10.2.0.0/24", assignmentMode: "Manual" },
    "3-tunnel": { cidr: "10.3.0.0/24", allowedUses: ["Tunnel"] },
    "4-shop": { cidr: "10.4.0.0/24", namespaceSelector: "team == 'shop'" },
    "5-off": { cidr: "10.5.0.0/24", disabled: true },
  });
  await world.node("e", { zone: "east" });
  const ipam = world.ipam();
  const first = async (host: string, more: Partial<AutoAssignRequest> = {}) =>
    (await assign(ipam, host, 1, more)).ipv4.assigned[0]?.pool;
  assert.equal(await first("e"), "1-east");
  await assert.rejects(first("a"), code("no-pool"));
  assert.equal(await first("a", { namespaceLabels: { team: "shop" } }), "4-shop");
  assert.equal(await first("a", { use: "Tunnel" }), "3-tunnel");
  assert.equal(await first("a", { pools4: ["10.2.0.0/24"] }), "2-manual");
  assert.equal(await first("a", { pools4: ["10.1.0.0/24"] }), "1-east");
  await assert.rejects(first("a", { pools4: ["10.3.0.0/24"] }), code("no-pool"));
  await assert.rejects(first("a", { pools4: ["10.5.0.0/24"] }), code("unknown-pool"));
  await assert.rejects(first("nobody"), code("no-node"));
});

test("borrowing is the last resort, and strict affinity forbids it", async () => {
  const world = await worldWith({ p: { cidr: "10.0.0.0/29", blockSize: 30 } });
  const ipam = world.ipam();
  assert.equal(ips(await assign(ipam, "a", 1)).length, 1);
  const b = await assign(ipam, "b", 6);
  assert.deepEqual(
    b.ipv4.assigned.map(({ borrowed }) => borrowed),
    [false, false, false, false, true, true],
  );
  assert.equal((await assign(ipam, "b", 2)).ipv4.assigned.length, 1);
  await ipam.configure({ strictAffinity: true });
  const short = await assign(ipam, "b", 1);
  assert.deepEqual(ips(short), []);
  assert.match(short.ipv4.reasons.join(), /strict affinity/);
});

test("blocks per host are limited by 20, the settings and the request", async () => {
  const world = await worldWith({ p: { cidr: "10.0.0.0/24", blockSize: 30 } });
  const ipam = world.ipam();
  await ipam.configure({ strictAffinity: true });
  assert.equal(ips(await assign(ipam, "a", 200)).length, 80);
  await ipam.configure({ maxBlocksPerHost: 3 });
  assert.equal(ips(await assign(ipam, "b", 200)).length, 12);
  await assert.rejects(ipam.configure({ strictAffinity: false }), code("bad-config"));
  await assert.rejects(
    ipam.configure({ strictAffinity: false, maxBlocksPerHost: 0, autoAllocateBlocks: false }),
    code("bad-config"),
  );
});

test("an empty block that another left is taken over after a minute, not before", async () => {
  const world = await worldWith({ p: { cidr: "10.0.0.0/30", blockSize: 30 } });
  const ipam = world.ipam();
  await ipam.configure({ strictAffinity: true });
  const a = await assign(ipam, "a", 1, { handle: "h" });
  await ipam.releaseByHandle("h");
  assert.deepEqual(ips(await assign(ipam, "b", 1)), []);
  world.nowMs += 61_000;
  assert.equal((await assign(ipam, "b", 1)).ipv4.assigned[0]?.block.prefixLen, 30);
  assert.equal(ips(a).length, 1);
  const keys = Object.keys(await world.dump());
  assert.deepEqual(
    keys.filter((key) => key.includes("/host/")),
    ["/calico/ipam/v2/host/b/ipv4/block/10.0.0.0-30"],
  );
});

test("a released address rests for the cool-down, then comes last", async () => {
  const world = await worldWith({ p: { cidr: "10.0.0.0/30", blockSize: 30 } });
  const ipam = world.ipam();
  await ipam.configure({ cooldownSeconds: 30 });
  const [first = ""] = ips(await assign(ipam, "a", 1, { handle: "h" }));
  world.nowMs += 500;
  await ipam.releaseByHandle("h");
  assert.equal(await ipam.assignmentOf(parseIp(first)), undefined);
  await assert.rejects(ipam.assignIp(parseIp(first), { host: "a" }), code("already-assigned"));
  assert.equal(ips(await assign(ipam, "a", 4)).length, 3);
  world.nowMs += 29_999;
  assert.deepEqual(ips(await assign(ipam, "a", 1)), []);
  world.nowMs += 1000;
  assert.deepEqual(ips(await assign(ipam, "a", 1)), [first]);
});

test("reserved addresses and blocks are left out; an IPv6 reservation of 2^58 blocks costs nothing", async () => {
  const world = await worldWith({
    p: { cidr: "10.0.0.0/28", blockSize: 30 },
    p6: { cidr: "fd00::/48" },
  });
  await world.put("IPReservation", "r", {
    reservedCIDRs: ["10.0.0.0/30", "10.0.0.5", "10.0.0.12/31", "fd00::/49", "fd00:0:0:8000::/50"],
  });
  const ipam = world.ipam();
  const got = await ipam.autoAssign({ host: "a", ipv4: 16, ipv6: 1 });
  assert.deepEqual(
    got.ipv4.assigned.map(({ ip }) => Number(formatIp(ip).split(".")[3])).toSorted((x, y) => x - y),
    [4, 6, 7, 8, 9, 10, 11, 14, 15],
  );
  assert.match(ips(got).at(-1) ?? "", /^fd00::[c-f]\w{3}:/);
});

test("a certain address: claimed with its block, refused when it is taken or out of reach", async () => {
  const world = await worldWith({ p: { cidr: "10.0.0.0/24" } });
  const ipam = world.ipam();
  const ip = parseIp("10.0.0.77");
  await ipam.assignIp(ip, { host: "a", handle: "h", attributes: { pod: "x" } });
  const found = await ipam.assignmentOf(ip);
  assert.deepEqual(found?.attribute.secondary, { node: "a", pod: "x" });
  assert.equal(found.block.affinity, "host:a");
  await assert.rejects(ipam.assignIp(ip, { host: "b" }), code("already-assigned"));
  await assert.rejects(ipam.assignIp(parseIp("10.9.0.1"), { host: "b" }), code("no-pool"));
  await ipam.configure({ strictAffinity: true });
  await assert.rejects(ipam.assignIp(parseIp("10.0.0.78"), { host: "b" }), code("not-owner"));
});

test("release is refused for another handle or an older allocation", async () => {
  const world = await worldWith({ p: { cidr: "10.0.0.0/24" } });
  const ipam = world.ipam();
  const [text = ""] = ips(await assign(ipam, "a", 1, { handle: "h" }));
  const ip = parseIp(text);
  const { sequenceNumber } = (await ipam.assignmentOf(ip)) ?? {};
  const outcome = async (request: object) => (await ipam.release([{ ip, ...request }])).get(text);
  assert.equal(await outcome({ handle: "other" }), "bad-handle");
  assert.equal(await outcome({ sequenceNumber: 1n }), "bad-sequence-number");
  assert.equal(await outcome({ handle: "h", sequenceNumber }), "released");
  assert.equal(await outcome({}), "not-assigned");
});

test("a host that is gone leaves nothing: neither its blocks nor what it borrowed", async () => {
  const world = await worldWith({ p: { cidr: "10.0.0.0/29", blockSize: 30 } });
  const ipam = world.ipam();
  await assign(ipam, "a", 1, { handle: "keep" });
  await assign(ipam, "b", 6, { handle: "gone" });
  const { released } = await ipam.removeHost("b");
  assert.equal(released.length, 6);
  const keys = Object.keys(await world.dump());
  assert.equal(keys.length, 3, keys.join(" "));
  assert.ok(keys.includes("/calico/ipam/v2/handle/keep"));
});

test("blocks in use outlive their affinity, empty ones and emptied ones do not", async () => {
  const world = await worldWith({ p: { cidr: "10.0.0.0/29", blockSize: 30 } });
  const ipam = world.ipam();
  const { ipv4 } = await assign(ipam, "a", 1, { handle: "h" });
  const block = ipv4.assigned[0]?.block ?? parseCidr("0.0.0.0/0");
  assert.equal(await ipam.releaseAffinity(block, hostOwner("a"), { mustBeEmpty: true }), "in-use");
  assert.equal(await ipam.releaseAffinity(block, hostOwner("a")), "released");
  assert.equal(await ipam.releaseAffinity(block, hostOwner("a")), "not-owner");
  assert.equal(
    (await ipam.assignmentOf(parseIp(formatIp(ipv4.assigned[0]?.ip ?? block))))?.block.affinity,
    null,
  );
  await ipam.releaseByHandle("h");
  assert.deepEqual(await world.dump(), {});
});

test("blocks of another size are not cut across", async () => {
  const world = await worldWith({ p: { cidr: "10.0.0.0/26", blockSize: 28 } });
  const ipam = world.ipam();
  await assign(ipam, "a", 1);
  await world.pool("p", "10.0.0.0/26", { blockSize: 27 });
  const more = await assign(ipam, "b", 64);
  const texts = new Set(ips(more));
  assert.equal(texts.size, more.ipv4.assigned.length);
  assert.equal(texts.size, 32 + 15);
  await assert.rejects(
    ipam.claimAffinity(parseCidr("10.0.0.0/28"), hostOwner("b")),
    code("no-pool"),
  );
});
