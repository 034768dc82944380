import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import type { ToDataplane } from "#calc";
import type { Policy, Rule } from "#policy";
import { MargayError } from "#std";
import {
  FrameCutter,
  readFromDriver,
  readToDataplane,
  StreamWriter,
  toDataplaneJson,
} from "../../../src/dataplane/external/stream.ts";
import { messagesOf } from "../../support/in-process-agent.ts";

const MAX_BYTES = 1 << 20;
const golden = (name: string): Buffer =>
  readFileSync(new URL(`../../golden/felix/${name}`, import.meta.url));
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

function written(...messages: readonly ToDataplane[]): Buffer[] {
  const writer = new StreamWriter();
  for (const message of messages) writer.add(message);
  return [...new FrameCutter(MAX_BYTES).push(writer.take())];
}

function throughWire(message: ToDataplane): ToDataplane {
  const [frame] = written(message);
  const { message: back } = readToDataplane(frame as Buffer);
  assert.ok(back);
  return back;
}

test("Felix's own stream: read as its decoding says, and written again byte for byte", () => {
  const expected = JSON.parse(golden("host-a.json").toString("utf8")) as unknown[];
  const writer = new StreamWriter();
  const frames = [...new FrameCutter(MAX_BYTES).push(golden("host-a.bin"))];
  assert.equal(frames.length, expected.length);
  for (const [index, frame] of frames.entries()) {
    const { message, sequenceNumber } = readToDataplane(frame);
    assert.ok(message, `frame ${index}`);
    assert.equal(sequenceNumber, index);
    assert.deepEqual(plain(toDataplaneJson(message, sequenceNumber)), expected[index]);
    writer.add(message);
    const [ours] = new FrameCutter(MAX_BYTES).push(writer.take());
    assert.ok(ours);
    assert.deepEqual(plain(readToDataplane(ours).message), plain(message));
    // Felix writes the entries of a map in any order.
    if (message.case === "configUpdate") assert.equal(ours.length, frame.length);
    else assert.deepEqual(ours, frame, `frame ${index}`);
  }
});

test("what the graph says of the golden states is the same after the wire", () => {
  const seen = new Set<string>();
  for (const file of globSync("test/golden/felix/states/*.json")) {
    const { resources } = JSON.parse(readFileSync(file, "utf8")) as { resources: unknown[] };
    for (const message of messagesOf(resources)) {
      seen.add(message.case);
      if ("policy" in message.value || "profile" in message.value) continue;
      assert.deepEqual(plain(throughWire(message)), plain(message));
    }
  }
  for (const kind of ["ipsetUpdate", "workloadEndpointUpdate", "routeUpdate", "inSync"])
    assert.ok(seen.has(kind), kind);
});

type Json = Readonly<Record<string, unknown>>;

/** Rule IDs hash another library's bytes; members come in any order. */
function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value)
    .filter(([name]) => name !== "ruleId" && name !== "sequenceNumber")
    .map(([name, member]): [string, unknown] => [
      name,
      name === "members" ? (member as string[]).toSorted() : comparable(member),
    ]);
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** What a message is about; an IP set's change counts as its update. */
function subject(message: Json): string {
  const [[name, value] = ["", {}]] = Object.entries(message).filter(
    ([key]) => key !== "sequenceNumber",
  );
  const { id, dst, hostname, node } = value as Json;
  const kind = name.replace(/(?:Delta)?(?:Update|Remove)$/, "");
  return JSON.stringify([kind, id, dst, hostname, node]);
}

test("on the wire our graph says of the golden states what Felix said, field by field", () => {
  let compared = 0;
  for (const file of globSync("test/golden/felix/states/*.json")) {
    const { resources, messages } = JSON.parse(readFileSync(file, "utf8")) as {
      resources: unknown[];
      messages: Json[];
    };
    const ours = new Set(
      written(...messagesOf(resources)).map((frame) => {
        const { message } = readToDataplane(frame);
        assert.ok(message);
        return JSON.stringify(comparable(toDataplaneJson(message)));
      }),
    );
    const told = new Map<string, number>();
    for (const message of messages)
      told.set(subject(message), (told.get(subject(message)) ?? 0) + 1);
    for (const message of messages) {
      // Felix told some things in two steps that we tell in one.
      if (told.get(subject(message)) !== 1) continue;
      const text = JSON.stringify(comparable(message));
      assert.ok(ours.has(text), `${file}: ${text}`);
      compared += 1;
    }
  }
  assert.ok(compared > 1200, `${compared}`);
});

const everyField: Rule = {
  action: "next-tier",
  ipVersion: 6,
  protocol: { number: 0 },
  srcNet: ["fd00::/8"],
  srcPorts: [{ first: 0, last: 65535 }],
  dstNet: ["::/0"],
  dstPorts: [{ first: 80, last: 80 }],
  icmp: { type: 0 },
  srcIpSetIds: ["s:a", "s:b"],
  dstIpSetIds: ["s:c"],
  srcNamedPortIpSetIds: ["n:a"],
  dstNamedPortIpSetIds: ["n:b"],
  dstIpPortSetIds: ["svc:a"],
  notProtocol: { name: "tcp" },
  notSrcNet: ["10.0.0.0/8"],
  notSrcPorts: [{ first: 1, last: 2 }],
  notDstNet: ["10.1.0.0/16"],
  notDstPorts: [{ first: 3, last: 4 }],
  notIcmp: { type: 8, code: 0 },
  notSrcIpSetIds: ["s:d"],
  notDstIpSetIds: ["s:e"],
  notSrcNamedPortIpSetIds: ["n:c"],
  notDstNamedPortIpSetIds: ["n:d"],
  originalSrcSelector: "a == 'ü'",
  originalDstSelector: "b",
  originalNotSrcSelector: "c",
  originalNotDstSelector: "d",
  originalSrcNamespaceSelector: "e",
  originalDstNamespaceSelector: "f",
  originalSrcService: "g",
  originalSrcServiceNamespace: "h",
  originalDstService: "i",
  originalDstServiceNamespace: "j",
  srcServiceAccountMatch: { selector: "k", names: ["l"] },
  dstServiceAccountMatch: { selector: "", names: [] },
  httpMatch: { methods: ["GET"], paths: [{ exact: "/a" }, { prefix: "/b" }] },
  metadata: { annotations: { note: "m", ["__proto__"]: "n" } },
  ruleId: "o",
};

/** felixbackend.proto, message Rule. */
const RULE_FIELDS: Readonly<Record<keyof Rule, number>> = {
  action: 1,
  ipVersion: 2,
  protocol: 3,
  srcNet: 4,
  srcPorts: 5,
  dstNet: 6,
  dstPorts: 7,
  icmp: 8, // 9 with a code
  srcIpSetIds: 10,
  dstIpSetIds: 11,
  srcNamedPortIpSetIds: 12,
  dstNamedPortIpSetIds: 13,
  dstIpPortSetIds: 15,
  notProtocol: 102,
  notSrcNet: 103,
  notSrcPorts: 104,
  notDstNet: 105,
  notDstPorts: 106,
  notIcmp: 108, // 107 without a code
  notSrcIpSetIds: 109,
  notDstIpSetIds: 110,
  notSrcNamedPortIpSetIds: 112,
  notDstNamedPortIpSetIds: 113,
  originalSrcSelector: 114,
  originalDstSelector: 115,
  originalSrcNamespaceSelector: 116,
  originalDstNamespaceSelector: 117,
  originalNotSrcSelector: 118,
  originalNotDstSelector: 119,
  srcServiceAccountMatch: 120,
  dstServiceAccountMatch: 121,
  httpMatch: 122,
  metadata: 123,
  originalDstService: 130,
  originalDstServiceNamespace: 131,
  originalSrcService: 132,
  originalSrcServiceNamespace: 133,
  ruleId: 201,
};

const policyWith = (inboundRules: readonly Rule[], more: Partial<Policy> = {}): ToDataplane => ({
  case: "activePolicyUpdate",
  value: {
    id: { name: "p", namespace: "n", kind: "NetworkPolicy" },
    policy: {
      inboundRules,
      outboundRules: [],
      untracked: true,
      preDnat: true,
      namespace: "n",
      originalSelector: "all()",
      perfHints: ["AssumeNeededOnEveryNode"],
      tier: "default",
      ...more,
    },
  },
});

/** Number and content of each length-delimited or varint field. */
function fieldsOf(bytes: Buffer): { number: number; content: Buffer }[] {
  const found: { number: number; content: Buffer }[] = [];
  let at = 0;
  const varint = (): number => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const length = varint();
    const content = tag % 8 === 2 ? bytes.subarray(at, at + length) : Buffer.alloc(0);
    if (tag % 8 === 2) at += length;
    found.push({ number: Math.floor(tag / 8), content });
  }
  return found;
}

test("every field of a rule has its number, and survives", () => {
  assert.deepEqual(Object.keys(everyField).toSorted(), Object.keys(RULE_FIELDS).toSorted());
  for (const name of Object.keys(everyField) as (keyof Rule)[]) {
    const rule = { action: "allow", ruleId: "r", [name]: everyField[name] } as Rule;
    const [envelope] = written(policyWith([rule]));
    const [payload] = fieldsOf(envelope as Buffer);
    assert.equal(payload?.number, 7);
    const policy = fieldsOf(payload.content).find(({ number }) => number === 2);
    const inbound = fieldsOf(policy?.content ?? Buffer.alloc(0)).find(({ number }) => number === 1);
    const numbers = new Set(fieldsOf(inbound?.content ?? Buffer.alloc(0)).map((f) => f.number));
    assert.deepEqual(numbers, new Set([1, 201, RULE_FIELDS[name]]), name);
    const back = throughWire(policyWith([rule]));
    assert.ok(back.case === "activePolicyUpdate");
    assert.deepEqual(plain(back.value.policy.inboundRules), plain([rule]));
  }
  const whole = throughWire(policyWith([everyField]));
  assert.ok(whole.case === "activePolicyUpdate");
  assert.deepEqual(plain(whole.value.policy.inboundRules[0]), plain(everyField));
});

test("what cannot be decided stays undecided: HTTP is sent and marked again, the rest denies", () => {
  const http: Rule = { action: "allow", httpMatch: { methods: ["GET"], paths: [] }, ruleId: "a" };
  const unsupported = ["spec.ingress[0].http"];
  assert.deepEqual(
    plain(throughWire(policyWith([http], { unsupported }))),
    plain(policyWith([http], { unsupported })),
  );
  const open: Rule = { action: "allow", ruleId: "b" };
  const other = throughWire(policyWith([open], { unsupported: ["spec.ingress[0].newField"] }));
  assert.ok(other.case === "activePolicyUpdate");
  const { inboundRules, outboundRules } = other.value.policy;
  for (const rules of [inboundRules, outboundRules])
    assert.deepEqual(
      rules.map(({ action }) => action),
      ["deny"],
    );
});

test("a rule's field that a newer Felix knows makes its policy undecidable", () => {
  const [envelope] = written(policyWith([{ action: "allow", ruleId: "" }]));
  // Rule `0a 07 0a 05 allow`, here with field 150 = 1 added (b0 09 01), all lengths three more.
  const hex = (envelope as Buffer).toString("hex");
  const rule = "0a070a05616c6c6f77";
  assert.ok(hex.includes(rule));
  const longer = hex
    .replace(rule, "0a0a0a05616c6c6f77b00901")
    .replace(
      /^3a(..)(0a..)((?:..)*?)12(..)0a0a/,
      (_, all: string, id: string, middle: string, policy: string) => {
        const more = (byte: string): string =>
          (parseInt(byte, 16) + 3).toString(16).padStart(2, "0");
        return `3a${more(all)}${id}${middle}12${more(policy)}0a0a`;
      },
    );
  const { message } = readToDataplane(Buffer.from(longer, "hex"));
  assert.ok(message?.case === "activePolicyUpdate");
  assert.deepEqual(message.value.policy.unsupported, ["spec.ingress[0].field150"]);
});

test("a driver's messages, against commented bytes", () => {
  const read = (hex: string): unknown => {
    const { message, sequenceNumber } = readFromDriver(Buffer.from(hex.replaceAll(" ", ""), "hex"));
    return [sequenceNumber, message?.case, plain(message?.value)];
  };
  // 3: { 1: "t", 2: 1.5 }, 8: 7
  assert.deepEqual(read("1a0c 0a0174 11 000000000000f83f 4007"), [
    7,
    "processStatusUpdate",
    { isoTimestamp: "t", uptime: 1.5 },
  ]);
  // 6: { 1: { 2: "k8s", 3: "w", 4: "e" }, 2: { 1: "up" } }
  const id = { orchestratorId: "k8s", workloadId: "w", endpointId: "e" };
  assert.deepEqual(read("3213 0a0b 12036b3873 1a0177 220165 1204 0a027570"), [
    0,
    "workloadEndpointStatusUpdate",
    { id, status: { status: "up" } },
  ]);
  assert.deepEqual(read("3a0d 0a0b 12036b3873 1a0177 220165"), [
    0,
    "workloadEndpointStatusRemove",
    { id },
  ]);
  assert.deepEqual(read("220b 0a03 120165 1204 0a027570"), [
    0,
    "hostEndpointStatusUpdate",
    { id: { endpointId: "e" }, status: { status: "up" } },
  ]);
  assert.deepEqual(read("2a05 0a03 120165"), [
    0,
    "hostEndpointStatusRemove",
    { id: { endpointId: "e" } },
  ]);
  assert.deepEqual(read("4a05 0a016b 1004"), [
    0,
    "wireguardStatusUpdate",
    { publicKey: "k", ipVersion: 4 },
  ]);
  assert.deepEqual(read("5200 4001"), [1, "dataplaneInSync", {}]);
  assert.equal(readFromDriver(Buffer.from("5a00", "hex")).unknownPayload, 11);
});

test("a frame that comes byte by byte; one that is announced too long", () => {
  const writer = new StreamWriter();
  writer.add({ case: "ipsetRemove", value: { id: "s:a" } });
  writer.add({ case: "inSync", value: {} });
  const cutter = new FrameCutter(100);
  const frames = [...writer.take()].flatMap((byte) => [...cutter.push(Buffer.of(byte))]);
  assert.deepEqual(
    frames.map((frame) => readToDataplane(frame).message?.case),
    ["ipsetRemove", "inSync"],
  );
  const long = Buffer.from("6500000000000000", "hex");
  assert.throws(
    () => [...cutter.push(long)],
    (error) =>
      error instanceof MargayError &&
      error.code === "bad-frame" &&
      /byte \d+.*101/.test(error.message),
  );
});

test("text of any length, numbers of any size", () => {
  for (const length of [0, 1, 63, 64, 127, 128, 16383, 16384, 70_000])
    for (const letter of ["a", "ü", "語"]) {
      const id = letter.repeat(length);
      assert.deepEqual(throughWire({ case: "ipsetRemove", value: { id } }).value, { id });
    }
  for (const last of [0, 127, 128, 65535, 2 ** 31 - 1, -1, -(2 ** 31)]) {
    const rule: Rule = { action: "allow", srcPorts: [{ first: 0, last }], ruleId: "" };
    const back = throughWire(policyWith([rule]));
    assert.ok(back.case === "activePolicyUpdate");
    assert.deepEqual(plain(back.value.policy.inboundRules), plain([rule]));
  }
});
