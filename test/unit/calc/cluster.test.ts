/** What comes from the cluster around: services, nodes, BGP, migrations, routes, settings. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CalcGraph, RouteTypes, type ToDataplane } from "#calc";
import type { ModelUpdate } from "#model";
import {
  cases,
  configured,
  deleted,
  pick,
  policy,
  started,
  stored,
  v3,
  workload,
} from "../../support/graph.ts";

const slice = (
  name: string,
  service: string,
  ips: string[],
  port?: number,
): readonly ModelUpdate[] =>
  stored("kubernetesendpointslices", `ns/${name}`, {
    metadata: { name, namespace: "ns", labels: { "kubernetes.io/service-name": service } },
    endpoints: ips.map((ip) => ({ addresses: [ip] })),
    ports: [
      { name: "web", ...(port === undefined ? {} : { port }), protocol: "TCP" },
      { port: 53 },
    ],
  });
const service = { name: "db", namespace: "ns" };
const node = (name: string, ipv4Address: string, more: object = {}): readonly ModelUpdate[] =>
  v3("Node", { name }, { bgp: { ipv4Address }, ...more });

function routesOf(messages: readonly ToDataplane[]): Record<string, object> {
  return Object.fromEntries(
    pick(messages, "routeUpdate").map(({ dst, ...route }) => [dst, route] as const),
  );
}

test("services match the addresses, or addresses and ports, of their endpoint slices", () => {
  const graph = started(
    policy("p", {
      ingress: [{ action: "Allow", source: { services: service } }],
      egress: [{ action: "Allow", destination: { services: service } }],
    }),
    workload("a", "10.0.0.1/32", {}),
    slice("one", "db", ["10.0.0.7", "host.example", "10.0.0.8"], 5432),
    slice("other", "web", ["10.0.0.9"], 80),
  );
  const members = new Map(
    pick(graph.flush(), "ipsetUpdate").map((set) => [set.id.split(":")[0], set]),
  );
  assert.deepEqual(members.get("svcnoport")?.type, "NET");
  assert.deepEqual(members.get("svcnoport")?.members, ["10.0.0.7/32", "10.0.0.8/32"]);
  assert.deepEqual(members.get("svc")?.members, [
    "10.0.0.7,tcp:5432",
    "10.0.0.7,tcp:53",
    "10.0.0.8,tcp:5432",
    "10.0.0.8,tcp:53",
  ]);
  // A second slice has an address that the first one has too; only then the first one goes.
  graph.onUpdates(slice("two", "db", ["10.0.0.7"], 5432));
  assert.deepEqual(graph.flush(), []);
  graph.onUpdates(slice("one", "web", [], 80));
  const deltas = pick(graph.flush(), "ipsetDeltaUpdate");
  assert.deepEqual(deltas.flatMap((delta) => delta.removedMembers).toSorted(), [
    "10.0.0.8,tcp:53",
    "10.0.0.8,tcp:5432",
    "10.0.0.8/32",
  ]);
});

test("a Deny by service holds once the datastore has endpoints of services", () => {
  const deny = { action: "Deny", destination: { services: service } };
  const graph = started(policy("p", { egress: [deny] }), workload("a", "10.0.0.1/32", {}));
  const unsupported = (): unknown[] =>
    pick(graph.flush(), "activePolicyUpdate").map((message) => message.policy.unsupported);
  assert.deepEqual(unsupported(), [["spec.egress[0].destination.services"]]);
  graph.onUpdates(slice("any", "another", ["10.0.0.9"]));
  assert.deepEqual(unsupported(), [undefined]);
  graph.onUpdates(deleted(slice("any", "another", [])));
  assert.deepEqual(unsupported(), [["spec.egress[0].destination.services"]]);
});

test("Kubernetes services are passed on", () => {
  const value = {
    spec: {
      type: "LoadBalancer",
      clusterIP: "10.96.0.1",
      externalIPs: ["203.0.113.1"],
      ports: [{ port: 80, nodePort: 30080 }],
    },
    status: { loadBalancer: { ingress: [{ ip: "203.0.113.9" }, { hostname: "x" }] } },
  };
  const graph = started(stored("kubernetesservice", "ns/web", value));
  assert.deepEqual(pick(graph.flush(), "serviceUpdate"), [
    {
      name: "web",
      namespace: "ns",
      type: "LoadBalancer",
      clusterIps: ["10.96.0.1"],
      loadbalancerIp: "",
      externalIps: ["203.0.113.1"],
      ports: [{ protocol: "TCP", port: 80, nodePort: 30080 }],
      loadbalancerIngressIps: ["203.0.113.9"],
    },
  ]);
  graph.onUpdates(deleted(stored("kubernetesservice", "ns/web", value)));
  assert.deepEqual(pick(graph.flush(), "serviceRemove"), [{ name: "web", namespace: "ns" }]);
});

test("BGP configuration: the default one; nothing without it, an empty one after it", () => {
  const config = (name: string): readonly ModelUpdate[] =>
    v3(
      "BGPConfiguration",
      { name },
      {
        serviceClusterIPs: [{ cidr: "10.96.0.0/12" }],
        serviceLoadBalancerIPs: [{ cidr: "203.0.113.0/24" }],
        localWorkloadPeeringIPV4: "192.0.2.99",
      },
    );
  const graph = started(config("node.here"));
  assert.deepEqual(pick(graph.flush(), "globalBgpConfigUpdate"), []);
  graph.onUpdates(config("default"));
  assert.deepEqual(pick(graph.flush(), "globalBgpConfigUpdate"), [
    {
      serviceClusterCidrs: ["10.96.0.0/12"],
      serviceExternalCidrs: [],
      serviceLoadbalancerCidrs: ["203.0.113.0/24"],
      localWorkloadPeeringIpV4: "192.0.2.99",
      localWorkloadPeeringIpV6: "",
    },
  ]);
  graph.onUpdates(deleted(config("default")));
  const [after] = pick(graph.flush(), "globalBgpConfigUpdate");
  assert.deepEqual(after?.serviceClusterCidrs, []);
});

test("WireGuard: an endpoint per family with a key; its address is a tunnel's", () => {
  const withKey = (status: object): readonly ModelUpdate[] => {
    const spec = {
      bgp: { ipv4Address: "192.0.2.2/24" },
      wireguard: { interfaceIPv4Address: "10.9.0.1", interfaceIPv6Address: "fd09::1" },
    };
    const meta = { name: "there" };
    const value = {
      apiVersion: "projectcalico.org/v3",
      kind: "Node",
      metadata: meta,
      spec,
      status,
    };
    return stored("nodes", "there", value);
  };
  const graph = configured(
    { wireguardEnabled: true },
    withKey({ wireguardPublicKey: "k4", wireguardPublicKeyV6: "k6" }),
  );
  const messages = graph.flush();
  assert.deepEqual(pick(messages, "wireguardEndpointUpdate"), [
    { hostname: "there", publicKey: "k4", interfaceIpv4Addr: "10.9.0.1" },
  ]);
  assert.deepEqual(pick(messages, "wireguardEndpointV6Update"), [
    { hostname: "there", publicKeyV6: "k6", interfaceIpv6Addr: "fd09::1" },
  ]);
  const [tunnel] = pick(messages, "routeUpdate").filter(({ dst }) => dst === "10.9.0.1/32");
  assert.equal(tunnel?.types, RouteTypes.REMOTE_TUNNEL);
  assert.deepEqual(tunnel?.tunnelType, { ipip: false, vxlan: false, wireguard: true });
  graph.onUpdates(withKey({ wireguardPublicKey: "k4" }));
  assert.deepEqual(cases(graph.flush()), ["wireguardEndpointV6Remove"]);
});

test("live migration: by selector, by workload, by endpoint; target before source", () => {
  const migration = (name: string, uid: string, spec: object): readonly ModelUpdate[] =>
    stored("livemigrations", `ns/${name}`, { metadata: { name, uid }, spec });
  const id = (workloadID: string): object => ({ orchestratorID: "k8s", workloadID });
  const [heir] = workload("a", "10.0.0.1/32", { role: "x" });
  assert.ok(heir?.key.kind === "WorkloadEndpoint" && heir.value !== null);
  const graph = started(
    [{ key: heir.key, value: { ...heir.value, profileIds: ["late"] } } as ModelUpdate],
    workload("b", "10.0.0.2/32", { role: "y" }),
  );
  const roles = (): Record<string, unknown> =>
    Object.fromEntries(
      pick(graph.flush(), "workloadEndpointUpdate").map(({ id: { workloadId }, endpoint }) => [
        workloadId,
        [endpoint.liveMigrationRole, endpoint.liveMigrationUid],
      ]),
    );
  assert.deepEqual(roles(), { "ns/a": [undefined, undefined], "ns/b": [undefined, undefined] });
  graph.onUpdates(migration("m1", "u1", { source: { workload: id("ns/a") } }));
  assert.deepEqual(roles(), { "ns/a": ["SOURCE", "u1"] });
  const endpoint = { ...id("ns/a"), endpointID: "eth0" };
  graph.onUpdates(migration("m2", "u2", { target: { workloadEndpoint: endpoint } }));
  assert.deepEqual(roles(), { "ns/a": ["TARGET", "u2"] });
  graph.onUpdates(migration("m3", "u3", { target: { selector: "role == 'y'" } }));
  assert.deepEqual(roles(), { "ns/b": ["TARGET", "u3"] });
  graph.onUpdates(workload("b", "10.0.0.2/32", { role: "z" }));
  assert.deepEqual(roles(), { "ns/b": [undefined, undefined] });
  graph.onUpdates(deleted(migration("m2", "u2", {})));
  assert.deepEqual(roles(), { "ns/a": ["SOURCE", "u1"] });
  // An inherited label makes a target, too.
  graph.onUpdates(migration("m3", "u3", { target: { selector: "has(heavy)" } }));
  assert.deepEqual(roles(), {});
  graph.onUpdates(v3("Profile", { name: "late" }, { labelsToApply: { heavy: "yes" } }));
  assert.deepEqual(roles(), { "ns/a": ["TARGET", "u3"] });
});

test("a workload that asks for spoofed sources counts only where the settings allow them", () => {
  const spoofing = v3(
    "WorkloadEndpoint",
    { name: "here-k8s-a-eth0", namespace: "ns" },
    {
      node: "here",
      orchestrator: "k8s",
      pod: "a",
      endpoint: "eth0",
      interfaceName: "calia",
      ipNetworks: ["10.0.0.1/32"],
      allowSpoofedSourcePrefixes: ["10.7.0.0/16"],
    },
  );
  const refused: string[] = [];
  const graph = new CalcGraph({
    hostname: "here",
    onRefused: ({ workloadId }) => refused.push(workloadId),
  });
  graph.onUpdates(spoofing);
  graph.onStatus("in-sync");
  assert.deepEqual(pick(graph.flush(), "workloadEndpointUpdate"), []);
  graph.flush();
  assert.deepEqual(refused, ["ns/a"]);
  assert.equal(graph.statistics().clusterWorkloadEndpoints, 0);
  graph.configure({ workloadSourceSpoofing: "Any" });
  const [told] = pick(graph.flush(), "workloadEndpointUpdate");
  assert.deepEqual(told?.endpoint.allowSpoofedSourcePrefixes, ["10.7.0.0/16"]);
  graph.configure({});
  assert.deepEqual(cases(graph.flush()), ["workloadEndpointRemove"]);
  assert.deepEqual(refused, ["ns/a", "ns/a"]);
});

const block = (affinity: string, ...nodes: string[]): ModelUpdate => ({
  key: { kind: "IPAMBlock", cidr: "10.65.0.0/30" },
  value: {
    cidr: "10.65.0.0/30",
    affinity,
    allocations: nodes.map((name, ordinal) => ({ ordinal, node: name })),
  },
});
const pool = v3("IPPool", { name: "pool" }, { cidr: "10.65.0.0/16", vxlanMode: "Always" });

test("routes: a borrowed address of a local workload is local and remote, and ours", () => {
  const graph = started(
    pool,
    node("here", "192.0.2.1/24"),
    node("there", "192.0.2.2/24", { ipv4VXLANTunnelAddr: "10.65.0.3" }),
    [block("host:there", "there", "here")],
    workload("a", "10.65.0.1/32", {}),
  );
  const routes = routesOf(graph.flush());
  const borrowed = routes["10.65.0.1/32"] as { types: number; dstNodeName: string };
  assert.equal(borrowed.types, RouteTypes.LOCAL_WORKLOAD | RouteTypes.REMOTE_WORKLOAD);
  assert.equal(borrowed.dstNodeName, "here");
  assert.deepEqual(borrowed, { ...borrowed, borrowed: true, localWorkload: true });
  // A tunnel's address inside a block of its own node is a tunnel's alone.
  const tunnel = routes["10.65.0.3/32"] as { types: number };
  assert.deepEqual(tunnel, { ...tunnel, types: RouteTypes.REMOTE_TUNNEL, borrowed: false });
  // When the block goes to the host itself, nothing is borrowed any more.
  graph.onUpdates([block("host:here", "here", "here")]);
  const after = routesOf(graph.flush())["10.65.0.1/32"] as { types: number };
  assert.deepEqual(after, { ...after, types: RouteTypes.LOCAL_WORKLOAD, borrowed: false });
});

test("routes from workloads' addresses: those of every host, and IPAM counts for nothing", () => {
  const graph = configured(
    { routeSource: "WorkloadIPs" },
    pool,
    node("there", "192.0.2.2/24"),
    [block("host:there", "there")],
    workload("b", "10.65.0.1/32", {}, "there"),
  );
  const routes = routesOf(graph.flush());
  assert.deepEqual(Object.keys(routes).toSorted(), [
    "10.65.0.0/16",
    "10.65.0.1/32",
    "192.0.2.2/32",
  ]);
  const remote = routes["10.65.0.1/32"] as object;
  assert.deepEqual(remote, { ...remote, types: RouteTypes.REMOTE_WORKLOAD, dstNodeName: "there" });
  graph.configure({});
  const change = graph.flush();
  assert.deepEqual(pick(change, "routeRemove"), [{ dst: "10.65.0.1/32" }]);
  assert.deepEqual(Object.keys(routesOf(change)), ["10.65.0.0/30"]);
});

test("a node has no addresses beside those of BGP; without any, the internal ones count", () => {
  const addresses = [
    { address: "198.51.100.9", type: "ExternalIP" },
    { address: "fd00::9", type: "InternalIP" },
    { address: "192.0.2.9", type: "InternalIP" },
  ];
  const graph = started(
    pool,
    node("bgp", "192.0.2.2/24", { addresses }),
    v3("Node", { name: "plain" }, { addresses, ipv4VXLANTunnelAddr: "10.65.0.3" }),
    v3("Node", { name: "bare" }, { ipv4VXLANTunnelAddr: "10.65.0.4" }),
  );
  const messages = graph.flush();
  const hosts = pick(messages, "hostMetadataUpdate").map((host) => [
    host.hostname,
    host.ipv4Addr,
    host.ipv6Addr,
  ]);
  assert.deepEqual(hosts, [
    ["bgp", "192.0.2.2/24", ""],
    ["plain", "192.0.2.9", "fd00::9"],
    ["bare", "", ""],
  ]);
  assert.deepEqual(
    Object.keys(routesOf(messages)).filter((dst) => dst.startsWith("10.65.0.")),
    ["10.65.0.0/16", "10.65.0.3/32"],
  );
});

test("settings go before the pools' encapsulation; who programs no routes is told none", () => {
  const ipipPool = v3("IPPool", { name: "pool" }, { cidr: "10.65.0.0/16", ipipMode: "Always" });
  const flushed = (settings: object): readonly ToDataplane[] =>
    configured(settings, ipipPool).flush();
  const routeCount = (settings: object): number => pick(flushed(settings), "routeUpdate").length;
  assert.equal(pick(flushed({}), "encapsulation")[0]?.ipipEnabled, true);
  assert.equal(routeCount({}), 1);
  assert.equal(routeCount({ programsIpipRoutes: false }), 0);
  assert.equal(routeCount({ ipipEnabled: false }), 0);
  assert.equal(routeCount({ ipipEnabled: false, wireguardEnabled: true }), 1);
  const [vxlan] = pick(flushed({ vxlanEnabled: true, ipipEnabled: false }), "encapsulation");
  assert.deepEqual([vxlan?.ipipEnabled, vxlan?.vxlanEnabled], [false, true]);
});
