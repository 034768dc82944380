/** Bytes as `nft --debug=mnl` prints them for the same objects. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { NetlinkWriter } from "../../../src/netlink/writer.ts";
import { NftBatch } from "../../../src/netlink/nft/batch.ts";
import { elementKey, elementValue, encodeElement } from "../../../src/netlink/nft/elements.ts";
import { commonEnds, handlesAfter, planBatch } from "../../../src/netlink/nft/plan.ts";
import { commentTriple, encodeRule, readComment } from "../../../src/netlink/nft/rule.ts";
import { encodeSet, layoutOf } from "../../../src/netlink/nft/sets.ts";
import type { NftElement, NftSet } from "#netlink";

const unhex = (text: string): string => text.replaceAll(/#.*$/gmu, "").replaceAll(/\s/gu, "");
const hex = (bytes: Uint8Array | string): string =>
  Buffer.from(bytes as string, typeof bytes === "string" ? "latin1" : undefined).toString("hex");

function elementBytes(set: NftSet, element: NftElement): string {
  const layout = layoutOf(set);
  const writer = new NetlinkWriter();
  encodeElement(writer, layout, elementKey(layout, element.key), elementValue(layout, element));
  return hex(writer.bytes());
}

function setBytes(set: NftSet): string {
  const writer = new NetlinkWriter();
  encodeSet(writer, set, layoutOf(set), 1, 0);
  return hex(writer.bytes());
}

describe("nf_tables encoding", () => {
  it("a rule: ip saddr 10.0.0.1 accept comment yo", () => {
    const bytes = encodeRule({
      comment: "yo",
      exprs: [
        { type: "payload", base: "network", offset: 12, len: 4, dreg: 0 },
        { type: "cmp", op: "eq", sreg: 0, data: Uint8Array.of(10, 0, 0, 1) },
        { type: "verdict", verdict: { kind: "accept" } },
      ],
    });
    const expected = unhex(`
      9400 0480                                  # NFTA_RULE_EXPRESSIONS
        3400 0180                                # NFTA_LIST_ELEM
          0c00 0100 7061796c6f616400             # NFTA_EXPR_NAME payload
          2400 0280                              # NFTA_EXPR_DATA
            0800 0100 00000008                   # DREG NFT_REG32_00
            0800 0200 00000001                   # BASE network header
            0800 0300 0000000c                   # OFFSET 12
            0800 0400 00000004                   # LEN 4
        2c00 0180
          0800 0100 636d7000                     # cmp
          2000 0280
            0800 0100 00000008                   # SREG
            0800 0200 00000000                   # OP eq
            0c00 0380 0800 0100 0a000001         # DATA { VALUE }
        3000 0180
          0e00 0100 696d6d65646961746500 0000    # immediate
          1c00 0280
            0800 0100 00000000                   # DREG NFT_REG_VERDICT
            1000 0280                            # DATA
              0c00 0280 0800 0100 00000001       # VERDICT { CODE NF_ACCEPT }
      0900 0700 00 03 796f00 000000              # USERDATA: comment, 3 bytes
    `);
    assert.equal(hex(bytes), expected);
  });

  it("masquerade to a range of ports", () => {
    const bytes = encodeRule({
      exprs: [{ type: "masq", ports: { min: 0, max: 1 }, fullyRandom: true }],
    });
    const expected = unhex(`
      3000 0480                                  # NFTA_RULE_EXPRESSIONS
        2c00 0180                                # NFTA_LIST_ELEM
          0900 0100 6d61737100 000000            # NFTA_EXPR_NAME masq
          1c00 0280                              # NFTA_EXPR_DATA
            0800 0100 00000012                   # FLAGS proto-specified, fully-random
            0800 0200 00000008                   # REG_PROTO_MIN NFT_REG32_00
            0800 0300 00000009                   # REG_PROTO_MAX NFT_REG32_01
    `);
    assert.equal(hex(bytes), expected);
  });

  it("destination NAT to the address in a register", () => {
    const bytes = encodeRule({
      exprs: [{ type: "nat", kind: "dnat", family: 6, address: 4 }],
    });
    const expected = unhex(`
      3c00 0480                                  # NFTA_RULE_EXPRESSIONS
        3800 0180                                # NFTA_LIST_ELEM
          0800 0100 6e617400                     # NFTA_EXPR_NAME nat
          2c00 0280                              # NFTA_EXPR_DATA
            0800 0100 00000001                   # TYPE dnat
            0800 0200 0000000a                   # FAMILY NFPROTO_IPV6
            0800 0300 0000000c                   # REG_ADDR_MIN NFT_REG32_04
            0800 0400 0000000c                   # REG_ADDR_MAX, the same
            0800 0700 00000001                   # FLAGS map-ips
    `);
    assert.equal(hex(bytes), expected);
  });

  it("a map of IPv6 addresses to such", () => {
    const set: NftSet = { name: "m6", key: ["ipv6_addr"], data: "ipv6_addr" };
    assert.equal(
      setBytes(set),
      unhex(`
        0700 0200 6d3600 00
        0800 0300 00000008                       # FLAGS map
        0800 0400 00000008                       # KEY_TYPE ipv6_addr
        0800 0500 00000010                       # KEY_LEN
        0800 0600 00000008                       # DATA_TYPE ipv6_addr
        0800 0700 00000010                       # DATA_LEN
        0800 0a00 00000001                       # ID
        1000 0d00 0004 02000000 0104 02000000    # USERDATA: byte orders of key and data, big
      `),
    );
    const key = Uint8Array.of(0x20, 1, ...new Uint8Array(14));
    const data = Uint8Array.of(0xfd, ...new Uint8Array(15));
    assert.equal(
      elementBytes(set, { key, data }),
      unhex(`
        3400 0180                                # NFTA_LIST_ELEM
          1800 0180 1400 0100 20010000000000000000000000000000  # KEY { VALUE }
          1800 0280 1400 0100 fd000000000000000000000000000000  # DATA { VALUE }
      `),
    );
  });

  it("a set of addresses with a comment", () => {
    assert.equal(
      setBytes({ name: "s4", key: ["ipv4_addr"], comment: "hello" }),
      unhex(`
        0700 0200 733400 00
        0800 0300 00000000                       # FLAGS
        0800 0400 00000007                       # KEY_TYPE ipv4_addr
        0800 0500 00000004                       # KEY_LEN
        0800 0a00 00000001                       # ID
        1200 0d00 0004 02000000 0706 68656c6c6f00 0000  # USERDATA: byte order big; comment
      `),
    );
  });

  it("ranges over a concatenation", () => {
    assert.equal(
      setBytes({ name: "con", key: ["ipv4_addr", "inet_service"], interval: true }),
      unhex(`
        0800 0200 636f6e00
        0800 0300 00000084                       # INTERVAL, CONCAT
        0800 0400 000001cd                       # 7 << 6 | 13
        0800 0500 00000008
        0800 0a00 00000001
        2000 0980 1c00 0280                      # DESC { CONCAT
          0c00 0180 0800 0100 00000004           #   FIELD_LEN 4
          0c00 0180 0800 0100 00000002           #   FIELD_LEN 2
        0a00 0d00 0004 00000000 0000             # byte order mixed
      `),
    );
  });

  it("an element, a map's element, a verdict, a range", () => {
    assert.equal(
      elementBytes({ name: "s", key: ["ipv4_addr"] }, { key: Uint8Array.of(1, 2, 3, 4) }),
      unhex("1000 0180  0c00 0180  0800 0100 01020304"),
    );
    assert.equal(
      elementBytes(
        { name: "m", key: ["inet_service"], data: "mark" },
        { key: Uint8Array.of(0, 80, 0, 0), data: Uint8Array.of(0x11, 0, 0, 0) },
      ),
      unhex("1c00 0180  0c00 0180 0600 0100 0050 0000  0c00 0280 0800 0100 11000000"),
    );
    assert.equal(
      elementBytes(
        { name: "v", key: ["mark"], data: "verdict" },
        { key: Uint8Array.of(1, 0, 0, 0), data: { kind: "goto", chain: "c1" } },
      ),
      unhex(`
        2800 0180  0c00 0180 0800 0100 01000000
        1800 0280 1400 0280 0800 0100 fffffffc 0700 0200 633100 00
      `),
    );
    assert.equal(
      elementBytes(
        { name: "n", key: ["ipv4_addr"], interval: true },
        { key: Uint8Array.of(10, 0, 0, 0), end: Uint8Array.of(11, 0, 0, 0) },
      ),
      unhex(`
        1000 0180 0c00 0180 0800 0100 0a000000
        1800 0180 0800 0300 00000001 0c00 0180 0800 0100 0b000000  # FLAGS INTERVAL_END
      `),
    );
  });

  it("a batch carries the generation, asks for one acknowledgement and splits long lists", () => {
    const layout = layoutOf({ name: "s", key: ["ipv4_addr"] });
    const batch = new NftBatch("inet", "t");
    const elements = Array.from({ length: 10_000 }, (_, n) => [n, ""] as const);
    for (const _ of batch.addElements("s", layout, elements, false)) assert.fail("few");
    assert.equal(batch.items.length, 3);
    const bytes = batch.whole(0x01020304);
    assert.equal(
      hex(bytes.subarray(0, 28)),
      unhex("1c000000 1000 0100 00000000 00000000  00 00 000a  0800 0100 01020304"),
    );
    assert.equal(hex(bytes.subarray(-20)), unhex("14000000 1100 0100 00000000 00000000 0000000a"));
    assert.equal(bytes.length, batch.length);
  });
});

describe("nf_tables comments", () => {
  it("fit in 128 bytes, cut between characters", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
        const clean = text.replaceAll("\0", "");
        const triple = commentTriple(0, text);
        assert.ok(triple.length <= 130);
        const read = readComment(triple, 0);
        const sent = Buffer.from(clean).toString();
        assert.ok(sent.startsWith(read));
        assert.ok(Buffer.byteLength(sent) >= 128 || read === sent);
      }),
    );
  });
});

describe("commonEnds", () => {
  it("never overlaps and keeps all of equal lists", () => {
    const list = fc.array(fc.constantFrom("a", "b"), { maxLength: 8 });
    fc.assert(
      fc.property(list, list, (a, b) => {
        const [head, tail] = commonEnds(a, b);
        assert.ok(head + tail <= Math.min(a.length, b.length));
        assert.deepEqual(a.slice(0, head), b.slice(0, head));
        assert.deepEqual(a.slice(a.length - tail), b.slice(b.length - tail));
        if (a.join("") === b.join("")) assert.equal(head + tail, a.length);
      }),
    );
  });
});

describe("handlesAfter", () => {
  const rule = (text: string): string => encodeRule({ exprs: [], comment: text });
  const rules = (...texts: string[]): string[] => texts.map(rule);

  function edited(before: string[], handles: number[] | undefined, after: string[]) {
    const step = planBatch({
      family: "inet",
      table: "t",
      writer: new NetlinkWriter(),
      known: {
        exists: true,
        generation: 1,
        chains: new Map([["c", { hook: undefined, rules: before, handles }]]),
        sets: new Map(),
        objects: [],
      },
      chains: new Map([["c", { name: "c", hook: undefined, rules: after }]]),
      sets: new Map(),
      dirtyChains: new Set(["c"]),
      dirtySets: new Set(),
      handlesOf: () => assert.fail("the handles are known"),
    }).next();
    assert.ok(step.done);
    const { batch, edits } = step.value;
    const [edit] = edits;
    assert.ok(edit !== undefined);
    return { batch, edit };
  }

  it("puts what the kernel chose between what stays", () => {
    const { batch, edit } = edited(rules("a", "b", "d"), [1, 2, 4], rules("a", "x", "y", "d"));
    batch.handles.set(1, 8).set(2, 9);
    assert.deepEqual(handlesAfter(edit, batch), [1, 8, 9, 4]);
  });

  it("knows a chain that is all new", () => {
    const { batch, edit } = edited(rules("a"), undefined, rules("x", "y"));
    batch.handles.set(1, 8).set(2, 9);
    assert.deepEqual(handlesAfter(edit, batch), [8, 9]);
  });

  it("says so when the kernel did not tell, or did not before", () => {
    const untold = edited(rules("a", "b"), [1, 2], rules("a", "c"));
    assert.equal(handlesAfter(untold.edit, untold.batch), undefined);
    const appended = edited(rules("a"), undefined, rules("a", "b"));
    appended.batch.handles.set(0, 8);
    assert.equal(handlesAfter(appended.edit, appended.batch), undefined);
  });
});
