import assert from "node:assert/strict";
import test from "node:test";
import { Backoff, FakeClock, MargayError, MultiMap, RefCounts } from "#std";

test("a backoff grows to its limit and starts again after a reset", () => {
  const steady = new Backoff({ initialMs: 10, maxMs: 50, random: () => 0 });
  assert.deepEqual(
    Array.from({ length: 5 }, () => steady.nextMs()),
    [10, 20, 40, 50, 50],
  );
  assert.equal(steady.attempts, 5);
  steady.reset();
  assert.equal(steady.nextMs(), 10);
  const jittery = new Backoff({
    initialMs: 100,
    maxMs: 1e9,
    factor: 3,
    jitter: 0.5,
    random: () => 0.5,
  });
  assert.deepEqual([jittery.nextMs(), jittery.nextMs()], [75, 225]);
  const long = new Backoff({ initialMs: 1, maxMs: 1000, random: () => 0 });
  for (let i = 0; i < 5000; i++) assert.ok(long.nextMs() <= 1000);
});

test("fake timers fire in order, with those they start, at their own time", () => {
  const clock = new FakeClock(1_000_000);
  const fired: string[] = [];
  const note = (name: string) => (): void => void fired.push(`${name}@${clock.monotonicMs()}`);
  clock.startTimer(20, note("b"));
  clock.startTimer(10, () => {
    note("a")();
    clock.startTimer(5, note("child"));
    clock.startTimer(0, note("now"));
  });
  clock.startTimer(20, note("c"));
  const cancelled = clock.startTimer(15, note("never"));
  cancelled.cancel();
  cancelled.cancel();
  clock.startTimer(21, note("later"));
  clock.advance(20);
  assert.deepEqual(fired, ["a@10", "now@10", "child@15", "b@20", "c@20"]);
  assert.equal(clock.pendingTimers, 1);
  assert.equal(clock.wallMs(), 1_000_020);
  clock.setWallMs(5);
  clock.advance(1);
  assert.equal(clock.wallMs(), 6);
  assert.equal(fired.at(-1), "later@21");
  assert.throws(() => clock.advance(-1), MargayError);
});

test("a MultiMap forgets empty keys", () => {
  const map = new MultiMap<string, number>();
  assert.ok(map.add("a", 1));
  assert.ok(!map.add("a", 1));
  assert.ok(map.add("a", 2));
  assert.ok(map.has("a"));
  assert.ok(map.has("a", 2));
  assert.ok(!map.has("a", 3));
  assert.deepEqual([...map.get("a")], [1, 2]);
  assert.deepEqual([...map.get("b")], []);
  assert.ok(map.delete("a", 1));
  assert.ok(!map.delete("a", 1));
  assert.ok(map.delete("a", 2));
  assert.equal(map.size, 0);
  map.add("b", 1);
  assert.deepEqual([...map.keys()], ["b"]);
  assert.deepEqual([...map.entries()], [["b", new Set([1])]]);
  assert.ok(map.deleteKey("b"));
  map.add("c", 1);
  map.clear();
  assert.equal(map.size, 0);
});

test("RefCounts tells the first and the last, and refuses one too many", () => {
  const counts = new RefCounts<string>();
  assert.ok(counts.increment("a"));
  assert.ok(!counts.increment("a"));
  assert.equal(counts.get("a"), 2);
  assert.ok(!counts.decrement("a"));
  assert.ok(counts.has("a"));
  assert.deepEqual([...counts.keys()], ["a"]);
  assert.ok(counts.decrement("a"));
  assert.equal(counts.size, 0);
  assert.throws(
    () => counts.decrement("a"),
    (error) => error instanceof MargayError && error.kind === "bug",
  );
});
