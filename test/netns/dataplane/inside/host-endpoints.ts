/** Host endpoints on the real kernel: nobody is locked out, interfaces change hands, restarts write nothing. */
import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import {
  defaultLinuxDataplaneConfig,
  openLinuxDataplane,
  type Dataplane,
  type NftPolicyConfig,
} from "#dataplane";
import { GraphFeed, program } from "../../../support/in-process-agent.ts";
import type { RawFlow } from "../../../support/packet-thread.ts";
import { goldenWorld, PacketWorld } from "../../../support/packet-world.ts";
import { TcpPeer, type Outcome } from "../../../support/tcp-peer.ts";

export interface HostEndpointResult {
  /** Ports that got through, `in:` to the host and `out:` from it, per scene. */
  readonly passed: Readonly<Record<string, readonly string[]>>;
  /** What the host gets from itself, at 127.0.0.1 and ::1, on ports 80 and 6443. */
  readonly loopback: Readonly<Record<string, readonly Outcome[]>>;
  /** Statuses as they were told. */
  readonly statuses: readonly string[];
  readonly restartWrites: number;
  readonly idleWrites: number;
  /** Connections that the kernel tracks of those that untracked policy allowed. */
  readonly tracked: number;
  /** Chains and sets of host endpoints that outlived them. */
  readonly left: readonly string[];
}

type Json = Readonly<Record<string, unknown>>;
const resource = (kind: string, name: string, spec: Json, labels: Json = {}): Json => ({
  apiVersion: "projectcalico.org/v3",
  kind,
  metadata: { name, labels },
  spec,
});
const node = resource("Node", "host-a", { bgp: { ipv4Address: "10.0.0.11/24" } });
const hep = (name: string, spec: Json): Json =>
  resource("HostEndpoint", name, { node: "host-a", ...spec }, { host: name });
const deny = (name: string, more: Json): Json =>
  resource("GlobalNetworkPolicy", name, {
    selector: "has(host)",
    order: 1,
    ingress: [{ action: "Deny" }],
    ...more,
  });
const open = resource("GlobalNetworkPolicy", "open", {
  selector: "host == 'open'",
  ingress: [{ action: "Allow" }],
  egress: [{ action: "Allow" }],
});
const ALLOW = { action: "Allow" };
const both = { types: ["Ingress", "Egress"], egress: [{ action: "Deny" }] };
const lockOut = [
  deny("all", both),
  deny("forwarded", { ...both, applyOnForward: true }),
  deny("untracked", { ...both, applyOnForward: true, doNotTrack: true }),
  deny("pre-dnat", { types: ["Ingress"], applyOnForward: true, preDNAT: true }),
];

const world = await PacketWorld.build(goldenWorld());
const LISTENED = [80, 6443];
const host = new TcpPeer("/proc/self/ns/net");
for (const port of LISTENED) await host.listen(port);
const byLoopback: Record<string, readonly Outcome[]> = {};
const statuses: string[] = [];
const passed: Record<string, string[]> = {};
const feed = new GraphFeed();
let dataplane = start();
let tag = 0x2000_0000;

function start(policy: Partial<NftPolicyConfig> = {}): Dataplane {
  const { policy: defaults, ...config } = defaultLinuxDataplaneConfig;
  const opened = openLinuxDataplane({ ...config, policy: { ...defaults, ...policy } });
  opened.onStatus((message) => {
    if (message.case !== "hostEndpointStatusUpdate") return;
    const { id, status, reason = "" } = message.value;
    statuses.push(`${id.endpointId} ${status} ${reason}`.trim());
  });
  return opened;
}

const PROBES = [
  { direction: "in", proto: "tcp", port: 22 },
  { direction: "in", proto: "tcp", port: 23 },
  { direction: "in", proto: "udp", port: 68 },
  { direction: "out", proto: "udp", port: 53 },
  { direction: "out", proto: "udp", port: 54 },
  { direction: "out", proto: "tcp", port: 6443 },
] as const;

async function probe(scene: string): Promise<void> {
  await program(dataplane, []);
  world.forget();
  const flows = PROBES.map(({ direction, proto, port }): RawFlow => ({
    from: direction === "in" ? "mgq-o" : "mgq-h",
    to: direction === "in" ? "mgq-h" : "mgq-o",
    src: direction === "in" ? "10.0.0.99" : "10.0.0.11",
    dst: direction === "in" ? "10.0.0.11" : "10.0.0.99",
    proto,
    sport: 30_000 + (tag % 1000),
    dport: port,
    tag: tag++,
  }));
  const arrived = await world.send(flows);
  passed[scene] = PROBES.filter((_, i) => arrived.has(flows[i]?.tag ?? 0)).map(
    ({ direction, port }) => `${direction}:${port}`,
  );
}

async function loopback(scene: string): Promise<void> {
  const outcomes: Outcome[] = [];
  for (const address of ["127.0.0.1", "::1"]) {
    for (const port of LISTENED) outcomes.push(await host.connect(address, port));
  }
  byLoopback[scene] = outcomes;
}

async function become(...resources: readonly Json[]): Promise<void> {
  await program(dataplane, feed.next([node, ...resources]));
}

await become();
await probe("no host endpoint");
await become(hep("a", { interfaceName: "eth0" }));
await probe("no policy");
await become(hep("a", { interfaceName: "eth0" }), ...lockOut);
await probe("everything denied");
await loopback("everything denied on eth0");
await become(hep("a", { interfaceName: "*" }), ...lockOut);
await probe("everything denied on all interfaces");
await loopback("everything denied on all interfaces");
await become(
  hep("a", { interfaceName: "*" }),
  hep("open", { interfaceName: "lo" }),
  deny("all", both),
  { ...open, spec: { selector: "host == 'open'", order: 0, ingress: [ALLOW], egress: [ALLOW] } },
);
await loopback("lo has an endpoint that allows");
const later = deny("later", { ...both, order: -5 });
await become(hep("a", { interfaceName: "*" }), ...lockOut, later);
await probe("and denied again");

// A new life with the same knowledge.
await dataplane.close();
dataplane = start();
for (const message of new GraphFeed().next([
  node,
  hep("a", { interfaceName: "*" }),
  ...lockOut,
  later,
])) {
  dataplane.onMessage(message);
}
const restartWrites = (await dataplane.apply()).writes;
const idleWrites = (await dataplane.apply()).writes;
await probe("after a restart");

// The agent starts anew when its settings change.
await dataplane.close();
const closed = [node, hep("a", { interfaceName: "eth0" }), ...lockOut];
for (const [scene, ports] of [
  ["port 23 is the only failsafe port", [{ protocol: 6, port: 23 }]],
  ["port 23 is one for others alone", [{ protocol: 6, port: 23, net: "192.0.2.0/24" }]],
  ["port 23 is one for the network of the caller", [{ protocol: 6, port: 23, net: "10.0.0.0/24" }]],
] as const) {
  dataplane = start({ failsafeInboundPorts: ports, failsafeOutboundPorts: [] });
  await program(dataplane, new GraphFeed().next(closed));
  await probe(scene);
  await dataplane.close();
}
dataplane = start();
await program(dataplane, new GraphFeed().next(closed));

execFileSync("ip", ["link", "set", "eth0", "down"]);
execFileSync("ip", ["link", "set", "eth0", "name", "later0"]);
feed.next(closed);
await become(hep("a", { interfaceName: "eth0" }), ...lockOut);
execFileSync("ip", ["link", "set", "later0", "name", "eth0"]);
execFileSync("ip", ["link", "set", "eth0", "up"]);
await delay(50);
await probe("the interface comes after its endpoint");

await become(hep("a", { interfaceName: "eth7" }), open, hep("open", { interfaceName: "eth0" }));
await probe("another endpoint has eth0");
await become(hep("a", { interfaceName: "eth0" }), open, hep("open", { interfaceName: "eth0" }));
await probe("the alphabetically first has eth0");
await become(open, hep("open", { interfaceName: "eth0" }));
await probe("the first is gone");

const expecting = hep("ip", { expectedIPs: ["10.0.0.77"] });
await become(expecting);
await probe("no interface has the address");
execFileSync("ip", ["addr", "add", "10.0.0.77/32", "dev", "eth0"]);
await delay(50);
await probe("the address came");
execFileSync("ip", ["addr", "del", "10.0.0.77/32", "dev", "eth0"]);
await delay(50);
await probe("the address went");

const untracked = resource("GlobalNetworkPolicy", "fast", {
  selector: "has(host)",
  applyOnForward: true,
  doNotTrack: true,
  ingress: [{ action: "Allow", protocol: "TCP", destination: { ports: [23] } }],
});
await become(hep("a", { interfaceName: "eth0" }), untracked);
await probe("untracked policy allows 23");
const connections = execFileSync("conntrack", ["-L"], { stdio: ["ignore", "pipe", "ignore"] });
const tracked = [...connections.toString().matchAll(/dport=23 /g)].length;

await become();
await probe("all host endpoints are gone");
const ruleset = execFileSync("nft", ["list", "table", "inet", "margay"], { encoding: "utf8" });
const left = [...ruleset.matchAll(/(?:chain|set|map) (\S*(?:host-|failsafe)\S*) \{/g)]
  .map(([, name = ""]) => name)
  .filter((name) => !name.startsWith("workload-"));
await dataplane.close();
await world.close();
await host.close();
const result: HostEndpointResult = {
  passed,
  loopback: byLoopback,
  statuses,
  restartWrites,
  idleWrites,
  tracked,
  left,
};
process.stdout.write(JSON.stringify(result), () => process.exit(0));
