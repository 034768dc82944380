/**
 * The rules that need no chain: who is at the other end (one IP set, or anybody), which protocol,
 * which destination ports, and then Allow or Deny. Such a rule is a few elements of a map that is
 * asked once for all rules (see `segments.ts`), so a packet's cost does not grow with their number.
 * What else a rule may say (CIDRs, negations, source ports, long ranges, ICMP types, Log, Pass)
 * needs a chain, and so does then the whole list.
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

/** Undefined: the list needs a chain. */
export function flatten(rules: readonly Rule[], direction: Direction): FlatRun[] | undefined {
  const runs: { action: FlatRun["action"]; rules: FlatRule[] }[] = [];
  for (const rule of rules) {
    if (rule.action !== "allow" && rule.action !== "deny") return undefined;
    const flat = flatRule(rule, direction);
    if (flat === undefined) return undefined;
    const last = runs.at(-1);
    if (last?.action === rule.action) last.rules.push(flat);
    else runs.push({ action: rule.action, rules: [flat] });
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

function flatRule(rule: Rule, direction: Direction): FlatRule | undefined {
  for (const [field, value] of Object.entries(rule)) {
    if (FLAT_FIELDS.has(field) || value === undefined) continue;
    if (!Array.isArray(value) || value.length > 0) return undefined;
  }
  const { srcIpSetIds = [], dstIpSetIds = [] } = rule;
  const [peers, own] =
    direction === "ingress" ? [srcIpSetIds, dstIpSetIds] : [dstIpSetIds, srcIpSetIds];
  if (peers.length > 1 || own.length > 0) return undefined;
  const tails = tailsOf(rule.protocol, rule.dstPorts ?? []);
  return tails === undefined ? undefined : { peer: peers[0], tails };
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
