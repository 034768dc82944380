/** Others change what is ours: the ruleset, a route, an interface; and the store holds an invalid object. */
import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { AgentHost, elapsed, PODS, policy, until, workload } from "../../support/agent-host.ts";

export interface DriftResult {
  /** Milliseconds until repaired. */
  readonly flushed: number;
  readonly tableDeleted: number;
  readonly ruleDeleted: number;
  readonly elementDeleted: number;
  readonly routeDeleted: number;
  readonly renamedAndBack: number;
  readonly recreated: number;
  readonly neighbourDeleted: number;
  /** What Felix's metrics say that was repaired. */
  readonly repairs: number;
  readonly foreignTableUntouched: boolean;
  readonly invalidTreatedAsAbsent: boolean;
  readonly invalidSaid: number;
  readonly endpointSaid: number;
  /** An endpoint of this host that cannot be read is unknown: its interface drops. */
  readonly invalidEndpointDrops: boolean;
  readonly mendedEndpointWorks: boolean;
  readonly log: string;
}

const host = await AgentHost.start();
execFileSync("nft", ["add", "table", "inet", "others"]);
host.startFelix({
  FELIX_PROMETHEUSMETRICSENABLED: "true",
  FELIX_PROMETHEUSMETRICSHOST: "127.0.0.1",
  // Neighbours are looked at with the routes.
  FELIX_ROUTEREFRESHINTERVAL: "1",
});
await host.ready();
const MAC = "0a:00:00:00:00:0b";
execFileSync("ip", ["-n", "mgy-b", "link", "set", "eth0", "address", MAC]);
await host.put(...endpointB({ mac: MAC }));
await until("the neighbour is there", () => neighbours().includes(MAC));
const probe = host.probe(1);
probe.send(true);
await until("packets flow", () => probe.received > 0);
const whole = ruleset();
const neighbour = neighbours();
const routes = localRoutes();

const flushed = await repaired(() => nft("flush", "table", "inet", "margay"));
const tableDeleted = await repaired(() => nft("delete", "table", "inet", "margay"));
const ruleDeleted = await repaired(() => {
  const line = execFileSync("nft", ["-a", "list", "table", "inet", "margay"], { encoding: "utf8" });
  const chain = /chain (\S+) \{[^}]*?(?:drop|accept)[^}]*?# handle (\d+)/.exec(line);
  nft("delete", "rule", "inet", "margay", chain?.[1] ?? "", "handle", chain?.[2] ?? "");
});
const elementDeleted = await repaired(() => {
  const [element] = execFileSync("nft", ["list", "table", "inet", "margay"], {
    encoding: "utf8",
  }).matchAll(/map (\S+) \{[^}]*?elements = \{ (10\.6[0-9.]+ : \w+)/g);
  nft("delete", "element", "inet", "margay", element?.[1] ?? "", `{ ${element?.[2] ?? ""} }`);
});
const repairs = await repairsCounted();
execFileSync("ip", ["route", "del", `${PODS.b.address}/32`]);
const routeDeleted = await elapsed("the route is back", () => localRoutes() === routes);

execFileSync("ip", ["link", "set", PODS.b.interface, "down"]);
execFileSync("ip", ["link", "set", PODS.b.interface, "name", "elsewhere"]);
await delay(200);
execFileSync("ip", ["link", "set", "elsewhere", "name", PODS.b.interface]);
execFileSync("ip", ["link", "set", PODS.b.interface, "up"]);
const renamedAndBack = await elapsed("the interface works again", flows);

execFileSync("ip", ["neigh", "del", PODS.b.address, "dev", PODS.b.interface]);
const neighbourDeleted = await elapsed("the neighbour is back", () => neighbours() === neighbour);

execFileSync("ip", ["link", "del", PODS.b.interface]);
await until("the route is gone", () => !localRoutes().includes(PODS.b.address));
host.linkPod("b");
execFileSync("ip", ["-n", "mgy-b", "link", "set", "eth0", "address", MAC]);
const recreated = await elapsed("the new interface works", flows);

const [key] = policy();
await host.put(
  key,
  '{"kind":"GlobalNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"to-b"},"spec":{"selector":"name =="}}',
);
await host.put("/calico/resources/v3/projectcalico.org/tiers/broken", "not json {");
await delay(300);
// Without the policy the profile decides, which allows: absent, not half understood.
probe.reset();
await delay(100);
const invalidTreatedAsAbsent = probe.received > 0;
const log = host.log;
const invalidSaid = log
  .split("\n")
  .filter((line) => /to-b/.test(line) && /invalid/i.test(line)).length;
await host.put(...policy("role == 'nobody'"));
await until("the mended policy applies", async () => {
  probe.reset();
  await delay(50);
  return probe.received === 0;
});
await host.put(...policy());
await until("packets flow again", flows);

// An endpoint of this host that cannot be read: nothing is known of its interface, so it drops.
const before = host.log.length;
await host.put(...endpointB({ mac: MAC, ipNetworks: ["10.65.0.2/99"] }));
await delay(300);
const invalidEndpointDrops = !(await flows()) && !(await flows());
const endpointSaid = host.log
  .slice(before)
  .split("\n")
  .filter((line) => line.includes("host--a-k8s-b-eth0") && /invalid/i.test(line)).length;
await host.put(...endpointB({ mac: MAC }));
const mendedEndpointWorks = await elapsed("the mended endpoint works", flows).then(() => true);
const result: DriftResult = {
  flushed,
  tableDeleted,
  ruleDeleted,
  elementDeleted,
  routeDeleted,
  renamedAndBack,
  recreated,
  neighbourDeleted,
  repairs,
  foreignTableUntouched: execFileSync("nft", ["list", "tables"], { encoding: "utf8" }).includes(
    "inet others",
  ),
  invalidTreatedAsAbsent,
  invalidSaid,
  endpointSaid,
  invalidEndpointDrops,
  mendedEndpointWorks,
  log: log.slice(-3000),
};
await probe.close();
await host.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));

async function repaired(damage: () => void): Promise<number> {
  damage();
  const ms = await elapsed("the ruleset is whole again", () => ruleset() === whole);
  await delay(100);
  return ms;
}

/** Without counters' values and handles, which repairs may change. */
function ruleset(): string {
  try {
    return execFileSync("nft", ["-s", "list", "table", "inet", "margay"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  } catch {
    return "";
  }
}

/** Whether packets arrive now, and the routes are as at the start. */
async function flows(): Promise<boolean> {
  probe.reset();
  await delay(10);
  return probe.received > 0 && localRoutes() === routes;
}

function endpointB(spec: object): [string, unknown] {
  const [path, value] = workload("b", { name: "b" });
  const whole = value as { readonly spec: object };
  return [path, { ...whole, spec: { ...whole.spec, ...spec } }];
}

/** Permanent ones: the agent's. */
function neighbours(): string {
  return execFileSync("ip", ["neigh", "show", "nud", "permanent"], { encoding: "utf8" });
}

async function repairsCounted(): Promise<number> {
  const metrics = await (await fetch("http://127.0.0.1:9091/metrics")).text();
  return Number(/^margay_ruleset_repairs (\d+)$/m.exec(metrics)?.[1] ?? 0);
}

function localRoutes(): string {
  return execFileSync("ip", ["route", "show"], { encoding: "utf8" });
}

function nft(...args: string[]): void {
  execFileSync("nft", args);
}
