/**
 * The match of one policy rule for one family, as a conjunction of clauses. A clause with one
 * alternative is a list of expressions; several alternatives ("10.0.0.1 in the hash set, or in the
 * interval set") need as many rules, for an nf_tables rule knows only AND.
 *
 * Meaning as in Felix (FilterRuleToIPVersion, CalculateRuleMatch): CIDRs of the other family do not
 * count, and a rule loses a family when that empties one of its CIDR lists; a negated `0.0.0.0/0` or
 * `::/0` drops the rule for its family; ports match only protocols that have ports.
 */
import { tryParseCidrOrIp, type Cidr, type IpFamily } from "#ip";
import type { Expr } from "#netlink";
import type { PortRange, Protocol, Rule } from "#policy";
import { inputError } from "#std";
import {
  addressInCidr,
  addressInSet,
  endpointInSet,
  familyIs,
  icmpIs,
  IPPROTO,
  portInRange,
  portInSet,
  protocolInSet,
  protocolIs,
  type Side,
} from "./exprs.ts";
import type { IpSetShape } from "./ip-sets.ts";
import { mergeRanges, netsLiteral, portsLiteral, type LiteralSet } from "./literal-sets.ts";
import { sets } from "./names.ts";

export interface MatchContext {
  /** Families that rules are written for. */
  families(): readonly IpFamily[];
  /** Undefined: not known, or not usable; the rule's policy then fails closed. */
  ipSet(id: string, family: IpFamily): IpSetShape | undefined;
}

export interface Match {
  /** Tells the family, which `fixed` begins with; lets nft print the addresses that follow. */
  readonly family: readonly Expr[];
  /** All must hold. */
  readonly fixed: readonly Expr[];
  /** Of each, one must hold; none has fewer than two. */
  readonly choices: readonly (readonly (readonly Expr[])[])[];
  readonly literals: readonly LiteralSet[];
}

/** Protocols whose header begins with source and destination port. */
export const PORT_PROTOCOLS: readonly number[] = [
  IPPROTO.tcp,
  IPPROTO.udp,
  IPPROTO.dccp,
  IPPROTO.sctp,
  IPPROTO.udplite,
];

/** One match per family that the rule can match; a rule without addresses needs only one for both. */
export function matchesOf(rule: Rule, context: MatchContext): Match[] {
  const matches: Match[] = [];
  const families = namesFamily(rule) ? context.families() : [undefined];
  for (const family of families) {
    if (rule.ipVersion !== undefined && family !== rule.ipVersion) continue;
    const match = new MatchBuilder(rule, family, context).build();
    if (match !== undefined) matches.push(match);
  }
  return matches;
}

/** The IP sets that the rule names. */
export function ipSetIdsOf(rule: Rule): string[] {
  return [
    ...(rule.srcIpSetIds ?? []),
    ...(rule.dstIpSetIds ?? []),
    ...(rule.srcNamedPortIpSetIds ?? []),
    ...(rule.dstNamedPortIpSetIds ?? []),
    ...(rule.dstIpPortSetIds ?? []),
    ...(rule.notSrcIpSetIds ?? []),
    ...(rule.notDstIpSetIds ?? []),
    ...(rule.notSrcNamedPortIpSetIds ?? []),
    ...(rule.notDstNamedPortIpSetIds ?? []),
  ];
}

function namesFamily(rule: Rule): boolean {
  if (rule.ipVersion !== undefined || rule.icmp !== undefined || rule.notIcmp !== undefined)
    return true;
  const nets = [rule.srcNet, rule.dstNet, rule.notSrcNet, rule.notDstNet];
  return nets.some((list) => some(list)) || ipSetIdsOf(rule).length > 0;
}

class MatchBuilder {
  readonly #rule: Rule;
  readonly #family: IpFamily | undefined;
  readonly #context: MatchContext;
  readonly #protocol: number | undefined;
  readonly #fixed: Expr[] = [];
  readonly #choices: (readonly (readonly Expr[])[])[] = [];
  readonly #literals: LiteralSet[] = [];
  #never = false;

  constructor(rule: Rule, family: IpFamily | undefined, context: MatchContext) {
    this.#rule = rule;
    this.#family = family;
    this.#context = context;
    this.#protocol = rule.protocol && protocolNumber(rule.protocol);
  }

  /** Cheap and selective tests first. Undefined: no packet of this family can match. */
  build(): Match | undefined {
    const rule = this.#rule;
    if (this.#family !== undefined) this.#all(familyIs(this.#family));
    this.#protocols();
    this.#icmp();
    this.#ports("src", rule.srcPorts, rule.srcNamedPortIpSetIds);
    this.#ports("dst", rule.dstPorts, rule.dstNamedPortIpSetIds);
    this.#notPorts("src", rule.notSrcPorts);
    this.#notPorts("dst", rule.notDstPorts);
    this.#nets("src", rule.srcNet, rule.notSrcNet);
    this.#nets("dst", rule.dstNet, rule.notDstNet);
    if (this.#never) return undefined;
    this.#notNamedPorts();
    this.#ipSets("src", rule.srcIpSetIds, rule.notSrcIpSetIds);
    this.#ipSets("dst", rule.dstIpSetIds, rule.notDstIpSetIds);
    for (const id of rule.dstIpPortSetIds ?? []) this.#all(this.#endpointSet("dst", id));
    if (this.#never) return undefined;
    return {
      family: this.#family === undefined ? [] : familyIs(this.#family),
      fixed: this.#fixed,
      choices: this.#choices,
      literals: this.#literals,
    };
  }

  #all(exprs: readonly Expr[]): void {
    this.#fixed.push(...exprs);
  }

  #any(alternatives: readonly (readonly Expr[])[]): void {
    const [only] = alternatives;
    if (only === undefined) this.#never = true;
    else if (alternatives.length === 1) this.#all(only);
    else this.#choices.push(alternatives);
  }

  #protocols(): void {
    const { notProtocol } = this.#rule;
    if (this.#protocol !== undefined) this.#all(protocolIs(this.#protocol));
    if (notProtocol !== undefined) this.#all(protocolIs(protocolNumber(notProtocol), true));
  }

  /** A type belongs to the family's own ICMP, whatever the rule calls its protocol. */
  #icmp(): void {
    const { icmp, notIcmp } = this.#rule;
    if (icmp === undefined && notIcmp === undefined) return;
    const icmpOfFamily = this.#family === 6 ? IPPROTO.icmpv6 : IPPROTO.icmp;
    if (this.#protocol === undefined) this.#all(protocolIs(icmpOfFamily));
    else if (this.#protocol !== icmpOfFamily) this.#never = true;
    if (icmp !== undefined) this.#all(icmpIs(icmp.type, icmp.code));
    if (notIcmp !== undefined) this.#all(icmpIs(notIcmp.type, notIcmp.code, true));
  }

  #hasPortProtocol(): boolean {
    return this.#protocol !== undefined && PORT_PROTOCOLS.includes(this.#protocol);
  }

  /** What makes a port readable: nothing if the protocol is known to have ports. Undefined: never. */
  #portGuard(): readonly Expr[] | undefined {
    if (this.#protocol === undefined) return protocolInSet(sets.portProtocols);
    return this.#hasPortProtocol() ? [] : undefined;
  }

  #ports(side: Side, ranges: readonly PortRange[] = [], namedIds: readonly string[] = []): void {
    if (ranges.length === 0 && namedIds.length === 0) return;
    const alternatives: (readonly Expr[])[] = [];
    const guard = this.#portGuard();
    if (ranges.length > 0 && guard !== undefined) {
      alternatives.push([...guard, ...this.#portsIn(side, ranges, false)]);
    }
    for (const id of namedIds) alternatives.push(this.#endpointSet(side, id));
    this.#any(alternatives);
  }

  #notPorts(side: Side, ranges: readonly PortRange[] = []): void {
    if (ranges.length === 0) return;
    const guard = this.#portGuard();
    if (guard === undefined) this.#never = true;
    else this.#all([...guard, ...this.#portsIn(side, ranges, true)]);
  }

  #portsIn(side: Side, ranges: readonly PortRange[], negated: boolean): Expr[] {
    const [only, ...others] = mergeRanges(ranges);
    if (only !== undefined && others.length === 0) {
      return portInRange(side, only.first, only.last, negated);
    }
    return portInSet(side, this.#literal(portsLiteral(ranges)), negated);
  }

  /** A packet without ports is in no named port, so it matches the negation. */
  #notNamedPorts(): void {
    const inside: Expr[] = [];
    for (const side of ["src", "dst"] as const) {
      const ids =
        side === "src" ? this.#rule.notSrcNamedPortIpSetIds : this.#rule.notDstNamedPortIpSetIds;
      for (const id of ids ?? []) inside.push(...this.#endpointSet(side, id, true));
    }
    if (inside.length === 0) return;
    if (this.#hasPortProtocol()) this.#all(inside);
    else if (this.#protocol === undefined) {
      this.#any([
        [...protocolInSet(sets.portProtocols), ...inside],
        protocolInSet(sets.portProtocols, true),
      ]);
    }
  }

  #nets(side: Side, nets: readonly string[] = [], notNets: readonly string[] = []): void {
    const family = this.#family;
    if (family === undefined) return;
    if (nets.length > 0) {
      const cidrs = cidrsOf(nets, family);
      const [only, ...others] = cidrs;
      if (only === undefined) this.#never = true;
      else if (cidrs.every((cidr) => cidr.prefixLen > 0)) {
        this.#all(
          others.length === 0
            ? addressInCidr(side, only)
            : addressInSet(family, side, this.#literal(netsLiteral(family, cidrs))),
        );
      }
    }
    if (notNets.length > 0) this.#notNets(side, cidrsOf(notNets, family), family);
  }

  #notNets(side: Side, cidrs: readonly Cidr[], family: IpFamily): void {
    const [only, ...others] = cidrs;
    if (only === undefined || cidrs.some((cidr) => cidr.prefixLen === 0)) this.#never = true;
    else if (others.length === 0) this.#all(addressInCidr(side, only, true));
    else this.#all(addressInSet(family, side, this.#literal(netsLiteral(family, cidrs)), true));
  }

  #ipSets(side: Side, ids: readonly string[] = [], notIds: readonly string[] = []): void {
    const family = this.#family;
    if (family === undefined) return;
    for (const id of ids) {
      const { name, netsName } = this.#shape(id, family);
      const alternatives = [addressInSet(family, side, name)];
      if (netsName !== undefined) alternatives.push(addressInSet(family, side, netsName));
      this.#any(alternatives);
    }
    for (const id of notIds) {
      const { name, netsName } = this.#shape(id, family);
      this.#all(addressInSet(family, side, name, true));
      if (netsName !== undefined) this.#all(addressInSet(family, side, netsName, true));
    }
  }

  #endpointSet(side: Side, id: string, negated = false): Expr[] {
    if (this.#family === undefined)
      throw unusable("IP set in a rule without family", { ipSet: id });
    const { name, type } = this.#shape(id, this.#family, true);
    if (type !== "IP_AND_PORT") throw unusable(`IP set ${id} has no ports`, { ipSet: id });
    return endpointInSet(this.#family, side, name, negated);
  }

  #shape(id: string, family: IpFamily, withPorts = false): IpSetShape {
    const shape = this.#context.ipSet(id, family);
    if (shape === undefined) throw unusable(`IP set ${id} is not known`, { ipSet: id });
    if (!withPorts && shape.type === "IP_AND_PORT") {
      throw unusable(`IP set ${id} has ports`, { ipSet: id });
    }
    return shape;
  }

  #literal(literal: LiteralSet): string {
    this.#literals.push(literal);
    return literal.set.name;
  }
}

/** Throws an input error for a protocol that has no number. */
export function protocolNumber(protocol: Protocol): number {
  if ("number" in protocol) {
    if (Number.isInteger(protocol.number) && protocol.number >= 0 && protocol.number <= 255) {
      return protocol.number;
    }
    throw unusable(`protocol ${protocol.number} is not a protocol number`, {});
  }
  const number = protocolNumbers.get(protocol.name.toLowerCase());
  if (number === undefined) throw unusable(`protocol ${protocol.name} is not known`, {});
  return number;
}

const protocolNumbers: ReadonlyMap<string, number> = new Map([
  ["icmp", IPPROTO.icmp],
  ["tcp", IPPROTO.tcp],
  ["udp", IPPROTO.udp],
  ["icmpv6", IPPROTO.icmpv6],
  ["sctp", IPPROTO.sctp],
  ["udplite", IPPROTO.udplite],
]);

function cidrsOf(nets: readonly string[], family: IpFamily): Cidr[] {
  const cidrs: Cidr[] = [];
  for (const text of nets) {
    const cidr = tryParseCidrOrIp(text);
    if (cidr === undefined) throw unusable(`${text} is not a CIDR`, { net: text });
    if (cidr.family === family) cidrs.push(cidr);
  }
  return cidrs;
}

function some(list: readonly unknown[] | undefined): boolean {
  return list !== undefined && list.length > 0;
}

function unusable(message: string, fields: Readonly<Record<string, unknown>>): Error {
  return inputError("unusable-rule", message, { fields });
}
