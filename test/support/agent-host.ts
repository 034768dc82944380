/**
 * A host under the real agent, for fault tests: this process's network namespace is the host (run it
 * with `runInSandbox`), with two workloads, a real etcd and `bin/margay felix`, each killed and
 * started at will. Packets flow from workload `a` to workload `b`, UDP port 7777, every one a new flow.
 */
import {
  execFileSync,
  spawn,
  type ChildProcess,
  type ExecFileSyncOptions,
} from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openDatastore, type Datastore } from "#datastore";
import { Probe } from "./probe.ts";

export const NODE = "host-a";
const PORT = 7777;
export const PODS = {
  a: { address: "10.65.0.1", interface: "cali0000000000a" },
  b: { address: "10.65.0.2", interface: "cali0000000000b" },
} as const;
type PodName = keyof typeof PODS;

const V3 = "/calico/resources/v3/projectcalico.org";
const CLIENT_URL = "http://127.0.0.1:23790";
const ETCDCTL: ExecFileSyncOptions = {
  env: { ...process.env, ETCDCTL_API: "3" },
  stdio: "ignore",
};
const MARGAY = fileURLToPath(new URL("../../bin/margay", import.meta.url));

export class AgentHost {
  readonly dir = mkdtempSync(join(tmpdir(), "margay-fault-"));
  readonly logFile = join(this.dir, "felix.log");
  #etcd: ChildProcess | null = null;
  #felix: ChildProcess | null = null;
  #store: Datastore | null = null;

  static async start(): Promise<AgentHost> {
    const host = new AgentHost();
    host.#wire();
    host.startEtcd();
    await host.connect();
    for (const [key, value] of baseObjects()) await host.put(key, value);
    return host;
  }

  #wire(): void {
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
    mkdirSync("/run/netns", { recursive: true });
    ip([], ["link set lo up"]);
    execFileSync("sysctl", [
      "-q",
      "net.ipv4.ip_forward=1",
      "net.netfilter.nf_conntrack_udp_timeout=2",
    ]);
    for (const name of Object.keys(PODS) as PodName[]) this.wirePod(name);
  }

  wirePod(name: PodName): void {
    execFileSync("ip", ["netns", "add", `mgy-${name}`]);
    this.linkPod(name);
  }

  /** The workload's interface, in the namespace that it has. */
  linkPod(name: PodName): void {
    const pod = PODS[name];
    ip(
      [],
      [
        `link add ${pod.interface} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns mgy-${name}`,
        `link set ${pod.interface} up`,
      ],
    );
    ip(
      ["-n", `mgy-${name}`],
      [
        "link set lo up",
        "link set eth0 up",
        `addr add ${pod.address}/32 dev eth0`,
        "route add 169.254.1.1 dev eth0 scope link",
        "route add default via 169.254.1.1 dev eth0",
      ],
    );
  }

  startEtcd(): void {
    this.#etcd = spawn(
      "etcd",
      [
        "--data-dir",
        join(this.dir, "etcd"),
        "--listen-client-urls",
        CLIENT_URL,
        "--advertise-client-urls",
        CLIENT_URL,
        "--listen-peer-urls",
        "http://127.0.0.1:23800",
      ],
      { stdio: "ignore" },
    );
  }

  async killEtcd(): Promise<void> {
    await kill(this.#etcd, "SIGKILL");
  }

  /** As an operator takes a backup. */
  saveEtcd(file: string): void {
    execFileSync("etcdctl", ["--endpoints", CLIENT_URL, "snapshot", "save", file], ETCDCTL);
  }

  /** Etcd must be dead; it starts with the data of the backup then. */
  restoreEtcd(file: string): void {
    const data = join(this.dir, "etcd");
    rmSync(data, { recursive: true });
    execFileSync("etcdctl", ["snapshot", "restore", file, "--data-dir", data], ETCDCTL);
  }

  async connect(): Promise<Datastore> {
    await this.#store?.close();
    const store = await openDatastore({ type: "etcdv3", etcd: { endpoints: [CLIENT_URL] } });
    await until("etcd answers", async () => {
      try {
        await store.get("/");
        return true;
      } catch {
        return false;
      }
    });
    this.#store = store;
    return store;
  }

  async put(key: string, value: unknown): Promise<number> {
    if (this.#store === null) throw new Error("not connected");
    return this.#store.put(key, typeof value === "string" ? value : JSON.stringify(value));
  }

  async delete(key: string): Promise<void> {
    await this.#store?.delete(key);
  }

  /** Throws the history away: a watch from before must start over. */
  async compact(): Promise<void> {
    const { revision } = (await this.#store?.get("/")) ?? { revision: 0 };
    execFileSync("etcdctl", ["--endpoints", CLIENT_URL, "compact", String(revision)], ETCDCTL);
  }

  startFelix(
    env: Readonly<Record<string, string>> = {},
    args: readonly string[] = [],
  ): ChildProcess {
    const log = openSync(this.logFile, "a");
    this.#felix = spawn(MARGAY, ["felix", ...args], {
      stdio: ["ignore", log, log],
      env: {
        ...process.env,
        DATASTORE_TYPE: "etcdv3",
        ETCD_ENDPOINTS: CLIENT_URL,
        FELIX_FELIXHOSTNAME: NODE,
        FELIX_LOGFILEPATH: "none",
        FELIX_HEALTHENABLED: "true",
        ...env,
      },
    });
    return this.#felix;
  }

  async killFelix(signal: NodeJS.Signals = "SIGKILL"): Promise<number | null> {
    return kill(this.#felix, signal);
  }

  /** SIGSTOP and SIGCONT: away without being dead. */
  signalFelix(signal: NodeJS.Signals): void {
    this.#felix?.kill(signal);
  }

  get log(): string {
    return readFileSync(this.logFile, "utf8");
  }

  probe(intervalMs: number): Probe {
    return new Probe({
      sendFrom: "/run/netns/mgy-a",
      receiveIn: "/run/netns/mgy-b",
      source: PODS.a.address,
      target: PODS.b.address,
      port: PORT,
      intervalMs,
    });
  }

  /** Until health says that everything was programmed at least once. */
  async ready(): Promise<void> {
    await until("the agent is ready", async () => {
      try {
        return (
          (await fetch("http://127.0.0.1:9099/readiness", { signal: AbortSignal.timeout(1000) }))
            .status === 200
        );
      } catch {
        return false;
      }
    });
  }

  async close(): Promise<void> {
    await this.#store?.close();
    await kill(this.#felix, "SIGKILL");
    await kill(this.#etcd, "SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export function workload(
  name: PodName,
  labels: Readonly<Record<string, string>>,
): [string, unknown] {
  const endpoint = `host--a-k8s-${name}-eth0`;
  return [
    `${V3}/workloadendpoints/default/${endpoint}`,
    {
      ...header("WorkloadEndpoint", endpoint, {
        namespace: "default",
        labels: {
          ...labels,
          "projectcalico.org/namespace": "default",
          "projectcalico.org/orchestrator": "k8s",
        },
      }),
      spec: {
        orchestrator: "k8s",
        node: NODE,
        containerID: name,
        pod: name,
        endpoint: "eth0",
        ipNetworks: [`${PODS[name].address}/32`],
        profiles: ["kns.default"],
        interfaceName: PODS[name].interface,
      },
    },
  ];
}

/** Selects workload b; lets `role == 'good'` in on the probe's port. */
export function policy(selector = "role == 'good'"): [string, unknown] {
  return [
    `${V3}/globalnetworkpolicies/to-b`,
    {
      ...header("GlobalNetworkPolicy", "to-b", {}),
      spec: {
        tier: "default",
        selector: "name == 'b'",
        types: ["Ingress"],
        ingress: [
          {
            action: "Allow",
            protocol: "UDP",
            source: { selector },
            destination: { ports: [PORT] },
          },
        ],
      },
    },
  ];
}

function baseObjects(): [string, unknown][] {
  return [
    [
      `${V3}/clusterinformations/default`,
      {
        ...header("ClusterInformation", "default", {}),
        spec: { clusterGUID: "0".repeat(32), datastoreReady: true },
      },
    ],
    [
      `${V3}/tiers/default`,
      { ...header("Tier", "default", {}), spec: { order: 1_000_000, defaultAction: "Deny" } },
    ],
    [
      `${V3}/profiles/kns.default`,
      {
        ...header("Profile", "kns.default", {}),
        spec: { ingress: [{ action: "Allow" }], egress: [{ action: "Allow" }] },
      },
    ],
    [
      `${V3}/nodes/${NODE}`,
      { ...header("Node", NODE, {}), spec: { bgp: { ipv4Address: "10.0.0.11/24" } } },
    ],
    policy(),
    workload("a", { name: "a", role: "good" }),
    workload("b", { name: "b" }),
  ];
}

function header(kind: string, name: string, metadata: object): object {
  return {
    kind,
    apiVersion: "projectcalico.org/v3",
    metadata: {
      name,
      uid: "00000000-0000-0000-0000-000000000000",
      creationTimestamp: "2026-01-01T00:00:00Z",
      ...metadata,
    },
  };
}

export async function until(
  what: string,
  done: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await done())) {
    if (performance.now() > deadline) throw new Error(`timed out: ${what}`);
    await delay(5);
  }
}

/** Milliseconds until `done` holds. */
export async function elapsed(
  what: string,
  done: () => boolean | Promise<boolean>,
): Promise<number> {
  const started = performance.now();
  await until(what, done);
  return performance.now() - started;
}

async function kill(child: ChildProcess | null, signal: NodeJS.Signals): Promise<number | null> {
  if (child === null || child.exitCode !== null || child.signalCode !== null)
    return child?.exitCode ?? null;
  const gone = new Promise<number | null>((resolve) => {
    child.once("exit", (code) => resolve(code));
  });
  child.kill(signal);
  return gone;
}

/** What a program prints from now on; the call of the result ends it. */
export function monitor(program: string, args: readonly string[]): () => string {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  return () => {
    child.kill("SIGKILL");
    return text;
  };
}

export function ip(args: readonly string[], lines: readonly string[]): void {
  execFileSync("ip", [...args, "-batch", "-"], {
    input: lines.map((line) => `${line}\n`).join(""),
    stdio: ["pipe", "ignore", "pipe"],
  });
}
