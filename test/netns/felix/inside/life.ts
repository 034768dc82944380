/** One life of the agent on a real etcd and real interfaces, noted step by step. */
import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { AgentHost, NODE, policy, until, workload } from "../../../support/agent-host.ts";

const V3 = "/calico/resources/v3/projectcalico.org";
const STATUS = `/calico/felix/v2/no-region/host/${NODE}`;

export interface LifeResult {
  readonly beforeReadyFlag: {
    readonly readiness: number;
    readonly liveness: number;
    readonly table: boolean;
  };
  readonly allowed: boolean;
  readonly deniedAfterRelabel: boolean;
  readonly allowedAgain: boolean;
  readonly readiness: string;
  readonly metrics: string;
  readonly status: Readonly<Record<string, string>>;
  readonly removedStatus: boolean;
  readonly liveChangeKeptPid: boolean;
  readonly exitOnChange: number | null;
  readonly tableAfterExit: boolean;
  readonly exitOnTerm: number | null;
  readonly tableAfterTerm: boolean;
  readonly stillEnforcedAfterTerm: boolean;
  readonly exitOnHup: number | null;
  readonly reexecKeptPid: boolean;
  readonly exitOnNotReady: number | null;
  readonly log: string;
}

const host = await AgentHost.start();
const store = await host.connect();
const cluster = (ready: boolean): [string, unknown] => [
  `${V3}/clusterinformations/default`,
  {
    kind: "ClusterInformation",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "default", creationTimestamp: "2026-01-01T00:00:00Z" },
    spec: { clusterGUID: "0".repeat(32), datastoreReady: ready },
  },
];
const felixConfiguration = (spec: object): [string, unknown] => [
  `${V3}/felixconfigurations/default`,
  {
    kind: "FelixConfiguration",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "default", creationTimestamp: "2026-01-01T00:00:00Z" },
    spec,
  },
];
const ENV = {
  FELIX_ENDPOINTREPORTINGENABLED: "true",
  FELIX_ENDPOINTREPORTINGDELAYSECS: "0.05",
  FELIX_PROMETHEUSMETRICSENABLED: "true",
  FELIX_PROMETHEUSMETRICSHOST: "127.0.0.1",
};
const http = async (path: string, port = 9099): Promise<{ status: number; text: string }> => {
  try {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      signal: AbortSignal.timeout(2000),
    });
    return { status: response.status, text: await response.text() };
  } catch {
    return { status: 0, text: "" };
  }
};
const hasTable = (): boolean =>
  execFileSync("nft", ["list", "tables"], { encoding: "utf8" }).includes("inet margay");

// Not ready: health answers, nothing is programmed.
await host.put(...cluster(false));
let felix = host.startFelix(ENV);
await until("health answers", async () => (await http("/liveness")).status === 200);
await until("it says what it waits for", () => host.log.includes("datastoreReady: false"));
await delay(200);
const beforeReadyFlag = {
  readiness: (await http("/readiness")).status,
  liveness: (await http("/liveness")).status,
  table: hasTable(),
};
await host.put(...cluster(true));
await host.ready();

const probe = host.probe(1);
/** Whether the newest packets arrive (or do not), within 2 s. */
const flow = async (wanted: boolean): Promise<boolean> => {
  const deadline = performance.now() + 2000;
  while (performance.now() < deadline) {
    probe.reset();
    await delay(60);
    if (probe.received > 0 === wanted) return true;
  }
  return false;
};
probe.send(true);
const allowed = await flow(true);
await host.put(...workload("a", { name: "a", role: "bad" }));
const deniedAfterRelabel = await flow(false);
await host.put(...workload("a", { name: "a", role: "good" }));
const allowedAgain = await flow(true);

const statuses = async (): Promise<Record<string, string>> => {
  const { kvs } = await store.list(`${STATUS}/`);
  return Object.fromEntries(kvs.map(({ key, value }) => [key.slice(STATUS.length), value]));
};
const statusOf = (pod: string): string => `/workload/k8s/default%2f${pod}/endpoint/eth0`;
await until("both endpoints are reported", async () => {
  const all = await statuses();
  return ["a", "b"].every((pod) => all[statusOf(pod)] === '{"status":"up"}');
});
const status = await statuses();
const readiness = (await http("/readiness")).text;
const metrics = (await http("/metrics", 9091)).text;

// A third endpoint without an interface is down, and its status goes when it goes.
await host.put(
  `${V3}/workloadendpoints/default/host--a-k8s-c-eth0`,
  JSON.stringify(workload("a", { name: "c" })[1])
    .replaceAll('"a"', '"c"')
    .replaceAll("host--a-k8s-a-eth0", "host--a-k8s-c-eth0")
    .replace("cali0000000000a", "cali0000000000c")
    .replace("10.65.0.1/", "10.65.0.3/"),
);
await until(
  "c is reported down",
  async () => (await statuses())[statusOf("c")] === '{"status":"down"}',
);
await host.delete(`${V3}/workloadendpoints/default/host--a-k8s-c-eth0`);
const removedStatus = await until(
  "c is gone",
  async () => (await statuses())[statusOf("c")] === undefined,
).then(
  () => true,
  () => false,
);

// A live parameter keeps the process; another one ends it with 129, the kernel as it was.
const exited = (child: typeof felix): Promise<number | null> =>
  child.exitCode !== null
    ? Promise.resolve(child.exitCode)
    : new Promise((resolve) => child.once("exit", (code) => resolve(code)));
await host.put(`${V3}/clusterinformations/default`, {
  ...(cluster(true)[1] as object),
  spec: { clusterGUID: "1".repeat(32), datastoreReady: true },
});
await delay(300);
const liveChangeKeptPid = felix.exitCode === null;
await host.put(...felixConfiguration({ logPrefix: "mine" }));
const exitOnChange = await exited(felix);
const tableAfterExit = hasTable();

felix = host.startFelix(ENV);
await host.ready();
felix.kill("SIGHUP");
const exitOnHup = await exited(felix);

felix = host.startFelix(ENV);
await host.ready();
felix.kill("SIGTERM");
const exitOnTerm = await exited(felix);
const tableAfterTerm = hasTable();
await host.put(...policy("role == 'nobody'"));
const stillEnforcedAfterTerm = await flow(true);
await host.put(...policy());

// In place: the same process, with the new configuration.
felix = host.startFelix(ENV, ["--reexec"]);
await host.ready();
await host.put(...felixConfiguration({ logPrefix: "other", healthPort: 9098 }));
await until("it is ready again", async () => (await http("/readiness", 9098)).status === 200);
const reexecKeptPid = felix.exitCode === null && felix.signalCode === null;
await host.put(...cluster(false));
const exitOnNotReady = await exited(felix);

const result: LifeResult = {
  beforeReadyFlag,
  allowed,
  deniedAfterRelabel,
  allowedAgain,
  readiness,
  metrics,
  status,
  removedStatus,
  liveChangeKeptPid,
  exitOnChange,
  tableAfterExit,
  exitOnTerm,
  tableAfterTerm,
  stillEnforcedAfterTerm,
  exitOnHup,
  reexecKeptPid,
  exitOnNotReady,
  log: host.log.slice(-4000),
};
probe.send(false);
await probe.close();
await host.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));
