/**
 * Three hosts in two subnets whose pool is IPIP between subnets; run in the emulated machine, which is
 * slow: only the first has an agent. The third is set up by hand, as any other program would.
 */
import { execFileSync } from "node:child_process";
import { ClusterHosts } from "../../support/cluster-hosts.ts";
import type { Given } from "../../support/bgp.ts";

export interface IpipResult {
  readonly across: string;
  readonly fromHost: string;
  readonly routes: string;
  readonly routes6: string;
  readonly device: string;
  readonly address: string;
  readonly afterDamage: boolean;
  readonly afterPoolRemoved: string;
  readonly log: string;
}

/** IPv6 has no IPIP: its pool is not encapsulated, and the agents make its routes too. */
const POOLS: readonly Given[] = [
  {
    kind: "IPPool",
    name: "pool4",
    spec: { cidr: "10.65.0.0/16", ipipMode: "CrossSubnet", vxlanMode: "Never" },
  },
  { kind: "IPPool", name: "pool6", spec: { cidr: "fd65::/16", blockSize: 122 } },
  { kind: "FelixConfiguration", name: "default", spec: { programClusterRoutes: "Enabled" } },
];
const LIMIT_MS = 240_000;

const cluster = await ClusterHosts.start(3, { pools: POOLS, tunnels: "ipip", limitMs: LIMIT_MS });
const [one, three] = [cluster.host(1), cluster.host(3)];
for (const command of [
  "modprobe ipip",
  "ip link set tunl0 up",
  `ip addr add ${three.tunnel4}/32 dev tunl0`,
  `ip route add ${one.block4} via ${one.ipv4} dev tunl0 onlink`,
  `ip route add ${three.pod.ipv4} dev ${three.pod.interfaceName}`,
  `sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.${three.pod.interfaceName}.proxy_arp=1`,
]) {
  cluster.on(three, command);
}
execFileSync("nft", ["-f", "-"], {
  input: `table inet count {
    counter tunnel {}
    counter plain {}
    chain forward {
      type filter hook forward priority 0
      ip protocol 4 counter name tunnel
      ip saddr 10.65.0.0/16 counter name plain
    }
  }`,
});
cluster.startAgent(one);
const routes = (): string => cluster.on(one, "ip route show proto 80");
const routes6 = (): string => cluster.on(one, "ip -6 route show proto 80");
await cluster.until(
  "all routes",
  () => routes().trim().split("\n").length === 6 && routes6().includes("blackhole"),
);

/** Whether a packet came back, and which packets the router saw of it. */
function probe(from: string, to: string, ...flags: readonly string[]): string {
  const ping = ["ping", "-n", "-c", "1", "-W", "10", ...flags, to];
  let reached = true;
  execFileSync("nft", ["reset", "counters", "table", "inet", "count"]);
  try {
    execFileSync("ip", ["netns", "exec", from, ...ping], { stdio: "ignore" });
  } catch {
    reached = false;
  }
  const text = execFileSync("nft", ["list", "counters", "table", "inet", "count"], {
    encoding: "utf8",
  });
  const packets = (name: string): string =>
    `${name} ${new RegExp(`${name} \\{\\s+packets (\\d+)`).exec(text)?.[1]}`;
  return `${reached ? "reached" : "lost"}, ${packets("tunnel")}, ${packets("plain")}`;
}

const across = probe(one.pod.netns, three.pod.ipv4);
const fromHost = probe(one.netns, three.pod.ipv4, "-I", one.ipv4);
const state = {
  routes: routes(),
  routes6: routes6(),
  device: cluster.on(one, "ip -d link show dev tunl0"),
  address: cluster.on(one, "ip -o -4 addr show dev tunl0"),
};
cluster.on(one, "ip link set tunl0 down");
cluster.on(one, "ip addr flush dev tunl0");
await cluster.until("repaired", () => routes() === state.routes);
const afterDamage = probe(one.pod.netns, three.pod.ipv4).startsWith("reached");
await cluster.remove(...POOLS.slice(0, 1));
await cluster.until("no routes", () => !routes().includes("/26"));
const result: IpipResult = {
  across,
  fromHost,
  ...state,
  afterDamage,
  afterPoolRemoved: routes(),
  log: cluster.logs,
};
await cluster.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));
