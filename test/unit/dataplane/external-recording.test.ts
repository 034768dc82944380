/** A recording is a whole stream or an error; and no bytes do more than give an error. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { ToDataplane } from "#calc";
import { MargayError } from "#std";
import {
  parseRecording,
  readRecording,
  RecordedDataplane,
  StreamRecorder,
} from "../../../src/dataplane/external/recording.ts";
import {
  FrameCutter,
  readFromDriver,
  readToDataplane,
  StreamWriter,
} from "../../../src/dataplane/external/stream.ts";
import { RandomSource } from "../../support/random-source.ts";

const FUZZ_INPUTS = process.env["MARGAY_TEST_LONG"] === undefined ? 20_000 : 1_000_000;
const felix = readFileSync(new URL("../../golden/felix/host-a.bin", import.meta.url));
const IN_SYNC: ToDataplane = { case: "inSync", value: {} };
const SET: ToDataplane = {
  case: "ipsetUpdate",
  value: { id: "s:a", type: "NET", members: ["10.0.0.0/8"] },
};

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

function stream(...messages: readonly ToDataplane[]): Buffer {
  const writer = new StreamWriter();
  for (const message of messages) writer.add(message);
  return writer.take();
}

const refused = (bytes: Buffer, message: RegExp): void =>
  assert.throws(
    () => parseRecording(bytes, "FILE"),
    (error) =>
      error instanceof MargayError && error.code === "bad-recording" && message.test(error.message),
  );

test("recorded while the dataplane acts on it, and read back", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "margay-record-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "stream");
  const recorder = new StreamRecorder(path);
  const told: ToDataplane[] = [];
  const dataplane = new RecordedDataplane(
    {
      onMessage: (message) => void told.push(message),
      apply: () => {
        assert.equal(readRecording(path).messages.length, told.length, "in the file first");
        return Promise.resolve({ complete: true, errors: [], writes: 7 });
      },
      onWanted: () => {},
      onStatus: () => {},
      close: () => Promise.resolve(),
    },
    recorder,
  );
  for (const message of parseRecording(felix, "FILE").messages) dataplane.onMessage(message);
  assert.equal((await dataplane.apply()).writes, 7);
  dataplane.onMessage(SET);
  await dataplane.apply();
  recorder.close();
  recorder.close();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(plain(readRecording(path).messages), plain(told));
});

test("a file that ends too early says where; so does one that is something else", () => {
  const whole = felix.length;
  for (let length = 0; length < whole; length++) refused(felix.subarray(0, length), /at byte \d+ /);
  refused(felix.subarray(0, whole - 1), /it ends within a message, at byte 4460 \(message 31\)/);
  refused(felix.subarray(0, whole - 12), /it ends before it is in sync, at byte 4460/);
  refused(
    Buffer.from("# not a stream of messages\n"),
    /too short for the length announced, at byte 0/,
  );
  assert.throws(() => readRecording("/nonexistent"), /cannot read \/nonexistent: ENOENT/);
});

test("a gap, an unknown message, and content that no graph would say", () => {
  const first = stream(SET);
  const second = stream(SET, IN_SYNC);
  refused(Buffer.concat([first, first]), /sequence number 0 instead of 1, at byte 29 /);
  assert.equal(parseRecording(second, "FILE").messages.length, 2);
  // Field 50, of a newer Felix; sequence number 2: 8 bytes of length, `78 02 92 03 00`.
  const newer = Buffer.from("05000000000000007802920300", "hex");
  assert.deepEqual(parseRecording(Buffer.concat([second, newer]), "FILE").unknownPayloads, [50]);
  const bad: readonly (readonly [ToDataplane, RegExp])[] = [
    [{ case: "ipsetRemove", value: { id: "s:b" } }, /"s:b" is not an IP set that is there/],
    [
      { case: "ipsetDeltaUpdate", value: { id: "s:b", addedMembers: [], removedMembers: [] } },
      /"s:b" is not an IP set/,
    ],
    [
      { case: "ipsetUpdate", value: { id: "s:b", type: "NET", members: ["10.0.0.0/33"] } },
      /"10.0.0.0\/33" is not a CIDR, at byte 29 /,
    ],
    [
      {
        case: "ipsetUpdate",
        value: { id: "n:b", type: "IP_AND_PORT", members: ["::1,tcp:65536"] },
      },
      /is not ip,protocol:port/,
    ],
    [
      {
        case: "activeProfileUpdate",
        value: {
          id: { name: "p" },
          profile: {
            inboundRules: [{ action: "allow", dstPorts: [{ first: 2, last: 1 }], ruleId: "" }],
            outboundRules: [],
          },
        },
      },
      /is not a range of ports/,
    ],
    [{ case: "routeRemove", value: { dst: "here" } }, /"here" is not a CIDR/],
  ];
  for (const [message, says] of bad) refused(stream(SET, message, IN_SYNC), says);
});

test(`${FUZZ_INPUTS} spoilt streams: an error of ours or a message, nothing else`, () => {
  const random = new RandomSource(7);
  const frames = [...new FrameCutter(1 << 20).push(felix)];
  const driver = Buffer.from("320f0a0b12036b38731a017722016512040a0275704007", "hex");
  let errors = 0;
  for (let run = 0; run < FUZZ_INPUTS; run++) {
    const original = run % 8 === 0 ? driver : random.pick(frames);
    const bytes = spoil(random, original);
    for (const read of [readToDataplane, readFromDriver]) {
      try {
        const { message } = read(bytes);
        // What could be read can be written and read again.
        if (message !== undefined && read === readToDataplane)
          parseWithoutChecks(stream(message as ToDataplane));
      } catch (error) {
        if (!(error instanceof MargayError)) throw error;
        errors += 1;
      }
    }
    if (run % 16 !== 0) continue;
    try {
      parseRecording(spoil(random, felix), "FILE");
    } catch (error) {
      if (!(error instanceof MargayError) || error.code !== "bad-recording") throw error;
    }
  }
  assert.ok(errors > FUZZ_INPUTS / 4 && errors < FUZZ_INPUTS * 2, `${errors} errors`);
});

function parseWithoutChecks(bytes: Buffer): void {
  const [frame] = new FrameCutter(bytes.length).push(bytes);
  assert.ok(readToDataplane(frame as Buffer).message);
}

/** Bytes changed, cut out, doubled or made up. */
function spoil(random: RandomSource, original: Buffer): Buffer {
  const bytes = Buffer.from(original);
  const at = random.int(0, bytes.length - 1);
  switch (random.int(0, 4)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([
        bytes.subarray(0, at),
        bytes.subarray(random.int(0, bytes.length - 1)),
      ]);
    case 2:
      return Buffer.from(Array.from({ length: random.int(0, 64) }, () => random.int(0, 255)));
    default:
      for (let count = random.int(1, 4); count > 0; count--)
        bytes[random.int(0, bytes.length - 1)] = random.pick([
          0,
          1,
          0x7f,
          0x80,
          0xff,
          random.int(0, 255),
        ]);
      return bytes;
  }
}
