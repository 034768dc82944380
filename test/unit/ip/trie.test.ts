import assert from "node:assert/strict";
import test from "node:test";
import * as fc from "fast-check";
import {
  cidrContains,
  cidrOf,
  cidrsOverlap,
  compareCidrs,
  formatCidr,
  ipFromBytes,
  OverlapSuppressor,
  parseCidr,
  parseIp,
  PrefixTrie,
  type Cidr,
} from "#ip";

/** Blocks under a handful of roots, so that they nest deeply. */
const cidr: fc.Arbitrary<Cidr> = fc.oneof(
  fc
    .tuple(fc.constantFrom(0, 10, 11), fc.nat(3), fc.nat(255), fc.nat(32))
    .map(([a, b, d, length]) => cidrOf(ipFromBytes(4, Uint8Array.of(a, b, 0, d)), length)),
  fc
    .tuple(fc.nat(255), fc.constantFrom(0, 16, 64, 96, 120, 124, 126, 127, 128))
    .map(([last, length]) => {
      const bytes = new Uint8Array(16);
      bytes[0] = 0xfd;
      bytes[15] = last;
      return cidrOf(ipFromBytes(6, bytes), length);
    }),
);
const operations = fc.array(fc.record({ add: fc.boolean(), cidr }), { maxLength: 40 });

const texts = (cidrs: Iterable<Cidr>): string[] => [...cidrs].sort(compareCidrs).map(formatCidr);

test("the trie answers as a plain list does", () => {
  fc.assert(
    fc.property(operations, cidr, (steps, probe) => {
      const trie = new PrefixTrie<string>();
      const model = new Map<string, Cidr>();
      for (const step of steps) {
        const text = formatCidr(step.cidr);
        if (step.add) {
          assert.equal(trie.set(step.cidr, text), !model.has(text));
          model.set(text, step.cidr);
        } else {
          assert.equal(trie.delete(step.cidr), model.delete(text));
        }
      }
      const members = [...model.values()].sort(compareCidrs);
      const entries = [...trie.entries()];
      assert.equal(trie.size, members.length);
      assert.deepEqual(
        entries.map((entry) => entry.value),
        members.map(formatCidr),
      );
      assert.deepEqual(
        entries.map((entry) => entry.cidr),
        members,
      );
      assert.equal(trie.get(probe), model.has(formatCidr(probe)) ? formatCidr(probe) : undefined);
      const around = members.filter((member) => cidrContains(member, probe));
      const inside = members.filter((member) => cidrContains(probe, member));
      const below = inside.filter((member) => member.prefixLen > probe.prefixLen);
      assert.deepEqual(
        Array.from(trie.lookupPath(probe), (entry) => entry.cidr),
        around,
      );
      assert.deepEqual(trie.longestMatch(probe)?.cidr, around.at(-1));
      assert.deepEqual(
        Array.from(trie.subTree(probe), (entry) => entry.cidr),
        inside,
      );
      const closest = below.filter(
        (member) => !below.some((other) => other !== member && cidrContains(other, member)),
      );
      assert.deepEqual(
        Array.from(trie.closestDescendants(probe), (entry) => entry.cidr),
        closest,
      );
    }),
    { numRuns: 500 },
  );
});

test("longest match of an address, by family", () => {
  const trie = new PrefixTrie<number>();
  trie.set(parseCidr("0.0.0.0/0"), 0);
  trie.set(parseCidr("10.65.0.0/16"), 1);
  trie.set(parseCidr("10.65.0.64/26"), 2);
  assert.equal(trie.longestMatch(parseIp("10.65.0.70"))?.value, 2);
  assert.equal(trie.longestMatch(parseIp("10.65.0.1"))?.value, 1);
  assert.equal(trie.longestMatch(parseIp("192.0.2.1"))?.value, 0);
  assert.equal(trie.longestMatch(parseIp("fd00::1")), undefined);
  trie.clear();
  assert.equal(trie.size, 0);
  assert.equal(trie.longestMatch(parseIp("10.65.0.70")), undefined);
});

test("published blocks never overlap, cover all members, and follow the changes", () => {
  fc.assert(
    fc.property(operations, (steps) => {
      const suppressor = new OverlapSuppressor();
      const members = new Map<string, Cidr>();
      const kernel = new Map<string, Cidr>();
      for (const step of steps) {
        const change = step.add ? suppressor.add(step.cidr) : suppressor.remove(step.cidr);
        if (step.add) members.set(formatCidr(step.cidr), step.cidr);
        else members.delete(formatCidr(step.cidr));
        for (const gone of change.withdraw) assert.ok(kernel.delete(formatCidr(gone)));
        for (const added of change.publish) {
          for (const other of kernel.values()) assert.ok(!cidrsOverlap(other, added));
          kernel.set(formatCidr(added), added);
        }
        const outermost = [...members.values()].filter(
          (member) =>
            ![...members.values()].some((other) => other !== member && cidrContains(other, member)),
        );
        assert.deepEqual(texts(kernel.values()), texts(outermost));
        assert.deepEqual(suppressor.published().map(formatCidr), texts(outermost));
        assert.equal(suppressor.size, members.size);
      }
    }),
    { numRuns: 300 },
  );
});
