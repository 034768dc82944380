/**
 * Two hosts on one link, each under `margay node` with a real etcd: BGP between them, packets from the
 * workload of one to that of the other while every service of the second is killed, and all of it.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ClusterHosts } from "../../../support/cluster-hosts.ts";
import type { Host } from "../../../support/cluster-objects.ts";
import { etcdctlGet, MARGAY } from "../../../support/node-start.ts";
import { Probe } from "../../../support/probe.ts";
import { isSupervised, readService } from "../../../../src/node/runit.ts";

interface Flow {
  readonly sent: number;
  readonly received: number;
}

export interface SupervisedResult {
  readonly services: readonly string[];
  readonly route: string;
  readonly policed: { readonly allowed: boolean; readonly denied: boolean };
  /** Milliseconds until a new process runs, by the service that was killed. */
  readonly backMs: Readonly<Record<string, number>>;
  readonly flows: Readonly<Record<string, Flow>>;
  readonly felixPid: { readonly before: number; readonly after: number; readonly ms: number };
  readonly flapping: { readonly starts: number; readonly log: string; readonly inARow: number };
  readonly second: string;
  readonly probes: {
    readonly well: string;
    /** Of BIRD, while it is stopped. */
    readonly frozen: string;
    readonly felixFrozen: string;
    /** Without any peer. */
    readonly alone: string;
  };
  /** `margay node status`: of the node when all is well, while confd keeps ending, and of all nodes. */
  readonly status: { readonly well: string; readonly flapping: string };
  readonly allNodes: { readonly well: string; readonly oneDead: string };
  readonly moved: { readonly node: string; readonly route: string };
  /** Processes of the node after SIGTERM. */
  readonly left: readonly string[];
  readonly logFiles: readonly string[];
  readonly log: string;
}

const cluster = await ClusterHosts.start(2, {
  store: "etcd",
  limitMs: 30_000,
  pools: [
    {
      kind: "IPPool",
      name: "pool4",
      spec: { cidr: "10.65.0.0/16", vxlanMode: "Never", ipipMode: "Never" },
    },
  ],
});
const [one, two] = [cluster.host(1), cluster.host(2)];
for (const { name, number } of cluster.hosts) {
  await cluster.putRaw(
    `/calico/ipam/v2/host/${name}/ipv4/block/10.65.${number}.0-26`,
    '{"state":"confirmed","deleted":false}',
  );
}
const enabled = (host: Host): string => join(cluster.home(host), "service/enabled");
const pidOf = (host: Host, name: string): number => readService(enabled(host), name).pid ?? 0;
/** And told all that it had before: a peer that goes twice within one restart loses its routes. */
const established = (host: Host): boolean => {
  const socket = join(cluster.home(host), "run/bird.ctl");
  // Sockets of files are the same in every network namespace.
  const birdc = (what: string): string =>
    execFileSync("birdc", ["-s", socket, "show", what], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  try {
    return (
      birdc("protocols").includes("Established") && !birdc("status").includes("Graceful restart")
    );
  } catch {
    return false;
  }
};

const watching = {
  IP: "autodetect",
  IP_AUTODETECTION_METHOD: "interface=eth0",
  AUTODETECT_POLL_INTERVAL: "500ms",
  FELIX_REPORTINGINTERVALSECS: "1",
  FELIX_REPORTINGTTLSECS: "3",
};
for (const host of cluster.hosts) cluster.startNode(host, watching);
for (const host of cluster.hosts) {
  await cluster.until("the session is there", () => established(host));
  await cluster.until("the agent is ready", () => cluster.ready(host));
}
await cluster.until("workloads reach each other", () => cluster.reaches(one, two, 4));
const services = readdirSync(enabled(two)).toSorted();
const route = cluster.on(one, "ip route show 10.65.2.0/26").trim();

const deny = {
  kind: "GlobalNetworkPolicy",
  name: "deny-ping",
  spec: {
    tier: "default",
    selector: "all()",
    types: ["Ingress"],
    ingress: [{ action: "Deny", protocol: "ICMP" }, { action: "Allow" }],
  },
} as const;
const allowed = cluster.reaches(one, two, 4);
await cluster.put(deny);
await cluster.until("policy is in force", () => !cluster.reaches(one, two, 4));
const policed = { allowed, denied: !cluster.reaches(one, two, 4) };

const probe = new Probe({
  sendFrom: `/run/netns/${one.pod.netns}`,
  receiveIn: `/run/netns/${two.pod.netns}`,
  source: one.pod.ipv4,
  target: two.pod.ipv4,
  port: 7777,
  intervalMs: 2,
});
probe.send(true);
await cluster.until("packets flow", () => probe.received > 10);
const flows: Record<string, Flow> = {};
async function during(what: string, act: () => Promise<void>): Promise<void> {
  probe.reset();
  probe.send(true);
  await delay(300);
  await act();
  await delay(300);
  probe.send(false);
  await delay(300);
  flows[what] = { sent: probe.sent, received: probe.received };
}
async function killed(host: Host, pid: number, name: string): Promise<number> {
  process.kill(pid, "SIGKILL");
  return await cluster.until(`${name} is back`, () => {
    const now = pidOf(host, name);
    return now !== 0 && now !== pid;
  });
}

const backMs: Record<string, number> = {};
for (const name of services) {
  await during(name, async () => {
    backMs[name] = await killed(two, pidOf(two, name), name);
    if (name === "felix") await cluster.until("felix is ready", () => cluster.ready(two));
    if (name === "bird") await cluster.until("bird has its peer", () => established(two));
  });
}

// What runsv ran lives on without it, and must not be in its successor's way.
await during("runsv of felix", async () => {
  const felix = pidOf(two, "felix");
  const stat = readFileSync(`/proc/${felix}/stat`, "utf8");
  process.kill(Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]), "SIGKILL");
  backMs["runsv of felix"] = await cluster.until("felix is back", () => {
    return ![0, felix].includes(pidOf(two, "felix")) && hasEnded(felix);
  });
  await cluster.until("felix is ready", () => cluster.ready(two));
});

/** Nobody here waits for orphans: they stay as zombies. */
function hasEnded(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8") === "";
  } catch {
    return true;
  }
}

/** What `margay node …` prints on host 2, and its exit code when that is not 0. */
function ask(words: string): string {
  const home = cluster.home(two);
  const env = [
    `CALICO_NODENAME_FILE=${join(home, "nodename")}`,
    `MARGAY_RUN_DIR=${join(home, "run")}`,
    `MARGAY_SERVICE_DIR=${join(home, "service")}`,
    "ETCD_ENDPOINTS=http://10.0.1.1:2379",
  ];
  try {
    return cluster.on(two, `env ${env.join(" ")} ${MARGAY} node ${words}`);
  } catch (error) {
    const { stdout, status } = error as { readonly stdout: string; readonly status: number };
    return `${stdout}exit code ${status}\n`;
  }
}
const probes = (...names: readonly string[]): string =>
  ask(`--threshold-time 3s ${names.map((name) => `-${name}`).join(" ")}`);
await delay(1100); // The one that was killed last has run for a while, and agents have reported.
const statusWell = ask("status");
const allWell = ask("status --all-nodes");
const well = probes(
  "felix-live",
  "felix-ready",
  "bird-live",
  "bird-ready",
  "bird6-live",
  "bird6-ready",
);
process.kill(pidOf(two, "bird"), "SIGSTOP");
const frozen = probes("bird-live", "bird6-live");
process.kill(pidOf(two, "bird"), "SIGCONT");
process.kill(pidOf(two, "felix"), "SIGSTOP");
const felixFrozen = probes("felix-live");
process.kill(pidOf(two, "felix"), "SIGCONT");

const before = pidOf(two, "felix");
const restartedAt = performance.now();
await cluster.put({
  kind: "FelixConfiguration",
  name: "node.host-2",
  spec: { defaultEndpointToHostAction: "Return", interfacePrefix: "cali,tap" },
});
await cluster.until(
  "felix restarts for a setting",
  () => ![0, before].includes(pidOf(two, "felix")),
);
const felixPid = {
  before,
  after: pidOf(two, "felix"),
  ms: performance.now() - restartedAt,
};
await cluster.until("felix is ready", () => cluster.ready(two));

cluster.startNode(two, {}, "second");
await cluster.until("a second one is refused", () => cluster.log("second-2").includes("already"));
const second = cluster.log("second-2");

await during("margay node restarted", async () => {
  await cluster.stopNode(two);
  cluster.startNode(two, watching);
  await cluster.until("the session is back", () => established(two));
  await cluster.until("felix is ready", () => cluster.ready(two));
});

await during("margay node killed, and started", async () => {
  await cluster.stopNode(two, "SIGKILL");
  await delay(500);
  cluster.startNode(two, watching);
  const orphan = pidOf(two, "felix");
  await cluster.until("new services", () => ![0, orphan].includes(pidOf(two, "felix")));
  await cluster.until("the session is back", () => established(two));
  await cluster.until("felix is ready", () => cluster.ready(two));
});

await during("runsvdir killed", async () => {
  const pids = JSON.parse(readFileSync(join(cluster.home(two), "service/pids.json"), "utf8")) as {
    readonly runsvdir: number;
  };
  const felix = pidOf(two, "felix");
  process.kill(pids.runsvdir, "SIGKILL");
  await cluster.until("new services", () => ![0, felix].includes(pidOf(two, "felix")));
  await cluster.until("the session is back", () => established(two));
  await cluster.until("felix is ready", () => cluster.ready(two));
});

const nodeOf = (): string => etcdctlGet("http://10.0.1.1:2379", "nodes", "host-2");
cluster.on(two, "sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1");
cluster.ip(
  `-n ${two.netns} addr add 10.0.1.22/24 dev eth0`,
  `-n ${two.netns} addr del 10.0.1.12/24 dev eth0`,
);
await cluster.until("the node says so", () => nodeOf().includes('"10.0.1.22/24"'));
await cluster.until("the session is back", () => established(two));
const routeOf = (): string => cluster.on(one, "ip route show 10.65.2.0/26").trim();
await cluster.until("routes follow", () => routeOf().includes("10.0.1.22"));
const moved = { node: nodeOf(), route: routeOf() };

await cluster.stopNode(one);
await cluster.until("no peer is left", () => probes("bird-ready") !== "");
const alone = probes("bird-ready");
await cluster.until("its agent counts as dead", () => ask("status --all-nodes").includes("DEAD"));
const oneDead = ask("status --all-nodes");

// A service that ends at once: each start leaves a line.
const starts = join(cluster.dir, "starts");
const confdRun = join(enabled(two), "confd/run");
writeFileSync(confdRun, `#!/bin/sh\ndate +%s >started\necho >>${starts}\nexit 3\n`);
process.kill(pidOf(two, "confd"), "SIGKILL");
await cluster.until("it is reported", () => /keeps ending/.test(cluster.log("node-2")));
await delay(4000);
const statusFlapping = ask("status");
const flapping = {
  starts: readFileSync(starts, "utf8").length,
  log: cluster.log("node-2"),
  inARow: readService(enabled(two), "confd").failure?.inARow ?? 0,
};

await cluster.stopNode(two);
const left = cluster.hosts.flatMap((host) =>
  readdirSync(enabled(host)).filter((name) => isSupervised(join(enabled(host), name))),
);
for (const entry of readdirSync("/proc")) {
  const file = `/proc/${entry}/cmdline`;
  if (!/^\d+$/.test(entry) || !existsSync(file)) continue;
  const command = readFileSync(file, "utf8").replaceAll("\0", " ");
  if (/runsv|svlogd|bird -|margay(?:\.mjs)? (?:felix|confd|node)/.test(command)) left.push(command);
}
const logFiles = services.filter((name) =>
  existsSync(join(cluster.home(two), "log", name, "current")),
);
const result: SupervisedResult = {
  services,
  route,
  policed,
  backMs,
  flows,
  felixPid,
  flapping,
  second,
  status: { well: statusWell, flapping: statusFlapping },
  allNodes: { well: allWell, oneDead },
  probes: { well, frozen, felixFrozen, alone },
  moved,
  left,
  logFiles,
  log: cluster.log("node-2"),
};
await probe.close();
await cluster.close();
process.stdout.write(JSON.stringify(result));
