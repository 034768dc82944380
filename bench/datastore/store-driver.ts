/**
 * The load on one store, from a process of its own: sequential puts, put → watch event, reads, and
 * 64 writers at once. Prints a JSON object of p50 and p99 in milliseconds and writes a second.
 */
import { EtcdClient, EtcdDatastore, type Datastore } from "#datastore";

export interface DriverResult {
  readonly putP50: number;
  readonly putP99: number;
  readonly watchP50: number;
  readonly watchP99: number;
  readonly getP50: number;
  readonly listMs: number;
  readonly putsPerSecond: number;
}

const ROUNDS = 600;
const WRITERS = 64;
const PARALLEL_PUTS = 6000;
const LIST_KEYS = 5000;
const VALUE = "v".repeat(300);

export async function drive(store: Datastore): Promise<DriverResult> {
  for (let i = 0; i < 300; i++) await store.put(`/warm/${i % 20}`, VALUE);
  const puts = await timed(ROUNDS, (i) => store.put(`/put/${i % 50}`, VALUE));
  const gets = await timed(ROUNDS, () => store.get("/put/1"));
  const watches = await putToWatch(store);
  let next = 0;
  const begin = performance.now();
  await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      while (next < PARALLEL_PUTS) await store.put(`/many/${next++ % LIST_KEYS}`, VALUE);
    }),
  );
  const putsPerSecond = PARALLEL_PUTS / ((performance.now() - begin) / 1000);
  const lists = await timed(10, () => store.list("/many/"));
  return {
    putP50: quantile(puts, 0.5),
    putP99: quantile(puts, 0.99),
    watchP50: quantile(watches, 0.5),
    watchP99: quantile(watches, 0.99),
    getP50: quantile(gets, 0.5),
    listMs: quantile(lists, 0.5),
    putsPerSecond,
  };
}

/** From the call of put to the callback of a watch on the same connection. */
async function putToWatch(store: Datastore): Promise<number[]> {
  const { revision } = await store.get("/watched");
  const abort = new AbortController();
  const times: number[] = [];
  let sentAt = 0;
  let seen: () => void = () => undefined;
  const watching = (async () => {
    for await (const batch of store.watch("/watched", revision + 1, abort.signal)) {
      if (batch.events.length === 0) continue;
      times.push(performance.now() - sentAt);
      seen();
    }
  })();
  for (let i = 0; i < ROUNDS; i++) {
    const event = new Promise<void>((resolve) => {
      seen = resolve;
    });
    sentAt = performance.now();
    await Promise.all([store.put("/watched", `${i}${VALUE}`), event]);
  }
  abort.abort();
  await watching;
  return times.slice(ROUNDS / 10);
}

async function timed(rounds: number, run: (i: number) => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const begin = performance.now();
    await run(i);
    times.push(performance.now() - begin);
  }
  return times;
}

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

if (import.meta.main) {
  const store = new EtcdDatastore(new EtcdClient({ endpoints: process.argv.slice(2) }));
  process.stdout.write(JSON.stringify(await drive(store)));
  await store.close();
}
