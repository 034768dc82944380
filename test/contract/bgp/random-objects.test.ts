/**
 * Every field of every object that BGP reads, with values that the schema takes and some that it does
 * not, as bytes of a store: BIRD parses what becomes of them, and no field is left out of the test.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { BgpState, bgpModel } from "#bgp";
import {
  bgpConfigurationSpec,
  bgpFilterSpec,
  bgpPeerSpec,
} from "../../../src/resource/kinds/bgp.ts";
import { nodeBgp } from "../../../src/resource/kinds/endpoints.ts";
import { rendered } from "../../support/bgp.ts";

const RUNS = process.env["MARGAY_TEST_LONG"] === undefined ? 300 : 3000;
const V3 = "/calico/resources/v3/projectcalico.org/";
const SELF = "host-1";

type Generators = Readonly<Record<string, fc.Arbitrary<unknown>>>;

const junk = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 20 }),
  fc.integer(),
  fc.constantFrom<unknown>(null, "", true, [], {}, "*/ }", '"; x', 2 ** 40, -1),
);
/** One value in 120 is not what the schema wants; an object with one counts as absent. */
const mostly = (usual: fc.Arbitrary<unknown>) =>
  fc.oneof({ weight: 120, arbitrary: usual }, { weight: 1, arbitrary: junk });
const one = (...values: readonly unknown[]) => mostly(fc.constantFrom(...values));
const some = (of: fc.Arbitrary<unknown>, maxLength = 2) => mostly(fc.array(of, { maxLength }));

const bool = one(true, false);
const asNumber = one(1, 64_512, 65_010, "1.10", 4_294_967_295);
const duration = one("0s", "1s", "90s", "1m30s", "1h", "48h", "100ms");
const selector = one("all()", "role == 'rr'", "has(rack)", "!has(rack)");
const community = one("1:2", "65535:65281", "1:2:3", "4294967295:0:1");
const priority = one(1, 512, 1024, 2_147_483_646);
const ip4 = ["192.0.2.1", "192.0.2.1:1790", "10.0.0.2", "10.0.0.2:178"];
const ip6 = ["2001:db8::9", "[2001:db8::9]:1790", "fd00::2", "fe80::1", "::ffff:192.0.2.1"];
const cidr4 = ["10.65.0.0/16", "0.0.0.0/0", "192.0.2.1/32", "10.65.1.0/26"];
const cidr6 = ["fd65::/48", "::/0", "2001:db8::1/128"];
const secret = one({ secretKeyRef: { name: "s", key: "k" } }, { secretKeyRef: { key: "k" } });
const serviceBlocks = some(fc.constantFrom(...cidr4, ...cidr6).map((cidr) => ({ cidr })));

const CONFIGURATION: Generators = {
  logSeverityScreen: one("Trace", "Debug", "Info", "Warning", "Error", "Fatal"),
  nodeToNodeMeshEnabled: bool,
  asNumber,
  serviceLoadBalancerIPs: serviceBlocks,
  serviceExternalIPs: serviceBlocks,
  serviceClusterIPs: serviceBlocks,
  serviceLoadBalancerAggregation: one("Enabled", "Disabled"),
  communities: some(fc.record({ name: one("c", "d"), value: community })),
  prefixAdvertisements: some(
    fc.record({
      cidr: one(...cidr4, ...cidr6),
      communities: some(one("c", "1:2", "1:2:3", "none")),
    }),
  ),
  listenPort: one(1, 178, 179, 65_535),
  nodeMeshPassword: secret,
  nodeMeshMaxRestartTime: duration,
  bindMode: one("None", "NodeIP"),
  ignoredInterfaces: some(one("eth0", "docker*", "br-?", "-eth*", 'a"b')),
  localWorkloadPeeringIPV4: one("169.254.1.2", "10.0.0.1"),
  localWorkloadPeeringIPV6: one("fd99::2", "fe80::2"),
  programClusterRoutes: one("Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly", "Enabled"),
  ipv4NormalRoutePriority: priority,
  ipv6NormalRoutePriority: priority,
};
/** A node has no say in the mesh. */
const OF_NODE = Object.fromEntries(
  Object.entries(CONFIGURATION).filter(([name]) => !/^node(?:ToNode)?Mesh/.test(name)),
);
const PEER: Generators = {
  node: one(SELF, "host-2"),
  nodeSelector: selector,
  peerIP: one(...ip4, ...ip6),
  asNumber,
  localASNumber: asNumber,
  peerSelector: selector,
  keepOriginalNextHop: bool,
  password: secret,
  sourceAddress: one("UseNodeIP", "None"),
  failureDetectionMode: one("None", "BFDIfDirectlyConnected"),
  restartMode: one("GracefulRestart", "LongLivedGracefulRestart"),
  maxRestartTime: duration,
  keepaliveTime: duration,
  numAllowedLocalASNumbers: one(0, 1, 3, 4_294_967_295),
  ttlSecurity: one(0, 1, 2, 255),
  reachableBy: one("10.0.0.254", "fd00::fe", "fe80::fe"),
  filters: some(one("f", "g", "not-there")),
  localWorkloadSelector: selector,
  reversePeering: one("Auto", "Manual"),
  nextHopMode: one("Auto", "Self", "Keep"),
};
const RULE: Generators = {
  prefixLength: fc.record({ min: one(0, 24, 32), max: one(16, 26, 32) }, { requiredKeys: [] }),
  source: one("RemotePeers"),
  interface: one("eth0", "cali*", "*.calico", 'a"b'),
  matchOperator: one("Equal", "NotEqual", "In", "NotIn"),
  peerType: one("eBGP", "iBGP"),
  communities: fc.record({ values: some(community, 1) }),
  asPathPrefix: some(asNumber, 3),
  priority,
  action: one("Accept", "Reject"),
  operations: some(
    fc.oneof(
      fc.record({ addCommunity: fc.record({ value: community }) }),
      fc.record({ prependASPath: fc.record({ prefix: some(asNumber, 3) }) }),
      fc.record({ setPriority: fc.record({ value: priority }) }),
    ),
  ),
};
const rules = (cidrs: readonly string[]) =>
  some(
    sparse({ cidr: one(...cidrs), ...RULE }, ["action", "cidr", "matchOperator"]).map((rule) =>
      rule["action"] === "Reject" ? { ...rule, operations: [] } : rule,
    ),
    3,
  );
const FILTER: Generators = {
  exportV4: rules(cidr4),
  importV4: rules(cidr4),
  exportV6: rules(cidr6),
  importV6: rules(cidr6),
};
const NODE: Generators = {
  asNumber,
  ipv4Address: one("10.0.0.1/24", "10.0.0.1"),
  ipv6Address: one("fd00::1/64", "fd00::1"),
  ipv4IPIPTunnelAddr: one("10.65.0.1"),
  routeReflectorClusterID: one("224.0.0.1", "10.0.0.1"),
};

/** Each field half the time, but those that are needed. */
function sparse(fields: Generators, needed: readonly string[] = []) {
  return fc.record({ ...fields }, { requiredKeys: [...needed] });
}

/** How BGPPeers say who they are for; the schema takes no other mixtures of these fields. */
const peerShapes = fc.constantFrom<readonly string[]>(
  ["peerIP", "asNumber", "reachableBy", "node"],
  ["peerIP", "asNumber", "nodeSelector"],
  ["peerIP", "asNumber", "reachableBy"],
  ["peerSelector", "nodeSelector"],
  ["peerSelector", "node"],
  ["localWorkloadSelector", "asNumber"],
);
const SHAPED = ["peerIP", "asNumber", "reachableBy", "node", "nodeSelector", "peerSelector"];
const peer = fc
  .tuple(peerShapes, sparse(PEER, Object.keys(PEER)), sparse(PEER))
  .map(([shape, all, optional]) => {
    const free = Object.entries(optional).filter(
      ([name]) => ![...SHAPED, "localWorkloadSelector", "keepOriginalNextHop"].includes(name),
    );
    return {
      ...Object.fromEntries(shape.map((name) => [name, all[name]])),
      ...Object.fromEntries(free),
      ...(optional["nextHopMode"] === undefined && all["keepOriginalNextHop"] === true
        ? { keepOriginalNextHop: true }
        : {}),
    };
  });

function stored(kind: string, name: string, spec: unknown, labels = {}): [string, string] {
  const plural = `${kind.toLowerCase()}s`;
  const object = { kind, apiVersion: "projectcalico.org/v3", metadata: { name, labels }, spec };
  return [`${V3}${plural}/${name}`, JSON.stringify(object)];
}

const workload: [string, string] = [
  `${V3}workloadendpoints/default/host--1-k8s-web-eth0`,
  JSON.stringify({
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "host--1-k8s-web-eth0", namespace: "default", labels: { role: "rr" } },
    spec: {
      orchestrator: "k8s",
      node: SELF,
      workload: "web",
      endpoint: "eth0",
      pod: "web",
      interfaceName: "cali1",
      ipNetworks: ["10.65.1.5/32", "fd65::5/128"],
    },
  }),
];

const cluster = fc.record({
  own: sparse(NODE, ["ipv4Address", "ipv6Address"]),
  other: sparse({ ...NODE, ipv4Address: one("10.0.0.2/24"), ipv6Address: one("fd00::2/64") }),
  configuration: sparse(CONFIGURATION),
  ofNode: sparse(OF_NODE),
  peers: fc.array(peer, { minLength: 1, maxLength: 4 }),
  filters: fc.tuple(sparse(FILTER), sparse(FILTER)),
  pools: fc.tuple(
    fc.record({ ipipMode: one("Never", "Always", "CrossSubnet"), disableBGPExport: bool }),
    fc.record({ vxlanMode: one("Never", "Always", "CrossSubnet"), disableBGPExport: bool }),
  ),
  routerId: one("", "hash", "192.0.2.9"),
  labels: fc.constantFrom({}, { role: "rr" }, { rack: "1" }),
});

/** A word of the text for each field that can be seen in it. */
const WORDS = [
  "local as|local \\S+ as 65010",
  "passive on",
  'password "',
  "ttl security on",
  "multihop 2",
  "graceful restart time",
  "long lived graceful restart on",
  "keepalive time",
  "allow local as",
  "rr client",
  "rr cluster id",
  "next hop self",
  "next hop keep",
  "strict bind on",
  " port 1790 ",
  "bgp_community.add",
  "bgp_large_community.add",
  "bgp_path.prepend",
  "bgp_path ~",
  "is_internal",
  "RTS_BGP\\) && ",
  'ifname ~ "eth0"',
  "disableBGPExport",
  '-"docker\\*"',
  "Local_Workload_",
  "Mesh_",
  "Global_",
  "Node_",
  "/32 via",
  "/128 via",
  "debug protocols all",
  "krt_metric = 512",
];

test("BIRD parses what becomes of every field of every object, and each field counts", () => {
  const seen = new Set<string>();
  let refused = 0;
  let taken = 0;
  fc.assert(
    fc.property(cluster, (random) => {
      const state = new BgpState(SELF);
      const objects = [
        stored("Node", SELF, { bgp: random.own }, random.labels),
        stored("Node", "host-2", { bgp: random.other }, { role: "rr" }),
        stored("BGPConfiguration", "default", random.configuration),
        stored("BGPConfiguration", `node.${SELF}`, random.ofNode),
        ...random.peers.map((spec, at) => stored("BGPPeer", `p${at}`, spec)),
        ...random.filters.map((spec, at) => stored("BGPFilter", at === 0 ? "f" : "g", spec)),
        stored("IPPool", "four", { cidr: "10.65.0.0/16", ...random.pools[0] }),
        stored("IPPool", "six", { cidr: "fd65::/48", ...random.pools[1] }),
        workload,
      ];
      for (const [path, value] of objects) {
        try {
          state.put(path, value);
          taken++;
        } catch {
          refused++;
        }
      }
      const routerId = String(random.routerId);
      const texts = rendered(bgpModel(state, { routerId, secrets: () => "geheim" }));
      for (const word of WORDS) if (new RegExp(word).test(`${texts[4]}${texts[6]}`)) seen.add(word);
    }),
    { numRuns: RUNS },
  );
  assert.ok(taken > refused * 3, `${taken} objects were taken, ${refused} refused`);
  assert.ok(refused > 0, "no object was refused: the junk is too tame");
  assert.deepEqual(
    WORDS.filter((word) => !seen.has(word)),
    [],
    "never in a text",
  );
});

test("no field of the schema is left out", () => {
  const names = (spec: { readonly fields: readonly { readonly name: string }[] }): string[] =>
    spec.fields.map(({ name }) => name).toSorted();
  const generated = (fields: Generators): string[] => Object.keys(fields).toSorted();
  assert.deepEqual(generated(CONFIGURATION), names(bgpConfigurationSpec));
  assert.deepEqual(generated(PEER), names(bgpPeerSpec));
  assert.deepEqual(generated(FILTER), names(bgpFilterSpec));
  assert.deepEqual(generated(NODE), names(nodeBgp));
  for (const { type } of bgpFilterSpec.fields) {
    assert.ok(type.kind === "list" && type.of.kind === "object");
    assert.deepEqual(["cidr", ...generated(RULE)].toSorted(), names(type.of));
  }
});
