/**
 * A writer and a follower of ours on a cluster of etcd whose members die, hang and are cut off. The
 * ledger says what the follower was told of each key: numbers that only rise.
 */
import { setTimeout as delay } from "node:timers/promises";
import { EtcdClient, EtcdDatastore } from "#datastore";
import { MargayError } from "#std";
import { PrefixFollower } from "#sync";
import { ProcessStatusReporter } from "../../../src/felix/process-status.ts";
import { until } from "../../support/agent-host.ts";
import { EtcdCluster } from "../../support/etcd-cluster.ts";

export interface ClusterFault {
  /** Writes that were acknowledged meanwhile. */
  readonly written: number;
  /** Acknowledged writes that the follower was never told of. */
  readonly lost: number;
  /** Told again, or after a later one. */
  readonly backwards: number;
  /** The longest time between two acknowledged writes, ms. */
  readonly longestPauseMs: number;
}

export interface EtcdClusterResult {
  readonly faults: Readonly<Record<string, ClusterFault>>;
  /** What the isolated member answers to a read. */
  readonly minorityReads: string;
  readonly noSpace: { readonly code: string; readonly message: string; readonly told: boolean };
  readonly afterCompaction: { readonly converged: boolean; readonly backwards: number };
  readonly statusIsBack: boolean;
}

const KEYS = 5;
const QUOTA = 24 * 1024 * 1024;
const TIMES = { keepaliveMs: 1000, callTimeoutMs: 2000, dialTimeoutMs: 1000 };
const { settleMs } = JSON.parse(process.argv[2] ?? "{}") as { settleMs: number };

const cluster = await EtcdCluster.start(
  "--heartbeat-interval=100",
  "--election-timeout=1000",
  "--snapshot-count=1000",
  `--quota-backend-bytes=${QUOTA}`,
);
const open = () => new EtcdDatastore(new EtcdClient({ endpoints: cluster.endpoints, ...TIMES }));

class Ledger {
  readonly acknowledged = new Map<string, number[]>();
  readonly told = new Map<string, number[]>();
  readonly #abort = new AbortController();
  readonly #stores = [open(), open()] as const;
  readonly #running: Promise<unknown>[];
  backwards = 0;
  lastMs = performance.now();
  longestPauseMs = 0;

  constructor() {
    this.#running = [this.#write(), this.#follow()];
  }

  /**
   * Compares and swaps, as all that writes objects does: a write that hung in a member and is done when
   * that goes on, after later ones, must not count.
   */
  async #write(): Promise<void> {
    const [store] = this.#stores;
    const revisions = new Map<string, number>();
    for (let n = 1; !this.#abort.signal.aborted; n++) {
      const key = `/ledger/k${n % KEYS}`;
      try {
        const ifModRevision = revisions.get(key) ?? (await store.get(key)).kv?.modRevision ?? 0;
        revisions.set(key, await store.put(key, String(n), { ifModRevision }));
        push(this.acknowledged, key, n);
        this.longestPauseMs = Math.max(this.longestPauseMs, performance.now() - this.lastMs);
        this.lastMs = performance.now();
      } catch (error) {
        if (!(error instanceof MargayError)) throw error;
        revisions.delete(key);
        await delay(20);
      }
      await delay(5);
    }
  }

  #follow(): Promise<void> {
    return new PrefixFollower({
      store: this.#stores[1],
      prefix: "/ledger/",
      signal: this.#abort.signal,
      initialPauseMs: 20,
      maxPauseMs: 500,
      random: Math.random,
      onChanges: (changes) => {
        for (const { path, value } of changes) {
          const before = this.told.get(path)?.at(-1) ?? 0;
          if (Number(value) <= before) this.backwards++;
          push(this.told, path, Number(value));
        }
      },
      onReachable: () => undefined,
      onComplete: () => undefined,
    }).run();
  }

  /** The follower has the newest acknowledged number of each key, or a later one. */
  get caughtUp(): boolean {
    return [...this.acknowledged].every(
      ([key, numbers]) => (this.told.get(key)?.at(-1) ?? 0) >= (numbers.at(-1) ?? 0),
    );
  }

  get lost(): number {
    return [...this.acknowledged]
      .map(([key, numbers]) => {
        const told = new Set(this.told.get(key));
        return numbers.filter((n) => !told.has(n)).length;
      })
      .reduce((sum, count) => sum + count, 0);
  }

  get written(): number {
    return [...this.acknowledged.values()].reduce((sum, numbers) => sum + numbers.length, 0);
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#running);
    for (const store of this.#stores) await store.close();
  }
}

const faults: Record<string, ClusterFault> = {};

/** Each fault has a ledger of its own, so that nothing of another one counts. */
async function freshLedger(): Promise<Ledger> {
  const store = open();
  for (const { key } of (await store.list("/ledger/")).kvs) await store.delete(key);
  await store.close();
  const ledger = new Ledger();
  await until("writes arrive", () => ledger.written > 20 && ledger.caughtUp);
  return ledger;
}

async function during(name: string, fault: (ledger: Ledger) => Promise<void>): Promise<void> {
  const ledger = await freshLedger();
  ledger.longestPauseMs = 0;
  await fault(ledger);
  const before = ledger.written;
  await until(`${name}: writes go on`, () => ledger.written > before + 20, 30_000);
  await until(`${name}: the follower has them`, () => ledger.caughtUp, 30_000);
  const { lost, backwards, written, longestPauseMs } = ledger;
  faults[name] = { lost, backwards, written, longestPauseMs };
  await ledger.close();
}

await during("a member killed", async () => {
  await cluster.kill(1);
  await delay(settleMs);
  cluster.run(1);
  await cluster.healthy(1);
});
await during("the leader killed", async () => {
  const leader = await cluster.leader();
  await cluster.kill(leader);
  await delay(settleMs);
  cluster.run(leader);
  await cluster.healthy(leader);
});
await during("a member hangs", async () => {
  cluster.freeze(1);
  await delay(settleMs + 5000);
  cluster.thaw(1);
  await cluster.healthy(1);
});
let minorityReads = "";
await during("a member isolated", async () => {
  cluster.isolate(1);
  await delay(3000);
  const alone = new EtcdDatastore(
    new EtcdClient({ endpoints: [cluster.endpoints[0] ?? ""], ...TIMES }),
  );
  minorityReads = await alone.list("/ledger/").then(
    () => "an answer",
    (error: unknown) => (error instanceof MargayError ? error.code : "?"),
  );
  await alone.close();
  cluster.join();
  await cluster.healthy(1);
});

/** What went between is gone for good; the end must be right, and nothing go backwards. */
const afterCompaction = await (async () => {
  const ledger = await freshLedger();
  cluster.cutClient();
  for (let n = 0; n < 10; n++) cluster.ctl(2, "put", "/ledger/other", String(n + 1));
  const text = cluster.ctl(2, "endpoint", "status", "-w", "json");
  const [status] = JSON.parse(text) as { Status: { header: { revision: number } } }[];
  cluster.ctl(2, "compact", String(status?.Status.header.revision));
  await delay(settleMs);
  cluster.join();
  const before = ledger.written;
  await until("writes go on after the cut", () => ledger.written > before + 20, 30_000);
  const converged = await until(
    "the follower has all",
    () => ledger.caughtUp && ledger.told.get("/ledger/other")?.at(-1) === 10,
    30_000,
  ).then(
    () => true,
    () => false,
  );
  const { backwards } = ledger;
  await ledger.close();
  return { converged, backwards };
})();

/** A status key whose lease is taken away is there again with the next report. */
const statusIsBack = await (async () => {
  const store = open();
  const reporter = new ProcessStatusReporter(store, {
    prefix: "/status/",
    intervalMs: 200,
    ttlMs: 60_000,
    now: () => new Date(),
    uptimeSeconds: () => 1,
  });
  reporter.start();
  await until("a status", async () => (await store.get("/status/status")).kv !== null);
  const { leases } = JSON.parse(cluster.ctl(2, "lease", "list", "-w", "json")) as {
    leases: { id: bigint }[];
  };
  for (const line of cluster.ctl(2, "lease", "list").split("\n").slice(1)) {
    if (line.trim() !== "") cluster.ctl(2, "lease", "revoke", line.trim());
  }
  const back = await until(
    "it is back",
    async () => (await store.get("/status/status")).kv !== null,
  ).then(
    () => leases.length > 0,
    () => false,
  );
  await reporter.close();
  await store.close();
  return back;
})();

/** The quota is full: writes say so and what to do, the watch goes on, and so does all after it. */
const noSpace = await (async () => {
  const store = open();
  const { code, message } = await fill(store);
  const { kvs } = await store.list("/fill/");
  for (const { key } of kvs) await store.delete(key);
  const [status] = JSON.parse(cluster.ctl(2, "endpoint", "status", "-w", "json")) as {
    Status: { header: { revision: number } };
  }[];
  cluster.ctl(2, "compact", "--physical", String(status?.Status.header.revision));
  for (const member of [1, 2, 3] as const) cluster.ctl(member, "defrag");
  cluster.ctl(2, "alarm", "disarm");
  const told = await store.put("/fill/again", "1").then(
    () => true,
    () => false,
  );
  await store.close();
  return { code, message, told };
})();

await cluster.stop();
const result: EtcdClusterResult = { faults, minorityReads, noSpace, afterCompaction, statusIsBack };
process.stdout.write(JSON.stringify(result));

function push(map: Map<string, number[]>, key: string, n: number): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [n]);
  else list.push(n);
}

/** Writes until the cluster refuses. */
async function fill(store: EtcdDatastore): Promise<{ code: string; message: string }> {
  const filler = "x".repeat(512 * 1024);
  try {
    for (let n = 0; n < 200; n++) await store.put(`/fill/${n}`, filler);
  } catch (error) {
    if (error instanceof MargayError) return error;
    throw error;
  }
  return { code: "none", message: "the quota is not full" };
}
