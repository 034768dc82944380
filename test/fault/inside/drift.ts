/** Others change what is ours: the ruleset, a route, an interface; and the store holds an invalid object. */
import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { AgentHost, elapsed, PODS, policy, until } from "../../support/agent-host.ts";

export interface DriftResult {
  /** Milliseconds until repaired. */
  readonly flushed: number;
  readonly tableDeleted: number;
  readonly ruleDeleted: number;
  readonly routeDeleted: number;
  readonly renamedAndBack: number;
  readonly foreignTableUntouched: boolean;
  readonly invalidTreatedAsAbsent: boolean;
  readonly invalidSaid: number;
  readonly log: string;
}

const host = await AgentHost.start();
execFileSync("nft", ["add", "table", "inet", "others"]);
host.startFelix();
await host.ready();
const probe = host.probe(1);
probe.send(true);
await until("packets flow", () => probe.received > 0);
const whole = ruleset();
const routes = localRoutes();

const flushed = await repaired(() => nft("flush", "table", "inet", "margay"));
const tableDeleted = await repaired(() => nft("delete", "table", "inet", "margay"));
const ruleDeleted = await repaired(() => {
  const line = execFileSync("nft", ["-a", "list", "table", "inet", "margay"], { encoding: "utf8" });
  const chain = /chain (\S+) \{[^}]*?(?:drop|accept)[^}]*?# handle (\d+)/.exec(line);
  nft("delete", "rule", "inet", "margay", chain?.[1] ?? "", "handle", chain?.[2] ?? "");
});
execFileSync("ip", ["route", "del", `${PODS.b.address}/32`]);
const routeDeleted = await elapsed("the route is back", () => localRoutes() === routes);

execFileSync("ip", ["link", "set", PODS.b.interface, "down"]);
execFileSync("ip", ["link", "set", PODS.b.interface, "name", "elsewhere"]);
await delay(200);
execFileSync("ip", ["link", "set", "elsewhere", "name", PODS.b.interface]);
execFileSync("ip", ["link", "set", PODS.b.interface, "up"]);
const renamedAndBack = await elapsed("the interface works again", async () => {
  probe.reset();
  await delay(5);
  return probe.received > 0 && localRoutes() === routes;
});

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
const invalidTreatedAsAbsent = probe.received > 0 && !ruleset().includes("gnp/to-b");
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
const result: DriftResult = {
  flushed,
  tableDeleted,
  ruleDeleted,
  routeDeleted,
  renamedAndBack,
  foreignTableUntouched: execFileSync("nft", ["list", "tables"], { encoding: "utf8" }).includes(
    "inet others",
  ),
  invalidTreatedAsAbsent,
  invalidSaid,
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

function localRoutes(): string {
  return execFileSync("ip", ["route", "show"], { encoding: "utf8" });
}

function nft(...args: string[]): void {
  execFileSync("nft", args);
}
