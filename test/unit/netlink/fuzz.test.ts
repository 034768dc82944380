/** Whatever bytes come, a decoder gives a value or a MargayError, and it comes to an end. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { NetlinkWriter, readMessages, type NetlinkMessage } from "#netlink";
import { MargayError } from "#std";
import { NftBatch } from "../../../src/netlink/nft/batch.ts";
import { NFTA_RULE } from "../../../src/netlink/nft/constants.ts";
import { ElementsDecoder } from "../../../src/netlink/nft/elements.ts";
import { DesiredSet } from "../../../src/netlink/nft/desired.ts";
import { readGeneration, readRuleHandle } from "../../../src/netlink/nft/readback.ts";
import { decodeRule, encodeRule } from "../../../src/netlink/nft/rule.ts";
import {
  readForwarding,
  readNeighbour,
  readRoute,
  writeChange,
} from "../../../src/netlink/route/codec.ts";
import { readInterfaceAddress, readLink } from "../../../src/netlink/route/link-codec.ts";
import { MessageCursor } from "../../../src/netlink/reader.ts";
import { deliver, readRefusal } from "../../../src/netlink/socket.ts";
import { parseCidr, parseIp, parseMac } from "#ip";
import { accept, jump, lookup, range } from "../../support/nft-samples.ts";

const INPUTS = process.env["MARGAY_TEST_LONG"] === undefined ? 20_000 : 1_000_000;
/** Far more than any decoder takes for one datagram. */
const MOST_MS = 1_000;

const [addresses, ranges] = [
  new DesiredSet({ name: "a", key: ["ipv4_addr"] }),
  new DesiredSet({ name: "r", key: ["ipv4_addr", "inet_service"], interval: true }),
];

const DECODERS: readonly ((message: NetlinkMessage) => unknown)[] = [
  readLink,
  readRoute,
  readNeighbour,
  readForwarding,
  readInterfaceAddress,
  readRefusal,
  ({ body }) => readGeneration(body),
  ({ body }) => readRuleHandle(body),
  ({ body }) => {
    body.skip(4);
    while (body.nextAttr())
      if (body.attrType === NFTA_RULE.exprs) return decodeRule(body.nested(), "");
    return undefined;
  },
  ...[addresses, ranges].map(({ layout }) => ({ body }: NetlinkMessage) => {
    const decoder = new ElementsDecoder(layout);
    decoder.read(body);
    return decoder.elements();
  }),
];

/** Well-formed datagrams of each kind, from which the mutants come. */
function samples(): Uint8Array[] {
  const batch = new NftBatch("inet", "t", new NetlinkWriter());
  batch.addSet(addresses.spec, addresses.layout, 0, true);
  addresses.add([{ key: Uint8Array.of(10, 0, 0, 1) }, { key: Uint8Array.of(10, 0, 0, 2) }]);
  Array.from(batch.addElements("a", addresses.layout, addresses.wanted, true));
  batch.addRule("c", encodeRule(lookup("x", "a")), true);
  batch.addRule("c", encodeRule(jump("y", "z")), true);
  batch.addRule("c", encodeRule(accept("ok")), true);
  const intervals = new DesiredSet({ name: "i", key: ["ipv4_addr"], interval: true });
  intervals.add([range("10.0.0.0", "10.0.1.0")]);
  Array.from(batch.addElements("i", intervals.layout, intervals.wanted, true));
  const writer = new NetlinkWriter();
  const route = { table: 254, protocol: 80, type: 1, scope: 253, tos: 0, priority: 5, oif: 3 };
  for (const dst of ["10.1.2.3/32", "fd00::/64"]) {
    const gateway = dst.startsWith("1") ? parseIp("10.0.0.1") : parseIp("fd00::1");
    writeChange(writer, {
      kind: "replaceRoute",
      route: { ...route, dst: parseCidr(dst), gateway },
    });
  }
  const mac = parseMac("0a:00:00:00:00:01");
  const neighbour = { ifindex: 3, address: parseIp("10.1.2.3"), state: 128, protocol: 80, mac };
  writeChange(writer, { kind: "replaceNeighbour", neighbour });
  const refusal = new NetlinkWriter();
  const mark = refusal.beginMessage(2, 0x300);
  refusal.i32(-2);
  refusal.raw(new Uint8Array(16).fill(1));
  refusal.attrString(1, "no such thing");
  refusal.attrU32(2, 20);
  refusal.endMessage(mark);
  return [batch.whole(7), writer.bytes(), refusal.bytes()].map((bytes) => Uint8Array.from(bytes));
}

/** Mulberry32; the same inputs in each run. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

function mutated(bytes: Uint8Array, random: (below: number) => number): Uint8Array {
  const copy = bytes.slice(0, random(4) === 0 ? random(bytes.length + 1) : bytes.length);
  for (let n = random(8); n > 0 && copy.length > 0; n--) {
    const at = random(copy.length);
    // Small numbers are lengths and types, where most can go wrong.
    copy[at] = [0, 1, 3, 4, 255, random(256), (copy[at] ?? 0) ^ (1 << random(8))][random(7)] ?? 0;
  }
  return copy;
}

function orRefused<T>(body: () => T): T | undefined {
  try {
    return body();
  } catch (error) {
    if (error instanceof MargayError && error.kind === "system") return undefined;
    throw error;
  }
}

/** How many values came out; throws what is no system error. */
function decodeAll(bytes: Uint8Array): number {
  let values = 0;
  for (const decode of DECODERS) {
    // Anew, since a decoder moves through the body.
    for (const message of orRefused(() => readMessages(bytes)) ?? []) {
      if (orRefused(() => decode(message)) !== undefined) values++;
    }
  }
  return values;
}

describe("netlink decoders", () => {
  it(`survive ${INPUTS} mutated datagrams`, () => {
    const random = randomOf(4);
    const originals = samples();
    for (const original of originals) assert.ok(decodeAll(original) > 0);
    let values = 0;
    for (let n = 0; n < INPUTS; n++) {
      const bytes = mutated(originals[n % originals.length] ?? new Uint8Array(), random);
      const start = performance.now();
      try {
        values += decodeAll(bytes);
      } catch (error) {
        throw new Error(`input ${n}: ${Buffer.from(bytes).toString("hex")}`, { cause: error });
      }
      assert.ok(performance.now() - start < MOST_MS, `input ${n} takes too long`);
    }
    assert.ok(values > INPUTS, `only ${values} values came out`);
  });

  it("find the same messages with and without an object for each", () => {
    const random = randomOf(5);
    const originals = samples();
    const buffer = Buffer.alloc(64 * 1024);
    const cursor = new MessageCursor(buffer);
    for (let n = 0; n < 5_000; n++) {
      const bytes = mutated(originals[n % originals.length] ?? new Uint8Array(), random);
      buffer.set(bytes);
      cursor.begin(bytes.length);
      const seen: number[][] = [];
      const wanted: number[][] = [];
      const outcome = (into: number[][], walk: () => void): string => {
        try {
          walk();
          return "end";
        } catch (error) {
          return error instanceof MargayError ? `${error.code} ${into.length}` : String(error);
        }
      };
      const one = outcome(seen, () => {
        while (cursor.next()) seen.push([cursor.type, cursor.seq, cursor.body.remaining]);
      });
      let all: readonly NetlinkMessage[] = [];
      const two = outcome(wanted, () => {
        all = readMessages(bytes);
      });
      if (one !== "end") {
        assert.equal(one.split(" ")[0], two.split(" ")[0]);
        continue;
      }
      assert.deepEqual(
        seen,
        all.map(({ type, seq, body }) => [type, seq, body.remaining]),
      );
    }
  });
});

it("a notification that cannot be read counts as lost", () => {
  const kinds: string[] = [];
  const take = ({ kind }: { readonly kind: string }): number => kinds.push(kind);
  for (const bytes of samples()) deliver(bytes, take);
  assert.ok(kinds.length > 0 && kinds.every((kind) => kind === "messages"));
  kinds.length = 0;
  // nlmsg_len beyond the datagram.
  deliver(Uint8Array.of(64, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), take);
  // A body that ends within its fixed part.
  deliver(Uint8Array.of(18, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), (event) => {
    take(event);
    if (event.kind === "messages") for (const message of event.messages) readLink(message);
  });
  assert.deepEqual(kinds, ["overrun", "messages", "overrun"]);
});
