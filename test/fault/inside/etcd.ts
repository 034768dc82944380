/** Takes etcd away under traffic: killed and back, away for long, compacted while the agent was away. */
import { setTimeout as delay } from "node:timers/promises";
import { AgentHost, policy, until } from "../../support/agent-host.ts";

export interface EtcdResult {
  readonly lostWhileAway: number;
  readonly convergedAfterReturn: boolean;
  readonly convergedAfterCompaction: boolean;
  readonly agentSurvived: boolean;
  readonly log: string;
}

const { awayMs } = JSON.parse(process.argv[2] ?? "{}") as { awayMs: number };
const host = await AgentHost.start();
const felix = host.startFelix();
await host.ready();
const probe = host.probe(1);
probe.send(true);
await until("packets flow", () => probe.received > 0);
probe.send(false);
await delay(50);

probe.reset();
probe.send(true);
await host.killEtcd();
await delay(awayMs);
probe.send(false);
await delay(100);
const lostWhileAway = probe.sent - probe.received;

// A change made after etcd's return reaches the agent.
host.startEtcd();
await host.connect();
await host.put(...policy("role == 'nobody'"));
const convergedAfterReturn = await becomes(false);

// Changes whose history is gone by the time the agent can look: it must list, not watch on.
host.signalFelix("SIGSTOP");
await host.put(...policy("role == 'good'"));
await host.compact();
await host.killEtcd();
host.startEtcd();
await host.connect();
host.signalFelix("SIGCONT");
const convergedAfterCompaction = await becomes(true);

const result: EtcdResult = {
  lostWhileAway,
  convergedAfterReturn,
  convergedAfterCompaction,
  agentSurvived: felix.exitCode === null && felix.signalCode === null,
  log: host.log.slice(-3000),
};
await probe.close();
await host.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));

/** Sends for moments of 60 ms until packets pass, or no longer do. */
async function becomes(passing: boolean): Promise<boolean> {
  probe.send(true);
  try {
    await until("policy applies", async () => {
      probe.reset();
      await delay(60);
      return probe.received > 0 === passing;
    });
    return true;
  } catch {
    return false;
  } finally {
    probe.send(false);
  }
}
