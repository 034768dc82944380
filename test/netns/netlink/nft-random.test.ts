/**
 * Random walks: after any sequence of changes, committed in any portions, a second process with the
 * same wishes finds nothing to do, so the kernel has exactly what is wanted.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { before, describe, it } from "node:test";
import * as fc from "fast-check";
import {
  enterNewNetworkNamespace,
  openNftTable,
  type NftElement,
  type NftRule,
  type NftTable,
} from "#netlink";

const RUNS = process.env["MARGAY_TEST_LONG"] === undefined ? 80 : 2_000;

/** What a table should hold, rebuilt from nothing after each commit. */
interface Wishes {
  /** Bounds of the ranges in a universe of 24 addresses: on where true. */
  ranges: readonly boolean[];
  ports: readonly boolean[];
  peers: ReadonlySet<number>;
  marks: ReadonlyMap<number, number>;
  chains: ReadonlyMap<string, readonly string[]>;
}

const address = (n: number): Uint8Array => Uint8Array.of(n === 0 ? 0 : 240, 0, 0, n);
const port = (n: number): Uint8Array => Uint8Array.of(0, n);
const mark = (n: number): Uint8Array => Uint8Array.of(n, 0, 0, 0);

/** Runs of `true`, cut where `index % 5 === 0` so that neighbours touch; the last may be open. */
function runs(on: readonly boolean[], bound: (n: number) => Uint8Array): NftElement[] {
  const elements: NftElement[] = [];
  for (let start = 0; start < on.length; start++) {
    if (on[start] !== true) continue;
    let end = start + 1;
    while (end < on.length && on[end] === true && end % 5 !== 0) end++;
    const key = bound(start);
    elements.push(end === on.length ? { key } : { key, end: bound(end) });
    start = end - 1;
  }
  return elements;
}

const rules = (names: readonly string[]): NftRule[] =>
  names.map((comment) => ({
    comment,
    exprs: [
      { type: "payload", base: "network", offset: 12, len: 4, dreg: 0 },
      { type: "lookup", set: comment < "m" ? "ranges" : "peers", sreg: 0 },
      { type: "counter" },
    ],
  }));

const marks = (wishes: Wishes): NftElement[] =>
  [...wishes.marks].map(([key, data]) => ({ key: address(key), data: mark(data) }));

function declare(table: NftTable, wishes: Wishes, before?: Wishes): void {
  const ranges = runs(wishes.ranges, address);
  table.setSet({ name: "ranges", key: ["ipv4_addr"], interval: true }, ranges);
  const ports = runs(wishes.ports, port).map((element) => ({ ...element, data: mark(1) }));
  table.setSet({ name: "ports", key: ["inet_service"], interval: true, data: "mark" }, ports);
  table.setSet({ name: "marks", key: ["ipv4_addr"], data: "mark" }, marks(wishes));
  if (before === undefined) {
    table.setSet({ name: "peers", key: ["ipv4_addr"] }, elements([...wishes.peers]));
  } else {
    table.addElements("peers", elements([...wishes.peers]));
    table.removeElements("peers", elements([...before.peers.difference(wishes.peers)]));
    for (const name of before.chains.keys()) if (!wishes.chains.has(name)) table.removeChain(name);
  }
  for (const [name, list] of wishes.chains) table.setChain({ name, rules: rules(list) });
}

const elements = (numbers: readonly number[]): NftElement[] =>
  numbers.map((n) => ({ key: address(n) }));

const small = fc.integer({ min: 0, max: 23 });
const wishes: fc.Arbitrary<Wishes> = fc.record({
  ranges: fc.array(fc.boolean(), { minLength: 24, maxLength: 24 }),
  ports: fc.array(fc.boolean(), { minLength: 24, maxLength: 24 }),
  peers: fc.uniqueArray(small).map((list) => new Set(list)),
  marks: fc.array(fc.tuple(small, fc.integer({ min: 0, max: 3 }))).map((list) => new Map(list)),
  chains: fc
    .dictionary(
      fc.constantFrom("c_one", "c_two", "c_three"),
      fc.array(fc.constantFrom("a", "b", "c", "x", "y"), { maxLength: 6 }),
      { noNullPrototype: true },
    )
    .map((chains) => new Map(Object.entries(chains))),
});

const DAMAGES = [
  "flush set inet walk peers",
  "flush set inet walk ranges",
  "add element inet walk peers { 7.7.7.7 }",
  "add chain inet walk stranger",
  "delete table inet walk",
  "add table inet bystander",
];

describe("nf_tables random walks", { skip: process.getuid?.() !== 0 && "needs root" }, () => {
  before(() => enterNewNetworkNamespace());

  it("end where they should", async () => {
    const step = fc.record({ wishes, apply: fc.boolean(), damage: fc.nat({ max: 20 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
        const table = openNftTable({ family: "inet", name: "walk" });
        try {
          let last: Wishes | undefined;
          for (const { wishes: next, apply, damage } of steps) {
            declare(table, next, last);
            last = next;
            if (!apply) continue;
            await table.apply();
            assert.equal(table.dirty, false);
            const command = DAMAGES[damage];
            if (command !== undefined) execFileSync("nft", [command]);
          }
          await table.apply();
          assert.equal((await table.apply()).messages, 0);
          const again = openNftTable({ family: "inet", name: "walk" });
          if (last !== undefined) declare(again, last);
          const { messages } = await again.apply();
          again.close();
          assert.equal(messages, 0);
        } finally {
          table.close();
        }
      }),
      { numRuns: RUNS },
    );
  });
});
