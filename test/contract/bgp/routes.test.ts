/** What is announced, filtered and programmed: the model, and a text that the real BIRD parses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  affinity,
  assertParses,
  bgpConfiguration,
  bgpFilter,
  bgpPeer,
  modelOf,
  node,
  pool,
  rendered,
  type Given,
  type Raw,
} from "../../support/bgp.ts";

const TOR = { peerIP: "192.0.2.1", asNumber: 65_010 };
const KUBERNETES = "/calico/resources/v3/projectcalico.org/";

function filtered(
  rule: object,
  direction: "import" | "export" = "export",
  more: Partial<Given> = {},
): string {
  const spec = { [`${direction}V4`]: [{ action: "Accept", ...rule }] };
  const filter = { ...bgpFilter("f", spec), ...more };
  const text = rendered(modelOf([node(1), bgpPeer("tor", { ...TOR, filters: ["f"] }), filter]))[4];
  const body = new RegExp(
    `'bgp_f_${direction}FilterV4'\\(bool is_internal\\)\\n\\{\\n(.*?)\\n\\}`,
    "s",
  );
  return body.exec(text)?.[1]?.replaceAll(/\s+/g, " ").trim() ?? "";
}

const TEN = { cidr: "10.0.0.0/8" };
const RULES: readonly (readonly [object, string])[] = [
  [{}, "if true then { accept; }"],
  [{ action: "Reject" }, "if true then { reject; }"],
  [{ ...TEN, matchOperator: "Equal" }, "if (net = 10.0.0.0/8) then { accept; }"],
  [{ ...TEN, matchOperator: "NotEqual" }, "if (net != 10.0.0.0/8) then { accept; }"],
  [{ ...TEN, matchOperator: "In" }, "if (net ~ 10.0.0.0/8) then { accept; }"],
  [{ ...TEN, matchOperator: "NotIn" }, "if (net !~ 10.0.0.0/8) then { accept; }"],
  [
    { ...TEN, matchOperator: "In", prefixLength: { min: 24, max: 28 } },
    "if (net ~ [ 10.0.0.0/8{24,28} ]) then { accept; }",
  ],
  [
    { ...TEN, matchOperator: "NotIn", prefixLength: { min: 4 } },
    "if (net !~ [ 10.0.0.0/8{8,32} ]) then { accept; }",
  ],
  [{ ...TEN, matchOperator: "In", prefixLength: { max: 7 } }, "if false then { accept; }"],
  [
    { ...TEN, matchOperator: "Equal", prefixLength: { min: 8, max: 8 } },
    "if (net = 10.0.0.0/8 && net.len >= 8 && net.len <= 8) then { accept; }",
  ],
  [{ source: "RemotePeers" }, "if (source = RTS_BGP) then { accept; }"],
  [{ interface: "eth*" }, 'if (ifname ~ "eth*") then { accept; }'],
  [{ peerType: "eBGP" }, "if !is_internal then { accept; }"],
  [{ peerType: "iBGP" }, "if is_internal then { accept; }"],
  [{ communities: { values: ["1:2"] } }, "if ((1,2) ~ bgp_community) then { accept; }"],
  [{ communities: { values: ["1:2:3"] } }, "if ((1,2,3) ~ bgp_large_community) then { accept; }"],
  [{ asPathPrefix: [1, 2] }, "if (bgp_path ~ [= 1 2 * =]) then { accept; }"],
  [
    { priority: 512 },
    "if ((defined(bgp_local_pref) && (bgp_local_pref = 2147483135)) || (defined(krt_metric) && krt_metric = 512)) then { accept; }",
  ],
  [
    { operations: [{ addCommunity: { value: "1:2" } }, { addCommunity: { value: "1:2:3" } }] },
    "if true then { bgp_community.add((1,2)); bgp_large_community.add((1,2,3)); accept; }",
  ],
  [
    { operations: [{ prependASPath: { prefix: [1, 2] } }, { setPriority: { value: 100 } }] },
    "if true then { bgp_path.prepend(2); bgp_path.prepend(1); bgp_local_pref = 2147483547; accept; }",
  ],
  [
    { ...TEN, matchOperator: "In", peerType: "iBGP", source: "RemotePeers" },
    "if (net ~ 10.0.0.0/8) && (source = RTS_BGP) && is_internal then { accept; }",
  ],
];
for (const [rule, expected] of RULES) {
  test(`filter: ${JSON.stringify(rule)}`, () => {
    assert.equal(filtered(rule), expected);
  });
}

test("a filter that matches the normal priority takes routes that carry none", () => {
  assert.match(filtered({ priority: 1024 }, "import"), /!defined\(bgp_local_pref\)/);
});

test("filters: in their order, before what is announced by itself; a missing one lets nothing pass", () => {
  const model = modelOf([
    node(1),
    bgpPeer("tor", { ...TOR, filters: ["b", "a", "none"] }),
    bgpFilter("a", { importV4: [{ action: "Reject" }] }),
    bgpFilter("b", {}),
  ]);
  const { 4: text } = rendered(model);
  assert.match(
    text,
    /export filter \{ margay_prepare\(\); 'bgp_b_exportFilterV4'\(false\); 'bgp_a_exportFilterV4'\(false\); 'bgp_none_exportFilterV4'\(false\); margay_export\(false\); \}/,
  );
  assert.match(text, /'bgp_none_importFilterV4'\(bool is_internal\)\n\{\n {2}reject;/);
  assert.match(model.warnings.join("\n"), /filter none lets nothing pass \(import\)/);
});

test("no name or text can say anything to BIRD but what it means", () => {
  const evil = "x\"; } protocol static evil { route 0.0.0.0/0 blackhole; } #\n'";
  const model = modelOf([
    node(1),
    bgpConfiguration({ ignoredInterfaces: [evil, "docker*"] }),
    bgpPeer("tor", { ...TOR, filters: [evil, "long".repeat(40), "long".repeat(41)] }),
    bgpFilter("long".repeat(40), { importV4: [{ action: "Accept", interface: evil }] }),
  ]);
  const { 4: text } = rendered(model);
  assert.doesNotMatch(text, /evil \{/);
  assert.match(text, /interface -"docker\*"/);
  assert.match(model.warnings.join("\n"), /interface is no plain pattern/);
  const functions = [...text.matchAll(/^function '([^']+)'/gm)].map(([, name = ""]) => name);
  assert.equal(new Set(functions).size, 6, "names that are cut stay apart");
  assert.ok(functions.every((name) => name.length <= 64));
});

test("operations of no known kind let nothing pass", () => {
  for (const operations of [
    [{ setMed: { value: 1 } }],
    [{}],
    "x",
    [{ setPriority: { value: 0 } }],
  ]) {
    assert.match(filtered({ operations }, "export", { unchecked: true }), /^reject;/);
  }
});

test("blocks: announced whole with a blackhole behind; single addresses and others' are not", () => {
  const model = modelOf([
    node(1),
    pool("a", { cidr: "10.65.0.0/16" }),
    affinity("host-1", "10.65.0.64/26"),
    affinity("host-1", "10.65.0.0/26"),
    affinity("host-1", "10.65.1.1/32"),
    affinity("host-1", "10.65.9.0/26", "pending"),
    affinity("host-2", "10.65.2.0/26"),
    affinity("host-1", "fd65::/122"),
  ]);
  assert.deepEqual(model.families[4].blocks, ["10.65.0.0/26", "10.65.0.64/26"]);
  assert.deepEqual(model.families[6].blocks, ["fd65::/122"]);
  assert.match(
    rendered(model)[4],
    /route 10\.65\.0\.0\/26 blackhole;\n {2}route 10\.65\.0\.64\/26/,
  );
});

const NO_ENCAP = pool("n", { cidr: "10.1.0.0/16" });
const IPIP = pool("i", { cidr: "10.2.0.0/16", ipipMode: "CrossSubnet" });
const VXLAN = pool("v", { cidr: "10.3.0.0/16", vxlanMode: "Always" });
const OWNERS: readonly (readonly [string | undefined, string, number])[] = [
  [undefined, "felix bird felix", 0],
  ["Disabled", "felix felix felix", 0],
  ["EnabledNoEncapOnly", "felix bird felix", 0],
  ["EnabledIPIPOnly", "felix felix felix", 1],
  ["Enabled", "felix bird felix", 1],
];
for (const [mode, owners, warnings] of OWNERS) {
  test(`programClusterRoutes: ${mode ?? "the default"}`, () => {
    const settings = bgpConfiguration(mode === undefined ? {} : { programClusterRoutes: mode });
    const model = modelOf([node(1), NO_ENCAP, IPIP, VXLAN, settings]);
    const { pools } = model.families[4];
    assert.equal(pools.map(({ programmedBy }) => programmedBy).join(" "), owners);
    assert.equal(model.warnings.length, warnings);
    const { 4: text } = rendered(model);
    for (const { cidr, programmedBy } of pools) {
      const rejected = text.includes(`if net ~ ${cidr} then reject; # `);
      assert.equal(rejected, programmedBy === "felix", cidr);
    }
  });
}

test("disableBGPExport, and pools of load balancers", () => {
  const { 4: text } = rendered(
    modelOf([
      node(1),
      pool("a", { cidr: "10.1.0.0/16", disableBGPExport: true }),
      pool("b", { cidr: "10.2.0.0/16", disabled: true }),
      pool("c", { cidr: "10.3.0.0/16", allowedUses: ["LoadBalancer"] }),
    ]),
  );
  assert.match(text, /if net ~ 10\.1\.0\.0\/16 then reject; # disableBGPExport/);
  assert.doesNotMatch(text, /if net ~ 10\.1\.0\.0\/16 then accept/);
  assert.match(text, /if net ~ 10\.2\.0\.0\/16 then accept;/);
  assert.doesNotMatch(text, /10\.3\.0\.0/);
});

test("communities of prefixes, by name and value; a node's own settings win", () => {
  const model = modelOf([
    node(1),
    bgpConfiguration({
      communities: [{ name: "rack", value: "64512:7" }],
      prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["rack", "1:2:3"] }],
    }),
  ]);
  assert.match(
    rendered(model)[4],
    /if net ~ 10\.0\.0\.0\/8 then \{ bgp_community\.add\(\(64512,7\)\); bgp_large_community\.add\(\(1,2,3\)\); \}/,
  );
  const unknown = { prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["nobody"] }] };
  const warned = modelOf([node(1), { ...bgpConfiguration(unknown), unchecked: true }]);
  assert.match(warned.warnings.join(), /"nobody" is neither/);
  const own = modelOf([
    node(1),
    bgpConfiguration({ prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["1:1"] }] }),
    bgpConfiguration(
      { prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["2:2"] }] },
      "node.host-1",
    ),
  ]);
  assert.deepEqual(own.families[4].prefixCommunities[0]?.communities, [[2, 2]]);
});

function service(name: string, spec: object, ingress: readonly string[] = []): Raw {
  const status = { loadBalancer: { ingress: ingress.map((ip) => ({ ip })) } };
  return [`${KUBERNETES}kubernetesservice/shop/${name}`, JSON.stringify({ spec, status })];
}
function slice(name: string, nodeName: string, ready = true): Raw {
  return [
    `${KUBERNETES}kubernetesendpointslices/shop/${name}-1`,
    JSON.stringify({
      metadata: { labels: { "kubernetes.io/service-name": name } },
      endpoints: [{ addresses: ["10.65.0.1"], nodeName, conditions: { ready } }],
    }),
  ];
}
const SERVICE_BLOCKS = {
  serviceClusterIPs: [{ cidr: "10.96.0.0/12" }, { cidr: "fd96::/112" }],
  serviceExternalIPs: [{ cidr: "203.0.113.0/24" }],
  serviceLoadBalancerIPs: [{ cidr: "198.51.100.0/24" }],
};
const LOCAL = { externalTrafficPolicy: "Local" };
const SERVICES: readonly (readonly [string, readonly Raw[], object, readonly string[]])[] = [
  ["blocks whole", [], {}, ["10.96.0.0/12", "198.51.100.0/24", "203.0.113.0/24"]],
  [
    "an address whose traffic stays local, while an endpoint is here",
    [
      service("db", {
        ...LOCAL,
        clusterIPs: ["10.96.0.7"],
        externalIPs: ["203.0.113.9", "8.8.8.8"],
      }),
      slice("db", "host-1"),
    ],
    {},
    ["10.96.0.0/12", "10.96.0.7/32", "198.51.100.0/24", "203.0.113.0/24", "203.0.113.9/32"],
  ],
  [
    "not for endpoints elsewhere",
    [service("db", { ...LOCAL, clusterIPs: ["10.96.0.7"] }), slice("db", "host-2")],
    {},
    ["10.96.0.0/12", "198.51.100.0/24", "203.0.113.0/24"],
  ],
  [
    "not for endpoints that are not ready",
    [service("db", { ...LOCAL, clusterIPs: ["10.96.0.7"] }), slice("db", "host-1", false)],
    {},
    ["10.96.0.0/12", "198.51.100.0/24", "203.0.113.0/24"],
  ],
  [
    "load balancers one by one",
    [service("lb", {}, ["198.51.100.5"])],
    { serviceLoadBalancerAggregation: "Disabled" },
    ["10.96.0.0/12", "198.51.100.5/32", "203.0.113.0/24"],
  ],
];
for (const [name, objects, spec, expected] of SERVICES) {
  test(`services: ${name}`, () => {
    const model = modelOf([node(1), bgpConfiguration({ ...SERVICE_BLOCKS, ...spec }), ...objects]);
    assert.deepEqual(model.families[4].serviceRoutes.map(({ cidr }) => cidr).toSorted(), expected);
    assert.deepEqual(
      model.families[6].serviceRoutes.map(({ cidr }) => cidr),
      ["fd96::/112"],
    );
    const { 4: text } = rendered(model);
    assert.match(text, /if net ~ 10\.96\.0\.0\/12 then \{ reject; \}/);
    assert.match(text, /\(proto = "services"\) then reject;/);
  });
}

test("services: not from a node that load balancers leave out; reflectors pass them on", () => {
  const label = { "node.kubernetes.io/exclude-from-external-load-balancers": "" };
  const settings = bgpConfiguration(SERVICE_BLOCKS);
  assert.deepEqual(modelOf([node(1, {}, label), settings]).families[4].serviceRoutes, []);
  const reflector = rendered(modelOf([node(1, { routeReflectorClusterID: "1.1.1.1" }), settings]));
  assert.match(
    reflector[4],
    /if net ~ 10\.96\.0\.0\/12 then \{ if source != RTS_BGP then reject; accept; \}/,
  );
});

test("router ID: the address, a hash of the name, or as given", () => {
  const ids = (given: Parameters<typeof modelOf>[0], routerId?: string): string => {
    const model = modelOf(given, routerId === undefined ? {} : { routerId });
    assert.match(rendered(model)[4], new RegExp(`^router id ${model.routerId};`, "m"));
    return model.routerId;
  };
  const v6 = [{ ...node(1), spec: { bgp: { ipv6Address: "fd00::1/64" } } }];
  assert.equal(ids([node(1)]), "10.0.0.1");
  assert.equal(ids([node(1)], "192.0.2.9"), "192.0.2.9");
  assert.notEqual(ids([node(1)], "hash"), "10.0.0.1");
  assert.equal(ids(v6), ids([node(1)], "hash"));
  assert.match(rendered(modelOf(v6))[4], /# The node has no IPv4 address\./);
});

test("log level, WireGuard, workloads' interfaces, metric", () => {
  const keyed = (number: number) => ({ ...node(number), status: { wireguardPublicKey: "k" } });
  const { 4: text } = rendered(
    modelOf(
      [
        keyed(1),
        keyed(2),
        node(3),
        bgpConfiguration({ logSeverityScreen: "Debug", ipv4NormalRoutePriority: 2000 }),
      ],
      { workloadPrefixes: ["tap", 'bad"'] },
    ),
  );
  assert.match(text, /debug protocols all;/);
  assert.match(text, /bgp_next_hop = 10\.0\.0\.2\) then reject; # WireGuard/);
  assert.doesNotMatch(text, /bgp_next_hop = 10\.0\.0\.3/);
  assert.match(text, /-"tap\*"/);
  assert.match(text, /else krt_metric = 2000;/);
});

test("a node that is not there has a text, too", () => {
  const model = modelOf([]);
  assert.match(model.warnings.join(), /there is no Node host-1/);
  rendered(model);
});

test("BIRD's opinion is asked", () => {
  assert.throws(() => assertParses("protocol nonsense"), /syntax error/);
});
