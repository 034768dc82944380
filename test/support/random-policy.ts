/**
 * Random states of one host and random packets for it, by seed: v3 resources whose policies touch
 * workloads only, and flows biased to hit their rules. The world is that of `goldenWorld()` in
 * packet-world.ts; the flows are what it sends, each with its source address.
 *
 * `packetOf(flow)` is the same packet for `evaluateForward`.
 */
import { parsePacket, type Packet } from "#policy";
import type { RawFlow } from "./packet-thread.ts";
import { RandomSource } from "./random-source.ts";
import {
  NAMED_PORTS,
  NAMESPACES,
  PORTS,
  randomLabels,
  randomNamespaceSelector,
  randomNets,
  randomRules,
  randomSelector,
  randomServiceAccountSelector,
  SERVICE_ACCOUNTS,
  type Json,
} from "./random-rules.ts";

const HOST = "mgq-h";
const OUTSIDE = "mgq-o";
const PODS = ["mgq-p0", "mgq-p1", "mgq-p2", "mgq-p3"] as const;

/** IPv4 and IPv6 addresses of each end, its default first. */
const ADDRESSES: Readonly<Record<string, Readonly<Record<4 | 6, readonly string[]>>>> = {
  [HOST]: { 4: ["10.0.0.11"], 6: ["2001:db8:9::11"] },
  [OUTSIDE]: {
    4: ["10.0.0.99", "192.0.2.5", "198.51.100.7", "203.0.113.70"],
    6: ["2001:db8:9::99", "2001:db8::5", "2001:db8:1::5"],
  },
  ...Object.fromEntries(
    PODS.map((name, i) => [name, { 4: [`10.65.0.${16 + i}`], 6: [`fd66::${16 + i}`] }]),
  ),
};

/** Tags need all four bytes, so that they do not occur in packets by chance. */
const FIRST_TAG = 0x1000_0001;

interface RandomFlow extends RawFlow {
  readonly src: string;
}

export interface RandomState {
  /** v3 objects in an order in which they can be applied. */
  readonly resources: readonly Json[];
  readonly flows: readonly RandomFlow[];
}

export interface RandomStateOptions {
  /** Default 200. */
  readonly flows?: number;
  /** At most this many policies; default 8. */
  readonly policies?: number;
}

export function generateState(seed: number, options: RandomStateOptions = {}): RandomState {
  const random = new RandomSource(seed);
  const tiers = randomTiers(random);
  const pods = PODS.map((_, i) => randomPod(random, i));
  const hosts = random.chance(0.5) ? randomHostEndpoints(random) : [];
  const resources = [
    ...tiers.map((tier) => tier.resource).filter((resource) => resource !== undefined),
    resource("Node", "host-a", {
      bgp: { ipv4Address: "10.0.0.11/24", ipv6Address: "2001:db8:9::11/64" },
    }),
    resource("Node", "host-b", { bgp: { ipv4Address: "10.0.0.12/24" } }),
    resource("IPPool", "p65", { cidr: "10.65.0.0/16" }),
    ...randomProfiles(random),
    ...pods,
    remotePod(random),
    ...randomNetworkSets(random),
    ...hosts,
    ...randomPolicies(
      random,
      tiers.map((tier) => tier.name),
      options.policies ?? 8,
    ),
  ];
  return { resources, flows: randomFlows(random, options.flows ?? 200, hosts.length > 0) };
}

/**
 * States of which each has parts of the one before it: objects come, change and go, among them tiers,
 * profiles and endpoints that others refer to, and all IPv6 addresses of workloads.
 */
export function generateSequence(
  seed: number,
  length: number,
  options: RandomStateOptions = {},
): RandomState[] {
  const random = new RandomSource(seed);
  const states: RandomState[] = [];
  let before: ReadonlyMap<string, Json> = new Map();
  for (let i = 0; i < length; i++) {
    const fresh = generateState(seed * 1000 + i, options);
    const next = new Map<string, Json>();
    const proportion = random.pick([0.1, 0.3, 0.9]);
    const added = keyed(fresh.resources);
    for (const [key, old] of before) if (random.chance(0.9)) next.set(key, old);
    for (const [key, resource_] of added) {
      if (!before.has(key) || random.chance(proportion)) next.set(key, resource_);
    }
    before = random.chance(0.25) ? withoutIpv6(next) : next;
    states.push({ resources: [...before.values()], flows: fresh.flows });
  }
  return states;
}

function keyed(resources: readonly Json[]): Map<string, Json> {
  return new Map(
    resources.map((each) => {
      const { name, namespace } = each["metadata"] as Json;
      // A workload that changes its namespace stays one thing here: its interface has one owner.
      const place = each["kind"] === "WorkloadEndpoint" ? "" : namespace;
      return [JSON.stringify([each["kind"], place, name]), each];
    }),
  );
}

function withoutIpv6(resources: ReadonlyMap<string, Json>): Map<string, Json> {
  return new Map(
    [...resources].map(([key, each]) => {
      if (each["kind"] !== "WorkloadEndpoint") return [key, each];
      const spec = each["spec"] as Json;
      const ipNetworks = (spec["ipNetworks"] as string[]).filter((net) => !net.includes(":"));
      return [key, { ...each, spec: { ...spec, ipNetworks } }];
    }),
  );
}

/** The packet of a flow, as policy sees it. Flows without `src` have their sender's first address. */
export function packetOf(flow: RawFlow): Packet {
  const family = flow.dst.includes(":") ? 6 : 4;
  const src = flow.src ?? ADDRESSES[flow.from]?.[family][0];
  if (src === undefined) throw new Error(`${flow.from} has no IPv${family} address`);
  return parsePacket({
    protocol: flow.proto === "icmp6" ? "icmpv6" : flow.proto,
    src,
    dst: flow.dst,
    ...(flow.sport === undefined ? {} : { srcPort: flow.sport }),
    ...(flow.dport === undefined ? {} : { dstPort: flow.dport }),
    ...(flow.type === undefined ? {} : { icmpType: flow.type, icmpCode: flow.code ?? 0 }),
  });
}

function resource(kind: string, name: string, spec: Json, metadata: Json = {}): Json {
  const meta = { name, ...metadata };
  return { apiVersion: "projectcalico.org/v3", kind, metadata: meta, spec };
}

interface RandomTier {
  readonly name: string;
  /** Undefined for `default`, which exists by itself. */
  readonly resource: Json | undefined;
}

function randomTiers(random: RandomSource): RandomTier[] {
  const tier = (name: string, order: number): RandomTier => ({
    name,
    resource: resource("Tier", name, {
      order,
      ...random.maybe(0.5, "defaultAction", () => random.pick(["Deny", "Pass"])),
    }),
  });
  return [
    ...(random.chance(0.6) ? [tier("sec", random.pick([10, 500.5, -3]))] : []),
    // Of the same order, perhaps: then the name decides.
    ...(random.chance(0.3) ? [tier("audit", random.pick([10, 1_000_000, -3]))] : []),
    ...(random.chance(0.3) ? [tier("late", 2_000_000)] : []),
    { name: "default", resource: undefined },
  ];
}

function randomProfiles(random: RandomSource): Json[] {
  const allow = [{ action: "Allow" }];
  const open = { ingress: allow, egress: allow };
  const namespaces = NAMESPACES.map((name) =>
    resource("Profile", `kns.${name}`, {
      labelsToApply: {
        "pcns.projectcalico.org/name": name,
        ...random.maybe(0.5, "pcns.team", () => random.pick(["x", "y"])),
      },
      ...(random.chance(0.6)
        ? open
        : { ingress: randomRules(random), egress: randomRules(random) }),
    }),
  );
  const accounts = NAMESPACES.flatMap((namespace) =>
    SERVICE_ACCOUNTS.map((name) =>
      resource("Profile", `ksa.${namespace}.${name}`, {
        labelsToApply: {
          "pcsa.projectcalico.org/name": name,
          ...random.maybe(0.5, "pcsa.kind", () => "robot"),
        },
      }),
    ),
  );
  const extra = resource("Profile", "extra", {
    labelsToApply: { zone: random.pick(["a", "b"]) },
    ingress: randomRules(random),
    egress: randomRules(random),
  });
  return [...namespaces, ...accounts, extra];
}

function randomPod(random: RandomSource, index: number): Json {
  const addresses = ADDRESSES[PODS[index] ?? ""];
  return workload(random, "host-a", index, [`${addresses?.[4][0]}/32`, `${addresses?.[6][0]}/128`]);
}

/** On another host; its addresses are among those of the outside, which sends and receives for it. */
function remotePod(random: RandomSource): Json {
  return workload(random, "host-b", 9, ["203.0.113.70/32", "2001:db8:1::5/128"]);
}

function workload(
  random: RandomSource,
  node: string,
  index: number,
  ipNetworks: readonly string[],
): Json {
  const namespace = random.pick(NAMESPACES);
  const account = random.chance(0.5) ? random.pick(SERVICE_ACCOUNTS) : undefined;
  const profiles = [
    `kns.${namespace}`,
    ...(account === undefined ? [] : [`ksa.${namespace}.${account}`]),
    ...(random.chance(0.3) ? ["extra"] : []),
    // Dangling: whatever gets as far must be dropped.
    ...(random.chance(0.05) ? ["absent"] : []),
  ];
  const spec = {
    node,
    orchestrator: "k8s",
    pod: `pod${index}`,
    endpoint: "eth0",
    containerID: `c${index}`,
    interfaceName: `cali0000000000${index}`,
    mac: `0a:00:00:00:00:0${index}`,
    ipNetworks,
    profiles: random.chance(0.2) ? profiles.toReversed() : profiles,
    ...(account === undefined ? {} : { serviceAccountName: account }),
    ...random.maybe(0.7, "ports", () => randomEndpointPorts(random)),
  };
  const name = `${node.replaceAll("-", "--")}-k8s-pod${index}-eth0`;
  return resource("WorkloadEndpoint", name, spec, { namespace, labels: randomLabels(random) });
}

/** By name (of an interface that is there, or not), by expected address, for all interfaces. */
function randomHostEndpoints(random: RandomSource): Json[] {
  const count = random.int(1, 3);
  const endpoints = Array.from({ length: count }, (_, i) => {
    const spec = {
      node: random.chance(0.9) ? "host-a" : "host-b",
      ...random.pick([
        { interfaceName: "eth0" },
        { interfaceName: "eth2" },
        { interfaceName: "*" },
        { interfaceName: "*" },
        { expectedIPs: ["10.0.0.11"] },
        { expectedIPs: ["192.0.2.77", "2001:db8:9:0:0::11"] },
        { interfaceName: "eth0", expectedIPs: ["10.0.0.12"] },
      ]),
      ...random.maybe(0.5, "profiles", () => random.some(["extra", "kns.ops", "absent"], 1, 2)),
      ...random.maybe(0.4, "ports", () => randomEndpointPorts(random)),
    };
    const labels = { ...randomLabels(random), host: "yes" };
    return resource("HostEndpoint", `hep${i}`, spec, { labels });
  });
  if (random.chance(0.4)) return endpoints;
  // Otherwise hardly any IPv6 would get over the link.
  const neighbours = [135, 136].map((type) => ({
    action: "Allow",
    protocol: "ICMPv6",
    icmp: { type },
  }));
  const spec = { order: -10, selector: "has(host)", ingress: neighbours, egress: neighbours };
  return [
    ...endpoints,
    resource("GlobalNetworkPolicy", "neighbours", { ...spec, types: ["Ingress", "Egress"] }),
  ];
}

function randomEndpointPorts(random: RandomSource): Json[] {
  return random.some(NAMED_PORTS, 1, 3).map((name) => ({
    name,
    port: random.pick(PORTS),
    protocol: random.pick(["TCP", "TCP", "UDP", "SCTP"]),
  }));
}

function randomNetworkSets(random: RandomSource): Json[] {
  const spec = (): Json => ({ nets: randomNets(random, [4, 6]) });
  const metadata = (): Json => ({ labels: randomLabels(random) });
  const global = Array.from({ length: random.int(0, 3) }, (_, i) =>
    resource("GlobalNetworkSet", `gns${i}`, spec(), metadata()),
  );
  const namespaced = Array.from({ length: random.int(0, 2) }, (_, i) =>
    resource("NetworkSet", `ns${i}`, spec(), { ...metadata(), namespace: random.pick(NAMESPACES) }),
  );
  return [...global, ...namespaced];
}

function randomPolicies(random: RandomSource, tiers: readonly string[], limit: number): Json[] {
  return Array.from({ length: random.int(1, limit) }, (_, i) =>
    randomPolicy(random, random.pick(tiers), i),
  );
}

function randomPolicy(random: RandomSource, tier: string, index: number): Json {
  const global = random.chance(0.5);
  const staged = random.chance(0.15);
  const kind = `${staged ? "Staged" : ""}${global ? "Global" : ""}NetworkPolicy`;
  const name = tier === "default" ? `pol${index}` : `${tier}.pol${index}`;
  const types = random.pick([undefined, ["Ingress"], ["Egress"], ["Ingress", "Egress"]]);
  if (global && !staged && random.chance(0.4)) {
    return resource(kind, name, { tier, ...randomHostPolicy(random) });
  }
  const spec = {
    tier,
    // Missing orders sort last; equal ones by name.
    ...random.maybe(0.8, "order", () => random.pick([-3, 0.5, 1, 1, 2, 100])),
    ...random.maybe(0.8, "selector", () => randomSelector(random)),
    ...random.maybe(global ? 0.2 : 0, "namespaceSelector", () => randomNamespaceSelector(random)),
    ...random.maybe(0.15, "serviceAccountSelector", () => randomServiceAccountSelector(random)),
    ...(types === undefined ? {} : { types }),
    ...(types?.includes("Ingress") === false ? {} : { ingress: randomRules(random) }),
    ...(types?.includes("Egress") === false ? {} : { egress: randomRules(random) }),
    ...(staged ? { stagedAction: "Set" } : {}),
  };
  return resource(kind, name, spec, global ? {} : { namespace: random.pick(NAMESPACES) });
}

/** Policy that only host endpoints have: of forwarded packets, untracked, before DNAT. */
function randomHostPolicy(random: RandomSource): Json {
  const phase = random.pick([{}, {}, { doNotTrack: true }, { preDNAT: true }]);
  const mayEgress = !("preDNAT" in phase);
  return {
    ...phase,
    applyOnForward: true,
    ...random.maybe(0.8, "order", () => random.pick([-3, 0.5, 1, 2, 100])),
    ...random.maybe(0.5, "selector", () => random.pick(["has(host)", randomSelector(random)])),
    ingress: randomRules(random),
    ...(mayEgress ? { egress: randomRules(random) } : {}),
    types: mayEgress ? random.pick([["Ingress"], ["Egress"], ["Ingress", "Egress"]]) : ["Ingress"],
  };
}

/** No two flows belong to one connection, or the second would be let through as established. */
function randomFlows(random: RandomSource, count: number, ofHost: boolean): RandomFlow[] {
  const flows = new Map<string, RandomFlow>();
  while (flows.size < count) {
    const flow = randomFlow(random, FIRST_TAG + flows.size, ofHost);
    const ends = [`${flow.src} ${flow.sport}`, `${flow.dst} ${flow.dport}`].sort();
    const connection = `${flow.proto} ${ends.join(" ")} ${flow.type === undefined ? "" : flow.tag}`;
    if (!flows.has(connection)) flows.set(connection, flow);
  }
  return [...flows.values()];
}

function randomFlow(random: RandomSource, tag: number, ofHost: boolean): RandomFlow {
  const [from, to] = randomEnds(random, ofHost);
  const family = random.chance(0.35) ? 6 : 4;
  const src = random.pick(ADDRESSES[from]?.[family] ?? []);
  const dst = random.pick(ADDRESSES[to]?.[family] ?? []);
  return { from, to, src, dst, tag, ...randomTransport(random, family, tag) };
}

function randomEnds(random: RandomSource, ofHost: boolean): readonly [from: string, to: string] {
  if (ofHost && random.chance(0.35)) {
    return random.chance(0.6) ? [OUTSIDE, HOST] : [HOST, OUTSIDE];
  }
  const pod = random.pick(PODS);
  const chosen = random.next();
  if (chosen < 0.55) return [pod, random.pick(PODS.filter((other) => other !== pod))];
  if (chosen < 0.75) return [pod, OUTSIDE];
  if (chosen < 0.9) return [OUTSIDE, pod];
  return chosen < 0.95 ? [pod, HOST] : [HOST, pod];
}

/** Only what opens a connection for conntrack: anything else is dropped as invalid before policy. */
function randomTransport(
  random: RandomSource,
  family: 4 | 6,
  tag: number,
): Pick<RandomFlow, "proto"> & Partial<RandomFlow> {
  const icmp = family === 4 ? ("icmp" as const) : ("icmp6" as const);
  const proto = random.pick([
    "tcp",
    "tcp",
    "tcp",
    "tcp",
    "udp",
    "udp",
    "udp",
    "sctp",
    "udplite",
    "gre",
    icmp,
    icmp,
  ] as const);
  if (proto === "gre") return { proto };
  if (proto === "icmp") {
    return { proto, type: random.pick([8, 8, 13, 15]), code: random.int(0, 1) };
  }
  if (proto === "icmp6")
    return { proto, type: random.pick([128, 128, 139]), code: random.int(0, 1) };
  const sport = random.chance(0.1) ? random.pick(PORTS) : 20_000 + (tag % 20_000);
  return { proto, sport, dport: random.pick(PORTS) };
}
