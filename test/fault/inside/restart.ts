/** Kills the agent again and again under traffic; watches the ruleset and the routes for writes. */
import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { AgentHost, monitor, PODS, until } from "../../support/agent-host.ts";

export interface RestartResult {
  readonly sent: number;
  readonly received: number;
  /** Lines that `nft monitor` printed after the first start. */
  readonly ruleset: string;
  /** Lines of `ip monitor`: links, addresses, routes, rules, interface settings, permanent neighbours. */
  readonly network: string;
  readonly connectionKept: boolean;
  readonly log: string;
}

const QUIET = { stdio: "ignore" } as const;
const { times } = JSON.parse(process.argv[2] ?? "{}") as { times: number };
const host = await AgentHost.start();
host.startFelix();
await host.ready();
const probe = host.probe(1);
probe.send(true);
await until("packets flow", () => probe.received > 0);
await delay(500);

const nft = monitor("nft", ["monitor"]);
const network = monitor("ip", ["monitor", "all", "label"]);
// An established connection of the workloads, which no restart may forget.
const CONNECTION = ["-p", "tcp", "-s", PODS.a.address, "-d", PODS.b.address];
const PORTS = ["--sport", "1", "--dport", "2"];
execFileSync(
  "conntrack",
  ["-I", ...CONNECTION, ...PORTS, "--state", "ESTABLISHED", "-t", "600"],
  QUIET,
);
await delay(300);
probe.send(false);
await delay(50);
probe.reset();
probe.send(true);
for (let i = 0; i < times; i++) {
  await delay(100);
  await host.killFelix("SIGKILL");
  host.startFelix();
  await host.ready();
}
await delay(300);
probe.send(false);
await delay(200);
const result: RestartResult = {
  sent: probe.sent,
  received: probe.received,
  ruleset: nft(),
  network: network().split("\n").filter(byAnAgent).join("\n"),
  connectionKept: execFileSync("conntrack", ["-L", ...CONNECTION], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  }).includes("ESTABLISHED"),
  log: host.log.slice(-2000),
};
await probe.close();
await host.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));

/** Not what the kernel does by itself: its routes, duplicate address detection, neighbours it asks for. */
function byAnAgent(line: string): boolean {
  if (line.startsWith("[NEIGH]")) return line.includes("PERMANENT");
  return line.trim() !== "" && !/proto kernel|inet6 fe80:|^ +valid_lft/.test(line);
}
