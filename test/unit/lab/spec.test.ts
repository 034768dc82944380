import assert from "node:assert/strict";
import { test } from "node:test";
import { describeSurprise, drawMatrix, measure, surprises } from "../../../src/lab/matrix.ts";
import { parseLabSpec } from "../../../src/lab/spec.ts";
import { underlayRoutes } from "../../../src/lab/underlay.ts";

const LAB = `kind: Lab
name: tiny
host: {name: h, addresses: [10.0.0.1/24, "2001:db8::1/64"]}
workloads:
- {name: a, addresses: [10.65.0.1, "fd65::1"], listen: [tcp:80]}
- {name: b, namespace: shop, addresses: [10.65.0.2]}
expect:
  default: deny
  allow: [b -> a tcp:80]
  deny: ["* -> a tcp:80 v6"]
`;

test("a lab file is parsed with defaults", () => {
  const spec = parseLabSpec(LAB, "tiny.yaml");
  assert.equal(spec.workloads[0]?.namespace, "default");
  assert.deepEqual(spec.workloads[1]?.profiles, ["kns.shop"]);
  assert.deepEqual(spec.workloads[0]?.listen, [{ protocol: "tcp", port: 80 }]);
  assert.equal(spec.expect?.lines.length, 2);
});

test("every fault of a lab file is named with its position", () => {
  const bad = LAB.replace("tcp:80]}", "tcp:99999]}")
    .replace("name: tiny", "name: Tiny")
    .replace("kind: Lab", "kind: Laboratory");
  assert.throws(
    () => parseLabSpec(bad, "bad.yaml"),
    (error: Error) => {
      assert.match(error.message, /bad\.yaml:1:7: kind/);
      assert.match(error.message, /bad\.yaml:2:7: name: lower-case/);
      assert.match(error.message, /bad\.yaml:5:\d+: workloads\.0\.listen\.0: a port is 1 to 65535/);
      return true;
    },
  );
});

test("names must be unique, and expectations must name what exists", () => {
  assert.throws(
    () => parseLabSpec(LAB.replace("{name: b,", "{name: a,"), "f"),
    /two peers are named a/,
  );
  assert.throws(
    () => parseLabSpec(LAB.replace("b -> a", "nobody -> a"), "f"),
    /expect names nobody/,
  );
  assert.throws(() => parseLabSpec(LAB.replace("name: tiny", "name: tiny\nfoo: 1"), "f"), /foo/);
});

test("the matrix asks for each common family and compares with the file", async () => {
  const spec = parseLabSpec(LAB, "tiny.yaml");
  const asked: string[] = [];
  const peers = [...spec.workloads, ...spec.hosts];
  const cells = await measure(peers, spec.expect, (from, targets) => {
    asked.push(...targets.map((t) => `${from} ${t.address}`));
    return Promise.resolve(targets.map((t) => t.family === 4));
  });
  assert.deepEqual(asked.toSorted(), ["b 10.65.0.1", "h 10.65.0.1", "h fd65::1"]);
  const wrong = surprises(cells);
  assert.deepEqual(wrong.map(describeSurprise), [
    "h -> a tcp:80 v4: reached it; the file expects deny",
  ]);
  assert.equal(
    drawMatrix(cells, { colour: false }),
    [
      "FROM \\ TO  a",
      "           tcp:80",
      "b          yes",
      "h          v4!",
      "!: not what the lab's file expects",
    ].join("\n"),
  );
});

const RACKS = `kind: Lab
name: racks
etcd: 3
subnets: [left, middle, right]
routers:
- name: r1
  links:
  - {subnet: left, addresses: [10.1.0.1/24, "2001:db8:1::1/64"]}
  - {subnet: middle, addresses: [10.2.0.1/24], loss: 0.5, rate: 10mbit}
- name: r2
  links: [{subnet: middle, addresses: [10.2.0.2/24]}, {subnet: right, addresses: [10.3.0.2/24]}]
  bgp: {daemon: frr, asNumber: 64900, announces: [203.0.113.0/24, "2001:db8:bad::/48"]}
hosts:
- {name: a, subnet: left, addresses: [10.1.0.11/24, "2001:db8:1::11/64"]}
- {name: b, subnet: right, addresses: [10.3.0.12/24]}
outside:
- {name: far, subnet: right, addresses: [10.3.0.99/24, 198.51.100.7/32]}
workloads:
- {name: web, host: b, addresses: auto, pools: [pods]}
resources:
- {kind: IPPool, metadata: {name: pods}, spec: {cidr: 10.65.0.0/16}}
`;

test("links carry loss and rate, and a router's announced prefixes give it addresses", () => {
  const { routers, workloads, etcdMembers } = parseLabSpec(RACKS, "racks.yaml");
  assert.equal(etcdMembers, 3);
  assert.deepEqual(
    routers[0]?.links.map((link) => [link.lossPercent, link.rateBytes]),
    [
      [0, undefined],
      [0.5, 1_250_000],
    ],
  );
  assert.deepEqual(routers[1]?.addresses.slice(0, 2), ["203.0.113.1", "2001:db8:bad::1"]);
  assert.deepEqual(workloads[0]?.addresses, []);
});

test("static routes lead to every subnet, the shortest way, and outside", () => {
  const spec = parseLabSpec(RACKS, "racks.yaml");
  const routesOf = (name: string): string[] => {
    const station = [...spec.routers, ...spec.hosts, ...spec.outside].find((s) => s.name === name);
    assert.ok(station !== undefined);
    return underlayRoutes(spec, station).map(({ to, via }) => `${to} ${via}`);
  };
  assert.deepEqual(routesOf("a"), [
    "10.2.0.0/24 10.1.0.1",
    "10.3.0.0/24 10.1.0.1",
    "198.51.100.7 10.1.0.1",
  ]);
  assert.deepEqual(routesOf("r1"), ["10.3.0.0/24 10.2.0.2", "198.51.100.7 10.2.0.2"]);
  assert.deepEqual(routesOf("b"), [
    "10.1.0.0/24 10.3.0.2",
    "10.2.0.0/24 10.3.0.2",
    "198.51.100.7 10.3.0.99",
  ]);
  assert.deepEqual(routesOf("far"), [
    "10.1.0.0/24 10.3.0.2",
    "10.2.0.0/24 10.3.0.2",
    "default 10.3.0.2",
  ]);
});

test("parts that do not fit together are named with their position", () => {
  const faults: readonly (readonly [change: readonly [string, string], message: RegExp])[] = [
    [
      ["subnet: right, addresses: [10.3.0.12/24]", "subnet: rigth, addresses: [10.3.0.12/24]"],
      /racks\.yaml:15:\d+: .*no subnet "rigth"; did you mean right\?/,
    ],
    [
      ["10.3.0.12/24", "10.4.0.12/24"],
      /10\.4\.0\.12\/24 is not in 10\.3\.0\.0\/24, which right is by r2/,
    ],
    [["10.3.0.12/24", "10.3.0.2/24"], /10\.3\.0\.2 is r2's too/],
    [["host: b,", "host: nowhere,"], /workloads\.0\.host: no host "nowhere"; there are: a, b/],
    [["pools: [pods]", "pools: [pod]"], /no IPPool in resources "pod"; did you mean pods\?/],
    [["- {kind: IPPool", "- {kind: Other"], /no IPPool in resources/],
    [["rate: 10mbit", "rate: 10mb"], /routers\.0\.links\.1\.rate: a number and kbit/],
    [["loss: 0.5", "loss: 101"], /routers\.0\.links\.1\.loss: per cent/],
    [["etcd: 3", "etcd: 2"], /racks\.yaml:3:7: etcd: 1 or 3 members/],
    [["daemon: frr", "daemon: quagga"], /bgp\.daemon/],
    [["203.0.113.0/24", "203.0.113.0/32"], /announces\.0: a prefix with room/],
    [["name: far", "name: etcd-2"], /two peers are named etcd-2/],
    [["10.1.0.11/24", "10.1.0.11"], /an address with its subnet's prefix/],
  ];
  for (const [[from, to], message] of faults) {
    const text = RACKS.replace(from, to);
    assert.notEqual(text, RACKS, from);
    assert.throws(() => parseLabSpec(text, "racks.yaml"), message, `${from} -> ${to}`);
  }
  assert.throws(() => parseLabSpec("kind: Lab\nname: x\n", "f"), /a lab has hosts/);
});
