/** Two agents on one host: the second one leaves, or takes over when the first is killed. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { AgentHost, monitor, until } from "../../support/agent-host.ts";

export interface RivalsResult {
  readonly secondExit: number | null;
  readonly namesFirst: boolean;
  /** What was written to the kernel while both ran. */
  readonly writes: string;
  readonly firstAlive: boolean;
  readonly tookOver: boolean;
  readonly goesOnBesideStranger: boolean;
  readonly log: string;
}

const host = await AgentHost.start();
const first = host.startFelix();
await host.ready();
await delay(300);
const nft = monitor("nft", ["monitor"]);
await delay(200);

const second = host.startFelix();
const secondExit = await exited(second);
const namesFirst = host.log.includes(`already (pid ${first.pid ?? ""})`);
const firstAlive = first.exitCode === null && first.signalCode === null;

// The one that waits has the host as soon as the first is dead.
const waiting = host.startFelix();
const waits = `"pid":${first.pid ?? ""},"msg":"another agent runs on this host; waiting for its end"`;
await until("the next one waits", () => host.log.split(waits).length === 3);
first.kill("SIGKILL");
await exited(first);
await host.ready();
const tookOver = waiting.exitCode === null && waiting.signalCode === null;
const writes = nft();
await host.killFelix();

// Anybody may take the name; nobody can keep policy off by it.
const listen = 'require("node:net").createServer().listen("\\0margay-felix")';
const user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
const stranger = spawn("setpriv", [...user, process.execPath, "-e", listen], {
  stdio: ["ignore", "ignore", "ignore"],
});
await until("the stranger has the name", () =>
  readFileSync("/proc/net/unix", "utf8").includes("@margay-felix"),
);
host.startFelix();
await host.ready();
const goesOnBesideStranger = host.log.includes("another user's process holds the agent's name");
stranger.kill("SIGKILL");

const result: RivalsResult = {
  secondExit,
  namesFirst,
  writes,
  firstAlive,
  tookOver,
  goesOnBesideStranger,
  log: host.log.slice(-3000),
};
await host.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));

async function exited(child: ReturnType<AgentHost["startFelix"]>): Promise<number | null> {
  await until("it ends", () => child.exitCode !== null || child.signalCode !== null);
  return child.exitCode;
}
