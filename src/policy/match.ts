/**
 * Whether one rule matches one packet. Each matcher owns the fields of `Rule` that it reads, so a
 * trace can name the first field that failed, and a test can check that no field is forgotten.
 */
import { cidrContainsIp, parseCidrOrIp, type Cidr, type Ip } from "#ip";
import { hasPorts, icmpProtocol, protocolNumber, type Packet } from "./flow.ts";
import type { IpSetMembers } from "./ip-sets.ts";
import type { IcmpMatch, IpSetId, PortRange, Rule } from "./types.ts";

/** What a rule's IP-set ids refer to. */
export type IpSetLookup = (id: IpSetId) => IpSetMembers | undefined;

export type RuleField = keyof Rule;

export type MatchResult =
  /** `fields`: the conditions that held, in order; empty = the rule matches everything. */
  | { readonly matched: true; readonly fields: readonly RuleField[] }
  | { readonly matched: false; readonly failed: RuleField }
  /** The rule cannot be decided: an IP set it names is unknown. Fail closed. */
  | { readonly matched: "undecidable"; readonly field: RuleField; readonly ipSetId: IpSetId };

type Test = (packet: Packet, rule: Rule, sets: SetQuestions) => boolean;

interface Matcher {
  /** Alternatives of each other: the matcher runs when any of them restricts. */
  readonly fields: readonly [RuleField, ...RuleField[]];
  readonly test: Test;
}

const MATCHERS: readonly Matcher[] = [
  { fields: ["ipVersion"], test: (packet, rule) => packet.family === rule.ipVersion },
  {
    fields: ["protocol"],
    test: (packet, { protocol }) => !protocol || packet.protocol === protocolNumber(protocol),
  },
  {
    fields: ["notProtocol"],
    test: (packet, { notProtocol }) =>
      !notProtocol || packet.protocol !== protocolNumber(notProtocol),
  },
  { fields: ["srcNet"], test: (packet, rule) => inNets(packet.src, rule.srcNet) === "inside" },
  {
    fields: ["notSrcNet"],
    test: (packet, rule) => inNets(packet.src, rule.notSrcNet) === "outside",
  },
  { fields: ["dstNet"], test: (packet, rule) => inNets(packet.dst, rule.dstNet) === "inside" },
  {
    fields: ["notDstNet"],
    test: (packet, rule) => inNets(packet.dst, rule.notDstNet) === "outside",
  },
  {
    fields: ["srcIpSetIds"],
    test: (packet, rule, sets) => sets.every(rule.srcIpSetIds, (set) => set.containsIp(packet.src)),
  },
  {
    fields: ["notSrcIpSetIds"],
    test: (packet, rule, sets) =>
      sets.every(rule.notSrcIpSetIds, (set) => !set.containsIp(packet.src)),
  },
  {
    fields: ["dstIpSetIds"],
    test: (packet, rule, sets) => sets.every(rule.dstIpSetIds, (set) => set.containsIp(packet.dst)),
  },
  {
    fields: ["notDstIpSetIds"],
    test: (packet, rule, sets) =>
      sets.every(rule.notDstIpSetIds, (set) => !set.containsIp(packet.dst)),
  },
  {
    fields: ["dstIpPortSetIds"],
    test: (packet, rule, sets) =>
      sets.every(rule.dstIpPortSetIds, (set) => dstInPortSet(packet, set)),
  },
  {
    fields: ["srcPorts", "srcNamedPortIpSetIds"],
    test: (packet, rule, sets) =>
      portInRanges(packet, packet.srcPort, rule.srcPorts) ||
      sets.some(rule.srcNamedPortIpSetIds, (set) => srcInPortSet(packet, set)),
  },
  {
    fields: ["dstPorts", "dstNamedPortIpSetIds"],
    test: (packet, rule, sets) =>
      portInRanges(packet, packet.dstPort, rule.dstPorts) ||
      sets.some(rule.dstNamedPortIpSetIds, (set) => dstInPortSet(packet, set)),
  },
  {
    fields: ["notSrcPorts"],
    test: (packet, rule) =>
      hasPorts(packet.protocol) && !portInRanges(packet, packet.srcPort, rule.notSrcPorts),
  },
  {
    fields: ["notDstPorts"],
    test: (packet, rule) =>
      hasPorts(packet.protocol) && !portInRanges(packet, packet.dstPort, rule.notDstPorts),
  },
  {
    fields: ["notSrcNamedPortIpSetIds"],
    test: (packet, rule, sets) =>
      sets.every(rule.notSrcNamedPortIpSetIds, (set) => !srcInPortSet(packet, set)),
  },
  {
    fields: ["notDstNamedPortIpSetIds"],
    test: (packet, rule, sets) =>
      sets.every(rule.notDstNamedPortIpSetIds, (set) => !dstInPortSet(packet, set)),
  },
  { fields: ["icmp"], test: (packet, { icmp }) => isIcmp(packet) && icmpMatches(packet, icmp) },
  {
    fields: ["notIcmp"],
    test: (packet, { notIcmp }) => isIcmp(packet) && !icmpMatches(packet, notIcmp),
  },
];

/** Fields that say whether a rule matches; every other one names, explains or acts. */
export const MATCH_FIELDS: readonly RuleField[] = MATCHERS.flatMap((matcher) => matcher.fields);

export function matchRule(rule: Rule, packet: Packet, lookup: IpSetLookup): MatchResult {
  const sets = new SetQuestions(lookup);
  const conditions = conditionsOf(rule);
  for (const { field, test } of conditions.list) {
    const holds = test(packet, rule, sets);
    if (sets.missing !== undefined) return { matched: "undecidable", field, ipSetId: sets.missing };
    if (!holds) return { matched: false, failed: field };
  }
  return { matched: true, fields: conditions.fields };
}

interface Conditions {
  readonly list: readonly { readonly field: RuleField; readonly test: Test }[];
  readonly fields: readonly RuleField[];
}

const conditionsByRule = new WeakMap<Rule, Conditions>();

/** Rules are immutable and evaluated often: what restricts them is found once. */
function conditionsOf(rule: Rule): Conditions {
  const known = conditionsByRule.get(rule);
  if (known) return known;
  const list: { field: RuleField; test: Test }[] = [];
  const fields: RuleField[] = [];
  for (const matcher of MATCHERS) {
    const restricting = matcher.fields.filter((field) => restricts(rule, field));
    const [first] = restricting;
    if (first === undefined) continue;
    list.push({ field: first, test: matcher.test });
    fields.push(...restricting);
  }
  const conditions = { list, fields };
  conditionsByRule.set(rule, conditions);
  return conditions;
}

/** An absent or empty list restricts nothing. */
function restricts(rule: Rule, field: RuleField): boolean {
  const value = rule[field];
  return value !== undefined && !(Array.isArray(value) && value.length === 0);
}

/** Questions about several sets, which remember an unknown one. */
class SetQuestions {
  readonly #lookup: IpSetLookup;
  missing: IpSetId | undefined;

  constructor(lookup: IpSetLookup) {
    this.#lookup = lookup;
  }

  every(ids: readonly IpSetId[] | undefined, test: (set: IpSetMembers) => boolean): boolean {
    return (ids ?? []).every((id) => this.#ask(id, test));
  }

  some(ids: readonly IpSetId[] | undefined, test: (set: IpSetMembers) => boolean): boolean {
    return (ids ?? []).some((id) => this.#ask(id, test));
  }

  #ask(id: IpSetId, test: (set: IpSetMembers) => boolean): boolean {
    const set = this.#lookup(id);
    if (set) return test(set);
    this.missing ??= id;
    return false;
  }
}

const parsedNets = new WeakMap<readonly string[], readonly Cidr[]>();

/**
 * A rule holds in one family with that family's blocks only; when none is left of a list that
 * names blocks, the rule says nothing about the family, negated or not, and cannot match.
 */
function inNets(ip: Ip, nets: readonly string[] | undefined): "inside" | "outside" | "no-say" {
  if (!nets) return "no-say";
  let cidrs = parsedNets.get(nets);
  if (!cidrs) {
    cidrs = nets.map(parseCidrOrIp);
    parsedNets.set(nets, cidrs);
  }
  let say: "outside" | "no-say" = "no-say";
  for (const cidr of cidrs) {
    if (cidrContainsIp(cidr, ip)) return "inside";
    if (cidr.family === ip.family) say = "outside";
  }
  return say;
}

function portInRanges(
  packet: Packet,
  port: number | undefined,
  ranges: readonly PortRange[] | undefined,
): boolean {
  if (port === undefined || !ranges || !hasPorts(packet.protocol)) return false;
  return ranges.some(({ first, last }) => first <= port && port <= last);
}

function srcInPortSet(packet: Packet, set: IpSetMembers): boolean {
  const { src, srcPort, protocol } = packet;
  return srcPort !== undefined && set.containsIpPort(src, protocol, srcPort);
}

function dstInPortSet(packet: Packet, set: IpSetMembers): boolean {
  const { dst, dstPort, protocol } = packet;
  return dstPort !== undefined && set.containsIpPort(dst, protocol, dstPort);
}

/** The ICMP of the packet's own family: ICMP over IPv6 has no type that a rule could match. */
function isIcmp(packet: Packet): boolean {
  return packet.protocol === icmpProtocol(packet.family);
}

function icmpMatches(packet: Packet, match: IcmpMatch | undefined): boolean {
  return (
    match !== undefined &&
    packet.icmpType === match.type &&
    (match.code === undefined || packet.icmpCode === match.code)
  );
}
