/**
 * Random clusters with everything that the graph reads: valid v3 objects of every kind, over few
 * names, labels and addresses, so that they meet often and some of what they name is missing.
 */
import assert from "node:assert/strict";
import type { GraphSettings } from "#calc";
import { ModelConverter, type ModelUpdate } from "#model";
import { encodeStored, kindInfo, resourcePath, validateResource } from "#resource";
import {
  NAMED_PORTS,
  NAMESPACES,
  randomLabels,
  randomNamespaceSelector,
  randomRules,
  randomSelector,
  randomServiceAccountSelector,
  type Json,
} from "../../support/random-rules.ts";
import type { RandomSource } from "../../support/random-source.ts";

export const HOST = "host-a";
const HOSTS = [HOST, "host-b", "host-c"];
const TIERS = ["default", "sec", "plat", "late", "never-made"];
const ORDERS = [1, 2, 2, 100.5, -3];
const MODES = ["Never", "Always", "CrossSubnet"];
const SERVICES = ["db", "web"];
const NETS = ["10.0.0.0/8", "10.65.0.16/31", "10.65.0.17/32", "192.0.2.0/24", "0.0.0.0/0", "::/0"];

/** Path → JSON text. */
type Texts = Map<string, string>;

export interface Cluster {
  readonly settings: GraphSettings;
  readonly updates: readonly ModelUpdate[];
}

export function randomCluster(random: RandomSource): Cluster {
  const texts: Texts = new Map();
  addNetwork(texts, random);
  addTiersAndPolicies(texts, random);
  addEndpoints(texts, random);
  addForeign(texts, random);
  const converter = new ModelConverter();
  const updates = [...texts].flatMap(([path, text]) => converter.convert(path, text));
  return { updates, settings: randomSettings(random) };
}

function randomSettings(random: RandomSource): GraphSettings {
  return {
    ...random.maybe(0.2, "ipipEnabled", () => random.chance(0.5)),
    ...random.maybe(0.2, "vxlanEnabled", () => random.chance(0.5)),
    ...random.maybe(0.3, "programsIpipRoutes", () => random.chance(0.5)),
    ...random.maybe(0.3, "programsNoEncapRoutes", () => random.chance(0.5)),
    ...random.maybe(0.3, "wireguardEnabled", () => random.chance(0.5)),
    ...random.maybe(0.4, "routeSource", () => random.pick(["CalicoIPAM", "WorkloadIPs"] as const)),
    ...random.maybe(0.5, "workloadSourceSpoofing", () => random.pick(["Any", "Disabled"] as const)),
  };
}

function add(texts: Texts, kind: string, metadata: Json, spec: Json, more: Json = {}): void {
  const object = { apiVersion: "projectcalico.org/v3", kind, metadata, spec, ...more };
  const result = validateResource(object);
  assert.ok(
    result.ok,
    result.ok ? "" : `${JSON.stringify(object)}: ${JSON.stringify(result.errors)}`,
  );
  const { name, namespace } = metadata as { name: string; namespace?: string };
  texts.set(resourcePath(result.value.kind, name, namespace), encodeStored(result.value));
}

function addNetwork(texts: Texts, random: RandomSource): void {
  for (const [name, cidr] of [
    ["p65", "10.65.0.0/16"],
    ["p66", "10.66.0.0/16"],
    ["p6", "fd66::/48"],
  ]) {
    if (random.chance(0.3)) continue;
    const ipip = cidr?.includes(":") ? "Never" : random.pick(MODES);
    const vxlan = ipip === "Never" ? random.pick(MODES) : "Never";
    add(
      texts,
      "IPPool",
      { name },
      {
        cidr,
        ipipMode: ipip,
        vxlanMode: vxlan,
        ...random.maybe(0.4, "natOutgoing", () => true),
        ...random.maybe(0.1, "disabled", () => true),
      },
    );
  }
  for (const [index, name] of HOSTS.entries())
    if (random.chance(0.8)) addNode(texts, random, name, index);
  for (const cidr of ["10.65.0.0-26", "10.65.0.16-32", "10.66.1.0-26"]) {
    if (random.chance(0.4)) addBlock(texts, random, cidr);
  }
  for (const name of ["default", "node.host-a"]) {
    if (random.chance(0.4)) {
      const cidr = random.pick(["10.96.0.0/12", "10.97.0.0/16"]);
      add(texts, "BGPConfiguration", { name }, { serviceClusterIPs: [{ cidr }] });
    }
  }
}

function addNode(texts: Texts, random: RandomSource, name: string, index: number): void {
  const net = random.chance(0.7) ? 0 : 1;
  const bgp = {
    ...random.maybe(0.8, "ipv4Address", () => `10.0.${net}.${11 + index}/24`),
    ...random.maybe(0.4, "ipv6Address", () => `2001:db8:9::${11 + index}/64`),
    ...random.maybe(0.5, "ipv4IPIPTunnelAddr", () => `10.65.${random.int(0, 1)}.${index}`),
  };
  const spec = {
    ...(Object.keys(bgp).length > 0 && { bgp }),
    ...random.maybe(0.5, "ipv4VXLANTunnelAddr", () => `10.65.0.${random.int(16, 18)}`),
    ...random.maybe(0.3, "vxlanTunnelMACAddr", () => `66:00:00:00:00:0${index}`),
    ...random.maybe(0.3, "ipv6VXLANTunnelAddr", () => `fd66::${index}`),
    ...random.maybe(0.3, "wireguard", () => ({ interfaceIPv4Address: `10.9.0.${index}` })),
    ...random.maybe(0.3, "addresses", () => [
      { address: `198.51.100.${index}`, type: random.pick(["InternalIP", "ExternalIP"]) },
    ]),
  };
  const status = random.maybe(0.5, "wireguardPublicKey", () => `key-${random.int(0, 1)}`);
  const labels = random.maybe(0.3, "labels", () => ({ rack: `r${random.int(0, 2)}` }));
  add(texts, "Node", { name, ...labels }, spec, { status });
}

function addBlock(texts: Texts, random: RandomSource, name: string): void {
  const cidr = name.replace("-", "/");
  const path = `/calico/ipam/v2/assignment/ipv4/block/${name}`;
  const attributes = HOSTS.map((node) => ({ secondary: { node } }));
  const size = cidr.endsWith("/32") ? 1 : 64;
  const allocations = Array.from({ length: size }, (_, at) =>
    random.chance(at > 15 && at < 20 ? 0.7 : 0.03) ? random.int(0, 2) : null,
  );
  const affinity = random.chance(0.8) ? { affinity: `host:${random.pick(HOSTS)}` } : {};
  texts.set(
    path,
    JSON.stringify({ cidr, ...affinity, allocations, attributes, deleted: random.chance(0.1) }),
  );
}

function addTiersAndPolicies(texts: Texts, random: RandomSource): void {
  for (const name of TIERS.slice(1, -1)) {
    if (random.chance(0.3)) continue;
    add(
      texts,
      "Tier",
      { name },
      {
        ...random.maybe(0.7, "order", () => random.pick([10, 20, 2_000_000])),
        ...random.maybe(0.4, "defaultAction", () => "Pass"),
      },
    );
  }
  add(texts, "Tier", { name: "default" }, { order: 1_000_000 });
  for (let i = random.int(0, 8); i > 0; i--) addPolicy(texts, random, random.int(0, 4));
  if (random.chance(0.3)) addKubernetesPolicy(texts, random);
}

function addPolicy(texts: Texts, random: RandomSource, index: number): void {
  const staged = random.chance(0.2);
  const namespaced = random.chance(0.4);
  const tier = random.pick(TIERS);
  const kind = `${staged ? "Staged" : ""}${namespaced ? "NetworkPolicy" : "GlobalNetworkPolicy"}`;
  const namespace = random.pick(NAMESPACES);
  const place = namespaced ? 0 : random.int(0, 9);
  const name = `${tier === "default" ? "" : `${tier}.`}pol${index}`;
  const spec = {
    tier,
    ...random.maybe(0.8, "order", () => random.pick(ORDERS)),
    ...random.maybe(0.8, "selector", () => randomSelector(random)),
    ...random.maybe(0.15, "serviceAccountSelector", () => randomServiceAccountSelector(random)),
    ...random.maybe(namespaced ? 0 : 0.15, "namespaceSelector", () =>
      randomNamespaceSelector(random),
    ),
    ...random.maybe(0.1, "performanceHints", () => ["AssumeNeededOnEveryNode"]),
    ...(place === 1 && { doNotTrack: true, applyOnForward: true }),
    ...(place === 2 && { preDNAT: true, applyOnForward: true }),
    ...(place === 3 && { applyOnForward: true }),
    ...(staged && { stagedAction: random.pick(["Set", "Learn", "Ignore"]) }),
    ...randomDirections(random, place === 2, namespace),
  };
  add(texts, kind, { name, ...(namespaced && { namespace }) }, spec);
}

function randomDirections(random: RandomSource, ingressOnly: boolean, namespace: string): Json {
  const ingress = randomRules(random).map((rule) => withService(random, rule, "source", namespace));
  const egress = randomRules(random).map((rule) =>
    withService(random, rule, "destination", namespace),
  );
  if (ingressOnly) return { ingress, types: ["Ingress"] };
  return {
    ...random.maybe(0.6, "ingress", () => ingress),
    ...random.maybe(0.6, "egress", () => egress),
    ...random.maybe(0.5, "types", () =>
      random.pick([["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
    ),
  };
}

/** A service stands without blocks, selectors and ports beside. */
function withService(random: RandomSource, rule: Json, side: string, namespace: string): Json {
  if (!random.chance(0.25)) return rule;
  const action = rule["action"];
  return { action, [side]: { services: { name: random.pick(SERVICES), namespace } } };
}

function addKubernetesPolicy(texts: Texts, random: RandomSource): void {
  add(
    texts,
    "StagedKubernetesNetworkPolicy",
    { name: "k", namespace: random.pick(NAMESPACES) },
    {
      stagedAction: "Set",
      podSelector: { matchLabels: randomLabels(random) },
      ingress: [
        { from: [{ podSelector: { matchLabels: randomLabels(random) } }], ports: [{ port: 80 }] },
      ],
      policyTypes: ["Ingress"],
    },
  );
}

function addEndpoints(texts: Texts, random: RandomSource): void {
  for (const namespace of NAMESPACES) addProfiles(texts, random, namespace);
  if (random.chance(0.6)) {
    add(
      texts,
      "Profile",
      { name: "extra" },
      {
        ingress: randomRules(random).filter((rule) => rule["action"] !== "Pass"),
        labelsToApply: randomLabels(random),
      },
    );
  }
  for (let i = 0; i < 7; i++) if (random.chance(0.6)) addWorkload(texts, random, i);
  for (let i = 0; i < 3; i++) if (random.chance(0.6)) addHostEndpoint(texts, random, `hep${i}`);
  for (const name of ["set0", "set1"]) {
    const labels = randomLabels(random);
    const nets = random.some(NETS, 0, 3);
    if (random.chance(0.5)) add(texts, "GlobalNetworkSet", { name, labels }, { nets });
    if (random.chance(0.5)) {
      add(texts, "NetworkSet", { name, labels, namespace: random.pick(NAMESPACES) }, { nets });
    }
  }
}

function addProfiles(texts: Texts, random: RandomSource, namespace: string): void {
  const allow = [{ action: "Allow" }];
  if (random.chance(0.8)) {
    add(
      texts,
      "Profile",
      { name: `kns.${namespace}` },
      {
        ingress: allow,
        egress: allow,
        labelsToApply: {
          "pcns.projectcalico.org/name": namespace,
          ...random.maybe(0.5, "pcns.team", () => "x"),
        },
      },
    );
  }
  if (random.chance(0.6)) {
    add(
      texts,
      "Profile",
      { name: `ksa.${namespace}.sa1` },
      {
        labelsToApply: {
          "pcsa.projectcalico.org/name": "sa1",
          ...random.maybe(0.5, "pcsa.kind", () => "robot"),
        },
      },
    );
  }
}

function addWorkload(texts: Texts, random: RandomSource, index: number): void {
  const namespace = random.pick(NAMESPACES);
  const node = random.pick([HOST, ...HOSTS]);
  const ip = `10.65.0.${16 + index}`;
  const metadata = {
    name: `${node.replace("-", "--")}-k8s-pod${index}-eth0`,
    namespace,
    labels: randomLabels(random),
  };
  add(texts, "WorkloadEndpoint", metadata, {
    node,
    orchestrator: "k8s",
    pod: `pod${index}`,
    endpoint: "eth0",
    interfaceName: `cali${index}`,
    ipNetworks: [`${ip}/32`, ...(random.chance(0.3) ? [`fd66::${16 + index}/128`] : [])],
    profiles: random.some([`kns.${namespace}`, `ksa.${namespace}.sa1`, "extra", "missing"], 0, 3),
    ...random.maybe(0.4, "serviceAccountName", () => "sa1"),
    ...random.maybe(0.5, "mac", () => `0a:00:00:00:00:0${index}`),
    ...random.maybe(0.6, "ports", () =>
      random.some(NAMED_PORTS, 1, 3).map((name) => ({
        name,
        protocol: random.pick(["TCP", "UDP", "SCTP"]),
        port: random.int(8000, 8003),
      })),
    ),
    ...random.maybe(0.2, "ipNATs", () => [{ internalIP: ip, externalIP: "203.0.113.9" }]),
    ...random.maybe(0.1, "allowSpoofedSourcePrefixes", () => ["10.7.0.0/16"]),
  });
}

function addHostEndpoint(texts: Texts, random: RandomSource, name: string): void {
  const byInterface = random.chance(0.7);
  add(
    texts,
    "HostEndpoint",
    { name, labels: randomLabels(random) },
    {
      node: random.pick(HOSTS),
      ...(byInterface && { interfaceName: random.pick(["*", "eth0", "eth1"]) }),
      ...((!byInterface || random.chance(0.5)) && {
        expectedIPs: random.some(["10.0.0.11", "10.65.0.17", "2001:db8:9::11"], 1, 2),
      }),
      ...random.maybe(0.3, "profiles", () => ["extra"]),
      ...random.maybe(0.3, "ports", () => [{ name: "http", protocol: "TCP", port: 80 }]),
    },
  );
}

function addForeign(texts: Texts, random: RandomSource): void {
  const put = (path: string, value: object): void =>
    void texts.set(`/calico/resources/v3/projectcalico.org/${path}`, JSON.stringify(value));
  if (random.chance(0.8)) {
    for (let i = random.int(1, 4); i > 0; i--) {
      put(`kubernetesendpointslices/shop/slice${i}`, {
        metadata: { labels: { "kubernetes.io/service-name": random.pick(SERVICES) } },
        endpoints: random
          .some(["10.65.0.16", "10.65.0.17", "fd66::18", "name"], 0, 3)
          .map((ip) => ({ addresses: [ip] })),
        ports: random.some([80, 443, 53], 0, 2).map((port) => ({ port })),
      });
    }
  }
  if (random.chance(0.4)) {
    put(`kubernetesservice/${random.pick(NAMESPACES)}/db`, { spec: { clusterIP: "10.96.0.1" } });
  }
  for (let i = 0; i < 2; i++) {
    if (random.chance(0.5)) continue;
    const workload = { orchestratorID: "k8s", workloadID: `shop/pod${random.int(0, 6)}` };
    const target = random.chance(0.5)
      ? { selector: randomSelector(random) }
      : { workloadEndpoint: { ...workload, endpointID: "eth0" } };
    put(`livemigrations/shop/move${i}`, {
      metadata: { uid: `u${random.int(0, 9)}` },
      spec: random.chance(0.5) ? { source: { workload } } : { target },
    });
  }
}

/** Every kind of the model that a random cluster may have. */
export function kindsOf(updates: readonly ModelUpdate[]): ReadonlySet<string> {
  return new Set(
    updates.map(({ key }) =>
      key.kind === "Policy" ? (kindInfo(key.policyKind)?.kind ?? "") : key.kind,
    ),
  );
}
