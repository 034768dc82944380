/** What every datastore adapter promises; see src/datastore/port.ts. Each file of this folder runs it. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { MargayError } from "#std";
import type { Datastore, Revision, WatchBatch, WatchEvent } from "#datastore";

export interface SuiteTarget {
  readonly open: () => Promise<Datastore>;
  /** Removes the history before `revision`. */
  readonly compact: (revision: Revision) => Promise<void>;
  readonly stop?: () => Promise<void>;
}

/** `start` runs before the tests, `stop` after them. Every test uses its own key prefix. */
export function datastoreContract(name: string, start: () => Promise<SuiteTarget>): void {
  describe(`datastore contract: ${name}`, () => {
    let target: SuiteTarget;
    let store: Datastore;
    let prefixes = 0;
    const freshPrefix = () => `/t/${++prefixes}/`;

    before(async () => {
      target = await start();
      store = await target.open();
    });
    after(async () => {
      await store?.close();
      await target?.stop?.();
    });

    it("get: an absent key is null, at a revision", async () => {
      const { kv, revision } = await store.get(`${freshPrefix()}none`);
      assert.equal(kv, null);
      assert.ok(revision >= 1);
    });

    it("put and get: the value comes back byte for byte", async () => {
      const key = `${freshPrefix()}é\u{1F408}`;
      for (const value of ["", "x", "\uFEFFmark", "a\0b\r\n", "\u{1F408}é", "y".repeat(300_000)]) {
        const revision = await store.put(key, value);
        const { kv } = await store.get(key);
        assert.equal(kv?.value, value);
        assert.equal(kv?.key, key);
        assert.equal(kv?.modRevision, revision);
      }
    });

    it("put: revisions grow, createRevision stays until a delete", async () => {
      const key = `${freshPrefix()}k`;
      const first = await store.put(key, "1");
      const second = await store.put(key, "2");
      assert.ok(second > first);
      assert.equal((await store.get(key)).kv?.createRevision, first);
      assert.equal(await store.delete(key), true);
      const third = await store.put(key, "3");
      assert.equal((await store.get(key)).kv?.createRevision, third);
    });

    it("put: ifModRevision 0 creates only", async () => {
      const key = `${freshPrefix()}k`;
      await store.put(key, "1", { ifModRevision: 0 });
      await assert.rejects(store.put(key, "2", { ifModRevision: 0 }), hasCode("exists"));
      assert.equal((await store.get(key)).kv?.value, "1");
    });

    it("put: ifModRevision swaps only the revision that was read", async () => {
      const key = `${freshPrefix()}k`;
      const first = await store.put(key, "1");
      await store.put(key, "2", { ifModRevision: first });
      await assert.rejects(store.put(key, "3", { ifModRevision: first }), hasCode("conflict"));
      await assert.rejects(
        store.put(`${key}none`, "3", { ifModRevision: first }),
        hasCode("conflict"),
      );
      assert.equal((await store.get(key)).kv?.value, "2");
    });

    it("put: of many at once with one expected revision, one wins", async () => {
      const key = `${freshPrefix()}k`;
      const revision = await store.put(key, "0");
      const results = await Promise.allSettled(
        Array.from({ length: 20 }, (_, i) =>
          store.put(key, String(i), { ifModRevision: revision }),
        ),
      );
      assert.equal(results.filter((result) => result.status === "fulfilled").length, 1);
    });

    it("put: an empty key is refused", async () => {
      await assert.rejects(store.put("", "x"), hasCode("invalid"));
    });

    it("delete: says whether the key was there", async () => {
      const key = `${freshPrefix()}k`;
      assert.equal(await store.delete(key), false);
      const revision = await store.put(key, "1");
      await assert.rejects(store.delete(key, { ifModRevision: revision - 1 }), hasCode("conflict"));
      assert.equal(await store.delete(key, { ifModRevision: revision }), true);
      assert.equal((await store.get(key)).kv, null);
      await assert.rejects(store.delete(key, { ifModRevision: revision }), hasCode("conflict"));
    });

    it("list: the prefix alone, in byte order", async () => {
      const prefix = freshPrefix();
      // U+FF5E sorts after the surrogates of U+1F408 in UTF-16, before them in bytes.
      const names = ["b", "a/z", "a", "a0", "\u{FF5E}", "\u{1F408}", "é"];
      for (const name of names) await store.put(prefix + name, name);
      await store.put(`${prefix.slice(0, -1)}0`, "outside");
      const { kvs, revision } = await store.list(prefix);
      const expected = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      assert.deepEqual(
        kvs.map((kv) => kv.value),
        expected,
      );
      assert.ok(revision >= Math.max(...kvs.map((kv) => kv.modRevision)));
      assert.deepEqual((await store.list(`${prefix}none`)).kvs, []);
    });

    it("list: the empty prefix is everything", async () => {
      const key = `${freshPrefix()}k`;
      await store.put(key, "1");
      assert.ok((await store.list("")).kvs.some((kv) => kv.key === key));
    });

    it("watch: what comes after the list's revision, each change once, in order", async () => {
      const prefix = freshPrefix();
      await store.put(`${prefix}old`, "1");
      const { revision } = await store.list(prefix);
      const watch = collect(store, prefix, revision + 1);
      await store.put(`${prefix}a`, "1");
      await store.put(`${prefix.slice(0, -1)}x`, "outside");
      await store.put(`${prefix}a`, "2");
      await store.delete(`${prefix}old`);
      await watch.until((events) => events.length >= 3);
      await sleep(50);
      assert.deepEqual(watch.events().map(summary), ["a=1", "a=2", "old deleted"]);
      await watch.stop();
    });

    it("watch: history from an older revision", async () => {
      const prefix = freshPrefix();
      const first = await store.put(`${prefix}a`, "1");
      for (let i = 2; i <= 50; i++) await store.put(`${prefix}a`, String(i));
      const watch = collect(store, prefix, first);
      await store.put(`${prefix}a`, "51");
      await watch.until((events) => events.length >= 51);
      assert.deepEqual(
        watch.events().map(summary),
        Array.from({ length: 51 }, (_, i) => `a=${i + 1}`),
      );
      const revisions = watch.batches.map((batch) => batch.revision);
      assert.deepEqual(
        revisions,
        [...revisions].sort((a, b) => a - b),
      );
      await watch.stop();
    });

    it("watch: from a future revision, earlier changes are not told", async () => {
      const prefix = freshPrefix();
      const now = await store.put(`${prefix}a`, "0");
      const watch = collect(store, prefix, now + 3);
      await sleep(20);
      for (const value of ["1", "2", "3", "4"]) await store.put(`${prefix}a`, value);
      await watch.until((events) => events.length >= 2);
      assert.deepEqual(watch.events().map(summary), ["a=3", "a=4"]);
      await watch.stop();
    });

    it("list and watch together see every change exactly once under load", async () => {
      const prefix = freshPrefix();
      const writer = (async () => {
        for (let i = 0; i < 200; i++) await store.put(`${prefix}${i % 7}`, String(i));
      })();
      await sleep(5);
      const { kvs, revision } = await store.list(prefix);
      const state = new Map(kvs.map((kv) => [kv.key, kv.value]));
      const watch = collect(store, prefix, revision + 1);
      await writer;
      const end = (await store.list(prefix)).kvs;
      const last = Math.max(...end.map((kv) => kv.modRevision));
      if (last > revision) {
        await watch.until((events) =>
          events.some((e) => e.type === "put" && e.kv.modRevision === last),
        );
      }
      for (const event of watch.events()) {
        if (event.type === "put") state.set(event.kv.key, event.kv.value);
      }
      assert.deepEqual(state, new Map(end.map((kv) => [kv.key, kv.value])));
      const revisions = watch.events().map((e) => (e.type === "put" ? e.kv.modRevision : 0));
      assert.equal(new Set(revisions).size, revisions.length);
      await watch.stop();
    });

    it("watch: many at once, each its own prefix", async () => {
      const prefix = freshPrefix();
      const { revision } = await store.get(prefix);
      const watches = Array.from({ length: 30 }, (_, i) =>
        collect(store, `${prefix}${i}/`, revision + 1),
      );
      for (let i = 0; i < 30; i++) await store.put(`${prefix}${i}/k`, String(i));
      await Promise.all(watches.map((watch) => watch.until((events) => events.length >= 1)));
      for (const [i, watch] of watches.entries()) {
        assert.deepEqual(watch.events().map(summary), [`k=${i}`]);
      }
      await Promise.all(watches.map((watch) => watch.stop()));
    });

    it("watch: returns when its signal aborts, also before it began", async () => {
      const prefix = freshPrefix();
      const { revision } = await store.get(prefix);
      const watch = collect(store, prefix, revision + 1);
      await sleep(20);
      await watch.stop();
      const seen: WatchBatch[] = [];
      for await (const batch of store.watch(prefix, 1, AbortSignal.abort())) seen.push(batch);
      assert.deepEqual(seen, []);
    });

    it("watch: leaving the loop ends it", async () => {
      const prefix = freshPrefix();
      const revision = await store.put(`${prefix}a`, "1");
      for await (const batch of store.watch(prefix, revision, new AbortController().signal)) {
        assert.equal(batch.events.length, 1);
        break;
      }
    });

    it("watch: a compacted revision fails with `compacted`", async () => {
      const prefix = freshPrefix();
      const first = await store.put(`${prefix}a`, "1");
      for (let i = 0; i < 5; i++) await store.put(`${prefix}a`, "again");
      const last = await store.put(`${prefix}a`, "2");
      await target.compact(last);
      const signal = new AbortController().signal;
      await assert.rejects(async () => {
        for await (const batch of store.watch(prefix, first, signal)) void batch;
      }, hasCode("compacted"));
      const watch = collect(store, prefix, last + 1);
      await store.put(`${prefix}a`, "3");
      await watch.until((events) => events.length >= 1);
      assert.deepEqual(watch.events().map(summary), ["a=3"]);
      await watch.stop();
    });

    it("ttl: the key goes by itself and watchers are told", async () => {
      const prefix = freshPrefix();
      const revision = await store.put(`${prefix}a`, "1", { ttlSeconds: 2 });
      await store.put(`${prefix}b`, "1", { ttlSeconds: 2 });
      await store.put(`${prefix}b`, "2");
      const watch = collect(store, prefix, revision);
      await watch.until((events) => events.some((event) => event.type === "delete"), 8000);
      assert.equal((await store.get(`${prefix}a`)).kv, null);
      assert.equal((await store.get(`${prefix}b`)).kv?.value, "2");
      await watch.stop();
    });

    it("list: more keys than a page", async () => {
      const prefix = freshPrefix();
      const count = 5300;
      for (let i = 0; i < count; i += 100) {
        await Promise.all(
          Array.from({ length: 100 }, (_, j) =>
            store.put(`${prefix}${String(i + j).padStart(5, "0")}`, "v"),
          ),
        );
      }
      const { kvs } = await store.list(prefix);
      assert.equal(kvs.length, count);
      assert.equal(kvs.at(-1)?.key, `${prefix}05299`);
    });

    it("close: idempotent; afterwards calls fail with `unavailable` and watches end", async () => {
      const other = await target.open();
      if (other === store) return;
      const watch = collect(other, freshPrefix(), 1_000_000_000);
      await sleep(20);
      await other.close();
      await other.close();
      await assert.rejects(other.get("/t/x"), hasCode("unavailable"));
      await assert.rejects(watch.done, hasCode("unavailable"));
    });
  });
}

export interface Collector {
  readonly batches: WatchBatch[];
  readonly done: Promise<void>;
  events(): WatchEvent[];
  until(condition: (events: WatchEvent[]) => boolean, timeoutMs?: number): Promise<void>;
  stop(): Promise<void>;
}

/** Runs a watch in the background and keeps its batches. */
export function collect(store: Datastore, prefix: string, from: Revision): Collector {
  const batches: WatchBatch[] = [];
  const abort = new AbortController();
  const events = () => batches.flatMap((batch) => batch.events);
  const done = (async () => {
    for await (const batch of store.watch(prefix, from, abort.signal)) batches.push(batch);
  })();
  done.catch(() => undefined);
  const until = async (condition: (e: WatchEvent[]) => boolean, timeoutMs = 5000) => {
    const deadline = Date.now() + timeoutMs;
    while (!condition(events())) {
      if (Date.now() > deadline) {
        assert.fail(`not within ${timeoutMs} ms; have ${events().map(summary).join(", ")}`);
      }
      await Promise.race([sleep(5), done]);
    }
  };
  const stop = async () => {
    abort.abort();
    await done;
  };
  return { batches, done, events, until, stop };
}

export function hasCode(code: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof MargayError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}

function summary(event: WatchEvent): string {
  const key = event.type === "put" ? event.kv.key : event.key;
  const name = key.slice(key.lastIndexOf("/") + 1);
  return event.type === "put" ? `${name}=${event.kv.value.slice(0, 20)}` : `${name} deleted`;
}
