/** Takes etcd away under traffic: killed and back, away for long, compacted while the agent was away. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { AgentHost, policy, until } from "../../support/agent-host.ts";

export interface EtcdResult {
  readonly lostWhileAway: number;
  readonly convergedAfterReturn: boolean;
  readonly convergedAfterCompaction: boolean;
  /** Etcd came back with the data of a backup. */
  readonly convergedAfterRestore: boolean;
  /** The same, and others wrote until its revision was past the agent's, before the agent looked. */
  readonly convergedAfterOvertaking: boolean;
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

// Backup: role good may send. What came after it is lost in the restore.
const backup = join(host.dir, "backup");
host.saveEtcd(backup);
const convergedAfterRestore = await restored(0);
const convergedAfterOvertaking = await restored(20);

const result: EtcdResult = {
  lostWhileAway,
  convergedAfterReturn,
  convergedAfterCompaction,
  convergedAfterRestore,
  convergedAfterOvertaking,
  agentSurvived: felix.exitCode === null && felix.signalCode === null,
  log: host.log.slice(-3000),
};
await probe.close();
await host.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));

/** Denies, then goes back to the backup, which allows; the agent is away while others write. */
async function restored(writes: number): Promise<boolean> {
  await host.put(...policy("role == 'nobody'"));
  if (!(await becomes(false))) return false;
  await host.killEtcd();
  host.signalFelix("SIGSTOP");
  host.restoreEtcd(backup);
  host.startEtcd();
  await host.connect();
  for (let i = 0; i < writes; i++) await host.put("/calico/elsewhere", String(i));
  host.signalFelix("SIGCONT");
  return becomes(true);
}

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
