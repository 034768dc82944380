/**
 * `node clock-step.ts DATA-DIR`: steps this machine's clock by a day, ahead and back, under an embedded
 * store with keys that expire, a follower and a status reporter; prints what came of it as JSON.
 */
import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { openDatastore } from "#datastore";
import { PrefixFollower } from "#sync";
import { ProcessStatusReporter } from "../../../src/felix/process-status.ts";

export interface ClockStepResult {
  /** After each step: the key that lives ten minutes is there; the one of two seconds went. */
  readonly steps: readonly {
    readonly longLives: boolean;
    readonly shortGoes: boolean;
    readonly reports: number;
    readonly told: boolean;
  }[];
}

const DAY_S = 86_400;
const [, , dataDir = ""] = process.argv;
const store = await openDatastore({ type: "embedded", embedded: { dataDir } });
const told = new Set<string>();
let reports = 0;
const stop = new AbortController();
const following = new PrefixFollower({
  store,
  prefix: "/",
  signal: stop.signal,
  initialPauseMs: 100,
  maxPauseMs: 1000,
  random: Math.random,
  onChanges: (changes) => {
    for (const { path, value } of changes) {
      told.add(path);
      if (path === "/host/status" && value !== null) reports++;
    }
  },
  onReachable: () => undefined,
  onComplete: () => undefined,
}).run();
const reporter = new ProcessStatusReporter(store, {
  prefix: "/host/",
  intervalMs: 500,
  ttlMs: 60_000,
  now: () => new Date(),
  uptimeSeconds: () => process.uptime(),
});
reporter.start();

await store.put("/long", "1", { ttlSeconds: 600 });
const steps: ClockStepResult["steps"][number][] = [];
for (const [index, bySeconds] of [DAY_S, -2 * DAY_S, DAY_S].entries()) {
  const short = `/short-${index}`;
  await store.put(short, "1", { ttlSeconds: 2 });
  const now = Math.floor(Date.now() / 1000);
  execFileSync("date", ["-s", `@${now + bySeconds}`]);
  const before = reports;
  await delay(6000);
  const key = `/after-${index}`;
  await store.put(key, "1");
  await delay(500);
  steps.push({
    longLives: (await store.get("/long")).kv !== null,
    shortGoes: (await store.get(short)).kv === null,
    reports: reports - before,
    told: told.has(key),
  });
}
await reporter.close();
stop.abort();
await following;
await store.close();
process.stdout.write(JSON.stringify({ steps }));
