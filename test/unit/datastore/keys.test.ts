import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { BatchQueue } from "../../../src/datastore/batch-queue.ts";
import { compareKeys, decodeText, encodeText, prefixRange } from "../../../src/datastore/keys.ts";

describe("key ranges", () => {
  it("a prefix's range holds exactly the keys with that prefix", () => {
    const key = fc.string({ unit: "grapheme", maxLength: 6 });
    fc.assert(
      fc.property(key, key, (prefix, other) => {
        for (const candidate of [other, prefix + other]) {
          if (candidate === "") continue;
          const range = prefixRange(prefix);
          const bytes = encodeText(candidate);
          const open = range.rangeEnd.length === 1 && range.rangeEnd[0] === 0;
          const inside =
            compareKeys(bytes, range.key) >= 0 && (open || compareKeys(bytes, range.rangeEnd) < 0);
          // The empty prefix starts at the byte 0, before which only the empty key lies.
          assert.equal(inside, candidate.startsWith(prefix), `${prefix} ${candidate}`);
        }
      }),
    );
  });

  it("text survives the way to bytes and back, marks and all", () => {
    for (const text of ["", "\uFEFFx", "a\0b", "\u{1F408}"]) {
      assert.equal(decodeText(encodeText(text)), text);
    }
  });
});

describe("batch queue", () => {
  it("gives everything in order, however pushes and pulls mix", async () => {
    const queue = new BatchQueue<number>();
    const seen: number[] = [];
    const reader = (async () => {
      for await (const item of queue) {
        seen.push(item);
        if (item % 97 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    for (let i = 0; i < 5000; i++) {
      queue.push(i);
      if (i % 331 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    queue.close();
    queue.push(-1);
    await reader;
    assert.deepEqual(
      seen,
      Array.from({ length: 5000 }, (_, i) => i),
    );
    assert.equal(queue.length, 0);
  });

  it("an error comes after what was pushed before it", async () => {
    const queue = new BatchQueue<number>();
    queue.push(1);
    queue.fail(new Error("lost"));
    const seen: number[] = [];
    await assert.rejects(async () => {
      for await (const item of queue) seen.push(item);
    }, /lost/);
    assert.deepEqual(seen, [1]);
  });
});
