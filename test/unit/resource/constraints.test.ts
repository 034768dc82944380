/** Every constraint has an example that breaks it, at the right path, and one that keeps it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CONSTRAINTS, validateResource, type ConstraintId } from "#resource";
import {
  make,
  gnp,
  ingress,
  egress,
  pool,
  felix,
  peer,
  many,
  sknp,
  bgpConfig,
  hep,
  wep,
  service,
  nested,
  annotated,
  type Case,
  type Spec,
} from "./examples.ts";
import { MANIFEST_CASES } from "./manifest-examples.ts";

const CASES: readonly Case[] = [
  {
    id: "not-an-object",
    path: "spec",
    bad: make("Tier", [] as unknown as Spec),
    good: make("Tier", {}),
  },
  { id: "not-an-object", path: "", bad: "Tier", good: make("Tier", {}) },
  { id: "api-version", path: "apiVersion", bad: { ...gnp({}), apiVersion: "v1" }, good: gnp({}) },
  { id: "kind", path: "kind", bad: make("NetworkPolcy", {}), good: gnp({}) },
  {
    id: "unknown-field",
    path: "spec.selctor",
    bad: gnp({ selctor: "all()" }),
    good: gnp({ selector: "all()" }),
  },
  { id: "required", path: "metadata.name", bad: gnp({}, {}), good: gnp({}) },
  { id: "required", path: "spec.cidr", bad: make("IPPool", {}), good: pool({}) },
  {
    id: "required",
    path: "spec.ingress[0].action",
    bad: gnp({ ingress: [{}] }),
    good: ingress({}),
  },
  { id: "required", path: "spec.pod", bad: wep({ pod: "" }), good: wep({}) },
  { id: "type", path: "spec.order", bad: gnp({ order: "10" }), good: gnp({ order: 10.5 }) },
  { id: "type", path: "spec.ingress", bad: gnp({ ingress: "all" }), good: gnp({ ingress: [] }) },
  {
    id: "type",
    path: "spec.preDNAT",
    bad: gnp({ preDNAT: "true" }),
    good: gnp({ preDNAT: false }),
  },
  {
    id: "type",
    path: "metadata.labels",
    bad: gnp({}, { name: "x", labels: [] }),
    good: gnp({}, { name: "x", labels: { a: "b" } }),
  },
  {
    id: "enum",
    path: "spec.ingress[0].action",
    bad: ingress({ action: "allow" }),
    good: ingress({ action: "Pass" }),
  },
  {
    id: "enum",
    path: "spec.ingress[0].ipVersion",
    bad: ingress({ ipVersion: 5 }),
    good: ingress({ ipVersion: 6 }),
  },
  {
    id: "range",
    path: "spec.ingress[0].icmp.type",
    bad: ingress({ protocol: "ICMP", icmp: { type: 255 } }),
    good: ingress({ protocol: "ICMP", icmp: { type: 254 } }),
  },
  {
    id: "depth",
    path: "metadata.managedFields",
    bad: make("Node", {}, { name: "x", managedFields: nested(65) }),
    good: make("Node", {}, { name: "x", managedFields: nested(64) }),
  },
  {
    id: "unique",
    path: "spec.types[1]",
    bad: gnp({ types: ["Ingress", "Ingress"] }),
    good: gnp({ types: ["Ingress", "Egress"] }),
  },
  {
    id: "name",
    path: "metadata.name",
    bad: gnp({}, { name: "Web" }),
    good: gnp({}, { name: "web" }),
  },
  {
    id: "name",
    path: "metadata.name",
    bad: make("Tier", {}, { name: "a.b" }),
    good: make("Tier", {}, { name: "a-b" }),
  },
  {
    id: "name",
    path: "metadata.name",
    bad: gnp({}, { name: "a.b.c" }),
    good: gnp({}, { name: "a.b" }),
  },
  {
    id: "name",
    path: "metadata.name",
    bad: make("NetworkPolicy", {}, { name: "a.b.c", namespace: "n" }),
    good: make("NetworkPolicy", {}, { name: "knp.default.b.c", namespace: "n" }),
  },
  {
    id: "name",
    path: "metadata.name",
    bad: make("Tier", {}, { name: "t".repeat(64) }),
    good: gnp({}, { name: "p".repeat(253) }),
  },
  {
    id: "name",
    path: "metadata.name",
    bad: gnp({}, { name: "p".repeat(254) }),
    good: make("Tier", {}, { name: "t".repeat(63) }),
  },
  {
    id: "namespace",
    path: "metadata.namespace",
    bad: make("NetworkPolicy", {}),
    good: make("NetworkPolicy", {}, { name: "x", namespace: "n" }),
  },
  {
    id: "namespace",
    path: "metadata.namespace",
    bad: gnp({}, { name: "x", namespace: "n" }),
    good: gnp({}),
  },
  {
    id: "label-key",
    path: 'metadata.labels["-a"]',
    bad: gnp({}, { name: "x", labels: { "-a": "b" } }),
    good: gnp({}, { name: "x", labels: { "a.b/c_d": "b" } }),
  },
  {
    id: "label-value",
    path: "metadata.labels.a",
    bad: gnp({}, { name: "x", labels: { a: "b c" } }),
    good: gnp({}, { name: "x", labels: { a: "" } }),
  },
  {
    id: "annotations-size",
    path: "metadata.annotations",
    bad: gnp({}, annotated(262_141)),
    good: gnp({}, annotated(262_140)),
  },
  {
    id: "reserved-label",
    path: 'metadata.labels["projectcalico.org/namespace"]',
    bad: make(
      "GlobalNetworkSet",
      {},
      { name: "x", labels: { "projectcalico.org/namespace": "n" } },
    ),
    good: make("GlobalNetworkSet", {}, { name: "x", labels: { a: "b" } }),
  },
  {
    id: "selector",
    path: "spec.selector",
    bad: gnp({ selector: "a = 'b'" }),
    good: gnp({ selector: "a == 'b'" }),
  },
  {
    id: "global-selector",
    path: "spec.selector",
    bad: gnp({ selector: "global()" }),
    good: ingress({ source: { namespaceSelector: "global()" } }),
  },
  {
    id: "global-selector",
    path: "spec.ingress[0].source.namespaceSelector",
    bad: ingress({ source: { namespaceSelector: "global() && a == 'b'" } }),
    good: ingress({ source: { namespaceSelector: " global( ) " } }),
  },
  {
    id: "global-selector",
    path: "spec.ingress[0].source.selector",
    bad: ingress({ source: { selector: "global()" } }),
    good: ingress({ source: { selector: "all()" } }),
  },
  {
    id: "cidr",
    path: "spec.ingress[0].source.nets[0]",
    bad: ingress({ source: { nets: ["10.0.0.1"] } }),
    good: ingress({ source: { nets: ["10.0.0.0/8"] } }),
  },
  {
    id: "ip",
    path: "spec.expectedIPs[0]",
    bad: hep({ expectedIPs: ["10.0.0.1/32"] }),
    good: hep({ expectedIPs: ["10.0.0.1"] }),
  },
  {
    id: "interface-cidr",
    path: "spec.bgp.ipv4Address",
    bad: make("Node", { bgp: { ipv4Address: "10.0.0.256/24" } }),
    good: make("Node", { bgp: { ipv4Address: "10.0.0.7/24" } }),
  },
  {
    id: "ip-or-cidr",
    path: "spec.nets[0]",
    bad: make("GlobalNetworkSet", { nets: ["10.0.0/8"] }),
    good: make("GlobalNetworkSet", { nets: ["10.0.0.1", "fd00::/8"] }),
  },
  {
    id: "mac",
    path: "spec.mac",
    bad: wep({ mac: "ca:fe:1d:52:bb" }),
    good: wep({ mac: "ca:fe:1d:52:bb:e9" }),
  },
  {
    id: "interface-name",
    path: "spec.interfaceName",
    bad: hep({ interfaceName: "eth0/1" }),
    good: hep({ interfaceName: "*" }),
  },
  {
    id: "port",
    path: "spec.ingress[0].destination.ports[0]",
    bad: ingress({ protocol: "TCP", destination: { ports: [70000] } }),
    good: ingress({ protocol: "TCP", destination: { ports: [1, "2:3", "http"] } }),
  },
  {
    id: "port",
    path: "spec.ingress[0].destination.ports[0]",
    bad: ingress({ protocol: "TCP", destination: { ports: ["90:80"] } }),
    good: ingress({ protocol: "TCP", destination: { ports: ["80:90"] } }),
  },
  {
    id: "port",
    path: "spec.ingress[0].destination.ports[0]",
    bad: ingress({ protocol: "TCP", destination: { ports: ["80-90"] } }),
    good: ingress({ protocol: "TCP", destination: { ports: ["web-1"] } }),
  },
  {
    id: "port-name",
    path: "spec.ports[0].name",
    bad: hep({ interfaceName: "*", ports: [{ name: "a b", protocol: "TCP", port: 1 }] }),
    good: hep({ interfaceName: "*", ports: [{ name: "a-b", protocol: "TCP", port: 1 }] }),
  },
  {
    id: "protocol",
    path: "spec.ingress[0].protocol",
    bad: ingress({ protocol: "tcp" }),
    good: ingress({ protocol: 47 }),
  },
  {
    id: "protocol",
    path: "spec.ingress[0].protocol",
    bad: ingress({ protocol: 0 }),
    good: ingress({ protocol: 255 }),
  },
  {
    id: "duration",
    path: "spec.iptablesRefreshInterval",
    bad: felix({ iptablesRefreshInterval: 90 }),
    good: felix({ iptablesRefreshInterval: "90s" }),
  },
  {
    id: "container-id",
    path: "spec.containerID",
    bad: wep({ containerID: "a_b" }),
    good: wep({ containerID: "abc123" }),
  },
  {
    id: "regexp",
    path: "spec.mtuIfacePattern",
    bad: felix({ mtuIfacePattern: "(" }),
    good: felix({ mtuIfacePattern: "(?i)eth" }),
  },
  {
    id: "http-path",
    path: "spec.ingress[0].http.paths[0].exact",
    bad: ingress({ protocol: "TCP", http: { paths: [{ exact: "a?b" }] } }),
    good: ingress({ protocol: "TCP", http: { paths: [{ exact: "/a" }] } }),
  },
  {
    id: "http-path-one",
    path: "spec.ingress[0].http.paths[0]",
    bad: ingress({ protocol: "TCP", http: { paths: [{ exact: "/a", prefix: "/b" }] } }),
    good: ingress({ protocol: "TCP", http: { paths: [{ prefix: "/b" }] } }),
  },
  {
    id: "key-values",
    path: "spec.featureDetectOverride",
    bad: felix({ featureDetectOverride: "SNAT" }),
    good: felix({ featureDetectOverride: "SNAT=true,X=" }),
  },
  {
    id: "as-number",
    path: "spec.asNumber",
    bad: peer({ asNumber: "70000.1" }),
    good: peer({ asNumber: "1.10" }),
  },
  {
    id: "community",
    path: "spec.communities[0].value",
    bad: bgpConfig({
      communities: [{ name: "a", value: "70000:1" }],
      prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["a"] }],
    }),
    good: bgpConfig({
      communities: [{ name: "a", value: "70000:1:2" }],
      prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["a"] }],
    }),
  },
  {
    id: "peer-ip",
    path: "spec.peerIP",
    bad: peer({ peerIP: "10.0.0.1:0" }),
    good: peer({ peerIP: "[fd00::1]:179" }),
  },
  {
    id: "bgp-peer-fields",
    path: "spec.node",
    bad: peer({ node: "a", nodeSelector: "all()" }),
    good: peer({ node: "a", peerSelector: "all()" }),
  },
  {
    id: "bgp-peer-fields",
    path: "spec.asNumber",
    bad: peer({ localWorkloadSelector: "all()" }),
    good: peer({ localWorkloadSelector: "all()", asNumber: 1 }),
  },
  {
    id: "bgp-peer-fields",
    path: "spec.reachableBy",
    bad: peer({ reachableBy: "10.0.0.1" }),
    good: peer({ reachableBy: "10.0.0.1", peerIP: "10.0.0.2" }),
  },
  {
    id: "bgp-peer-fields",
    path: "spec.reachableBy",
    bad: peer({ reachableBy: "fd00::1", peerIP: "10.0.0.2:1179" }),
    good: peer({ reachableBy: "fd00::1", peerIP: "[fd00::2]:1179" }),
  },
  {
    id: "bgp-peer-fields",
    path: "spec.keepOriginalNextHop",
    bad: peer({ keepOriginalNextHop: true, nextHopMode: "Keep" }),
    good: peer({ nextHopMode: "Keep" }),
  },
  {
    id: "bgp-filter-fields",
    path: "spec.exportV4[0].matchOperator",
    bad: make("BGPFilter", { exportV4: [{ action: "Accept", cidr: "10.0.0.0/8" }] }),
    good: make("BGPFilter", {
      exportV4: [{ action: "Accept", cidr: "10.0.0.0/8", matchOperator: "In" }],
    }),
  },
  {
    id: "bgp-filter-family",
    path: "spec.exportV4[0].cidr",
    bad: make("BGPFilter", {
      exportV4: [{ action: "Accept", cidr: "fd00::/8", matchOperator: "In" }],
    }),
    good: make("BGPFilter", {
      exportV6: [{ action: "Accept", cidr: "fd00::/8", matchOperator: "In" }],
    }),
  },
  {
    id: "bgp-filter-operation",
    path: "spec.exportV4[0].operations[0]",
    bad: make("BGPFilter", { exportV4: [{ action: "Accept", operations: [{}] }] }),
    good: make("BGPFilter", {
      exportV4: [{ action: "Accept", operations: [{ addCommunity: { value: "64512:1" } }] }],
    }),
  },
  {
    id: "bgp-filter-accept",
    path: "spec.exportV4[0].operations",
    bad: make("BGPFilter", {
      exportV4: [{ action: "Reject", operations: [{ setPriority: { value: 5 } }] }],
    }),
    good: make("BGPFilter", {
      exportV4: [{ action: "Accept", operations: [{ setPriority: { value: 5 } }] }],
    }),
  },
  {
    id: "community-known",
    path: "spec.prefixAdvertisements[0].communities[0]",
    bad: make(
      "BGPConfiguration",
      { prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["web"] }] },
      { name: "default" },
    ),
    good: make(
      "BGPConfiguration",
      {
        communities: [{ name: "web", value: "64512:1" }],
        prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["web", "64512:2"] }],
      },
      { name: "default" },
    ),
  },
  {
    id: "mesh-default-only",
    path: "spec.nodeToNodeMeshEnabled",
    bad: make("BGPConfiguration", { nodeToNodeMeshEnabled: false }, { name: "node.a" }),
    good: make("BGPConfiguration", { nodeToNodeMeshEnabled: false }, { name: "default" }),
  },
  {
    id: "ipam-strict",
    path: "spec.strictAffinity",
    bad: make("IPAMConfiguration", { autoAllocateBlocks: false }, { name: "default" }),
    good: make(
      "IPAMConfiguration",
      { autoAllocateBlocks: false, strictAffinity: true },
      { name: "default" },
    ),
  },
  {
    id: "icmp-code-needs-type",
    path: "spec.ingress[0].icmp.code",
    bad: ingress({ protocol: "ICMP", icmp: { code: 0 } }),
    good: ingress({ protocol: "ICMP", icmp: { type: 8, code: 0 } }),
  },
  {
    id: "icmp-needs-protocol",
    path: "spec.ingress[0].icmp",
    bad: ingress({ protocol: "TCP", icmp: { type: 8 } }),
    good: ingress({ protocol: "ICMPv6", icmp: { type: 128 } }),
  },
  {
    id: "icmp-family",
    path: "spec.ingress[0].ipVersion",
    bad: ingress({ protocol: "ICMP", ipVersion: 6 }),
    good: ingress({ protocol: "ICMPv6", ipVersion: 6 }),
  },
  {
    id: "ports-need-protocol",
    path: "spec.ingress[0].destination.ports",
    bad: ingress({ destination: { ports: [80] } }),
    good: ingress({ destination: { ports: ["http"] } }),
  },
  {
    id: "ports-need-protocol",
    path: "spec.ingress[0].source.notPorts",
    bad: ingress({ protocol: "ICMP", source: { notPorts: ["http"] } }),
    good: ingress({ protocol: 132, source: { notPorts: [80] } }),
  },
  {
    id: "families-agree",
    path: "spec.ingress[0].destination.nets[0]",
    bad: ingress({ source: { nets: ["10.0.0.0/8"] }, destination: { nets: ["fd00::/8"] } }),
    good: ingress({ source: { nets: ["fd00::/16"] }, destination: { notNets: ["fd00::/8"] } }),
  },
  {
    id: "families-agree",
    path: "spec.ingress[0].source.nets[0]",
    bad: ingress({ ipVersion: 6, source: { nets: ["10.0.0.0/8"] } }),
    good: ingress({ ipVersion: 4, source: { nets: ["10.0.0.0/8"] } }),
  },
  {
    id: "not-nets-catch-all",
    path: "spec.ingress[0].source.notNets[0]",
    bad: ingress({ source: { notNets: ["0.0.0.0/0"] } }),
    good: ingress({ source: { nets: ["0.0.0.0/0"] } }),
  },
  {
    id: "http-needs-tcp",
    path: "spec.ingress[0].protocol",
    bad: ingress({ protocol: "UDP", http: { methods: ["GET"] } }),
    good: ingress({ http: { methods: ["GET"] } }),
  },
  {
    id: "http-placement",
    path: "spec.egress[0].http",
    bad: egress({ http: { methods: ["GET"] } }),
    good: ingress({ http: { methods: ["GET"] } }),
  },
  {
    id: "http-placement",
    path: "spec.ingress[0].http",
    bad: ingress({ action: "Deny", http: { methods: ["GET"] } }),
    good: ingress({ http: { methods: ["GET"] } }),
  },
  {
    id: "services-exclusive",
    path: "spec.egress[0].destination.selector",
    bad: egress({ destination: { ...service, selector: "all()" } }),
    good: egress({ destination: service }),
  },
  {
    id: "services-exclusive",
    path: "spec.egress[0].destination.ports",
    bad: egress({ protocol: "TCP", destination: { ...service, ports: [80] } }),
    good: egress({ protocol: "TCP", destination: service }),
  },
  {
    id: "services-name",
    path: "spec.egress[0].destination.services.name",
    bad: egress({ destination: { services: { namespace: "n" } } }),
    good: egress({ destination: service }),
  },
  {
    id: "services-namespace",
    path: "spec.egress[0].destination.services.namespace",
    bad: egress({ destination: { services: { name: "s" } } }),
    good: egress({ destination: service }),
  },
  {
    id: "services-placement",
    path: "spec.egress[0].source.services",
    bad: egress({ source: service }),
    good: ingress({ source: service }),
  },
  {
    id: "services-placement",
    path: "spec.ingress[0].destination.services",
    bad: ingress({ destination: service }),
    good: egress({ destination: service }),
  },
  {
    id: "untracked-or-prednat",
    path: "spec.preDNAT",
    bad: gnp({ doNotTrack: true, preDNAT: true, applyOnForward: true }),
    good: gnp({ doNotTrack: true, applyOnForward: true }),
  },
  {
    id: "prednat-no-egress",
    path: "spec.egress",
    bad: gnp({ preDNAT: true, applyOnForward: true, egress: [{ action: "Deny" }] }),
    good: gnp({ preDNAT: true, applyOnForward: true }),
  },
  {
    id: "prednat-no-egress",
    path: "spec.types",
    bad: gnp({ preDNAT: true, applyOnForward: true, types: ["Egress"] }),
    good: gnp({ preDNAT: true, applyOnForward: true, types: ["Ingress"] }),
  },
  {
    id: "needs-apply-on-forward",
    path: "spec.applyOnForward",
    bad: gnp({ doNotTrack: true }),
    good: gnp({ doNotTrack: true, applyOnForward: true }),
  },
  {
    id: "staged-delete-empty",
    path: "spec.selector",
    bad: make("StagedGlobalNetworkPolicy", { stagedAction: "Delete", selector: "all()" }),
    good: make("StagedGlobalNetworkPolicy", { stagedAction: "Delete" }),
  },
  {
    id: "tier-order",
    path: "spec.order",
    bad: make("Tier", { order: 5 }, { name: "default" }),
    good: make("Tier", { order: 1_000_000 }, { name: "default" }),
  },
  {
    id: "tier-action",
    path: "spec.defaultAction",
    bad: make("Tier", { order: 1000 }, { name: "kube-admin" }),
    good: make("Tier", { order: 1000, defaultAction: "Pass" }, { name: "kube-admin" }),
  },
  {
    id: "hep-interface-or-ips",
    path: "spec.interfaceName",
    bad: hep({}),
    good: hep({ expectedIPs: ["10.0.0.1"] }),
  },
  {
    id: "wep-name",
    path: "metadata.name",
    bad: wep({ node: "a-b" }),
    good: wep({ node: "a-b" }, { name: "a--b-k8s-p-eth0" }),
  },
  {
    id: "name",
    path: "spec.pod",
    bad: wep({ pod: "p-" }, { name: "a-k8s-p---eth0" }),
    good: wep({ pod: "p-q" }, { name: "a-k8s-p--q-eth0" }),
  },
  {
    id: "wep-network",
    path: "spec.ipNetworks[0]",
    bad: wep({ ipNetworks: ["10.0.0.0/24"] }),
    good: wep({ ipNetworks: ["10.0.0.1/32", "fd00::1/128", "10.0.0.2"] }),
  },
  {
    id: "wep-nat",
    path: "spec.ipNATs[0].internalIP",
    bad: wep({
      ipNetworks: ["10.0.0.1/32"],
      ipNATs: [{ internalIP: "10.0.0.2", externalIP: "192.0.2.1" }],
    }),
    good: wep({
      ipNetworks: ["10.0.0.2/32"],
      ipNATs: [{ internalIP: "10.0.0.2", externalIP: "192.0.2.1" }],
    }),
  },
  {
    id: "wep-port",
    path: "spec.ports[0].name",
    bad: wep({ ports: [{ protocol: "TCP", port: 80 }] }),
    good: wep({ ports: [{ protocol: "TCP", port: 80, hostPort: 8080 }] }),
  },
  {
    id: "port-protocol",
    path: "spec.ports[0].protocol",
    bad: wep({ ports: [{ name: "a", protocol: "ICMP", port: 80 }] }),
    good: wep({ ports: [{ name: "a", protocol: 6, port: 80 }] }),
  },
  {
    id: "node-bgp-empty",
    path: "spec.bgp",
    bad: make("Node", { bgp: {} }),
    good: make("Node", { bgp: { asNumber: 64512 } }),
  },
  {
    id: "pool-masked",
    path: "spec.cidr",
    bad: pool({ cidr: "10.0.0.1/16" }),
    good: pool({ cidr: "10.0.0.0/16" }),
  },
  {
    id: "pool-size",
    path: "spec.cidr",
    bad: pool({ cidr: "10.0.0.0/27" }),
    good: pool({ cidr: "10.0.0.0/27", disabled: true }),
  },
  {
    id: "pool-block-size",
    path: "spec.blockSize",
    bad: pool({ blockSize: 19 }),
    good: pool({ cidr: "fd00::/48", blockSize: 116 }),
  },
  {
    id: "pool-link-local",
    path: "spec.cidr",
    bad: pool({ cidr: "169.254.0.0/20" }),
    good: pool({ cidr: "169.253.0.0/20" }),
  },
  {
    id: "pool-ipip-v4",
    path: "spec.ipipMode",
    bad: pool({ cidr: "fd00::/48", ipipMode: "Always" }),
    good: pool({ cidr: "fd00::/48", vxlanMode: "Always" }),
  },
  {
    id: "pool-one-encap",
    path: "spec.ipipMode",
    bad: pool({ ipipMode: "Always", vxlanMode: "CrossSubnet" }),
    good: pool({ ipipMode: "CrossSubnet" }),
  },
  {
    id: "pool-load-balancer",
    path: "spec.allowedUses",
    bad: pool({ allowedUses: ["LoadBalancer", "Tunnel"] }),
    good: pool({ allowedUses: ["LoadBalancer"] }),
  },
  {
    id: "pool-load-balancer",
    path: "spec.nodeSelector",
    bad: pool({ allowedUses: ["LoadBalancer"], nodeSelector: "has(a)" }),
    good: pool({ nodeSelector: "has(a)" }),
  },
  {
    id: "range-order",
    path: "spec.routeTableRanges[0].max",
    bad: felix({ routeTableRanges: [{ min: 5, max: 4 }] }),
    good: felix({ routeTableRanges: [{ min: 5, max: 5 }] }),
  },
  {
    id: "config-name",
    path: "metadata.name",
    bad: make("ClusterInformation", {}, { name: "other" }),
    good: make("ClusterInformation", {}, { name: "default" }),
  },
  {
    id: "config-name",
    path: "metadata.name",
    bad: make("BGPConfiguration", {}, { name: "other" }),
    good: make("BGPConfiguration", {}, { name: "node.a" }),
  },
  {
    id: "felix-name",
    path: "metadata.name",
    bad: felix({}, "other"),
    good: felix({ nodeSelector: "has(a)" }, "other"),
  },
  ...MANIFEST_CASES,
];

for (const { id, path, bad, good } of CASES) {
  test(`${id} at ${path === "" ? "the document" : path}`, () => {
    const refused = validateResource(bad, { unknownFields: "error" });
    assert.ok(!refused.ok, "the bad example passes");
    const found = refused.errors.map((error) => `${error.constraint} ${error.path}`);
    assert.deepEqual(found, [`${id} ${path}`]);
    assert.ok((refused.errors[0]?.message ?? "").length > 5);
    const accepted = validateResource(good, { unknownFields: "error" });
    assert.deepEqual(accepted.ok ? [] : accepted.errors, []);
  });
}

test("what is stored already stays in force where only manifests are told", () => {
  for (const stored of [
    ingress({ source: { nets: ["10.0.0.1/24"] } }),
    ingress({ source: { nets: many(257, "10.0.0.0/8") } }),
    gnp({ ingress: many(1025, { action: "Deny" }) }),
    sknp({ ingress: [{ from: [{}] }] }),
    bgpConfig({ serviceExternalIPs: [{ cidr: "10.0.0.1" }] }),
    felix({ routeTableRange: { min: 1, max: 251 } }),
  ]) {
    assert.ok(validateResource(stored).ok, JSON.stringify(stored).slice(0, 200));
  }
});

test("no constraint is without its examples", () => {
  const covered = new Set(CASES.map((one) => one.id));
  assert.deepEqual(
    Object.keys(CONSTRAINTS).filter((id) => !covered.has(id as ConstraintId)),
    [],
  );
});
