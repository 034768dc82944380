/** Datastore objects → model updates: keys, selectors, and what paths give up. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  felixStatusPrefix,
  ModelConverter,
  modelKeyText,
  workloadEndpointKey,
  workloadStatusPath,
  type ModelPolicy,
  type ModelUpdate,
} from "#model";
import { CalcGraph } from "#calc";
import { resourcePath, type Kind } from "#resource";

interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

function stored(kind: Kind, metadata: Meta, spec: object): [string, string] {
  return [
    resourcePath(kind, metadata.name, metadata.namespace),
    JSON.stringify({ apiVersion: "projectcalico.org/v3", kind, metadata, spec }),
  ];
}

const briefly = (updates: readonly ModelUpdate[]): string[] =>
  updates.map(
    ({ key, value }) =>
      `${value === null ? "-" : "+"}${modelKeyText(key).replaceAll("\u0000", " ")}`,
  );

test("names of workload endpoints: four parts, dashes doubled", () => {
  assert.deepEqual(workloadEndpointKey("ns", "node--a-k8s-my--pod--1-eth0"), {
    kind: "WorkloadEndpoint",
    hostname: "node-a",
    orchestratorId: "k8s",
    workloadId: "ns/my-pod-1",
    endpointId: "eth0",
  });
  assert.equal(workloadEndpointKey("ns", "too-few-parts"), undefined);
});

test("a host endpoint that moves leaves its old node", () => {
  const converter = new ModelConverter();
  const hep = (node: string): [string, string] =>
    stored("HostEndpoint", { name: "h" }, { node, interfaceName: "eth0" });
  assert.deepEqual(briefly(converter.convert(...hep("n1"))), ["+HostEndpoint n1 h"]);
  assert.deepEqual(briefly(converter.convert(...hep("n2"))), [
    "-HostEndpoint n1 h",
    "+HostEndpoint n2 h",
  ]);
  assert.deepEqual(briefly(converter.convert(hep("n2")[0], null)), ["-HostEndpoint n2 h"]);
  assert.deepEqual(briefly(converter.convert(hep("n2")[0], null)), []);
});

test("of two pools with one block the first by name counts, and the other inherits it", () => {
  const converter = new ModelConverter();
  const pool = (name: string, natOutgoing: boolean): [string, string] =>
    stored("IPPool", { name }, { cidr: "10.65.0.0/16", natOutgoing });
  converter.convert(...pool("b", true));
  const [first] = converter.convert(...pool("a", false));
  assert.equal((first?.value as { natOutgoing: boolean } | undefined)?.natOutgoing, false);
  assert.deepEqual(converter.convert(...pool("b", true)), []);
  const [heir] = converter.convert(pool("a", false)[0], null);
  assert.equal((heir?.value as { natOutgoing: boolean } | undefined)?.natOutgoing, true);
});

test("an object whose content is not that of its key is refused", () => {
  const converter = new ModelConverter();
  const [, value] = stored("Tier", { name: "a" }, { order: 1 });
  assert.throws(() => converter.convert(resourcePath("Tier", "b"), value), {
    code: "misplaced-resource",
  });
});

test("labels that only profiles may give are dropped; namespace and service account become some", () => {
  const updates = new ModelConverter().convert(
    ...stored(
      "WorkloadEndpoint",
      {
        name: "n-k8s-p-eth0",
        namespace: "ns",
        labels: {
          app: "a",
          "pcns.team": "x",
          "pcsa.y": "z",
          "projectcalico.org/namespace": "another",
        },
      },
      {
        node: "n",
        orchestrator: "k8s",
        pod: "p",
        endpoint: "eth0",
        interfaceName: "cali1",
        serviceAccountName: "sa",
        ipNetworks: ["10.0.0.1/32"],
      },
    ),
  );
  assert.deepEqual((updates[0]?.value as { labels: object } | undefined)?.labels, {
    app: "a",
    "projectcalico.org/namespace": "ns",
    "projectcalico.org/serviceaccount": "sa",
  });
});

function policyOf(kind: "NetworkPolicy" | "GlobalNetworkPolicy", spec: object): ModelPolicy {
  const meta = kind === "NetworkPolicy" ? { name: "p", namespace: "ns" } : { name: "p" };
  const [update] = new ModelConverter().convert(...stored(kind, meta, spec));
  assert.ok(update?.value);
  return update.value as ModelPolicy;
}

test("selectors of policies are joined with namespace and service account", () => {
  assert.equal(policyOf("NetworkPolicy", {}).selector, 'projectcalico.org/namespace == "ns"');
  assert.equal(
    policyOf("NetworkPolicy", { selector: "a == 'b' || has(c)", serviceAccountSelector: "all()" })
      .selector,
    '(((a == "b" || has(c)) && projectcalico.org/namespace == "ns") && has(projectcalico.org/serviceaccount))',
  );
  assert.equal(
    policyOf("GlobalNetworkPolicy", { namespaceSelector: "team == 'x'" }).selector,
    'pcns.team == "x"',
  );
});

test("rules of a namespace are limited to it only where they select", () => {
  const rule = (source: object): ModelPolicy["inboundRules"][number]["source"] | undefined =>
    policyOf("NetworkPolicy", { ingress: [{ action: "Allow", source }] }).inboundRules[0]?.source;
  assert.equal(rule({ nets: ["10.0.0.0/8"] })?.selector, "");
  assert.equal(rule({ notSelector: "has(a)" })?.selector, "projectcalico.org/namespace == 'ns'");
  assert.equal(
    rule({ selector: "has(a)", serviceAccounts: { names: ["s"] } })?.selector,
    "(projectcalico.org/namespace == 'ns') && ((projectcalico.org/serviceaccount in { 's' }) && (has(a)))",
  );
  assert.equal(
    rule({ namespaceSelector: "global()" })?.selector,
    "!has(projectcalico.org/namespace)",
  );
});

test("types default by the rules that are there; a staged deletion is no policy", () => {
  const allow = [{ action: "Allow" }];
  assert.deepEqual(policyOf("NetworkPolicy", {}).types, ["ingress"]);
  assert.deepEqual(policyOf("NetworkPolicy", { egress: allow }).types, ["egress"]);
  assert.deepEqual(policyOf("NetworkPolicy", { ingress: allow, egress: allow }).types, [
    "ingress",
    "egress",
  ]);
  const staged = stored("StagedGlobalNetworkPolicy", { name: "p" }, { stagedAction: "Delete" });
  assert.deepEqual(new ModelConverter().convert(...staged), []);
});

test("FelixConfiguration becomes raw parameters", () => {
  const [update] = new ModelConverter().convert(
    ...stored(
      "FelixConfiguration",
      { name: "default" },
      {
        ipipEnabled: false,
        logSeverityScreen: "Debug",
        iptablesRefreshInterval: "90s",
        failsafeInboundHostPorts: [{ protocol: "TCP", port: 22, net: "10.0.0.0/8" }],
        failsafeOutboundHostPorts: [],
        routeTableRanges: [{ min: 1, max: 250 }],
      },
    ),
  );
  const params = (update?.value as { params: Record<string, string> } | undefined)?.params ?? {};
  assert.equal(params["IpInIpEnabled"], "false");
  assert.equal(params["LogSeverityScreen"], "Debug");
  assert.equal(params["IptablesRefreshInterval"], "1m30s");
  assert.equal(params["FailsafeInboundHostPorts"], "tcp:10.0.0.0/8:22");
  assert.equal(params["FailsafeOutboundHostPorts"], "none");
  assert.equal(params["RouteTableRanges"], "1-250");
});

test("IPAM blocks: allocations with the node that has them", () => {
  const [update] = new ModelConverter().convert(
    "/calico/ipam/v2/assignment/ipv4/block/10.65.0.0-30",
    JSON.stringify({
      cidr: "10.65.0.0/30",
      affinity: "host:n1",
      allocations: [null, 0, 1, null],
      unallocated: [0, 3],
      attributes: [{ handle_id: "h", secondary: { node: "n2" } }, { handle_id: "i" }],
    }),
  );
  assert.deepEqual(update?.value, {
    cidr: "10.65.0.0/30",
    affinity: "host:n1",
    allocations: [
      { ordinal: 1, node: "n2" },
      { ordinal: 2, node: "" },
    ],
  });
});

test("paths of status", () => {
  assert.equal(felixStatusPrefix("", "h"), "/calico/felix/v2/no-region/host/h/");
  assert.equal(
    workloadStatusPath(felixStatusPrefix("eu", "h"), "k8s", "ns/p", "eth0"),
    "/calico/felix/v2/region-eu/host/h/workload/k8s/ns%2fp/endpoint/eth0",
  );
});

test("an IPAM block of another shape, or another block than its key says, is refused", () => {
  const path = "/calico/ipam/v2/assignment/ipv4/block/10.65.0.0-30";
  const convert = (value: unknown): readonly ModelUpdate[] =>
    new ModelConverter().convert(path, JSON.stringify(value));
  for (const value of [5, null, [], {}, { cidr: 7 }, { cidr: "10.66.0.0/30" }]) {
    assert.throws(() => convert(value), { code: "bad-block" });
  }
  const [update] = convert({
    cidr: "10.65.0.0/30",
    affinity: 5,
    allocations: ["x", 0, 1],
    attributes: [{ secondary: { node: 3 } }, "y"],
  });
  assert.deepEqual(update?.value, {
    cidr: "10.65.0.0/30",
    affinity: "",
    allocations: [
      { ordinal: 1, node: "" },
      { ordinal: 2, node: "" },
    ],
  });
});

test("selectors that are each within the limits are also when joined; names cannot end their quotes", () => {
  const convert = (spec: object): (() => readonly ModelUpdate[]) => {
    const [path, value] = stored("GlobalNetworkPolicy", { name: "p" }, spec);
    return () => new ModelConverter().convert(path, value);
  };
  const rule = (source: object): (() => readonly ModelUpdate[]) =>
    convert({ ingress: [{ action: "Allow", source }] });
  // Written out in full this has twice the parentheses.
  let deep = "has(z)";
  for (let i = 0; i < 200; i++) deep = `(has(a) && has(b) || has(c) && ${deep})`;
  const all = { selector: deep, namespaceSelector: deep, serviceAccounts: { selector: deep } };
  assert.doesNotThrow(rule({ ...all, notSelector: deep }));
  const { serviceAccounts: _, ...own } = { ...all, serviceAccountSelector: deep };
  const [update] = convert(own)();
  const graph = new CalcGraph({ hostname: "n" });
  assert.ok(update !== undefined);
  assert.doesNotThrow(() => graph.onUpdates([update]), "and the graph can read them");
  assert.throws(rule({ serviceAccounts: { names: ["a' } || all() || b in { 'c"] } }), {
    code: "bad-service-account",
  });
});
