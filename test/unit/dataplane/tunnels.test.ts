/** Tunnels and routes to other nodes, on the kernel in memory: order, what is missing, what fails. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { RouteTypes, type RouteUpdate, type ToDataplane } from "#calc";
import { formatCidr, formatIp, parseIp } from "#ip";
import { NUD_PERMANENT, RTN_BLACKHOLE, type RouteChange } from "#netlink";
import {
  defaultLinuxDataplaneConfig,
  type TunnelConfig,
} from "../../../src/dataplane/linux/config.ts";
import { DataplaneWorld } from "../../support/dataplane-world.ts";
import { allRoutes } from "../../support/routes.ts";
import { IN_SYNC } from "../../support/workload-host.ts";

const VXLAN: ToDataplane = encapsulation({ vxlanEnabled: true });
const OWN: ToDataplane = {
  case: "hostMetadataUpdate",
  value: { hostname: "here", ipv4Addr: "10.0.1.11/24", ipv6Addr: "", asnumber: "", labels: {} },
};

function encapsulation(
  on: Partial<Extract<ToDataplane, { case: "encapsulation" }>["value"]>,
): ToDataplane {
  const off = {
    ipipEnabled: false,
    vxlanEnabled: false,
    vxlanEnabledV6: false,
    noEncapEnabled: false,
  };
  return { case: "encapsulation", value: { ...off, ...on } };
}

function vtep(node: string, number: number, mac = `66:00:00:00:00:0${number}`): ToDataplane {
  return {
    case: "vtepUpdate",
    value: {
      node,
      mac,
      ipv4Addr: `10.65.${number}.0`,
      parentDeviceIp: `10.0.1.1${number}`,
      macV6: "",
      ipv6Addr: "",
      parentDeviceIpv6: "",
    },
  };
}

function route(dst: string, node: string, more: Partial<RouteUpdate> = {}): ToDataplane {
  const value: RouteUpdate = {
    types: node === "here" ? RouteTypes.LOCAL_WORKLOAD : RouteTypes.REMOTE_WORKLOAD,
    ipPoolType: "VXLAN",
    dst,
    dstNodeName: node,
    dstNodeIp: "10.0.1.12",
    sameSubnet: false,
    natOutgoing: false,
    localWorkload: false,
    borrowed: false,
    ...more,
  };
  return { case: "routeUpdate", value };
}

const CLUSTER: readonly ToDataplane[] = [
  VXLAN,
  OWN,
  vtep("here", 1),
  vtep("there", 2),
  route("10.65.1.0/26", "here"),
  route("10.65.2.0/26", "there"),
];

function makeWorld(
  t: TestContext,
  tunnels: Partial<TunnelConfig> = {},
  former?: DataplaneWorld,
): DataplaneWorld {
  const { tunnels: defaults } = defaultLinuxDataplaneConfig;
  const config = { tunnels: { ...defaults, hostname: "here", ...tunnels } };
  const world = new DataplaneWorld(config, former);
  t.after(() => world.close());
  if (former === undefined) {
    world.kernel.setLink("eth0", { up: true });
    world.kernel.setAddress(linkOf(world, "eth0")?.index ?? 0, parseIp("10.0.1.11"), true);
  }
  return world;
}

function linkOf(world: DataplaneWorld, name: string) {
  return world.kernel.links().find((link) => link.name === name);
}

/** Gateway or device, by destination. */
function routes(world: DataplaneWorld): Record<string, string> {
  const entries = allRoutes(world.kernel, 4).map(({ dst, gateway, mtu, oif, type }) => {
    const device = world.kernel.links().find((link) => link.index === oif)?.name ?? "";
    const via = gateway === undefined ? "" : `via ${formatIp(gateway)} `;
    const to = type === RTN_BLACKHOLE ? "blackhole" : `${via}dev ${device}`;
    return [formatCidr(dst), mtu === undefined ? to : `${to} mtu ${mtu}`];
  });
  return Object.fromEntries(entries) as Record<string, string>;
}

function ends(world: DataplaneWorld): string[] {
  const index = linkOf(world, "vxlan.calico")?.index ?? -1;
  return [
    ...world.kernel.forwarding(index).map(({ mac, host }) => `${mac} ${host && formatIp(host)}`),
    ...world.kernel.neighbours(4).map(({ address, mac }) => `${formatIp(address)} ${mac}`),
  ].sort();
}

test("what a route stands on is made before it, and only once policy is in force", async (t) => {
  const world = makeWorld(t);
  const kinds: string[] = [];
  const write = world.kernel.write.bind(world.kernel);
  world.kernel.write = (changes: readonly RouteChange[]) => {
    kinds.push(...changes.map(({ kind }) => kind));
    return write(changes);
  };
  world.tableError = new Error("no policy");
  await world.send(...CLUSTER, IN_SYNC);
  assert.deepEqual(kinds, []);
  world.tableError = undefined;
  await world.dataplane.apply();
  assert.deepEqual(kinds, [
    "createLink",
    "setLink",
    "addAddress",
    "replaceForwarding",
    "replaceNeighbour",
    "replaceRoute",
    "replaceRoute",
  ]);
  assert.deepEqual(routes(world), {
    "10.65.1.0/26": "blackhole",
    "10.65.2.0/26": "via 10.65.2.0 dev vxlan.calico mtu 1450",
  });
  assert.deepEqual(ends(world), ["10.65.2.0 66:00:00:00:00:02", "66:00:00:00:00:02 10.0.1.12"]);
});

test("a restart with nothing new writes nothing", async (t) => {
  const first = makeWorld(t);
  await first.send(...CLUSTER, IN_SYNC);
  await first.dataplane.close();
  const second = makeWorld(t, {}, first);
  const before = second.kernel.writes;
  assert.equal((await second.send(...CLUSTER, IN_SYNC)).writes, 0);
  assert.equal(second.kernel.writes, before);
});

test("without an interface that has the node's address there is no tunnel, until one has it", async (t) => {
  const world = makeWorld(t);
  const index = linkOf(world, "eth0")?.index ?? 0;
  world.kernel.setAddress(index, parseIp("10.0.1.11"), false);
  assert.equal((await world.send(...CLUSTER, IN_SYNC)).complete, true);
  assert.equal(linkOf(world, "vxlan.calico"), undefined);
  const nowhere = { "10.65.1.0/26": "blackhole", "10.65.2.0/26": "blackhole" };
  assert.deepEqual(routes(world), nowhere, "and what needs it goes nowhere, least of all outside");
  world.kernel.setAddress(index, parseIp("10.0.1.11"), true);
  await world.dataplane.apply();
  assert.equal(linkOf(world, "vxlan.calico")?.vxlan?.parent, index);
  assert.equal(routes(world)["10.65.2.0/26"], "via 10.65.2.0 dev vxlan.calico mtu 1450");
});

test("without the far end of its tunnel a route leads nowhere", async (t) => {
  const world = makeWorld(t);
  await world.send(VXLAN, OWN, vtep("here", 1), route("10.65.2.0/26", "there"), IN_SYNC);
  assert.deepEqual(routes(world), { "10.65.2.0/26": "blackhole" });
  await world.send(vtep("there", 2));
  assert.deepEqual(routes(world), { "10.65.2.0/26": "via 10.65.2.0 dev vxlan.calico mtu 1450" });
  await world.send({ case: "vtepRemove", value: { node: "there" } });
  assert.deepEqual(routes(world), { "10.65.2.0/26": "blackhole" });
  assert.deepEqual(ends(world), []);
});

test("the kernel refuses the device: the rest goes on, and it is tried again", async (t) => {
  const world = makeWorld(t);
  world.kernel.failNext("EOPNOTSUPP", "createLink");
  const { complete } = await world.send(...CLUSTER, IN_SYNC);
  assert.ok(complete);
  assert.deepEqual(routes(world), { "10.65.1.0/26": "blackhole", "10.65.2.0/26": "blackhole" });
  world.kernel.setLink("eth1", { up: true });
  await world.dataplane.apply();
  assert.equal(routes(world)["10.65.2.0/26"], "via 10.65.2.0 dev vxlan.calico mtu 1450");
});

test("nodes that claim the same MAC or address: the first by name has it, then the other", async (t) => {
  const world = makeWorld(t);
  const [own, ...rest] = ["here", "b", "a"].map((node) =>
    vtep(node, node === "here" ? 1 : 2, node === "here" ? undefined : "66:00:00:00:00:02"),
  );
  assert.ok(own !== undefined);
  const moved: ToDataplane[] = rest.map((each) =>
    each.case === "vtepUpdate" && each.value.node === "a"
      ? { case: "vtepUpdate", value: { ...each.value, parentDeviceIp: "10.0.1.99" } }
      : each,
  );
  await world.send(VXLAN, OWN, own, ...moved, IN_SYNC);
  assert.ok(ends(world).includes("66:00:00:00:00:02 10.0.1.99"));
  await world.send({ case: "vtepRemove", value: { node: "a" } });
  assert.ok(ends(world).includes("66:00:00:00:00:02 10.0.1.12"), ends(world).join());
});

test("the MTU follows the host's interfaces, and is written for others", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "mgy-mtu-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const mtuFile = join(dir, "calico/mtu");
  const world = makeWorld(t, { mtuFile });
  await world.send(...CLUSTER, IN_SYNC);
  assert.equal(readFileSync(mtuFile, "utf8"), "1450");
  const index = linkOf(world, "eth0")?.index ?? 0;
  world.kernel.foreignWrite({ kind: "setLink", index, mtu: 9000 });
  await world.dataplane.apply();
  assert.equal(linkOf(world, "vxlan.calico")?.mtu, 8950);
  assert.equal(routes(world)["10.65.2.0/26"], "via 10.65.2.0 dev vxlan.calico mtu 8950");
  assert.equal(readFileSync(mtuFile, "utf8"), "8950");
  world.kernel.setLink("eth0", { up: false });
  await world.dataplane.apply();
  assert.equal(linkOf(world, "vxlan.calico")?.mtu, 8950, "a link that is down says nothing");
  const fixed = makeWorld(t, { vxlanMtu: 1400 });
  await fixed.send(...CLUSTER, IN_SYNC);
  assert.equal(linkOf(fixed, "vxlan.calico")?.mtu, 1400);
});

test("an MTU file that cannot be written holds up nothing", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "mgy-mtu-"));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "calico"), "");
  const world = makeWorld(t, { mtuFile: join(dir, "calico/mtu") });
  assert.equal((await world.send(...CLUSTER, IN_SYNC)).complete, true);
  assert.ok("10.65.2.0/26" in routes(world));
});

test("with VXLAN go its device and routes; a device that is not VXLAN stays", async (t) => {
  const world = makeWorld(t);
  await world.send(...CLUSTER, IN_SYNC);
  await world.send(encapsulation({}));
  assert.equal(linkOf(world, "vxlan.calico"), undefined);
  assert.deepEqual(routes(world), {});
  world.kernel.setLink("vxlan.calico", { up: true });
  await world.dataplane.apply();
  assert.notEqual(linkOf(world, "vxlan.calico"), undefined);
});

test("a device of another kind or network in its place is made anew", async (t) => {
  const world = makeWorld(t);
  world.kernel.setLink("vxlan.calico", { up: true });
  await world.send(...CLUSTER, IN_SYNC);
  const made = linkOf(world, "vxlan.calico");
  assert.deepEqual([made?.kind, made?.vxlan?.vni], ["vxlan", 4096]);
  await world.dataplane.close();
  const other = makeWorld(t, { vni: 77 }, world);
  await other.send(...CLUSTER, IN_SYNC);
  const anew = linkOf(other, "vxlan.calico");
  assert.equal(anew?.vxlan?.vni, 77);
  assert.notEqual(anew?.index, made?.index);
  assert.equal(routes(other)["10.65.2.0/26"], "via 10.65.2.0 dev vxlan.calico mtu 1450");
  assert.equal(ends(other).length, 2);
});

test("a node that gets another address has its tunnel there", async (t) => {
  const world = makeWorld(t);
  await world.send(...CLUSTER, IN_SYNC);
  const uplink = world.kernel.setLink("eth1", { up: true });
  world.kernel.setAddress(uplink, parseIp("10.0.1.19"), true);
  const own = vtep("here", 1);
  assert.ok(own.case === "vtepUpdate");
  await world.send({ case: "vtepUpdate", value: { ...own.value, parentDeviceIp: "10.0.1.19" } });
  const { local, parent } = linkOf(world, "vxlan.calico")?.vxlan ?? {};
  assert.deepEqual([local && formatIp(local), parent], ["10.0.1.19", uplink]);
  assert.equal(routes(world)["10.65.2.0/26"], "via 10.65.2.0 dev vxlan.calico mtu 1450");
  assert.equal(ends(world).length, 2);
});

test("IPIP: through tunl0 to the node, or left to BIRD", async (t) => {
  const messages: readonly ToDataplane[] = [
    encapsulation({ ipipEnabled: true }),
    OWN,
    route("10.65.1.0/32", "here", {
      ipPoolType: "IPIP",
      types: RouteTypes.LOCAL_TUNNEL,
      tunnelType: { ipip: true, vxlan: false, wireguard: false },
    }),
    route("10.65.1.0/26", "here", { ipPoolType: "IPIP" }),
    route("10.65.2.0/26", "there", { ipPoolType: "IPIP", dstNodeIp: "10.0.2.12" }),
    route("10.65.3.0/26", "near", { ipPoolType: "IPIP", sameSubnet: true }),
    IN_SYNC,
  ];
  const world = makeWorld(t);
  await world.send(...messages);
  const tunnel = linkOf(world, "tunl0");
  assert.deepEqual([tunnel?.kind, tunnel?.mtu, tunnel?.adminUp], ["ipip", 1480, true]);
  const addresses = world.kernel.addresses().filter(({ ifindex }) => ifindex === tunnel?.index);
  assert.deepEqual(
    addresses.map(({ address, prefixLen }) => `${formatIp(address)}/${prefixLen}`),
    ["10.65.1.0/32"],
  );
  assert.deepEqual(routes(world), {
    "10.65.1.0/26": "blackhole",
    "10.65.2.0/26": "via 10.0.2.12 dev tunl0 mtu 1480",
    "10.65.3.0/26": "via 10.0.1.12 dev eth0",
  });
  const left = makeWorld(t, { programsIpipRoutes: false });
  await left.send(...messages);
  assert.notEqual(linkOf(left, "tunl0"), undefined);
  assert.deepEqual(routes(left), {});
});

test("without encapsulation: to nodes of our subnet alone, beyond routers they know the way", async (t) => {
  const world = makeWorld(t);
  const plain = { ipPoolType: "NO_ENCAP" } as const;
  const messages = [
    OWN,
    route("10.65.1.0/26", "here", plain),
    route("10.65.2.0/26", "near", plain),
    route("10.65.3.0/26", "far", { ...plain, dstNodeIp: "10.0.2.13" }),
    IN_SYNC,
  ];
  await world.send(encapsulation({ noEncapEnabled: true }), ...messages);
  assert.deepEqual(routes(world), {
    "10.65.1.0/26": "blackhole",
    "10.65.2.0/26": "via 10.0.1.12 dev eth0",
  });
  await world.send(encapsulation({}));
  assert.deepEqual(routes(world), {});
});

test("an address that moves here is the workload's, though the other node's claim is still there", async (t) => {
  const world = makeWorld(t);
  await world.send(...CLUSTER, route("10.65.2.5/32", "there"), IN_SYNC);
  assert.equal(routes(world)["10.65.2.5/32"], "via 10.65.2.0 dev vxlan.calico mtu 1450");
  world.plug("cali00000000001");
  const { endpointUpdate, pod } = await import("../../support/workload-host.ts");
  await world.send(endpointUpdate({ ...pod(1), ipv4: "10.65.2.5" }));
  assert.equal(routes(world)["10.65.2.5/32"], "dev cali00000000001");
  world.kernel.setLink("cali00000000001", { up: false });
  await world.dataplane.apply();
  assert.equal(routes(world)["10.65.2.5/32"], "via 10.65.2.0 dev vxlan.calico mtu 1450");
});

test("entries that others make on the device go, and ours come back", async (t) => {
  const world = makeWorld(t);
  await world.send(...CLUSTER, IN_SYNC);
  const whole = ends(world);
  const ifindex = linkOf(world, "vxlan.calico")?.index ?? 0;
  const [ours] = world.kernel.forwarding(ifindex);
  assert.ok(ours !== undefined);
  const strange = { ifindex, mac: ours.mac, host: parseIp("10.9.9.9"), state: NUD_PERMANENT };
  world.kernel.foreignWrite({ kind: "replaceForwarding", entry: strange });
  const wanted = world.wanted;
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  assert.ok(world.wanted > wanted, "it is told");
  await world.dataplane.apply();
  assert.deepEqual(ends(world), whole);
});
