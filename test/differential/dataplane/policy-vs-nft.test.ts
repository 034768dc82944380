/**
 * `evaluateForward` and the nf_tables rules are two readings of the same messages: random policies
 * over every match field, random packets aimed at them, equal verdicts; whether the compiler is left
 * its choice between chains and maps, or is forced to either.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { ToDataplane, WorkloadEndpoint } from "#calc";
import { parseIp } from "#ip";
import type { Expr } from "#netlink";
import {
  describePacket,
  evaluateForward,
  parsePacket,
  PolicyState,
  type FlowEnd,
  type PacketText,
  type PolicyId,
} from "#policy";
import { runForward, runInput, type TestPacket } from "../../support/nft-interpreter.ts";
import type { MemoryNftTable } from "../../support/nft-memory-table.ts";
import {
  ipSetUpdate,
  NftWorld,
  policyUpdate,
  profileUpdate,
  tier,
  wepUpdate,
  type TestRule,
} from "../../support/nft-world.ts";

const ADDRESSES_4 = ["10.65.0.1", "10.65.0.2", "10.0.0.1", "10.0.0.2", "10.1.0.1", "192.0.2.7"];
const ADDRESSES_6 = ["fd65::1", "fd65::2", "fd00::1", "fd00::2", "fd01::1", "2001:db8::7"];
const NETS = [
  "10.65.0.1/32",
  "10.65.0.0/16",
  "10.0.0.0/8",
  "10.0.0.0/30",
  "10.1.0.0/16",
  "0.0.0.0/0",
  "192.0.2.0/24",
  "fd65::1/128",
  "fd65::/16",
  "fd00::/8",
  "fd00::/126",
  "fd01::/16",
  "::/0",
  "2001:db8::/32",
];
const PORTS = [1, 53, 80, 81, 443, 4789, 65535];
const RANGES = [
  { first: 80, last: 80 },
  { first: 80, last: 443 },
  { first: 1, last: 79 },
  { first: 443, last: 65535 },
  { first: 53, last: 53 },
];
const PROTOCOLS = [
  { name: "tcp" },
  { name: "udp" },
  { name: "sctp" },
  { name: "icmp" },
  { name: "icmpv6" },
  { name: "udplite" },
  { number: 47 },
  { number: 6 },
  { number: 33 },
];
const NUMBERS = [1, 4, 6, 17, 33, 47, 58, 132, 136];
const ICMP = [
  { type: 8 },
  { type: 8, code: 0 },
  { type: 128 },
  { type: 128, code: 1 },
  { type: 135 },
];
const METADATA = { address: "192.0.2.7", port: 80 };
const SETS = ["s:hosts", "s:nets", "s:both", "s:none"];
/** Of single addresses only. */
const HOST_SETS = ["s:hosts", "s:web", "s:db", "s:none"];
const PORT_SETS = ["n:one", "n:two"];
const MEMBERS = [...ADDRESSES_4, ...ADDRESSES_6].map((ip) =>
  ip.includes(":") ? `${ip}/128` : `${ip}/32`,
);
const PORT_MEMBERS = [...ADDRESSES_4, ...ADDRESSES_6].flatMap((ip) => [
  `${ip},tcp:80`,
  `${ip},udp:53`,
  `${ip},sctp:443`,
]);

const POLICIES: readonly PolicyId[] = [
  { kind: "GlobalNetworkPolicy", namespace: "", name: "a" },
  { kind: "NetworkPolicy", namespace: "default", name: "b" },
  { kind: "KubernetesNetworkPolicy", namespace: "default", name: "c" },
  { kind: "StagedNetworkPolicy", namespace: "default", name: "d" },
  { kind: "GlobalNetworkPolicy", namespace: "", name: "e" },
];

/** Absent, or a few of the values: rules with many conditions never match. */
const few = <T>(values: readonly T[], most = 2): fc.Arbitrary<T[]> =>
  fc.subarray([...values], { minLength: 1, maxLength: most });

const CONDITIONS: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  ipVersion: fc.constantFrom(4, 6),
  protocol: fc.constantFrom(...PROTOCOLS),
  notProtocol: fc.constantFrom(...PROTOCOLS),
  srcNet: few(NETS, 4),
  dstNet: few(NETS, 4),
  notSrcNet: few(NETS, 3),
  notDstNet: few(NETS, 3),
  srcPorts: few(RANGES),
  dstPorts: few(RANGES),
  notSrcPorts: few(RANGES),
  notDstPorts: few(RANGES),
  icmp: fc.constantFrom(...ICMP),
  notIcmp: fc.constantFrom(...ICMP),
  srcIpSetIds: few(SETS),
  dstIpSetIds: few(SETS),
  notSrcIpSetIds: few(SETS),
  notDstIpSetIds: few(SETS),
  srcNamedPortIpSetIds: few(PORT_SETS),
  dstNamedPortIpSetIds: few(PORT_SETS),
  notSrcNamedPortIpSetIds: few(PORT_SETS),
  notDstNamedPortIpSetIds: few(PORT_SETS),
  dstIpPortSetIds: few(PORT_SETS),
};

const rule: fc.Arbitrary<TestRule> = fc
  .tuple(
    fc.constantFrom("allow", "allow", "deny", "next-tier", "log"),
    fc.subarray(Object.keys(CONDITIONS), { maxLength: 3 }),
  )
  .chain(([action, fields]) =>
    fc
      .record(
        Object.fromEntries(fields.map((field) => [field, CONDITIONS[field] ?? fc.constant(0)])),
      )
      .map((match) => ({ action, ...match })),
  );

/** So many alternatives that they go into chains of their own. */
const wideRule: fc.Arbitrary<TestRule> = fc.record({
  action: fc.constantFrom("allow", "deny", "log"),
  srcIpSetIds: few(SETS),
  dstIpSetIds: few(SETS),
  dstPorts: few(RANGES),
  dstNamedPortIpSetIds: few(PORT_SETS),
});

/** Such as need no chain. */
const flatRule: fc.Arbitrary<TestRule> = fc
  .tuple(
    fc.constantFrom<TestRule["action"]>("allow", "allow", "deny"),
    fc.constantFrom<"srcIpSetIds" | "dstIpSetIds">("srcIpSetIds", "dstIpSetIds"),
    fc.constantFrom(undefined, ...HOST_SETS, ...HOST_SETS),
    fc.constantFrom(undefined, ...PROTOCOLS),
    fc.subarray(PORTS, { maxLength: 2 }),
  )
  .map(([action, side, peer, protocol, ports]) => ({
    action,
    ...(peer === undefined ? {} : { [side]: [peer] }),
    ...(protocol === undefined ? {} : { protocol }),
    ...(protocol === undefined ? {} : { dstPorts: ports.map((port) => range(port)) }),
  }));

const range = (port: number): { first: number; last: number } => ({ first: port, last: port });

const rules = fc.oneof(
  fc.array(fc.oneof({ weight: 4, arbitrary: rule }, wideRule), { maxLength: 4, size: "max" }),
  { weight: 2, arbitrary: fc.array(flatRule, { minLength: 1, maxLength: 5, size: "max" }) },
  // Some need a chain, some do not, and their order does not matter.
  fc
    .array(fc.oneof(rule, flatRule), { minLength: 2, maxLength: 5, size: "max" })
    .map((list) => list.map((each) => ({ ...each, action: "allow" as const }))),
);

const tiers = fc.array(
  fc
    .tuple(
      few(POLICIES, 3),
      few(POLICIES, 3),
      fc.boolean(),
      fc.boolean(),
      fc.constantFrom("Deny", "Deny", "Pass"),
    )
    .map(([ingress, egress, noIngress, noEgress, action]) =>
      tier("t", noIngress ? [] : ingress, noEgress ? [] : egress, action),
    ),
  { maxLength: 3, size: "max" },
);

const endpoint = fc.record({
  tiers,
  profileIds: fc.subarray(["one", "two", "missing"], { maxLength: 2 }),
  state: fc.constantFrom(...Array<string>(9).fill("active"), "inactive"),
});

const state = fc.record({
  policies: fc.array(fc.tuple(rules, rules), {
    minLength: POLICIES.length,
    maxLength: POLICIES.length,
  }),
  profiles: fc.tuple(rules, rules, rules, rules),
  a: endpoint,
  b: endpoint,
  hosts: few(MEMBERS, 12),
  web: few(MEMBERS, 6),
  db: few(MEMBERS, 6),
  nets: few(NETS, 12),
  both: few([...MEMBERS, ...NETS], 20),
  ports: fc.tuple(few(PORT_MEMBERS, 30), few(PORT_MEMBERS, 30)),
  toHost: fc.constantFrom("Drop", "Return", "Accept"),
  ipv6: fc.constantFrom(true, true, true, false),
  openStack: fc.constantFrom(false, false, true),
});

const packet = fc.record({
  family: fc.constantFrom(4, 6),
  src: fc.nat(5),
  dst: fc.nat(5),
  protocol: fc.constantFrom(...NUMBERS),
  srcPort: fc.constantFrom(...PORTS),
  dstPort: fc.constantFrom(...PORTS),
  icmpType: fc.constantFrom(8, 128, 135, 0),
  icmpCode: fc.constantFrom(0, 1),
  toHost: fc.constantFrom(true, false, false, false, false),
});

const RUNS_FACTOR = process.env["MARGAY_TEST_LONG"] === "1" ? 10 : 1;

type Of<T> = T extends fc.Arbitrary<infer V> ? V : never;
type State = Of<typeof state>;

function messagesOf(given: State): ToDataplane[] {
  const own = (n: number): Partial<WorkloadEndpoint> => ({
    ipv4Nets: [`10.65.0.${n}/32`],
    ipv6Nets: [`fd65::${n}/128`],
  });
  return [
    ipSetUpdate("s:hosts", given.hosts),
    ipSetUpdate("s:nets", given.nets),
    ipSetUpdate("s:both", given.both),
    ipSetUpdate("s:web", given.web),
    ipSetUpdate("s:db", given.db),
    ipSetUpdate("s:none", []),
    ipSetUpdate("n:one", given.ports[0], "IP_AND_PORT"),
    ipSetUpdate("n:two", given.ports[1], "IP_AND_PORT"),
    ...POLICIES.map((id, i) =>
      policyUpdate(id, given.policies[i]?.[0] ?? [], given.policies[i]?.[1] ?? []),
    ),
    profileUpdate("one", given.profiles[0], given.profiles[1]),
    profileUpdate("two", given.profiles[2], given.profiles[3]),
    wepUpdate("1", { ...given.a, ...own(1) }),
    wepUpdate("2", { ...given.b, ...own(2) }),
  ];
}

/** The reference's state from the same messages. */
function policyStateOf(messages: readonly ToDataplane[]): PolicyState {
  const result = new PolicyState();
  for (const message of messages) {
    if (message.case === "ipsetUpdate") {
      result.ipSets.replace(message.value.id, message.value.type, message.value.members);
    } else if (message.case === "activePolicyUpdate") {
      result.setPolicy(message.value.id, message.value.policy);
    } else if (message.case === "activeProfileUpdate") {
      result.setProfile(message.value.id.name, message.value.profile);
    }
  }
  return result;
}

const WITH_PORTS = new Set([6, 17, 33, 132, 136]);

function textOf(of: Of<typeof packet>): PacketText {
  const addresses = of.family === 4 ? ADDRESSES_4 : ADDRESSES_6;
  const { protocol, srcPort, dstPort, icmpType, icmpCode } = of;
  const ports = WITH_PORTS.has(protocol) ? { srcPort, dstPort } : {};
  const icmp = protocol === (of.family === 4 ? 1 : 58) ? { icmpType, icmpCode } : {};
  return {
    src: addresses[of.src] ?? "",
    dst: addresses[of.dst] ?? "",
    protocol,
    ...ports,
    ...icmp,
  };
}

let allowed = 0;
let compared = 0;
let flat = 0;

/** Chains alone; as the compiler likes, with few identities and with many; maps wherever possible. */
const CHOICES = [-1, 1, 256, Infinity];

/** `spoil`: what is done to each table before packets run through it. */
function check(
  given: State,
  packets: readonly Of<typeof packet>[],
  spoil: (table: MemoryNftTable) => void = () => {},
): void {
  const messages = messagesOf(given);
  const worlds = CHOICES.map((maxIdentities) => {
    const world = new NftWorld(
      {
        defaultEndpointToHostAction: given.toHost as "Drop",
        ipv6Support: given.ipv6,
        openStackSpecialCasesEnabled: given.openStack,
        openStackMetadataAddr: METADATA.address,
        openStackMetadataPort: METADATA.port,
      },
      { maxIdentities },
    );
    world.send(...messages).flush();
    spoil(world.table);
    return { maxIdentities, table: world.table };
  });
  const [chains, ...others] = worlds.map(({ table }) =>
    ["peer", "peer-protocol", "peer-port"].some((set) => table.sets.get(set)?.elements.size !== 0),
  );
  assert.equal(chains, false, "forced to chains");
  if (others.includes(true)) flat++;
  const lookups = policyStateOf(messages);
  const ends: Readonly<Record<number, FlowEnd & { kind: "workload" }>> = {
    0: { kind: "workload", program: { ...given.a, lookups, disabled: given.a.state !== "active" } },
    1: { kind: "workload", program: { ...given.b, lookups, disabled: given.b.state !== "active" } },
  };
  const options = {
    endpointToHost: given.toHost.toLowerCase() as "drop",
    deniedVxlanPort: 4789,
    ipv6: given.ipv6,
    ...(given.openStack
      ? { openStack: { metadata: { ...METADATA, address: parseIp(METADATA.address) } } }
      : {}),
  };
  for (const of of packets) {
    const text = textOf(of);
    const source: FlowEnd = ends[of.src] ?? { kind: "outside" };
    const target: FlowEnd = of.toHost ? { kind: "host" } : (ends[of.dst] ?? { kind: "outside" });
    if (of.toHost && source.kind !== "workload") continue;
    // Nothing of an inactive endpoint is believed, not even its addresses.
    if (source.kind === "workload" && source.program.disabled === true) continue;
    const expected = evaluateForward(parsePacket(text), source, target, options);
    const run: TestPacket = {
      src: text.src,
      dst: text.dst,
      protocol: of.protocol,
      ...(text.srcPort === undefined ? {} : { sport: of.srcPort, dport: of.dstPort }),
      ...(text.icmpType === undefined ? {} : { icmpType: of.icmpType, icmpCode: of.icmpCode }),
      iifname: source.kind === "workload" ? `cali${of.src + 1}` : "eth0",
      oifname: target.kind === "workload" ? `cali${of.dst + 1}` : "eth1",
    };
    for (const { maxIdentities, table } of worlds) {
      const actual = of.toHost ? runInput(table, run) : runForward(table, run);
      assert.equal(
        actual.verdict === "accept" ? "allow" : "deny",
        expected.verdict,
        `${maxIdentities}: ${describePacket(parsePacket(text))} ${expected.reason} ${actual.hits.join(" | ")}`,
      );
      assert.equal(actual.mark, 0);
    }
    compared++;
    if (expected.verdict === "allow") allowed++;
  }
}

type CmpOp = (Expr & { type: "cmp" })["op"];
const INVERSE = { eq: "neq", neq: "eq", lt: "gte", gte: "lt", gt: "lte", lte: "gt" } as const;

/** What a compiler would write that got one comparison the wrong way round. */
function invertComparisons(table: MemoryNftTable, op: CmpOp): void {
  for (const chain of table.chains.values()) {
    if (!/^(r[\d.]+-)?p[io]-/.test(chain.name)) continue;
    const rules = chain.rules.map((rule) => ({
      ...rule,
      exprs: rule.exprs.map((expr) =>
        expr.type === "cmp" && expr.op === op ? { ...expr, op: INVERSE[op] } : expr,
      ),
    }));
    table.chains.set(chain.name, { ...chain, rules });
  }
}

describe("policy in nf_tables", () => {
  it("decides as evaluate does, for 12,000 random flows", () => {
    const packets = fc.array(packet, { minLength: 60, maxLength: 60 });
    fc.assert(
      fc.property(state, packets, (given, flows) => check(given, flows)),
      { numRuns: RUNS_FACTOR * 300 },
    );
    assert.ok(compared > 12_000, `${compared} flows compared`);
    const share = allowed / compared;
    assert.ok(flat > RUNS_FACTOR * 40, `${flat} states had rules in maps`);
    assert.ok(share > 0.15 && share < 0.85, `both verdicts are common: ${share} allowed`);
  });

  for (const op of ["eq", "neq", "gte", "lte"] as const) {
    it(`a compiler that turns ${op} round is caught`, () => {
      const packets = fc.array(packet, { minLength: 60, maxLength: 60 });
      const samples = fc.sample(fc.tuple(state, packets), { numRuns: 60, seed: 1 });
      const caught = samples.filter(([given, flows]) => {
        try {
          check(given, flows, (table) => invertComparisons(table, op));
          return false;
        } catch (error) {
          if (error instanceof assert.AssertionError) return true;
          throw error;
        }
      });
      assert.ok(caught.length > 0, "no flow told");
    });
  }
});
