/** Examples of constraints that manifests are held to and stored objects are not, mostly. */
import type { ConstraintId } from "#resource";
import {
  make,
  gnp,
  ingress,
  felix,
  peer,
  pool,
  many,
  sknp,
  bgpConfig,
  hep,
  wep,
  type Case,
  type Spec,
} from "./examples.ts";

export const MANIFEST_CASES: readonly Case[] = [
  ...[
    ["cidr-masked", "spec.ingress[0].source.nets[0]", { source: { nets: ["10.0.0.1/24"] } }],
    ["limit", "spec.ingress[0].source.nets", { source: { nets: many(257, "10.0.0.0/8") } }],
    [
      "limit",
      "spec.ingress[0].source.selector",
      { source: { selector: `a == '${"x".repeat(1024)}'` } },
    ],
    ["limit", "spec.ingress[0].source.ports", { protocol: "TCP", source: { ports: many(51, 80) } }],
    ["limit", "spec.ingress[0].http.methods", { http: { methods: many(21, "GET") } }],
    ["unique", "spec.ingress[0].http.methods[1]", { http: { methods: ["GET", "GET"] } }],
    ["http-path-one", "spec.ingress[0].http.paths[0]", { http: { paths: [{}] } }],
    ["http-path", "spec.ingress[0].http.paths[0].exact", { http: { paths: [{ exact: "/a b" }] } }],
    [
      "name",
      "spec.ingress[0].source.services.name",
      { source: { services: { name: "A_b", namespace: "n" } } },
    ],
    [
      "label-key",
      'spec.ingress[0].metadata.annotations["a b"]',
      { metadata: { annotations: { "a b": "c" } } },
    ],
  ].map(([id, path, rule]) => ({
    id: id as ConstraintId,
    path: path as string,
    bad: ingress(rule as Spec),
    good: ingress({ source: { nets: many(256, "10.0.0.0/8") } }),
  })),
  {
    id: "limit",
    path: "spec.ingress",
    bad: gnp({ ingress: many(1025, { action: "Allow" }) }),
    good: gnp({ ingress: many(1024, { action: "Allow" }) }),
  },
  ...[
    [
      "label-selector",
      "spec.podSelector.matchExpressions[0].values",
      { matchExpressions: [{ key: "a", operator: "In" }] },
    ],
    [
      "label-selector",
      "spec.podSelector.matchExpressions[0].values",
      { matchExpressions: [{ key: "a", operator: "Exists", values: ["b"] }] },
    ],
    [
      "label-key",
      "spec.podSelector.matchExpressions[0].key",
      { matchExpressions: [{ key: "a b", operator: "Exists" }] },
    ],
    ["label-key", 'spec.podSelector.matchLabels["a b"]', { matchLabels: { "a b": "c" } }],
  ].map(([id, path, podSelector]) => ({
    id: id as ConstraintId,
    path: path as string,
    bad: sknp({ podSelector }),
    good: sknp({
      podSelector: { matchExpressions: [{ key: "a", operator: "NotIn", values: ["b"] }] },
    }),
  })),
  ...[
    ["kubernetes-peer", "spec.ingress[0].from[0]", { from: [{}] }],
    [
      "kubernetes-peer",
      "spec.ingress[0].from[0]",
      { from: [{ podSelector: {}, ipBlock: { cidr: "10.0.0.0/8" } }] },
    ],
    [
      "kubernetes-except",
      "spec.ingress[0].from[0].ipBlock.except[0]",
      { from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.0.0.0/8"] } }] },
    ],
    ["kubernetes-port", "spec.ingress[0].ports[0].port", { ports: [{ endPort: 5 }] }],
    ["kubernetes-port", "spec.ingress[0].ports[0].port", { ports: [{ port: "http", endPort: 5 }] }],
    ["kubernetes-port", "spec.ingress[0].ports[0].port", { ports: [{ port: 0 }] }],
    ["kubernetes-port", "spec.ingress[0].ports[0].port", { ports: [{ port: "80" }] }],
    ["kubernetes-port", "spec.ingress[0].ports[0].endPort", { ports: [{ port: 6, endPort: 5 }] }],
  ].map(([id, path, rule]) => ({
    id: id as ConstraintId,
    path: path as string,
    bad: sknp({ ingress: [rule] }),
    good: sknp({
      ingress: [
        {
          from: [
            { ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] } },
            { podSelector: {}, namespaceSelector: {} },
          ],
          ports: [{ port: 5, endPort: 5 }, { port: "my-port" }, {}],
        },
      ],
    }),
  })),
  {
    id: "staged-delete-empty",
    path: "spec.policyTypes",
    bad: sknp({ stagedAction: "Delete", policyTypes: ["Ingress"] }),
    good: sknp({ stagedAction: "Delete", podSelector: {} }),
  },
  ...["HTTP", "a_b", "1", "a--b", "sixteen-letters-"].map((name) => ({
    id: "port-name" as const,
    path: "spec.ports[0].name",
    bad: hep({ interfaceName: "eth0", ports: [{ name, protocol: "TCP", port: 1 }] }),
    good: hep({
      interfaceName: "eth0",
      ports: [{ name: "fifteen-letters", protocol: "TCP", port: 1 }],
    }),
  })),
  {
    id: "port-name",
    path: "spec.ports[0].name",
    bad: wep({ ports: [{ name: "HTTP", protocol: "TCP", port: 1 }] }),
    good: wep({ ports: [{ name: "http", protocol: "TCP", port: 1 }] }),
  },
  {
    id: "name",
    path: "spec.serviceAccountName",
    bad: wep({ serviceAccountName: "A_b" }),
    good: wep({ serviceAccountName: "a.b" }),
  },
  {
    id: "required",
    path: "spec.interfaceName",
    bad: wep({ interfaceName: "" }),
    good: wep({ interfaceName: "cali1" }),
  },
  {
    id: "wep-nat",
    path: "spec.ipNATs[0].externalIP",
    bad: wep({
      ipNetworks: ["10.0.0.1"],
      ipNATs: [{ internalIP: "10.0.0.1", externalIP: "fd00::1" }],
    }),
    good: wep({
      ipNetworks: ["10.0.0.1"],
      ipNATs: [{ internalIP: "10.0.0.1", externalIP: "10.0.0.2" }],
    }),
  },
  ...["nodeSelector", "namespaceSelector"].map((name) => ({
    id: "global-selector" as const,
    path: `spec.${name}`,
    bad: pool({ [name]: "global()" }),
    good: pool({ [name]: "has(a)" }),
  })),
  {
    id: "mesh-settings",
    path: "spec.nodeMeshMaxRestartTime",
    bad: bgpConfig({ nodeToNodeMeshEnabled: false, nodeMeshMaxRestartTime: "9s" }),
    good: bgpConfig({ nodeToNodeMeshEnabled: true, nodeMeshMaxRestartTime: "9s" }),
  },
  ...[
    ["community-known", "spec.communities", { communities: [{ name: "a", value: "1:2" }] }],
    [
      "required",
      "spec.prefixAdvertisements[0].communities",
      { prefixAdvertisements: [{ cidr: "10.0.0.0/8" }] },
    ],
    [
      "community-known",
      "spec.prefixAdvertisements[0].communities[0]",
      { prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["70000:1"] }] },
    ],
    ["interface-name", "spec.ignoredInterfaces[0]", { ignoredInterfaces: ["*"] }],
    [
      "cidr-masked",
      "spec.serviceExternalIPs[0].cidr",
      { serviceExternalIPs: [{ cidr: "10.0.0.1" }] },
    ],
  ].map(([id, path, spec]) => ({
    id: id as ConstraintId,
    path: path as string,
    bad: bgpConfig(spec as Spec),
    good: bgpConfig({
      communities: [{ name: "a", value: "1:2" }],
      prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["a", "1:2:70000"] }],
      serviceExternalIPs: [{ cidr: "10.0.0.1/32" }],
      ignoredInterfaces: ["docker*", "eth1"],
    }),
  })),
  ...[
    [
      "route-tables",
      "spec.routeTableRange",
      { routeTableRange: { min: 1, max: 2 }, routeTableRanges: [{ min: 1, max: 2 }] },
    ],
    ["route-tables", "spec.routeTableRange.max", { routeTableRange: { min: 1, max: 251 } }],
    ["route-tables", "spec.routeTableRanges[0].min", { routeTableRanges: [{ min: 0, max: 251 }] }],
    ["route-tables", "spec.routeTableRanges", { routeTableRanges: [{ min: 1, max: 70_000 }] }],
    [
      "health-timeout",
      "spec.healthTimeoutOverrides[0].name",
      { healthTimeoutOverrides: [{ name: "a/b", timeout: "1s" }] },
    ],
    [
      "health-timeout",
      "spec.healthTimeoutOverrides[0].timeout",
      { healthTimeoutOverrides: [{ name: "a", timeout: "-1s" }] },
    ],
    ["ip-or-cidr", "spec.externalNodesList[0]", { externalNodesList: ["fd00::/8"] }],
    ["limit", "spec.kubeNodePortRanges", { kubeNodePortRanges: many(8, 80) }],
    ["node-ports", "spec.kubeNodePortRanges[0]", { kubeNodePortRanges: ["http"] }],
    ["name", "spec.openstackRegion", { openstackRegion: "A_b" }],
    ["ip", "spec.natOutgoingAddress", { natOutgoingAddress: "fd00::1" }],
    ["ip", "spec.deviceRouteSourceAddress", { deviceRouteSourceAddress: "eth0" }],
    ["ip", "spec.deviceRouteSourceAddressIPv6", { deviceRouteSourceAddressIPv6: "10.0.0.1" }],
    ["listen-host", "spec.prometheusMetricsHost", { prometheusMetricsHost: "a b" }],
    [
      "interface-name",
      "spec.iptablesNATOutgoingInterfaceFilter",
      { iptablesNATOutgoingInterfaceFilter: "a b" },
    ],
  ].map(([id, path, spec]) => ({
    id: id as ConstraintId,
    path: path as string,
    bad: felix(spec as Spec),
    good: felix({
      routeTableRange: { min: 1, max: 250 },
      kubeNodePortRanges: [80, "90:99"],
      healthTimeoutOverrides: [{ name: "Calculation Graph-1", timeout: "0s" }],
      externalNodesList: ["10.0.0.0/8", "10.1.1.1"],
      prometheusMetricsHost: "::1",
    }),
  })),
  {
    id: "enum",
    path: "spec.logSeverityScreen",
    bad: make(
      "KubeControllersConfiguration",
      { logSeverityScreen: "Trace", controllers: {} },
      { name: "default" },
    ),
    good: make(
      "KubeControllersConfiguration",
      { logSeverityScreen: "Panic", controllers: {} },
      { name: "default" },
    ),
  },
  {
    id: "required",
    path: "spec.classes",
    bad: make("CalicoNodeStatus", { node: "a", updatePeriodSeconds: 0 }),
    good: make("CalicoNodeStatus", { node: "a", classes: ["BGP"], updatePeriodSeconds: 0 }),
  },
  {
    id: "name",
    path: "spec.node",
    bad: hep({ node: "A_b", interfaceName: "eth0" }),
    good: hep({ interfaceName: "eth0" }),
  },
  {
    id: "name",
    path: "spec.profiles[0]",
    bad: hep({ interfaceName: "eth0", profiles: ["A_b"] }),
    good: hep({ interfaceName: "eth0", profiles: ["a.b"] }),
  },
  {
    id: "name",
    path: "spec.node",
    bad: peer({ node: "A_b", peerIP: "10.0.0.1" }),
    good: peer({ node: "a.b", peerIP: "10.0.0.1" }),
  },
  ...[
    ["interface-cidr", "spec.bgp.ipv4Address", { bgp: { ipv4Address: "fd00::1/64" } }],
    ["interface-cidr", "spec.bgp.ipv6Address", { bgp: { ipv6Address: "10.0.0.1/24" } }],
    ["enum", "spec.addresses[0].type", { addresses: [{ address: "10.0.0.1", type: "Hostname" }] }],
  ].map(([id, path, spec]) => ({
    id: id as ConstraintId,
    path: path as string,
    bad: make("Node", spec as Spec),
    good: make("Node", {
      bgp: { ipv4Address: "10.0.0.1", ipv6Address: "fd00::1/64" },
      addresses: [{ address: "10.0.0.1" }, { address: "10.0.0.1", type: "InternalIP" }],
    }),
  })),
  {
    id: "interface-name",
    path: "spec.exportV4[0].interface",
    bad: make("BGPFilter", { exportV4: [{ action: "Accept", interface: "a b" }] }),
    good: make("BGPFilter", { exportV4: [{ action: "Accept", interface: "*.calico" }] }),
  },
];
