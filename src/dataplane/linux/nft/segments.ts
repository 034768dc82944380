/**
 * Flat rules of endpoint classes as elements. A segment is a place in a class's chain where one map
 * answers for many rules; its elements say for which identity of the peer, protocol and port:
 *
 *     class . segment . identity . protocol . port    peer-port        the whole key
 *     class . segment . identity . protocol           peer-protocol    any port
 *     class . segment . identity                      peer             any protocol
 *
 * Identity 0 stands for anybody. The elements are at all times a function of the segments' rules and
 * of the identities that have addresses; a change of either costs the elements that it concerns.
 */
import type { NftElement, NftTable } from "#netlink";
import type { IpSetId } from "#policy";
import { u32Host } from "./bytes.ts";
import { portOf, protocolOf, type FlatRun, type Tail } from "./flat-list.ts";
import type { Identities, IdentityChanges, NumberedIdentity } from "./identities.ts";
import { sets } from "./names.ts";

/** Set of the key's length that a rule asks. */
export type PeerSet = typeof sets.peerPort | typeof sets.peerProtocol | typeof sets.peer;

/** What rules a segment needs: each asks one set, for a peer's identity or for anybody. */
export interface Question {
  readonly set: PeerSet;
  readonly anybody: boolean;
}

const ANYBODY: IpSetId = "";
const QUESTIONS: readonly Question[] = [sets.peerPort, sets.peerProtocol, sets.peer].flatMap(
  (set) => [
    { set, anybody: false },
    { set, anybody: true },
  ],
);

export class Segment {
  readonly classId: number;
  readonly ordinal: number;
  runs: readonly FlatRun[] = [];
  /** How many rules say so. */
  readonly tails = new Map<IpSetId, Map<Tail, number>>();

  constructor(classId: number, ordinal: number) {
    this.classId = classId;
    this.ordinal = ordinal;
  }

  /** In a fixed order. */
  questions(): Question[] {
    const asked = new Set<string>();
    for (const [peer, tails] of this.tails) {
      for (const tail of tails.keys()) asked.add(`${setOf(tail)} ${peer === ANYBODY}`);
    }
    return QUESTIONS.filter(({ set, anybody }) => asked.has(`${set} ${anybody}`));
  }
}

type Op = "add" | "remove";

/** In order, for the last one counts; neighbours of one kind are one call. */
type ElementChanges = { readonly op: Op; readonly elements: NftElement[] }[];

export class Segments {
  readonly #identities: Identities;
  readonly #segmentsByPeer = new Map<IpSetId, Set<Segment>>();
  #changes = newChanges();

  constructor(identities: Identities) {
    this.#identities = identities;
  }

  /** The segment has these rules from now on; an empty list gives it up. */
  setRuns(segment: Segment, runs: readonly FlatRun[]): void {
    const before = segment.runs;
    segment.runs = runs;
    // What stays is added before it is removed, so that no element goes and comes back.
    for (const run of runs) if (!before.includes(run)) this.#eachTail(segment, run, "add");
    for (const run of before) if (!runs.includes(run)) this.#eachTail(segment, run, "remove");
  }

  /** Identities came and went; to be called before `setRuns` of the same flush. */
  identitiesChanged({ gone, born }: IdentityChanges): void {
    for (const identity of gone) this.#eachElement(identity, "remove");
    for (const identity of born) this.#eachElement(identity, "add");
  }

  flush(table: NftTable): void {
    for (const [set, changes] of Object.entries(this.#changes)) {
      for (const { op, elements } of changes) {
        if (op === "add") table.addElements(set, elements);
        else table.removeElements(set, elements);
      }
    }
    this.#changes = newChanges();
  }

  #eachElement({ ids, number }: NumberedIdentity, op: Op): void {
    const tailsBySegment = new Map<Segment, Set<Tail>>();
    for (const id of ids) {
      for (const segment of this.#segmentsByPeer.get(id) ?? []) {
        let tails = tailsBySegment.get(segment);
        if (tails === undefined) tailsBySegment.set(segment, (tails = new Set()));
        for (const tail of segment.tails.get(id)?.keys() ?? []) tails.add(tail);
      }
    }
    for (const [segment, tails] of tailsBySegment) {
      for (const tail of tails) this.#element(op, segment, number, tail);
    }
  }

  #eachTail(segment: Segment, { rules }: FlatRun, op: Op): void {
    for (const { peer = ANYBODY, tails } of rules) {
      for (const tail of tails) {
        if (op === "add") this.#addTail(segment, peer, tail);
        else this.#removeTail(segment, peer, tail);
      }
    }
  }

  #addTail(segment: Segment, peer: IpSetId, tail: Tail): void {
    let tails = segment.tails.get(peer);
    if (tails === undefined) {
      segment.tails.set(peer, (tails = new Map()));
      let segments = this.#segmentsByPeer.get(peer);
      if (segments === undefined) this.#segmentsByPeer.set(peer, (segments = new Set()));
      segments.add(segment);
    }
    const rules = tails.get(tail) ?? 0;
    tails.set(tail, rules + 1);
    if (rules === 0) this.#say("add", segment, peer, tail);
  }

  #removeTail(segment: Segment, peer: IpSetId, tail: Tail): void {
    const tails = segment.tails.get(peer);
    const rules = tails?.get(tail) ?? 0;
    if (rules > 1) {
      tails?.set(tail, rules - 1);
      return;
    }
    tails?.delete(tail);
    this.#say("remove", segment, peer, tail);
    if (tails?.size !== 0) return;
    segment.tails.delete(peer);
    const segments = this.#segmentsByPeer.get(peer);
    segments?.delete(segment);
    if (segments?.size === 0) this.#segmentsByPeer.delete(peer);
  }

  /** For each identity in the set, unless another of its sets says the same. */
  #say(op: Op, segment: Segment, peer: IpSetId, tail: Tail): void {
    if (peer === ANYBODY) {
      this.#element(op, segment, 0, tail);
      return;
    }
    for (const { ids, number } of this.#identities.of(peer)) {
      const said = ids.some((id) => id !== peer && segment.tails.get(id)?.has(tail) === true);
      if (!said) this.#element(op, segment, number, tail);
    }
  }

  #element(op: Op, segment: Segment, identity: number, tail: Tail): void {
    const set = setOf(tail);
    const changes = this.#changes[set];
    let last = changes.at(-1);
    if (last?.op !== op) changes.push((last = { op, elements: [] }));
    last.elements.push({ key: elementKey(segment, identity, tail, set) });
  }
}

function setOf(tail: Tail): PeerSet {
  if (portOf(tail) !== 0) return sets.peerPort;
  return protocolOf(tail) === 0 ? sets.peer : sets.peerProtocol;
}

/** Each field padded to four bytes. */
function elementKey(
  { classId, ordinal }: Segment,
  identity: number,
  tail: Tail,
  set: PeerSet,
): Uint8Array {
  const length = set === sets.peerPort ? 20 : set === sets.peerProtocol ? 16 : 12;
  const key = new Uint8Array(length);
  key.set(u32Host(classId), 0);
  key.set(u32Host(ordinal), 4);
  key.set(u32Host(identity), 8);
  if (length > 12) key[12] = protocolOf(tail);
  if (length > 16) {
    key[16] = portOf(tail) >> 8;
    key[17] = portOf(tail) & 0xff;
  }
  return key;
}

function newChanges(): Record<PeerSet, ElementChanges> {
  return { [sets.peerPort]: [], [sets.peerProtocol]: [], [sets.peer]: [] };
}
