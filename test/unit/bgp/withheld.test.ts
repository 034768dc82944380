/** Each reason why a peer is not told a route. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { whyWithheld, type TableRoute } from "#bgp";
import {
  affinity,
  bgpConfiguration,
  bgpFilter,
  bgpPeer,
  modelOf,
  node,
  pool,
  type Given,
} from "../../support/bgp.ts";

const ROUTE: TableRoute = {
  destination: "10.65.0.0/26",
  protocol: "kernel1",
  kind: "kernel",
  best: true,
  asPath: [],
  communities: [],
};
const BASE = [
  node(1),
  node(2),
  node(3),
  pool("pods", { cidr: "10.65.0.0/16" }),
  pool("quiet", { cidr: "10.66.0.0/16", disableBGPExport: true }),
  affinity("host-1", "10.65.1.0/26"),
  bgpPeer("tor", { peerIP: "192.0.2.1", asNumber: 65_010, filters: ["f"] }),
];
const MESH = "Mesh_10_0_0_2";
const TOR = "Global_192_0_2_1";

function why(peer: string, route: Partial<TableRoute>, given: readonly Given[] = []): string {
  const filter = bgpFilter("f", { exportV4: [] });
  const model = modelOf([...BASE, ...(given.length === 0 ? [filter] : given)]);
  const part = model.families[4];
  const found = part.peers.find(({ name }) => name === peer);
  assert.ok(
    found !== undefined,
    `${peer} is not among ${part.peers.map(({ name }) => name).join()}`,
  );
  return whyWithheld(model, part, found, { ...ROUTE, ...route });
}

const bgp = (protocol: string): Partial<TableRoute> => ({ protocol, kind: "bgp" });
const felix = { kernelSource: 80, kernelMetric: 1024 };

const CASES: readonly (readonly [string, Partial<TableRoute>, RegExp])[] = [
  [MESH, bgp(MESH), /^the peer told it$/],
  [MESH, bgp("Mesh_10_0_0_3"), /route reflector/],
  [TOR, { ...bgp(MESH), communities: ["65535:65281"] }, /65535:65281 \(no export\)/],
  [MESH, { ...bgp(TOR), communities: ["65535:65282"] }, /65535:65282 \(no advertise\)/],
  [TOR, { destination: "10.66.1.0/26" }, /^IPPool quiet has disableBGPExport$/],
  [MESH, { interface: "vxlan.calico" }, /tunnel/],
  [MESH, { ...felix, interface: "eth0", gateway: "10.0.0.3" }, /announces it itself/],
  [MESH, { ...felix, destination: "10.65.1.7/32", interface: "cali1" }, /^inside 10\.65\.1\.0\/26/],
  [MESH, { destination: "192.0.2.0/24", interface: "eth0" }, /^outside of every IPPool$/],
  [TOR, { ...felix, best: false, interface: "cali1" }, /^another route to it is preferred$/],
];

test("each rule of BGP, of pools and of blocks gives its own reason", () => {
  for (const [peer, route, reason] of CASES)
    assert.match(why(peer, route), reason, JSON.stringify([peer, route]));
});

test("what is announced has no reason: the route of a moving workload, a block", () => {
  const moving = { ...felix, destination: "10.65.1.7/32", interface: "cali1", kernelMetric: 512 };
  assert.equal(why(MESH, moving), "the export filter");
  assert.equal(why(MESH, { destination: "10.65.1.0/26", kind: "static" }), "the export filter");
});

test("services of which another node has the endpoint", () => {
  const services = bgpConfiguration({
    serviceClusterIPs: [{ cidr: "10.96.0.0/12" }],
    serviceLoadBalancerAggregation: "Enabled",
  });
  const filter = bgpFilter("f", {});
  assert.match(why(TOR, { destination: "10.96.0.9/32" }, [services, filter]), /^inside 10\.96/);
});

const MATCHES: readonly (readonly [object, Partial<TableRoute>])[] = [
  [{}, {}],
  [{ cidr: "10.65.0.0/16", matchOperator: "In" }, {}],
  [{ cidr: "10.65.0.0/26", matchOperator: "Equal" }, {}],
  [{ cidr: "10.65.0.0/16", matchOperator: "NotEqual" }, {}],
  [{ cidr: "10.64.0.0/16", matchOperator: "NotIn" }, {}],
  [{ cidr: "10.65.0.0/16", matchOperator: "In", prefixLength: { min: 26, max: 26 } }, {}],
  [{ source: "RemotePeers" }, bgp(MESH)],
  [{ interface: "eth*" }, { interface: "eth0" }],
  [{ peerType: "eBGP" }, {}],
  [{ communities: { values: ["1:2:3"] } }, { ...bgp(MESH), communities: ["1:2:3"] }],
  [{ asPathPrefix: [65_000] }, { ...bgp(MESH), asPath: [65_000, 65_001] }],
  [{ priority: 512 }, { kernelMetric: 512 }],
  [{ priority: 1024 }, {}],
];
const MISSES: readonly (readonly [object, Partial<TableRoute>])[] = [
  [{ cidr: "10.66.0.0/16", matchOperator: "In" }, {}],
  [{ cidr: "10.65.0.0/16", matchOperator: "Equal" }, {}],
  [{ cidr: "10.65.0.0/16", matchOperator: "In", prefixLength: { min: 27 } }, {}],
  [{ source: "RemotePeers" }, {}],
  [{ interface: "eth?" }, { interface: "eth10" }],
  [{ peerType: "iBGP" }, {}],
  [{ communities: { values: ["1:2"] } }, { ...bgp(MESH), communities: ["1:2:3"] }],
  [{ asPathPrefix: [65_000] }, { ...bgp(MESH), asPath: [65_001, 65_000] }],
  [{ priority: 512 }, { kernelMetric: 1024 }],
];

test("a filter of the user: its name and the rule that decided", () => {
  const rejects = (rule: object): Given =>
    bgpFilter("f", {
      exportV4: [
        { cidr: "1.0.0.0/8", matchOperator: "In", action: "Accept" },
        { ...rule, action: "Reject" },
      ],
    });
  for (const [rule, route] of MATCHES)
    assert.equal(
      why(TOR, route, [rejects(rule)]),
      "BGPFilter f, rule 2 of exportV4",
      JSON.stringify(rule),
    );
  for (const [rule, route] of MISSES)
    assert.doesNotMatch(why(TOR, route, [rejects(rule)]), /BGPFilter/, JSON.stringify(rule));
});

test("a filter that cannot be done as written: its fault", () => {
  const wrong: Given = {
    ...bgpFilter("f", { exportV4: [{ cidr: "fd00::/8", matchOperator: "In", action: "Accept" }] }),
    unchecked: true,
  };
  assert.match(why(TOR, {}, [wrong]), /^BGPFilter f: fd00::\/8 is not of IPv4$/);
});
