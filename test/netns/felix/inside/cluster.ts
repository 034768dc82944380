/** Three hosts in two subnets under real agents: VXLAN across, plain routes within, what breaks and heals. */
import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { ClusterHosts } from "../../../support/cluster-hosts.ts";
import { nodeOf, POOLS, type Host } from "../../../support/cluster-objects.ts";
import { Probe } from "../../../support/probe.ts";

/** Packets that the router forwarded. */
interface Forwarded {
  readonly tunnel4: number;
  readonly tunnel6: number;
  /** Of workloads, as they are. */
  readonly plain: number;
}

export interface ClusterResult {
  /** Pairs of workloads that reach each other not. */
  readonly unreached: readonly string[];
  /** By a request and its answer of each family: between subnets, within one, from a host itself. */
  readonly across: Forwarded;
  readonly within: Forwarded;
  readonly hostAcross: Forwarded;
  readonly fromHost: string;
  /** Connections that conntrack knows of the tunnels. */
  readonly trackedTunnels: string;
  readonly state: Readonly<Record<string, string>>;
  /** The host whose device Calico made. */
  readonly takenOver: string;
  readonly mtuFile: string;
  /** Milliseconds to repair, by what was broken. */
  readonly repairs: Readonly<Record<string, number>>;
  /** Until what the kernel does not tell of is seen. */
  readonly checkedMs: number;
  readonly unreachedAfterRepairs: readonly string[];
  readonly flow: Readonly<Record<string, { readonly sent: number; readonly received: number }>>;
  readonly restartMonitor: string;
  readonly borrowed: string;
  readonly afterNodeRemoved: string;
  readonly others: string;
  readonly afterPoolsRemoved: string;
  readonly log: string;
}

const FAMILIES = [4, 6] as const;
const cluster = await ClusterHosts.start(3);
const [one, two, three] = [cluster.host(1), cluster.host(2), cluster.host(3)];
/** "" when there is no such device. */
function onDevice(host: Host, command: string): string {
  try {
    return cluster.on(host, command);
  } catch {
    return "";
  }
}
const link = (host: Host, name: string): string => onDevice(host, `ip -d link show dev ${name}`);
const forwarding = (host: Host, device = "vxlan.calico"): string =>
  onDevice(host, `bridge fdb show dev ${device}`);
const routes = (host: Host): string => cluster.on(host, "ip route show proto 80");
const routes6 = (host: Host): string => cluster.on(host, "ip -6 route show proto 80");
const neighbours = (host: Host): string => cluster.on(host, "ip neigh show nud permanent");
const everything = (host: Host): string =>
  [
    routes(host),
    routes6(host),
    forwarding(host),
    forwarding(host, "vxlan-v6.calico"),
    neighbours(host),
    link(host, "vxlan.calico"),
    link(host, "vxlan-v6.calico"),
    onDevice(host, "ip -o addr show dev vxlan.calico"),
    onDevice(host, "ip -o addr show dev vxlan-v6.calico"),
  ]
    .join("")
    .replaceAll(/^\d+: /gm, "")
    .split("\n")
    .sort()
    .join("\n");

/** Of every ordered pair; each is given a few tries. */
function unreached(): string[] {
  const missing: string[] = [];
  for (const from of cluster.hosts) {
    for (const to of cluster.hosts) {
      for (const family of FAMILIES) {
        if (from === to || cluster.reaches(from, to, family) || cluster.reaches(from, to, family)) {
          continue;
        }
        missing.push(`${from.name} ${to.name} IPv${family}`);
      }
    }
  }
  return missing;
}

/** What the router forwards: tunnel packets, and workloads' own. */
function countPackets(): void {
  const rules = `table inet count {
    counter tunnel4 {}
    counter tunnel6 {}
    counter plain {}
    chain forward {
      type filter hook forward priority 0
      ip protocol udp udp dport 4789 counter name tunnel4
      ip6 nexthdr udp udp dport 4789 counter name tunnel6
      ip saddr 10.65.0.0/16 counter name plain
      ip6 saddr fd65::/16 counter name plain
    }
  }`;
  execFileSync("nft", ["-f", "-"], { input: rules });
}

/** Since the last call. */
function counted(): Forwarded {
  const text = execFileSync("nft", ["reset", "counters", "table", "inet", "count"], {
    encoding: "utf8",
  });
  const packets = (name: string): number =>
    Number(new RegExp(`${name} \\{\\s+packets (\\d+)`).exec(text)?.[1]);
  return { tunnel4: packets("tunnel4"), tunnel6: packets("tunnel6"), plain: packets("plain") };
}

countPackets();
// As Calico leaves it: with another checksum, and entries of nodes that are gone.
const [theirMac, staleMac] = ["66:53:2f:9f:72:97", "66:00:00:00:00:77"];
for (const command of [
  `ip link add vxlan.calico address ${theirMac} mtu 1450 type vxlan id 4096 dstport 4789 nolearning udpcsum local ${two.ipv4} dev eth0`,
  "ip link set vxlan.calico up",
  `ip addr add ${two.tunnel4}/32 dev vxlan.calico`,
  `bridge fdb add ${staleMac} dev vxlan.calico dst 10.0.9.9 self permanent`,
  `ip neigh add 10.65.9.0 lladdr ${staleMac} nud permanent dev vxlan.calico`,
  "ip route add 10.65.9.0/26 via 10.65.9.0 dev vxlan.calico onlink proto 80",
]) {
  cluster.on(two, command);
}
const indexOf = (host: Host): string => /^(\d+):/.exec(link(host, "vxlan.calico"))?.[1] ?? "";
const theirIndex = indexOf(two);
for (const host of cluster.hosts) cluster.startAgent(host);
await cluster.until("all routes", () =>
  cluster.hosts.every((host) => {
    const [v4, v6] = [routes(host).split("\n"), routes6(host).split("\n")];
    return v4.length === 7 && v6.length === 7;
  }),
);
counted();
cluster.reaches(one, three, 4);
cluster.reaches(one, three, 6);
const across = counted();
cluster.reaches(one, two, 4);
cluster.reaches(one, two, 6);
const within = counted();
// A process of the host itself that insists on the host's address.
const fromHost = [
  cluster.on(one, `ping -n -c 1 -W 1 -I ${one.ipv4} ${three.pod.ipv4}`),
  cluster.on(one, `ping -n -c 1 -W 1 -I ${one.ipv6} ${three.pod.ipv6}`),
].join("");
const hostAcross = counted();
const trackedTunnels = cluster.hosts
  .map((host) => cluster.on(host, "conntrack -L -p udp --dport 4789"))
  .join("");
const unreachedFirst = unreached();
const state = {
  routes: routes(one),
  routes6: routes6(one),
  forwarding: forwarding(one),
  forwarding6: forwarding(one, "vxlan-v6.calico"),
  neighbours: neighbours(one),
  device: link(one, "vxlan.calico"),
  device6: link(one, "vxlan-v6.calico"),
  address: cluster.on(one, "ip -o addr show dev vxlan.calico"),
};
const takenOver = indexOf(two) === theirIndex ? everything(two) : "made anew";
const mtuFile = cluster.on(one, "cat /var/lib/calico/mtu");

// Somebody breaks it.
const whole = everything(one);
const repairs: Record<string, number> = {};
async function breaks(what: string, ...commands: readonly string[]): Promise<void> {
  for (const command of commands) cluster.on(one, command);
  try {
    repairs[what] = await cluster.until(what, () => everything(one) === whole);
  } catch (error) {
    throw new Error(`${whole}\nis now\n${everything(one)}`, { cause: error });
  }
}
await breaks("device deleted", "ip link del vxlan.calico");
await breaks("IPv6 device deleted", "ip link del vxlan-v6.calico");
await breaks("device switched off", "ip link set vxlan.calico down");
await breaks("MTU and MAC changed", "ip link set vxlan.calico mtu 1300 address 66:00:00:00:00:01");
await breaks("address removed", "ip -4 addr flush dev vxlan.calico");
await breaks("another address added", "ip addr add 10.99.0.1/24 dev vxlan.calico");
await breaks("another source", "ip link set vxlan.calico type vxlan local 10.0.1.99");
const [mac = ""] = forwarding(one).split(" ");
await breaks("forwarding entry deleted", `bridge fdb del ${mac} dev vxlan.calico`);
await breaks("leads elsewhere", `bridge fdb replace ${mac} dev vxlan.calico dst 10.0.2.99`);
await breaks(
  "leads to two",
  `bridge fdb append ${mac} dev vxlan.calico dst 10.0.2.99 self permanent`,
);
await breaks(
  "strange entry added",
  "bridge fdb add 66:00:00:00:00:02 dev vxlan.calico dst 10.0.2.99 self permanent",
);
await breaks("neighbour deleted", "ip neigh del 10.65.3.0 dev vxlan.calico");
await breaks(
  "strange neighbour added",
  "ip neigh add 10.65.9.9 lladdr 66:00:00:00:00:02 nud permanent dev vxlan.calico",
);
await breaks("route deleted", "ip route del 10.65.3.0/26");
await breaks("blackhole deleted", "ip -6 route del blackhole fd65:1::/122");
await breaks(
  "host's link down and up",
  "ip link set eth0 down",
  "ip link set eth0 up",
  `ip -6 addr add ${one.ipv6}/64 dev eth0 nodad`,
  "ip route add default via 10.0.1.1",
  "ip -6 route add default via fd00:1::1",
);
cluster.unplugUplink(one);
await cluster.until("the devices went with their parent", () => link(one, "vxlan.calico") === "");
cluster.plugUplink(one);
await breaks("host's link made anew");
// Of what the kernel learns by itself it does not tell the agent, which looks every ten seconds.
const told = { ...repairs };
await breaks(
  "neighbour not permanent any more",
  "ip neigh replace 10.65.3.0 lladdr 66:00:00:00:00:03 nud reachable dev vxlan.calico",
);
const checkedMs = repairs["neighbour not permanent any more"];
const unreachedAfterRepairs = unreached();

// Packets flow while an agent dies and comes back, and when it is told to stop.
const probe = new Probe({
  sendFrom: `/run/netns/${one.pod.netns}`,
  receiveIn: `/run/netns/${three.pod.netns}`,
  source: one.pod.ipv4,
  target: three.pod.ipv4,
  port: 7777,
  intervalMs: 1,
});
const flow: Record<string, { sent: number; received: number }> = {};
async function flows(what: string, act: () => Promise<void>): Promise<void> {
  probe.reset();
  probe.send(true);
  await delay(200);
  await act();
  await delay(200);
  probe.send(false);
  await delay(300);
  flow[what] = { sent: probe.sent, received: probe.received };
}
await cluster.until("the probe's threads", () => {
  probe.send(true);
  return probe.received > 0;
});
probe.send(false);
await delay(300);
let restartMonitor = "";
for (const [what, signal] of [
  ["killed", "SIGKILL"],
  ["stopped", "SIGTERM"],
] as const) {
  await flows(what, async () => {
    await cluster.stopAgent(one, signal);
    await delay(100);
    const text = await cluster.monitored(one, async () => {
      cluster.startAgent(one);
      const ready = (): boolean => cluster.ready(one);
      await cluster.until("ready again", ready);
    });
    restartMonitor += text;
  });
}
await probe.close();

// An address of one host's block that another host has.
await cluster.putBlocks(three, { 5: two.name });
await cluster.until("borrowed", () => routes(one).includes("10.65.3.5 via"));
const borrowed = routes(one);
await cluster.putBlocks(three);
await cluster.until("given back", () => !routes(one).includes("10.65.3.5"));

// A node goes for good, then the pools.
await cluster.stopAgent(two);
await cluster.removeBlocks(two);
await cluster.remove(nodeOf(two));
await cluster.until("nothing leads there", () => !everything(one).includes("10.65.2."));
const afterNodeRemoved = everything(one);
const others = unreachedAmong(one, three).join();
await cluster.remove(...POOLS);
await cluster.until("no device", () => link(one, "vxlan.calico") === "");
await cluster.until("no IPv6 device", () => link(one, "vxlan-v6.calico") === "");
// Devices go before routes do.
await delay(100);
const result: ClusterResult = {
  unreached: unreachedFirst,
  across,
  within,
  hostAcross,
  fromHost,
  trackedTunnels,
  state,
  takenOver,
  mtuFile,
  repairs: told,
  checkedMs: checkedMs ?? 0,
  unreachedAfterRepairs,
  flow,
  restartMonitor,
  borrowed,
  afterNodeRemoved,
  others,
  afterPoolsRemoved: routes(one) + routes6(one),
  log: cluster.logs,
};
await cluster.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));

function unreachedAmong(from: Host, to: Host): string[] {
  return FAMILIES.flatMap((family) =>
    cluster.reaches(from, to, family) ? [] : [`${from.name} ${to.name} IPv${family}`],
  );
}
