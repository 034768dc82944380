import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { NetlinkReader, NetlinkWriter, readMessages } from "#netlink";
import { MargayError } from "#std";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
/** Hex with remarks behind `#`. */
const unhex = (text: string): string => text.replaceAll(/#.*$/gmu, "").replaceAll(/\s/gu, "");

describe("netlink writer", () => {
  it("writes a message as nft does (nft --debug=mnl, add table inet margay)", () => {
    const writer = new NetlinkWriter(8);
    const message = writer.beginMessage(0x0a00, 0x0001, 1);
    writer.u8(1);
    writer.u8(0);
    writer.u16Be(0);
    writer.attrString(1, "margay");
    writer.attrU32Be(2, 0);
    writer.endMessage(message);
    const expected = unhex(`
      28000000          # length 40
      000a 0100         # nf_tables NEWTABLE, NLM_F_REQUEST
      01000000 00000000 # sequence, port
      01 00 0000        # inet
      0b00 0100 6d6172676179 00 00  # NFTA_TABLE_NAME, padded
      0800 0200 00000000            # NFTA_TABLE_FLAGS
    `);
    assert.equal(hex(writer.bytes()), expected);
  });

  it("pads attributes with zeros, whatever the buffer held before", () => {
    const writer = new NetlinkWriter(64);
    writer.raw(new Uint8Array(64).fill(0xff));
    writer.reset();
    const mark = writer.beginNested(5);
    writer.attrU8(1, 7);
    writer.attrBytes(2, Uint8Array.of(1, 2, 3, 4, 5));
    writer.attrFlag(3);
    writer.attrU16(4, 0x1234);
    writer.attrLatin1(6, "\u00ff");
    writer.endNested(mark);
    const expected = unhex(`
      2c00 0580
      0500 0100 07 000000
      0900 0200 0102030405 000000
      0400 0300
      0600 0400 3412 0000
      0500 0600 ff 000000
    `);
    assert.equal(hex(writer.bytes()), expected);
  });
});

describe("netlink reader", () => {
  it("reads what the writer wrote", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            type: fc.integer({ min: 1, max: 0x3fff }),
            data: fc.uint8Array({ maxLength: 70 }),
          }),
          { maxLength: 20 },
        ),
        (attributes) => {
          const writer = new NetlinkWriter(4);
          for (let n = 0; n < 2; n++) {
            const message = writer.beginMessage(16, 0, n);
            writer.u32(n);
            for (const { type, data } of attributes) writer.attrBytes(type, data);
            writer.endMessage(message);
          }
          const messages = readMessages(writer.bytes());
          assert.equal(messages.length, 2);
          for (const [n, { body, seq }] of messages.entries()) {
            assert.equal(seq, n);
            assert.equal(body.u32(), n);
            for (const { type, data } of attributes) {
              assert.equal(body.nextAttr(), true);
              assert.equal(body.attrType, type);
              assert.equal(hex(body.attrBytes()), hex(data));
            }
            assert.equal(body.nextAttr(), false);
          }
        },
      ),
    );
  });

  it("never reads outside, whatever the bytes are", () => {
    const walk = (reader: NetlinkReader, depth: number): void => {
      while (reader.nextAttr()) {
        reader.attrString();
        reader.attrBytes();
        if (reader.attrLength >= 8) reader.attrU64Be();
        if (depth < 3) walk(reader.nested(), depth + 1);
      }
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          for (const { body } of readMessages(bytes)) walk(body, 0);
          walk(new NetlinkReader(bytes), 0);
        } catch (error) {
          assert.ok(error instanceof MargayError && error.code === "netlink-malformed");
        }
      }),
    );
  });

  it("refuses a value shorter than what is asked for", () => {
    const writer = new NetlinkWriter();
    writer.attrU16(1, 5);
    const reader = new NetlinkReader(writer.bytes());
    reader.nextAttr();
    assert.throws(() => reader.attrU32(), /ends early/u);
  });
});
