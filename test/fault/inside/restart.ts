/** Kills the agent again and again under traffic; watches the ruleset and the routes for writes. */
import { spawn } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { AgentHost, until } from "../../support/agent-host.ts";

export interface RestartResult {
  readonly sent: number;
  readonly received: number;
  /** Lines that `nft monitor` and `ip monitor route` printed after the first start. */
  readonly ruleset: string;
  readonly routes: string;
  readonly log: string;
}

const { times } = JSON.parse(process.argv[2] ?? "{}") as { times: number };
const host = await AgentHost.start();
host.startFelix();
await host.ready();
const probe = host.probe(1);
probe.send(true);
await until("packets flow", () => probe.received > 0);
await delay(500);

const nft = monitor("nft", ["monitor"]);
const route = monitor("ip", ["monitor", "route"]);
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
  // What the kernel does by itself (duplicate address detection comes to its end) is not the agent's.
  routes: route().replaceAll(/^.* proto kernel .*\n/gm, ""),
  log: host.log.slice(-2000),
};
await probe.close();
await host.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));

function monitor(program: string, args: readonly string[]): () => string {
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
