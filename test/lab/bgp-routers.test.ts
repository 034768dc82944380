/**
 * FRR and GoBGP as top-of-rack routers: sessions in both families with every host, exactly the expected
 * prefixes with communities, filters, both ways.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestLab, until } from "../support/lab.ts";

const LAB = `kind: Lab
name: bgp-routers
subnets: [lan]
routers:
- name: tor
  subnet: lan
  addresses: [10.0.1.1/24, "2001:db8:1::1/64"]
  bgp: {daemon: frr, asNumber: 64900, announces: [203.0.113.0/24, "2001:db8:bad::/48"]}
  listen: [tcp:443]
- name: speaker
  subnet: lan
  addresses: [10.0.1.2/24, "2001:db8:1::2/64"]
  bgp: {daemon: gobgp, asNumber: 64901, announces: [198.51.100.0/24, "2001:db8:f00d::/48"]}
hosts:
- {name: host-a, addresses: [10.0.1.11/24, "2001:db8:1::11/64"]}
- {name: host-b, addresses: [10.0.1.12/24, "2001:db8:1::12/64"]}
workloads:
- {name: web, host: host-a, addresses: [10.65.1.1, "fd65::1:1"], listen: [tcp:80]}
- {name: api, host: host-b, addresses: [10.65.2.1, "fd65::2:1"], listen: [tcp:8080]}
resources:
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: pods-v4}, spec: {cidr: 10.65.0.0/16}}
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: pods-v6}, spec: {cidr: "fd65::/96"}}
- apiVersion: projectcalico.org/v3
  kind: BGPConfiguration
  metadata: {name: default}
  spec:
    communities: [{name: pods, value: "64512:100"}, {name: pods-wide, value: "64512:7:8"}]
    prefixAdvertisements:
    - {cidr: 10.65.0.0/16, communities: [pods, pods-wide]}
    - {cidr: "fd65::/96", communities: [pods]}
- {apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: tor-v4}, spec: {peerIP: 10.0.1.1, asNumber: 64900}}
- {apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: tor-v6}, spec: {peerIP: "2001:db8:1::1", asNumber: 64900}}
- {apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: speaker-v4}, spec: {peerIP: 10.0.1.2, asNumber: 64901}}
- {apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: speaker-v6}, spec: {peerIP: "2001:db8:1::2", asNumber: 64901}}
expect: {default: allow}
`;
const BLOCKS = {
  4: { a: "10.65.1.0/26", b: "10.65.2.0/26" },
  6: { a: "fd65::1:0/122", b: "fd65::2:0/122" },
} as const;
const OWN = { frr: { 4: "203.0.113.0/24", 6: "2001:db8:bad::/48" } } as const;
const HOSTS = { 4: ["10.0.1.11", "10.0.1.12"], 6: ["2001:db8:1::11", "2001:db8:1::12"] } as const;
const FAMILIES = [4, 6] as const;

let lab: TestLab;

before(async () => {
  lab = new TestLab("routers", LAB);
  await lab.ready();
  await lab.asExpected();
});
after(() => lab.close());

function vtysh(command: string): unknown {
  const socket = "/run/margay/frr/tor";
  return JSON.parse(lab.exec("tor", "vtysh", "--vty_socket", socket, "-c", `${command} json`));
}

interface FrrTable {
  readonly routes: Readonly<Record<string, readonly { readonly peerId: string }[]>>;
}

/** What FRR has from this host, without what it originates itself. */
function frrPrefixes(family: 4 | 6, from?: string): string[] {
  const { routes } = vtysh(`show bgp ipv${family} unicast`) as FrrTable;
  return Object.entries(routes)
    .filter(([, paths]) => paths.some((path) => from === undefined || path.peerId === from))
    .map(([prefix]) => prefix)
    .filter((prefix) => prefix !== OWN.frr[family])
    .toSorted();
}

interface FrrPath {
  readonly peer: { readonly peerId: string };
  readonly community?: { readonly string: string };
  readonly largeCommunity?: { readonly string: string };
}

function frrPath(family: 4 | 6, prefix: string, from: string): FrrPath | undefined {
  const { paths } = vtysh(`show bgp ipv${family} unicast ${prefix}`) as {
    readonly paths: readonly FrrPath[];
  };
  return paths.find((path) => path.peer.peerId === from);
}

interface GobgpPath {
  readonly attrs: readonly { readonly type: number; readonly communities?: readonly number[] }[];
}

/** GoBGP's tables: what it took from each neighbour. */
function gobgpPrefixes(family: 4 | 6, from: string): string[] {
  const text = lab.exec("speaker", "gobgp", "neighbor", from, "adj-in", "-a", `ipv${family}`, "-j");
  return Object.keys(JSON.parse(text) as object).toSorted();
}

test("both routers hold sessions with each host in both families", async () => {
  for (const family of FAMILIES) {
    const { peers } = vtysh(`show bgp ipv${family} unicast summary`) as {
      readonly peers: Readonly<Record<string, { readonly state: string }>>;
    };
    assert.deepEqual(
      Object.entries(peers).map(([peer, { state }]) => [peer, state]),
      HOSTS[family].map((host) => [host, "Established"]),
    );
  }
  const neighbours = lab.exec("speaker", "gobgp", "neighbor");
  assert.equal(neighbours.match(/ Establ /g)?.length, 4, neighbours);
});

test("they see exactly the blocks, and their own routes are in every host's kernel", async () => {
  for (const family of FAMILIES) {
    const both = [BLOCKS[family].a, BLOCKS[family].b];
    await until(`FRR has both blocks of IPv${family}`, () => frrPrefixes(family).length >= 2);
    assert.deepEqual(frrPrefixes(family), both);
    for (const host of HOSTS[family]) assert.deepEqual(gobgpPrefixes(family, host), both);
  }
  for (const { name, routes } of (await lab.status())?.hosts ?? []) {
    const told = routes.map((route) => route.to);
    for (const prefix of [
      "203.0.113.0/24",
      "198.51.100.0/24",
      "2001:db8:bad::/48",
      "2001:db8:f00d::/48",
    ])
      assert.ok(told.includes(prefix), `${name} has no ${prefix}: ${told.join(" ")}`);
  }
});

test("communities of prefix advertisements arrive", () => {
  const path4 = frrPath(4, BLOCKS[4].a, "10.0.1.11");
  assert.equal(path4?.community?.string, "64512:100");
  assert.equal(path4?.largeCommunity?.string, "64512:7:8");
  assert.equal(frrPath(6, BLOCKS[6].a, "2001:db8:1::11")?.community?.string, "64512:100");
  // GoBGP's path attributes (RFC 1997 §2): type 8, the communities as numbers.
  const pods = 64_512 * 65_536 + 100;
  for (const family of FAMILIES) {
    const host = HOSTS[family][0];
    const text = lab.exec(
      "speaker",
      "gobgp",
      "neighbor",
      host,
      "adj-in",
      "-a",
      `ipv${family}`,
      "-j",
    );
    const table = JSON.parse(text) as Readonly<Record<string, readonly GobgpPath[]>>;
    const attributes = table[BLOCKS[family].a]?.[0]?.attrs ?? [];
    assert.deepEqual(attributes.find((one) => one.type === 8)?.communities, [pods], text);
  }
});

test("filters stop what they should, out and in, in both families, and no session flaps", async () => {
  const spec = (family: 4 | 6): object => ({
    [`exportV${family}`]: [{ matchOperator: "Equal", cidr: BLOCKS[family].b, action: "Reject" }],
    [`importV${family}`]: [{ matchOperator: "In", cidr: OWN.frr[family], action: "Reject" }],
  });
  lab.apply("BGPFilter", "no-b", { ...spec(4), ...spec(6) });
  const since = upSince();
  for (const family of FAMILIES)
    lab.ctl("patch", "bgppeer", `tor-v${family}`, "-p", '{"spec":{"filters":["no-b"]}}');
  for (const family of FAMILIES) {
    await until(`block b is withdrawn from FRR, IPv${family}`, () => {
      const left = frrPrefixes(family);
      return left.length === 1 && left[0] === BLOCKS[family].a;
    });
    const own = OWN.frr[family];
    await until(`${own} is taken out of the hosts' kernels`, async () => {
      const hosts = (await lab.status())?.hosts ?? [];
      return hosts.every((host) => host.routes.every((route) => route.to !== own));
    });
    for (const host of HOSTS[family])
      assert.ok(
        gobgpPrefixes(family, host).includes(BLOCKS[family].b),
        "only that peer is filtered",
      );
  }
  for (const family of FAMILIES)
    lab.ctl("patch", "bgppeer", `tor-v${family}`, "-p", '{"spec":{"filters":[]}}');
  for (const family of FAMILIES)
    await until("both blocks are back", () => frrPrefixes(family).length === 2);
  assert.deepEqual(upSince(), since, "a session was restarted");
  await lab.asExpected();
});

/** When each session came up, as FRR counts. */
function upSince(): unknown {
  return FAMILIES.map((family) => {
    const { peers } = vtysh(`show bgp ipv${family} unicast summary`) as {
      readonly peers: Readonly<Record<string, { readonly connectionsEstablished: number }>>;
    };
    return Object.entries(peers).map(([peer, one]) => [peer, one.connectionsEstablished]);
  });
}
