/**
 * Every match field of a rule, positive and negative, in both families: packets that must match and
 * packets that must not, through the interpreter of the table.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MATCH_FIELDS } from "#policy";
import { runForward, type TestPacket } from "../../support/nft-interpreter.ts";
import {
  gnp,
  ipSetUpdate,
  NftWorld,
  policyUpdate,
  profileUpdate,
  tier,
  wepUpdate,
  type TestRule,
} from "../../support/nft-world.ts";

interface Case {
  readonly rule: Omit<TestRule, "action">;
  readonly yes: readonly Partial<TestPacket>[];
  readonly no: readonly Partial<TestPacket>[];
}

const TCP: TestPacket = {
  src: "10.0.0.1",
  dst: "10.65.0.2",
  protocol: 6,
  sport: 40000,
  dport: 80,
  iifname: "eth0",
  oifname: "calia",
};
const v6 = { src: "fd00::1", dst: "fd65::2" };
const udp = { protocol: 17 };
const udplite = { protocol: 136 };
const sctp = { protocol: 132 };
const dccp = { protocol: 33 };
const gre = { protocol: 47, sport: undefined, dport: undefined } as unknown as Partial<TestPacket>;
const icmp = { protocol: 1, icmpType: 8, icmpCode: 0 };
const icmp6 = { ...v6, protocol: 58, icmpType: 128, icmpCode: 0 };

const IP_SETS = [
  ipSetUpdate("s:hosts", ["10.0.0.1/32", "fd00::1/128"]),
  ipSetUpdate("s:mixed", ["10.0.0.9/32", "10.0.0.0/28", "10.0.0.0/30", "fd00::/64", "fd01::1/128"]),
  ipSetUpdate("s:all4", ["0.0.0.0/0"]),
  ipSetUpdate("s:empty", []),
  ipSetUpdate("s:ip", ["10.0.0.1", "10.65.0.2"], "IP"),
  ipSetUpdate("n:src", ["10.0.0.1,tcp:40000", "fd00::1,udp:40000"], "IP_AND_PORT"),
  ipSetUpdate("n:dst", ["10.65.0.2,tcp:80", "fd65::2,tcp:80", "10.65.0.2,sctp:99"], "IP_AND_PORT"),
];

const CASES: Readonly<Record<string, readonly Case[]>> = {
  "no condition": [
    { rule: {}, yes: [{}, v6, udp, gre, icmp, icmp6, { laterFragment: true }], no: [] },
  ],
  ipVersion: [
    { rule: { ipVersion: 4 }, yes: [{}, gre], no: [v6, icmp6] },
    { rule: { ipVersion: 6 }, yes: [v6, icmp6], no: [{}] },
  ],
  protocol: [
    { rule: { protocol: { name: "tcp" } }, yes: [{}, v6], no: [udp, icmp] },
    { rule: { protocol: { name: "udp" } }, yes: [udp], no: [{}] },
    { rule: { protocol: { name: "sctp" } }, yes: [sctp], no: [{}] },
    { rule: { protocol: { name: "udplite" } }, yes: [udplite], no: [udp] },
    { rule: { protocol: { name: "icmp" } }, yes: [icmp, { ...v6, protocol: 1 }], no: [icmp6] },
    { rule: { protocol: { name: "icmpv6" } }, yes: [icmp6], no: [icmp] },
    { rule: { protocol: { number: 47 } }, yes: [gre], no: [{}, icmp] },
  ],
  notProtocol: [
    { rule: { notProtocol: { name: "tcp" } }, yes: [udp, gre, icmp6], no: [{}, v6] },
    { rule: { notProtocol: { number: 47 } }, yes: [{}], no: [gre] },
    {
      rule: { notProtocol: { name: "tcp" }, dstPorts: [{ first: 80, last: 80 }] },
      yes: [udp],
      no: [{}, gre],
    },
  ],
  srcNet: [
    { rule: { srcNet: ["10.0.0.0/8"] }, yes: [{}], no: [{ src: "11.0.0.1" }, v6] },
    { rule: { srcNet: ["10.0.0.1/32"] }, yes: [{}], no: [{ src: "10.0.0.2" }] },
    { rule: { srcNet: ["10.0.0.0/30"] }, yes: [{}], no: [{ src: "10.0.0.4" }] },
    { rule: { srcNet: ["0.0.0.0/0"] }, yes: [{}, gre], no: [v6] },
    { rule: { srcNet: ["fd00::/13"] }, yes: [v6], no: [{ ...v6, src: "fc00::1" }, {}] },
    {
      rule: { srcNet: ["10.0.0.0/9", "10.0.0.0/24", "11.0.0.0/8", "fd00::/8"] },
      yes: [{}, v6, { src: "11.9.9.9" }],
      no: [{ src: "12.0.0.0" }, { src: "10.255.0.0" }],
    },
    { rule: { srcNet: ["10.0.0.0/8"], dstNet: ["fd00::/8"] }, yes: [], no: [{}, v6] },
  ],
  dstNet: [
    { rule: { dstNet: ["10.65.0.0/16"] }, yes: [{}], no: [{ dst: "10.66.0.2" }, v6] },
    {
      rule: { dstNet: ["fd65::2/128", "fd66::/16"] },
      yes: [v6],
      no: [{ ...v6, dst: "fd65::3" }, {}],
    },
    {
      rule: { dstNet: ["255.255.255.255/32", "1.0.0.0/8"] },
      yes: [{ dst: "255.255.255.255" }, { dst: "1.2.3.4" }],
      no: [{}],
    },
  ],
  notSrcNet: [
    { rule: { notSrcNet: ["10.0.0.0/24"] }, yes: [{ src: "10.0.1.1" }], no: [{}, v6] },
    {
      rule: { notSrcNet: ["10.0.0.0/24", "11.0.0.0/8"] },
      yes: [{ src: "10.0.1.1" }],
      no: [{}, { src: "11.0.0.1" }, v6],
    },
    {
      rule: { notSrcNet: ["0.0.0.0/0", "fd00::/8"] },
      yes: [{ ...v6, src: "fe00::1" }],
      no: [{}, v6],
    },
    {
      rule: { srcNet: ["10.0.0.0/8"], notSrcNet: ["10.0.0.0/30"] },
      yes: [{ src: "10.1.0.0" }],
      no: [{}, { src: "11.0.0.1" }],
    },
  ],
  notDstNet: [
    { rule: { notDstNet: ["10.65.0.0/24"] }, yes: [{ dst: "10.65.1.1" }], no: [{}, v6] },
    { rule: { notDstNet: ["::/0"] }, yes: [], no: [{}, v6] },
    {
      rule: { notDstNet: ["fd65::2/128", "fd65::3/128"] },
      yes: [{ ...v6, dst: "fd65::4" }],
      no: [v6, {}],
    },
  ],
  srcPorts: [
    {
      rule: { protocol: { name: "tcp" }, srcPorts: [{ first: 40000, last: 40000 }] },
      yes: [{}, v6],
      no: [{ sport: 1 }, udp, { laterFragment: true }],
    },
    {
      rule: {
        protocol: { name: "tcp" },
        srcPorts: [
          { first: 1, last: 10 },
          { first: 39000, last: 65535 },
        ],
      },
      yes: [{}, { sport: 10 }, { sport: 65535 }],
      no: [{ sport: 11 }, { sport: 0 }],
    },
    {
      rule: { srcPorts: [{ first: 40000, last: 40000 }] },
      yes: [{}, udp, sctp, udplite, dccp],
      no: [gre, icmp],
    },
    {
      rule: { protocol: { number: 47 }, srcPorts: [{ first: 0, last: 65535 }] },
      yes: [],
      no: [gre, {}],
    },
  ],
  dstPorts: [
    {
      rule: { protocol: { name: "udp" }, dstPorts: [{ first: 79, last: 81 }] },
      yes: [udp],
      no: [{}, { ...udp, dport: 82 }],
    },
    {
      rule: {
        protocol: { name: "sctp" },
        dstPorts: [
          { first: 80, last: 80 },
          { first: 81, last: 90 },
        ],
      },
      yes: [sctp, { ...sctp, dport: 90 }],
      no: [{}, { ...sctp, dport: 91 }],
    },
    {
      rule: { protocol: { name: "tcp" }, dstPorts: [{ first: 0, last: 65535 }] },
      yes: [{}],
      no: [udp],
    },
  ],
  notSrcPorts: [
    {
      rule: { protocol: { name: "tcp" }, notSrcPorts: [{ first: 40000, last: 40000 }] },
      yes: [{ sport: 1 }],
      no: [{}, udp],
    },
    {
      rule: { notSrcPorts: [{ first: 40000, last: 41000 }] },
      yes: [{ sport: 1 }, { ...udp, sport: 2 }],
      no: [{}, gre, icmp],
    },
    {
      rule: { protocol: { number: 47 }, notSrcPorts: [{ first: 1, last: 1 }] },
      yes: [],
      no: [gre],
    },
  ],
  notDstPorts: [
    {
      rule: {
        protocol: { name: "tcp" },
        notDstPorts: [
          { first: 80, last: 90 },
          { first: 100, last: 100 },
        ],
      },
      yes: [{ dport: 91 }],
      no: [{}, { dport: 100 }, { ...udp, dport: 1 }],
    },
  ],
  icmp: [
    {
      rule: { icmp: { type: 8 } },
      yes: [icmp, { ...icmp, icmpCode: 3 }],
      no: [{ ...icmp, icmpType: 0 }, {}, icmp6],
    },
    {
      rule: { protocol: { name: "icmp" }, icmp: { type: 8, code: 0 } },
      yes: [icmp],
      no: [{ ...icmp, icmpCode: 1 }, icmp6],
    },
    {
      rule: { protocol: { name: "icmpv6" }, icmp: { type: 128 } },
      yes: [icmp6],
      no: [icmp, { ...icmp6, icmpType: 8 }],
    },
    {
      rule: { icmp: { type: 128 } },
      yes: [icmp6, { ...icmp, icmpType: 128 }],
      no: [{ ...v6, protocol: 1, icmpType: 128 }],
    },
  ],
  notIcmp: [
    {
      rule: { protocol: { name: "icmp" }, notIcmp: { type: 8 } },
      yes: [{ ...icmp, icmpType: 3 }],
      no: [icmp, {}, icmp6],
    },
    {
      rule: { notIcmp: { type: 8, code: 0 } },
      yes: [{ ...icmp, icmpCode: 1 }, { ...icmp, icmpType: 0 }, icmp6],
      no: [icmp, {}],
    },
  ],
  srcIpSetIds: [
    {
      rule: { srcIpSetIds: ["s:hosts"] },
      yes: [{}, v6],
      no: [{ src: "10.0.0.2" }, { ...v6, src: "fd00::2" }],
    },
    {
      rule: { srcIpSetIds: ["s:mixed"] },
      yes: [{ src: "10.0.0.9" }, { src: "10.0.0.15" }, { ...v6, src: "fd01::1" }, v6],
      no: [{ src: "10.0.0.16" }],
    },
    { rule: { srcIpSetIds: ["s:hosts", "s:mixed"] }, yes: [{}, v6], no: [{ src: "10.0.0.2" }] },
    { rule: { srcIpSetIds: ["s:empty"] }, yes: [], no: [{}, v6] },
    { rule: { srcIpSetIds: ["s:all4"] }, yes: [{}, { src: "255.255.255.255" }], no: [v6] },
    { rule: { srcIpSetIds: ["s:ip"] }, yes: [{}], no: [{ src: "10.0.0.2" }] },
  ],
  dstIpSetIds: [
    { rule: { dstIpSetIds: ["s:ip"] }, yes: [{}], no: [{ dst: "10.65.0.3" }] },
    {
      rule: { srcIpSetIds: ["s:mixed"], dstIpSetIds: ["s:mixed"] },
      yes: [{ dst: "10.0.0.9" }],
      no: [{}],
    },
    {
      rule: { srcIpSetIds: ["s:mixed", "s:mixed"], dstIpSetIds: ["s:mixed"] },
      yes: [{ dst: "10.0.0.9" }, { dst: "10.0.0.3" }],
      no: [{}],
    },
  ],
  notSrcIpSetIds: [
    {
      rule: { notSrcIpSetIds: ["s:mixed"] },
      yes: [{ src: "10.0.0.16" }, { ...v6, src: "fd02::1" }],
      no: [{}, v6, { src: "10.0.0.9" }],
    },
    { rule: { notSrcIpSetIds: ["s:empty"] }, yes: [{}, v6], no: [] },
  ],
  notDstIpSetIds: [
    {
      rule: { notDstIpSetIds: ["s:ip", "s:hosts"] },
      yes: [{ dst: "10.65.0.3" }],
      no: [{}, { ...v6, dst: "fd00::1" }],
    },
  ],
  srcNamedPortIpSetIds: [
    {
      rule: { srcNamedPortIpSetIds: ["n:src"] },
      yes: [{}, { ...v6, ...udp }],
      no: [v6, { sport: 1 }, gre],
    },
  ],
  dstNamedPortIpSetIds: [
    {
      rule: { protocol: { name: "tcp" }, dstNamedPortIpSetIds: ["n:dst"] },
      yes: [{}, v6],
      no: [{ dport: 81 }, udp, { ...sctp, dport: 99 }],
    },
    {
      rule: {
        protocol: { name: "tcp" },
        dstPorts: [{ first: 443, last: 443 }],
        dstNamedPortIpSetIds: ["n:dst"],
      },
      yes: [{}, { dport: 443 }],
      no: [{ dport: 81 }],
    },
    {
      rule: {
        srcIpSetIds: ["s:mixed"],
        dstIpSetIds: ["s:all4"],
        dstPorts: [{ first: 443, last: 443 }],
        dstNamedPortIpSetIds: ["n:dst"],
      },
      yes: [{}, { dport: 443 }, { src: "10.0.0.9" }],
      no: [{ dport: 81 }, { src: "10.9.9.9" }, v6],
    },
  ],
  notSrcNamedPortIpSetIds: [
    {
      rule: { notSrcNamedPortIpSetIds: ["n:src"] },
      yes: [{ sport: 1 }, gre, icmp, v6, icmp6],
      no: [{}, { ...v6, ...udp }],
    },
  ],
  notDstNamedPortIpSetIds: [
    {
      rule: { protocol: { name: "tcp" }, notDstNamedPortIpSetIds: ["n:dst"] },
      yes: [{ dport: 81 }],
      no: [{}, udp],
    },
    {
      rule: { protocol: { number: 47 }, notDstNamedPortIpSetIds: ["n:dst"] },
      yes: [gre],
      no: [{}],
    },
    {
      rule: { notSrcNamedPortIpSetIds: ["n:src"], notDstNamedPortIpSetIds: ["n:dst"] },
      yes: [{ sport: 1, dport: 81 }, gre],
      no: [{ sport: 1 }, { dport: 81 }],
    },
  ],
  dstIpPortSetIds: [
    {
      rule: { dstIpPortSetIds: ["n:dst"] },
      yes: [{}, v6, { ...sctp, dport: 99 }],
      no: [{ dport: 81 }, udp, gre],
    },
  ],
};

function matches(
  rule: Omit<TestRule, "action">,
  action: "allow" | "deny",
  packet: TestPacket,
  maxIdentities: number,
): boolean {
  const world = new NftWorld({}, { maxIdentities });
  world.send(
    ...IP_SETS,
    policyUpdate(gnp("p"), [{ ...rule, action }]),
    policyUpdate(gnp("q"), [{ action: action === "allow" ? "deny" : "allow" }]),
    profileUpdate("open"),
    wepUpdate("a", {
      ipv6Nets: ["fd65::2/128"],
      tiers: [tier("default", [gnp("p"), gnp("q")])],
      profileIds: ["open"],
    }),
  );
  world.flush();
  return (runForward(world.table, packet).verdict === "accept") === (action === "allow");
}

describe("rule matches in the table", () => {
  for (const [field, cases] of Object.entries(CASES)) {
    for (const { rule, yes, no } of cases) {
      it(`${field}: ${JSON.stringify(rule)}`, () => {
        for (const action of ["allow", "deny"] as const) {
          for (const maxIdentities of [-1, Infinity]) {
            const said = (packet: Partial<TestPacket>): boolean =>
              matches(rule, action, { ...TCP, ...packet }, maxIdentities);
            for (const packet of yes) assert.equal(said(packet), true, JSON.stringify(packet));
            for (const packet of no) assert.equal(said(packet), false, JSON.stringify(packet));
          }
        }
      });
    }
  }

  it("covers every field that a rule can match on", () => {
    assert.deepEqual(new Set(Object.keys(CASES)), new Set([...MATCH_FIELDS, "no condition"]));
  });
});
