/**
 * The rules that need no chain: who is at the other end (one IP set, or anybody), which protocol,
 * which destination ports, and then Allow or Deny. Such a rule is a few elements of a map that is
 * asked once for all rules (see `segments.ts`), so a packet's cost does not grow with their number.
 * What else a rule may say (CIDRs, negations, source ports, long ranges, ICMP types, Log, Pass)
 * needs a chain. Where all rules allow, only those that need it go there, since their order does not
 * matter; else the whole list does.
 */
import type { IpSetId, Protocol, Rule } from "#policy";
import { PORT_PROTOCOLS, protocolNumber } from "./match.ts";
import type { Direction } from "./names.ts";

/** More ports than this in one rule go through an interval set. */
const MAX_PORTS = 16;

/** `protocol << 16 | port`; 0 for either: any. */
export type Tail = number;

interface FlatRule {
  /** Undefined: anybody. */
  readonly peer: IpSetId | undefined;
  readonly tails: readonly Tail[];
}

/** Rules that follow each other and do the same: their order does not matter. */
export interface FlatRun {
  readonly action: "allow" | "deny";
  readonly rules: readonly FlatRule[];
}

function tailOf(protocol: number, port: number): Tail {
  return (protocol << 16) | port;
}

export function protocolOf(tail: Tail): number {
  return tail >>> 16;
}

export function portOf(tail: Tail): number {
  return tail & 0xffff;
}

export interface FlatList {
  readonly runs: readonly FlatRun[];
  /** Rules at their places that need a chain; absent: none does. */
  readonly rest?: readonly (Rule | undefined)[];
}

/** `hasIdentities` tells whether a set may be a rule's peer. Undefined: all rules need a chain. */
export function flatten(
  rules: readonly Rule[],
  direction: Direction,
  hasIdentities: (id: IpSetId) => boolean,
): FlatList | undefined {
  const flat = rules.map((rule) => flatRule(rule, direction, hasIdentities));
  if (flat.every((rule) => rule !== undefined)) return { runs: runsOf(rules, flat) };
  if (!flat.some((rule) => rule !== undefined) || !onlyAllow(rules)) return undefined;
  const run = { action: "allow", rules: flat.filter((rule) => rule !== undefined) } as const;
  return { runs: [run], rest: rules.map((rule, i) => (flat[i] === undefined ? rule : undefined)) };
}

export function onlyAllow(rules: readonly Rule[]): boolean {
  return rules.every(({ action }) => action === "allow");
}

function runsOf(rules: readonly Rule[], flat: readonly FlatRule[]): FlatRun[] {
  const runs: { action: FlatRun["action"]; rules: FlatRule[] }[] = [];
  for (const [i, each] of flat.entries()) {
    const action = rules[i]?.action === "allow" ? "allow" : "deny";
    const last = runs.at(-1);
    if (last?.action === action) last.rules.push(each);
    else runs.push({ action, rules: [each] });
  }
  return runs;
}

export function peersOf(runs: readonly FlatRun[]): Set<IpSetId> {
  const peers = new Set<IpSetId>();
  for (const { rules } of runs) {
    for (const { peer } of rules) if (peer !== undefined) peers.add(peer);
  }
  return peers;
}

export function sameRuns(a: readonly FlatRun[], b: readonly FlatRun[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ action, rules }, i) => {
      const other = b[i];
      return (
        other?.action === action &&
        rules.length === other.rules.length &&
        rules.every((rule, j) => sameRule(rule, other.rules[j]))
      );
    })
  );
}

function sameRule(a: FlatRule, b: FlatRule | undefined): boolean {
  return (
    b !== undefined &&
    a.peer === b.peer &&
    a.tails.length === b.tails.length &&
    a.tails.every((tail, i) => tail === b.tails[i])
  );
}

/** What a flat rule may say; each list with entries besides needs a chain. */
const FLAT_FIELDS: ReadonlySet<string> = new Set([
  "action",
  "protocol",
  "dstPorts",
  "srcIpSetIds",
  "dstIpSetIds",
  "metadata",
  "ruleId",
  "originalSrcSelector",
  "originalDstSelector",
  "originalNotSrcSelector",
  "originalNotDstSelector",
  "originalSrcNamespaceSelector",
  "originalDstNamespaceSelector",
  "srcServiceAccountMatch",
  "dstServiceAccountMatch",
] satisfies readonly (keyof Rule)[]);

function flatRule(
  rule: Rule,
  direction: Direction,
  hasIdentities: (id: IpSetId) => boolean,
): FlatRule | undefined {
  if (rule.action !== "allow" && rule.action !== "deny") return undefined;
  for (const [field, value] of Object.entries(rule)) {
    if (FLAT_FIELDS.has(field) || value === undefined) continue;
    if (!Array.isArray(value) || value.length > 0) return undefined;
  }
  const { srcIpSetIds = [], dstIpSetIds = [] } = rule;
  const [peers, own] =
    direction === "ingress" ? [srcIpSetIds, dstIpSetIds] : [dstIpSetIds, srcIpSetIds];
  const [peer] = peers;
  if (peers.length > 1 || own.length > 0) return undefined;
  if (peer !== undefined && !hasIdentities(peer)) return undefined;
  const tails = tailsOf(rule.protocol, rule.dstPorts ?? []);
  return tails === undefined ? undefined : { peer, tails };
}

function tailsOf(
  protocol: Protocol | undefined,
  ranges: NonNullable<Rule["dstPorts"]>,
): Tail[] | undefined {
  if (protocol === undefined) return ranges.length === 0 ? [tailOf(0, 0)] : undefined;
  const number = protocolNumber(protocol);
  // 0 would read as any protocol.
  if (number === 0) return undefined;
  if (ranges.length === 0) return [tailOf(number, 0)];
  if (!PORT_PROTOCOLS.includes(number)) return undefined;
  const tails = new Set<Tail>();
  for (const { first, last } of ranges) {
    // Port 0 would read as any port; a range that is not one never matches, as a chain can say.
    if (first < 1 || last < first || last > 0xffff || last - first >= MAX_PORTS) return undefined;
    for (let port = first; port <= last; port++) tails.add(tailOf(number, port));
  }
  return tails.size <= MAX_PORTS ? [...tails] : undefined;
}
