/** What the recorded states do not show: before in-sync, deltas, named ports, catch-all blocks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CalcGraph } from "#calc";
import type { ModelUpdate } from "#model";
import { cases, deleted, pick, policy, started, v3, workload } from "../../support/graph.ts";

test("nothing is told before in-sync, and in-sync ends the first flush", () => {
  const graph = new CalcGraph({ hostname: "here" });
  graph.onUpdates(workload("a", "10.0.0.1/32", {}));
  graph.onStatus("resync");
  assert.deepEqual(graph.flush(), []);
  graph.onStatus("in-sync");
  const first = cases(graph.flush());
  assert.equal(first.at(-1), "inSync");
  assert.ok(first.includes("workloadEndpointUpdate"));
  graph.onStatus("in-sync");
  assert.deepEqual(graph.flush(), []);
});

test("a member that moves between endpoints is not told; one that comes is a delta", () => {
  const rule = { action: "Allow", source: { selector: "role == 'x'" } };
  const graph = started(
    policy("p", { selector: "all()", types: ["Ingress"], ingress: [rule] }),
    workload("a", "10.0.0.1/32", { role: "x" }),
    workload("b", "10.0.0.2/32", {}, "there"),
  );
  assert.deepEqual(pick(graph.flush(), "ipsetUpdate")[0]?.members, ["10.0.0.1/32"]);
  graph.onUpdates([
    ...deleted(workload("a", "10.0.0.1/32", {})),
    ...workload("c", "10.0.0.1/32", { role: "x" }),
  ]);
  assert.deepEqual(pick(graph.flush(), "ipsetDeltaUpdate"), []);
  graph.onUpdates(workload("b", "10.0.0.2/32", { role: "x" }, "there"));
  const [delta] = pick(graph.flush(), "ipsetDeltaUpdate");
  assert.deepEqual([delta?.addedMembers, delta?.removedMembers], [["10.0.0.2/32"], []]);
});

test("an update that changes nothing tells nothing", () => {
  const all = [
    policy("p", { selector: "all()", types: ["Ingress"], ingress: [{ action: "Allow" }] }),
    workload("a", "10.0.0.1/32", { role: "x" }),
  ];
  const graph = started(...all);
  graph.flush();
  graph.onUpdates(all.flat());
  graph.onUpdates([...deleted(all.flat()), ...all.flat()]);
  assert.deepEqual(graph.flush(), []);
});

test("named ports: by protocol, limited by the selector, beside numeric ports or alone", () => {
  const rules = (ports: unknown[]): object => ({
    selector: "all()",
    types: ["Ingress"],
    ingress: [
      { action: "Allow", protocol: "TCP", destination: { selector: "role == 'x'", ports } },
    ],
  });
  const graph = started(
    policy("p", rules(["web"])),
    workload("a", "10.0.0.1/32", { role: "x" }),
    workload("b", "10.0.0.2/32", {}),
  );
  const messages = graph.flush();
  assert.deepEqual(
    pick(messages, "ipsetUpdate").map(({ type, members }) => [type, members]),
    [["IP_AND_PORT", ["10.0.0.1,tcp:8080"]]],
  );
  const [rule] = pick(messages, "activePolicyUpdate")[0]?.policy.inboundRules ?? [];
  assert.equal(rule?.dstIpSetIds, undefined);
  assert.equal(rule?.dstNamedPortIpSetIds?.length, 1);
  graph.onUpdates(policy("p", rules(["web", 53])));
  const [after] = pick(graph.flush(), "activePolicyUpdate")[0]?.policy.inboundRules ?? [];
  assert.equal(after?.dstIpSetIds?.length, 1);
  assert.deepEqual(after?.dstPorts, [{ first: 53, last: 53 }]);
});

test("a block of length 0 in a network set becomes its halves", () => {
  const graph = started(
    v3("GlobalNetworkSet", { name: "world", labels: { role: "x" } }, { nets: ["0.0.0.0/0"] }),
    policy("p", {
      selector: "all()",
      types: ["Egress"],
      egress: [{ action: "Deny", destination: { selector: "role == 'x'" } }],
    }),
    workload("a", "10.0.0.1/32", { role: "x" }),
  );
  assert.deepEqual(pick(graph.flush(), "ipsetUpdate")[0]?.members.toSorted(), [
    "0.0.0.0/1",
    "128.0.0.0/1",
  ]);
});

test("rules of services have their sets, empty without service data", () => {
  const graph = started(
    policy("p", {
      selector: "all()",
      types: ["Egress"],
      egress: [{ action: "Allow", destination: { services: { name: "db", namespace: "ns" } } }],
    }),
    workload("a", "10.0.0.1/32", {}),
  );
  const messages = graph.flush();
  const [set] = pick(messages, "ipsetUpdate");
  assert.deepEqual([set?.type, set?.members], ["IP_AND_PORT", []]);
  const [rule] = pick(messages, "activePolicyUpdate")[0]?.policy.outboundRules ?? [];
  assert.deepEqual(rule?.dstIpPortSetIds, [set?.id]);
  assert.equal(rule?.originalDstService, "db");
});

test("tiers: missing ones last, order before name, places of host policies", () => {
  const policyIn = (name: string, tier: string, more: object = {}): readonly ModelUpdate[] =>
    policy(name, { tier, selector: "all()", types: ["Ingress"], ...more });
  const graph = started(
    v3("Tier", { name: "b" }, { order: 5 }),
    v3("Tier", { name: "a" }, { order: 5, defaultAction: "Pass" }),
    v3("Tier", { name: "z" }, { order: 1 }),
    ...["b", "a", "z", "gone"].map((tier) => policyIn(`${tier}.p`, tier)),
    policyIn("a.first", "a", { order: 1, applyOnForward: true }),
    policyIn("a.raw", "a", { doNotTrack: true, applyOnForward: true }),
    policyIn("a.dnat", "a", { preDNAT: true, applyOnForward: true }),
    v3("HostEndpoint", { name: "hep" }, { node: "here", interfaceName: "eth0" }),
  );
  const [hep] = pick(graph.flush(), "hostEndpointUpdate");
  const names = (
    tiers: readonly { name: string; ingressPolicies: readonly { name: string }[] }[] = [],
  ) => tiers.map(({ name, ingressPolicies }) => [name, ...ingressPolicies.map((id) => id.name)]);
  assert.deepEqual(names(hep?.endpoint.tiers), [
    ["z", "z.p"],
    ["a", "a.first", "a.p"],
    ["b", "b.p"],
    ["gone", "gone.p"],
  ]);
  assert.deepEqual(names(hep?.endpoint.forwardTiers), [["a", "a.first"]]);
  assert.deepEqual(names(hep?.endpoint.untrackedTiers), [["a", "a.raw"]]);
  assert.deepEqual(names(hep?.endpoint.preDnatTiers), [["a", "a.dnat"]]);
  assert.equal(hep?.endpoint.untrackedTiers[0]?.defaultAction, "Pass");
  assert.equal(hep?.endpoint.tiers.at(-1)?.defaultAction, "Deny");
});

test("IPAM blocks: to their host, and borrowed addresses to theirs", () => {
  const cidr = "10.65.0.0/30";
  const node = (name: string, ipv4Address: string): readonly ModelUpdate[] =>
    v3("Node", { name }, { bgp: { ipv4Address } });
  const graph = started(
    v3("IPPool", { name: "pool" }, { cidr: "10.65.0.0/16", vxlanMode: "CrossSubnet" }),
    node("here", "192.0.2.1/24"),
    node("there", "192.0.2.2/24"),
    node("far", "198.51.100.3/24"),
    [
      {
        key: { kind: "IPAMBlock", cidr },
        value: {
          cidr,
          affinity: "host:there",
          allocations: [
            { ordinal: 0, node: "there" },
            { ordinal: 2, node: "far" },
          ],
        },
      },
    ],
  );
  const routes = pick(graph.flush(), "routeUpdate").filter(({ dst }) => dst.startsWith("10.65.0."));
  const seen = routes.map(({ dst, types, dstNodeIp, sameSubnet, borrowed }) => [
    dst,
    types,
    dstNodeIp,
    sameSubnet,
    borrowed,
  ]);
  assert.deepEqual(
    seen.toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1)),
    [
      ["10.65.0.0/16", 0, "", false, false],
      ["10.65.0.0/30", 1, "192.0.2.2", true, false],
      ["10.65.0.2/32", 1, "198.51.100.3", false, true],
    ],
  );
});

test("statistics count what is there", () => {
  const graph = started(
    policy("p", { selector: "role == 'x'", types: ["Ingress"], ingress: [{ action: "Allow" }] }),
    policy("q", { selector: "role == 'y'", types: ["Ingress"] }),
    workload("a", "10.0.0.1/32", { role: "x" }),
    workload("b", "10.0.0.2/32", {}, "there"),
    v3("Node", { name: "there" }, { bgp: { ipv4Address: "192.0.2.2/24" } }),
    v3("Profile", { name: "kns.ns" }, {}),
    v3("Tier", { name: "late" }, {}),
  );
  graph.onUpdates(workload("a", "10.0.0.1/32", { role: "x" }));
  graph.onUpdates(deleted(workload("never", "10.0.0.9/32", {})));
  assert.deepEqual(graph.statistics(), {
    activeLocalEndpoints: 1,
    activeLocalPolicies: 1,
    activeLocalSelectors: 0,
    clusterPolicies: 2,
    clusterWorkloadEndpoints: 2,
    clusterHostEndpoints: 0,
    clusterHosts: 1,
    clusterProfiles: 1,
    clusterTiers: 1,
    labelIndex: { items: 2, optimizedSelectors: 0, otherSelectors: 0, hits: 0, misses: 0 },
  });
  const rule = { action: "Allow", source: { selector: "role == 'x'", notPorts: [] } };
  const other = { action: "Allow", source: { selector: "role != 'x'" } };
  graph.onUpdates(policy("p", { selector: "role == 'x'", ingress: [rule, other] }));
  const { activeLocalSelectors, labelIndex } = graph.statistics();
  assert.equal(activeLocalSelectors, 2);
  assert.deepEqual(labelIndex, {
    items: 2,
    optimizedSelectors: 1,
    otherSelectors: 1,
    hits: 2,
    misses: 1,
  });
});

test("what cannot be decided is told with the policy or profile, not ignored", () => {
  const services = { name: "s", namespace: "ns" };
  const graph = started(
    workload("a", "10.0.0.1/32", {}),
    policy("http", {
      ingress: [{ action: "Log" }, { action: "Allow", http: { methods: ["GET"] } }],
    }),
    policy("deny", { egress: [{ action: "Deny", destination: { services } }] }),
    policy("new", { ingress: [{ action: "Allow", weather: "fine", source: { geo: ["DE"] } }] }),
    // Matches nothing, so it allows nothing.
    policy("allow", { egress: [{ action: "Allow", destination: { services } }] }),
  );
  const told = pick(graph.flush(), "activePolicyUpdate").map(
    ({ id, policy: { unsupported } }) => [id.name, unsupported] as const,
  );
  assert.deepEqual(Object.fromEntries(told), {
    http: ["spec.ingress[1].http"],
    deny: ["spec.egress[0].destination.services"],
    new: ["spec.ingress[0].weather", "spec.ingress[0].source.geo"],
    allow: undefined,
  });
});

test("profiles that are not stored: one allows, as in every datastore; any other denies", () => {
  const [endpoint] = workload("a", "10.0.0.1/32", {});
  assert.ok(endpoint?.key.kind === "WorkloadEndpoint" && endpoint.value !== null);
  const profileIds = ["projectcalico-default-allow", "nobody-made-this"];
  const listing = { key: endpoint.key, value: { ...endpoint.value, profileIds } } as ModelUpdate;
  const profiles = pick(started([listing]).flush(), "activeProfileUpdate");
  const actions = profiles.map(({ id, profile }) => {
    const rules = [...profile.inboundRules, ...profile.outboundRules];
    return [id.name, rules.map((rule) => rule.action)];
  });
  assert.deepEqual(Object.fromEntries(actions), {
    "nobody-made-this": ["deny", "deny"],
    "projectcalico-default-allow": ["allow", "allow"],
  });
});
