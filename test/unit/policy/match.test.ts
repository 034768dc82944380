/** Every field of a rule that matches, with packets that it takes and packets that it refuses. */
import assert from "node:assert/strict";
import test from "node:test";
import { MargayError } from "#std";
import {
  IpSetIndex,
  MATCH_FIELDS,
  matchRule,
  parsePacket,
  type Packet,
  type PacketText,
  type Rule,
  type RuleField,
} from "#policy";

const sets = new IpSetIndex();
sets.replace("s:web", "NET", ["10.65.0.1/32", "10.66.0.0/16", "fd66::1/128"]);
sets.replace("s:prod", "NET", ["10.65.0.0/16", "fd66::/64"]);
sets.replace("s:none", "NET", []);
sets.replace("ip:one", "IP", ["10.65.0.1", "fd66::1"]);
sets.replace("n:http", "IP_AND_PORT", [
  "10.65.0.2,tcp:8080",
  "fd66::2,tcp:8080",
  "10.65.0.2,sctp:9",
]);
sets.replace("n:dns", "IP_AND_PORT", [
  "10.65.0.2,udp:53",
  "10.65.0.1,udp:53",
  "10.65.0.2,tcp:8080",
]);

/** From 10.65.0.1:40000 to 10.65.0.2:8080, TCP, unless said otherwise. */
function tcp(changes: Partial<PacketText> = {}): Packet {
  return parsePacket({
    protocol: "tcp",
    src: "10.65.0.1",
    dst: "10.65.0.2",
    srcPort: 40000,
    dstPort: 8080,
    ...changes,
  });
}
const udp = (changes: Partial<PacketText> = {}): Packet => tcp({ protocol: "udp", ...changes });
const tcp6 = (changes: Partial<PacketText> = {}): Packet =>
  tcp({ src: "fd66::1", dst: "fd66::2", ...changes });
const icmp = (icmpType: number, icmpCode = 0): Packet =>
  parsePacket({ protocol: "icmp", src: "10.65.0.1", dst: "10.65.0.2", icmpType, icmpCode });
const icmp6 = (icmpType: number, icmpCode = 0): Packet =>
  parsePacket({ protocol: "icmpv6", src: "fd66::1", dst: "fd66::2", icmpType, icmpCode });
const gre = (): Packet => parsePacket({ protocol: "gre", src: "10.65.0.1", dst: "10.65.0.2" });

interface Case {
  readonly rule: Partial<Rule>;
  readonly takes: readonly Packet[];
  readonly refuses: readonly Packet[];
}

const CASES: readonly Case[] = [
  { rule: {}, takes: [tcp(), tcp6(), icmp(8), icmp6(128), gre()], refuses: [] },
  { rule: { srcNet: [], dstPorts: [], notSrcIpSetIds: [] }, takes: [tcp(), gre()], refuses: [] },
  { rule: { ipVersion: 4 }, takes: [tcp()], refuses: [tcp6()] },
  { rule: { ipVersion: 6 }, takes: [tcp6()], refuses: [tcp()] },
  { rule: { protocol: { name: "tcp" } }, takes: [tcp(), tcp6()], refuses: [udp(), icmp(8)] },
  { rule: { protocol: { number: 6 } }, takes: [tcp()], refuses: [udp()] },
  { rule: { protocol: { number: 47 } }, takes: [gre()], refuses: [tcp()] },
  { rule: { protocol: { name: "sctp" } }, takes: [tcp({ protocol: "sctp" })], refuses: [tcp()] },
  { rule: { protocol: { name: "udplite" } }, takes: [tcp({ protocol: 136 })], refuses: [udp()] },
  {
    rule: { protocol: { name: "icmp" } },
    takes: [icmp(8), parsePacket({ protocol: 1, src: "fd66::1", dst: "fd66::2", icmpType: 8 })],
    refuses: [icmp6(128)],
  },
  { rule: { protocol: { name: "icmpv6" } }, takes: [icmp6(128)], refuses: [icmp(8)] },
  { rule: { notProtocol: { name: "tcp" } }, takes: [udp(), icmp(8)], refuses: [tcp(), tcp6()] },
  {
    rule: { srcNet: ["192.0.2.0/24", "10.65.0.0/31"] },
    takes: [tcp(), tcp({ src: "192.0.2.9" })],
    refuses: [tcp({ src: "10.65.0.2" }), tcp6()],
  },
  {
    rule: { dstNet: ["10.65.0.2/32", "fd66::/64"] },
    takes: [tcp(), tcp6()],
    refuses: [tcp({ dst: "10.65.0.3" }), tcp6({ dst: "fd67::2" })],
  },
  // A family of which no block is left is not spoken of, negated or not.
  {
    rule: { notSrcNet: ["10.65.0.1/32"] },
    takes: [tcp({ src: "10.65.0.9" })],
    refuses: [tcp(), tcp6()],
  },
  {
    rule: { notSrcNet: ["10.65.0.1/32", "fd66::1/128"] },
    takes: [tcp6({ src: "fd66::9" })],
    refuses: [tcp6()],
  },
  {
    rule: { notDstNet: ["10.65.0.0/24", "10.66.0.0/16"] },
    takes: [tcp({ dst: "10.67.0.1" })],
    refuses: [tcp(), tcp6()],
  },
  { rule: { notDstNet: ["0.0.0.0/0"] }, takes: [], refuses: [tcp(), tcp6()] },
  { rule: { srcNet: ["10.0.0.0/8"], dstNet: ["fd66::/64"] }, takes: [], refuses: [tcp(), tcp6()] },
  {
    rule: { srcNet: ["10.0.0.0/8"], notSrcNet: ["10.65.0.1/32"] },
    takes: [tcp({ src: "10.65.0.3" })],
    refuses: [tcp()],
  },
  {
    rule: { srcIpSetIds: ["s:web"] },
    takes: [tcp(), tcp6(), tcp({ src: "10.66.3.4" })],
    refuses: [tcp({ src: "10.65.0.2" })],
  },
  {
    rule: { srcIpSetIds: ["s:web", "s:prod"] },
    takes: [tcp(), tcp6()],
    refuses: [tcp({ src: "10.66.3.4" })],
  },
  {
    rule: { srcIpSetIds: ["ip:one"] },
    takes: [tcp(), tcp6()],
    refuses: [tcp({ src: "10.65.0.2" })],
  },
  { rule: { srcIpSetIds: ["s:none"] }, takes: [], refuses: [tcp(), tcp6()] },
  {
    rule: { dstIpSetIds: ["s:web"] },
    takes: [tcp({ dst: "10.65.0.1" })],
    refuses: [tcp(), tcp6()],
  },
  {
    rule: { notSrcIpSetIds: ["s:web"] },
    takes: [tcp({ src: "10.65.0.2" })],
    refuses: [tcp(), gre(), tcp6()],
  },
  {
    rule: { notSrcIpSetIds: ["s:web", "s:prod"] },
    takes: [tcp({ src: "10.99.0.1" })],
    refuses: [tcp(), tcp({ src: "10.66.0.1" }), tcp({ src: "10.65.0.2" })],
  },
  { rule: { notDstIpSetIds: ["s:none"] }, takes: [tcp(), tcp6()], refuses: [] },
  {
    rule: { notDstIpSetIds: ["s:prod"] },
    takes: [tcp({ dst: "10.99.0.1" })],
    refuses: [tcp(), tcp6()],
  },
  {
    rule: {
      srcPorts: [
        { first: 1000, last: 2000 },
        { first: 40000, last: 40000 },
      ],
    },
    takes: [tcp(), udp({ srcPort: 1000 }), tcp({ srcPort: 2000 })],
    refuses: [tcp({ srcPort: 999 }), tcp({ srcPort: 2001 }), icmp(8), gre()],
  },
  {
    rule: { dstPorts: [{ first: 8080, last: 8080 }] },
    takes: [tcp(), udp(), tcp6(), tcp({ protocol: "sctp" })],
    refuses: [tcp({ dstPort: 8081 }), gre()],
  },
  {
    rule: { notSrcPorts: [{ first: 40000, last: 40001 }] },
    takes: [tcp({ srcPort: 1 })],
    refuses: [tcp(), icmp(8), gre()],
  },
  {
    rule: { notDstPorts: [{ first: 8080, last: 8080 }] },
    takes: [tcp({ dstPort: 80 })],
    refuses: [tcp(), udp(), gre()],
  },
  {
    rule: { dstNamedPortIpSetIds: ["n:http"] },
    takes: [tcp(), tcp6(), tcp({ protocol: "sctp", dstPort: 9 })],
    refuses: [udp(), tcp({ dstPort: 8081 }), tcp({ dst: "10.65.0.3" }), gre()],
  },
  {
    rule: { dstNamedPortIpSetIds: ["n:http", "n:dns"] },
    takes: [tcp(), udp({ dstPort: 53 })],
    refuses: [udp()],
  },
  {
    rule: { dstPorts: [{ first: 80, last: 81 }], dstNamedPortIpSetIds: ["n:dns"] },
    takes: [tcp({ dstPort: 80 }), udp({ dstPort: 53 })],
    refuses: [tcp({ dstPort: 53 })],
  },
  {
    rule: { srcPorts: [{ first: 80, last: 81 }], srcNamedPortIpSetIds: ["n:dns"] },
    takes: [tcp({ srcPort: 81 }), udp({ srcPort: 53 })],
    refuses: [tcp(), tcp({ srcPort: 53 })],
  },
  {
    rule: { srcNamedPortIpSetIds: ["n:dns"] },
    takes: [udp({ srcPort: 53 })],
    refuses: [udp(), gre()],
  },
  {
    rule: { notSrcNamedPortIpSetIds: ["n:dns"] },
    takes: [udp(), tcp(), icmp(8), gre()],
    refuses: [udp({ srcPort: 53 })],
  },
  {
    rule: { notDstNamedPortIpSetIds: ["n:http", "n:dns"] },
    takes: [udp(), icmp(8), gre()],
    refuses: [tcp(), udp({ dstPort: 53 })],
  },
  {
    rule: { dstIpPortSetIds: ["n:http", "n:dns"] },
    takes: [tcp()],
    refuses: [tcp6(), udp({ dstPort: 53 }), icmp(8)],
  },
  {
    rule: { dstIpPortSetIds: ["n:dns"], dstPorts: [{ first: 1, last: 9 }] },
    takes: [],
    refuses: [tcp()],
  },
  {
    rule: { icmp: { type: 8 } },
    takes: [icmp(8), icmp(8, 3), icmp6(8)],
    refuses: [icmp(0), icmp6(0), tcp()],
  },
  { rule: { icmp: { type: 3, code: 1 } }, takes: [icmp(3, 1)], refuses: [icmp(3), icmp(8, 1)] },
  { rule: { icmp: { type: 128 } }, takes: [icmp6(128)], refuses: [icmp6(129), icmp(8)] },
  {
    rule: { icmp: { type: 8 } },
    takes: [],
    refuses: [parsePacket({ protocol: 1, src: "fd66::1", dst: "fd66::2", icmpType: 8 })],
  },
  {
    rule: { notIcmp: { type: 8 } },
    takes: [icmp(0), icmp6(128)],
    refuses: [icmp(8), tcp(), gre()],
  },
  { rule: { notIcmp: { type: 3, code: 1 } }, takes: [icmp(3), icmp(8, 1)], refuses: [icmp(3, 1)] },
];

function fullRule(partial: Partial<Rule>): Rule {
  return { action: "allow", ruleId: "r", ...partial };
}

test("each field takes what it names and refuses the rest", () => {
  const took = new Set<string>();
  const refused = new Set<string>();
  for (const { rule, takes, refuses } of CASES) {
    for (const packet of takes) {
      const result = matchRule(fullRule(rule), packet, (id) => sets.get(id));
      assert.ok(result.matched === true, `${JSON.stringify(rule)} takes ${JSON.stringify(packet)}`);
      for (const field of result.fields) took.add(field);
    }
    for (const packet of refuses) {
      const result = matchRule(fullRule(rule), packet, (id) => sets.get(id));
      assert.ok(
        result.matched === false,
        `${JSON.stringify(rule)} refuses ${JSON.stringify(packet)}`,
      );
      refused.add(result.failed);
      if (Object.keys(rule).length === 1) assert.deepEqual([result.failed], Object.keys(rule));
    }
  }
  assert.deepEqual([...took].sort(), [...MATCH_FIELDS].sort(), "every field has taken a packet");
  const alternatives: RuleField[] = ["srcNamedPortIpSetIds", "dstNamedPortIpSetIds"];
  for (const field of alternatives) assert.ok(refused.has(field));
  assert.deepEqual([...refused].sort(), [...MATCH_FIELDS].sort(), "every field has refused one");
});

test("every field of a rule is either matched or known not to be", () => {
  const roles: Record<keyof Rule, "match" | "act" | "explain" | "http"> = {
    action: "act",
    ipVersion: "match",
    protocol: "match",
    srcNet: "match",
    srcPorts: "match",
    dstNet: "match",
    dstPorts: "match",
    icmp: "match",
    srcIpSetIds: "match",
    dstIpSetIds: "match",
    srcNamedPortIpSetIds: "match",
    dstNamedPortIpSetIds: "match",
    dstIpPortSetIds: "match",
    notProtocol: "match",
    notSrcNet: "match",
    notSrcPorts: "match",
    notDstNet: "match",
    notDstPorts: "match",
    notIcmp: "match",
    notSrcIpSetIds: "match",
    notDstIpSetIds: "match",
    notSrcNamedPortIpSetIds: "match",
    notDstNamedPortIpSetIds: "match",
    originalSrcSelector: "explain",
    originalDstSelector: "explain",
    originalNotSrcSelector: "explain",
    originalNotDstSelector: "explain",
    originalSrcNamespaceSelector: "explain",
    originalDstNamespaceSelector: "explain",
    originalSrcService: "explain",
    originalSrcServiceNamespace: "explain",
    originalDstService: "explain",
    originalDstServiceNamespace: "explain",
    srcServiceAccountMatch: "explain",
    dstServiceAccountMatch: "explain",
    // An L7 filter enforces it; packet filters render the rule without it, as Felix does.
    httpMatch: "http",
    metadata: "explain",
    ruleId: "explain",
  };
  const matched = Object.entries(roles).filter(([, role]) => role === "match");
  assert.deepEqual(matched.map(([field]) => field).sort(), [...MATCH_FIELDS].sort());
});

test("an unknown IP set decides nothing", () => {
  for (const field of MATCH_FIELDS.filter((name) => name.endsWith("SetIds"))) {
    const result = matchRule(fullRule({ [field]: ["s:gone"] }), tcp(), (id) => sets.get(id));
    assert.deepEqual(result, { matched: "undecidable", field, ipSetId: "s:gone" });
  }
  const missed = { protocol: { name: "udp" }, srcIpSetIds: ["s:gone"] };
  assert.equal(matchRule(fullRule(missed), tcp(), (id) => sets.get(id)).matched, false);
  const unknown = fullRule({ protocol: { name: "quic" } });
  assert.throws(() => matchRule(unknown, tcp(), () => undefined), MargayError);
});

test("IP sets follow their messages", () => {
  const index = new IpSetIndex();
  index.replace("s:x", "NET", ["10.0.0.0/8", "10.1.0.0/16"]);
  const contains = (text: string): boolean | undefined =>
    index.get("s:x")?.containsIp(tcp({ src: text, dst: text }).src);
  assert.equal(contains("10.1.2.3"), true);
  index.update("s:x", ["fd00::/8", "192.0.2.1"], ["10.0.0.0/8"]);
  assert.deepEqual(["10.1.2.3", "10.2.0.1", "fd00::1", "192.0.2.1", "192.0.2.2"].map(contains), [
    true,
    false,
    true,
    true,
    false,
  ]);
  index.replace("s:x", "NET", []);
  assert.equal(contains("10.1.2.3"), false);
  index.replace("s:x", "IP_AND_PORT", ["FD00:0::1,tcp:80", "10.0.0.1,udp:53"]);
  assert.equal(contains("10.0.0.1"), false);
  const set = index.get("s:x");
  const { src } = tcp({ src: "fd00::1", dst: "::" });
  assert.equal(set?.containsIpPort(src, 6, 80), true);
  assert.equal(set?.containsIpPort(src, 17, 80), false);
  index.update("s:x", [], ["fd00::1,tcp:80"]);
  assert.equal(set?.containsIpPort(src, 6, 80), false);
  index.remove("s:x");
  assert.equal(index.get("s:x"), undefined);
  assert.throws(() => index.update("s:x", ["10.0.0.1"], []), MargayError);
  for (const member of ["10.0.0.1", "10.0.0.1,icmp:8", "10.0.0.1,tcp:", "x,tcp:80", ",tcp:80"]) {
    assert.throws(() => index.replace("s:y", "IP_AND_PORT", [member]), MargayError, member);
  }
  assert.throws(() => index.replace("s:y", "NET", ["10.0.0.1,tcp:80"]), MargayError);
});

test("packets from text", () => {
  assert.equal(tcp().protocol, 6);
  assert.equal(parsePacket({ protocol: "47", src: "::1", dst: "::2" }).protocol, 47);
  assert.throws(() => tcp({ src: "fd00::1" }), MargayError);
  for (const protocol of ["", "quic", "256", -1, 1.5]) {
    assert.throws(() => tcp({ protocol }), MargayError, String(protocol));
  }
});
