/** Who a node peers with and how: the model, and a text that the real BIRD parses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BgpOptions, Peer } from "#bgp";
import {
  bgpConfiguration,
  bgpPeer,
  modelOf,
  node,
  rendered,
  type Given,
} from "../../support/bgp.ts";

interface Case {
  readonly name: string;
  readonly given: readonly Given[];
  readonly self?: string;
  readonly options?: BgpOptions;
  /** Name → what of the peer is asserted, IPv4. */
  readonly peers: Readonly<Record<string, Partial<Peer>>>;
  /** Reasons of what is left out, IPv4. */
  readonly omitted?: readonly RegExp[];
  readonly text?: readonly RegExp[];
  readonly textNot?: readonly RegExp[];
}

const NO_MESH = bgpConfiguration({ nodeToNodeMeshEnabled: false });
const TOR = { peerIP: "192.0.2.1", asNumber: 65_010 };
const external = (spec: object): Given[] => [NO_MESH, node(1), bgpPeer("tor", { ...TOR, ...spec })];

const CASES: readonly Case[] = [
  {
    name: "the mesh: every other node, each pair with one side that waits (texts compared)",
    given: [node(1), node(2), node(10)],
    self: "host-10",
    peers: {
      Mesh_10_0_0_1: { passive: false, internal: true, remoteAs: 64_512, node: "host-1" },
      Mesh_10_0_0_2: { passive: true, origin: "mesh" },
    },
    text: [/^protocol bgp Mesh_10_0_0_2 from margay_peer \{\n {2}local 10\.0\.0\.10 as 64512;/m],
  },
  {
    name: "the mesh leaves out reflectors",
    given: [node(1), node(2, { routeReflectorClusterID: "1.1.1.1" }), node(3)],
    peers: { Mesh_10_0_0_3: {} },
  },
  {
    name: "a reflector is in no mesh",
    given: [node(1, { routeReflectorClusterID: "1.1.1.1" }), node(2)],
    peers: {},
  },
  {
    name: "AS numbers: the node's, else the cluster's",
    given: [bgpConfiguration({ asNumber: 65_001 }), node(1), node(2, { asNumber: 65_002 })],
    peers: { Mesh_10_0_0_2: { localAs: 65_001, remoteAs: 65_002, internal: false } },
    text: [/neighbor 10\.0\.0\.2 as 65002;/],
  },
  {
    name: "listen ports: one's own and each node's",
    given: [
      bgpConfiguration({ listenPort: 1790 }),
      bgpConfiguration({ listenPort: 1791 }, "node.host-2"),
      node(1),
      node(2),
    ],
    peers: { Mesh_10_0_0_2_port_1791: { port: 1791 } },
    text: [/local 10\.0\.0\.1 port 1790 as 64512;\n {2}neighbor 10\.0\.0\.2 port 1791 as 64512;/],
  },
  {
    name: "password and restart time of the mesh",
    given: [
      bgpConfiguration({
        nodeMeshPassword: { secretKeyRef: { name: "bgp", key: "mesh" } },
        nodeMeshMaxRestartTime: "90s",
      }),
      node(1),
      node(2),
    ],
    options: { secrets: (name, key) => `${name} of ${key}` },
    peers: { Mesh_10_0_0_2: { gracefulRestartSeconds: 90 } },
    text: [/password "bgp of mesh";/, /graceful restart time 90;/],
  },
  {
    name: "a peer without its password is left out, never set up without",
    given: external({ password: { secretKeyRef: { name: "bgp", key: "tor" } } }),
    peers: {},
    omitted: [/password, key tor of Secret bgp, is not to be had/],
  },
  ...['quo"te', "new\nline", "", "x".repeat(81)].map((password) => ({
    name: `a password that BIRD cannot be told: ${JSON.stringify(password).slice(0, 20)}`,
    given: external({ password: { secretKeyRef: { name: "bgp", key: "tor" } } }),
    options: { secrets: () => password },
    peers: {},
    omitted: [/is empty, too long, or has a quote or control character/],
  })),
  {
    name: "a global peer",
    given: external({}),
    peers: { Global_192_0_2_1: { kind: "global", internal: false, sourceAddress: "10.0.0.1" } },
    text: [/multihop;/],
    textNot: [/passive on/],
  },
  {
    name: "a port of the peer",
    given: external({ peerIP: "192.0.2.1:1179" }),
    peers: { Global_192_0_2_1_port_1179: { port: 1179 } },
    text: [/neighbor 192\.0\.2\.1 port 1179 as 65010;/],
  },
  {
    name: "a peer of another node",
    given: external({ node: "host-2" }),
    peers: {},
  },
  {
    name: "nodeSelector",
    given: [
      NO_MESH,
      node(1, {}, { rack: "r1" }),
      bgpPeer("a", { ...TOR, nodeSelector: "rack == 'r1'" }),
      bgpPeer("b", { peerIP: "192.0.2.2", asNumber: 1, nodeSelector: "rack == 'r2'" }),
    ],
    peers: { Node_192_0_2_1: { origin: "BGPPeer a", kind: "node" } },
  },
  {
    name: "peerSelector finds nodes; the other side follows by itself",
    given: [
      NO_MESH,
      node(1),
      node(2, {}, { rr: "yes" }),
      bgpPeer("rr", { nodeSelector: "!has(rr)", peerSelector: "rr == 'yes'" }),
    ],
    self: "host-2",
    peers: { Node_10_0_0_1: { origin: "BGPPeer rr (reverse)", passive: false } },
  },
  {
    name: "reversePeering: Manual",
    given: [
      NO_MESH,
      node(1),
      node(2, {}, { rr: "yes" }),
      bgpPeer("rr", {
        nodeSelector: "!has(rr)",
        peerSelector: "rr == 'yes'",
        reversePeering: "Manual",
      }),
    ],
    self: "host-2",
    peers: {},
  },
  {
    name: "the other side of a peer given by its address",
    given: [
      NO_MESH,
      node(1),
      node(2),
      bgpPeer("two", { node: "host-1", peerIP: "10.0.0.2", asNumber: 64_512 }),
    ],
    self: "host-2",
    peers: { Node_10_0_0_1: { node: "host-1" } },
  },
  {
    name: "one session for an address: a node's own peer goes before a global one and the mesh",
    given: [
      node(1),
      node(2),
      bgpPeer("all", { peerSelector: "all()" }),
      bgpPeer("own", { node: "host-1", peerIP: "10.0.0.2", asNumber: 64_512 }),
    ],
    peers: { Node_10_0_0_2: { origin: "BGPPeer own" } },
    omitted: [/BGPPeer own already peers/, /BGPPeer own already peers/],
  },
  {
    name: "a reflector's clients, and those of its cluster that are not",
    given: [
      NO_MESH,
      node(1, { routeReflectorClusterID: "1.1.1.1" }),
      node(2),
      node(3, { routeReflectorClusterID: "1.1.1.1" }),
      bgpPeer("all", { peerSelector: "all()" }),
    ],
    peers: { Global_10_0_0_2: { reflectorClusterId: "1.1.1.1" }, Global_10_0_0_3: {} },
    text: [/rr client;\n {2}rr cluster id 1\.1\.1\.1;/],
  },
  {
    name: "no AS number",
    given: [NO_MESH, node(1), bgpPeer("tor", { peerIP: "192.0.2.1" })],
    peers: {},
    omitted: [/no AS number/],
  },
  {
    name: "local AS number, allowed AS loops",
    given: external({ localASNumber: 65_020, numAllowedLocalASNumbers: 2 }),
    peers: { Global_192_0_2_1: { localAs: 65_020, allowedLocalAs: 2 } },
    text: [/local 10\.0\.0\.1 as 65020;/, /allow local as 2;/],
  },
  {
    name: "TTL security",
    given: external({ ttlSecurity: 3 }),
    peers: { Global_192_0_2_1: { ttlSecurityHops: 3 } },
    text: [/multihop 3;\n {2}ttl security on;/],
  },
  {
    name: "restart and keepalive times",
    given: external({
      maxRestartTime: "2m",
      keepaliveTime: "1500ms",
      restartMode: "LongLivedGracefulRestart",
    }),
    peers: { Global_192_0_2_1: { gracefulRestartSeconds: 120, keepaliveSeconds: 2 } },
    text: [/graceful restart time 120;/, /long lived graceful restart on;/, /keepalive time 2;/],
  },
  {
    name: "no source address",
    given: external({ sourceAddress: "None" }),
    peers: { Global_192_0_2_1: {} },
    text: [/local as 64512;/],
  },
  {
    name: "reachableBy",
    given: external({ reachableBy: "10.0.0.254" }),
    peers: { Global_192_0_2_1: { reachableBy: "10.0.0.254" } },
    text: [/route 192\.0\.2\.1\/32 via 10\.0\.0\.254;/],
  },
  ...(
    [
      [{ nextHopMode: "Self" }, /next hop self;/],
      [{ nextHopMode: "Keep" }, /next hop keep;/],
      [{ keepOriginalNextHop: true }, /next hop keep;/],
    ] as const
  ).map(([spec, text]) => ({
    name: `next hop: ${JSON.stringify(spec)}`,
    given: external(spec),
    peers: { Global_192_0_2_1: {} },
    text: [text],
  })),
  {
    name: "next hop: Auto",
    given: external({ nextHopMode: "Auto" }),
    peers: { Global_192_0_2_1: { nextHop: "auto" } },
    textNot: [/next hop/],
  },
  {
    name: "bindMode: NodeIP",
    given: [
      bgpConfiguration({ bindMode: "NodeIP", nodeToNodeMeshEnabled: false }),
      node(1),
      bgpPeer("tor", { ...TOR, sourceAddress: "None" }),
    ],
    peers: { Global_192_0_2_1: {} },
    text: [/local 10\.0\.0\.1 as 64512;/, /strict bind on;/],
  },
  {
    name: "local workloads, of this node only",
    given: [
      bgpConfiguration({ nodeToNodeMeshEnabled: false, localWorkloadPeeringIPV4: "169.254.1.1" }),
      node(1),
      ...[1, 2].map((number): Given => ({
        kind: "WorkloadEndpoint",
        namespace: "shop",
        name: `host--${number}-k8s-router-eth0`,
        labels: { app: "router" },
        spec: {
          node: `host-${number}`,
          orchestrator: "k8s",
          pod: "router",
          endpoint: "eth0",
          interfaceName: "cali1",
          ipNetworks: [`10.65.0.${number}/32`, "fd65::1/128"],
        },
      })),
      bgpPeer("in", { localWorkloadSelector: "app == 'router'", asNumber: 65_030 }),
    ],
    peers: { Local_Workload_10_65_0_1: { sourceAddress: "169.254.1.1", remoteAs: 65_030 } },
    text: [/local 169\.254\.1\.1 as 64512;\n {2}neighbor 10\.65\.0\.1 as 65030;/],
  },
];

for (const { name, given, self, options, peers, omitted = [], text = [], textNot = [] } of CASES) {
  test(name, () => {
    const model = modelOf(given, options, self);
    const family = model.families[4];
    assert.deepEqual(
      family.peers.map((peer) => peer.name).toSorted(),
      Object.keys(peers).toSorted(),
    );
    for (const peer of family.peers) assert.partialDeepStrictEqual(peer, peers[peer.name] ?? {});
    assert.equal(family.omitted.length, omitted.length, JSON.stringify(family.omitted));
    for (const [index, reason] of omitted.entries()) {
      assert.match(family.omitted[index]?.reason ?? "", reason);
    }
    const texts = rendered(model);
    for (const pattern of text) assert.match(texts[4], pattern);
    for (const pattern of textNot) assert.doesNotMatch(texts[4], pattern);
  });
}

test("IPv6 has sessions of its own", () => {
  const model = modelOf([
    node(1),
    node(2),
    bgpPeer("tor", { peerIP: "[2001:db8::1]:1179", asNumber: 1 }),
  ]);
  assert.deepEqual(
    model.families[6].peers.map(({ name }) => name),
    ["Global_2001_db8__1_port_1179", "Mesh_fd00__2"],
  );
  assert.deepEqual(
    model.families[4].peers.map(({ name }) => name),
    ["Mesh_10_0_0_2"],
  );
  const texts = rendered(model);
  assert.match(texts[6], /neighbor 2001:db8::1 port 1179 as 1;/);
  assert.doesNotMatch(texts[6], /ipv4 \{/);
});

test("the order of events is not seen in the text", () => {
  const given = [
    node(1),
    node(2),
    node(3),
    bgpPeer("a", TOR),
    bgpPeer("b", { peerSelector: "all()" }),
  ];
  assert.deepEqual(rendered(modelOf(given)), rendered(modelOf(given.toReversed())));
});

test("passwords are in no redacted text", async () => {
  const { birdConfig } = await import("#bgp");
  const model = modelOf(external({ password: { secretKeyRef: { name: "bgp", key: "tor" } } }), {
    secrets: () => "s3cret",
  });
  assert.match(birdConfig(model, 4), /password "s3cret";/);
  assert.doesNotMatch(birdConfig(model, 4, { redacted: true }), /s3cret/);
});

test("keepalives rarer than BIRD's hold time take a longer one with them", () => {
  const told = (keepaliveTime: string): string =>
    rendered(modelOf(external({ keepaliveTime })))[4].replaceAll(/\s+/g, " ");
  assert.match(told("1h"), / hold time 10800; keepalive time 3600; /);
  assert.match(told("240s"), / keepalive time 240; /);
  assert.doesNotMatch(told("240s"), /hold time/);
});

test("a link-local address, which has no interface here, costs its own peer alone", () => {
  const model = modelOf([
    node(1),
    node(2),
    bgpPeer("a", { peerIP: "fe80::1", asNumber: 1 }),
    bgpPeer("b", { peerIP: "2001:db8::1", asNumber: 1, reachableBy: "fe80::fe" }),
  ]);
  const { peers, omitted } = model.families[6];
  assert.deepEqual(
    peers.map(({ name }) => name),
    ["Mesh_fd00__2"],
  );
  assert.deepEqual(
    omitted.map(({ origin, reason }) => `${origin}: ${reason}`),
    [
      "BGPPeer a: fe80::1 is link-local, which needs an interface: use another",
      "BGPPeer b: fe80::fe is link-local, which needs an interface: use another",
    ],
  );
  rendered(model);
});

test("a normal priority that is no metric is the default one, and told", () => {
  const model = modelOf([node(1), bgpConfiguration({ ipv6NormalRoutePriority: -1 })]);
  assert.equal(model.families[6].normalPriority, 1024);
  assert.match(model.warnings.join(), /ipv6NormalRoutePriority -1 is not from 1 to 2147483646/);
  rendered(model);
});
