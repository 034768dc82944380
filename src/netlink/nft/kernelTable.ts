/**
 * `NftTable` over the kernel. State machine: `unknown` (at first, after a failure, after somebody
 * else touched the table) → read back → `known` at a generation → commit that presumes it. Only
 * differences are ever sent, and nothing when there are none.
 */
import { inputError, systemError } from "#std";
import type { Logger } from "#log";
import { NetlinkWriter } from "../bytes.ts";
import { NETLINK_NETFILTER, NetlinkSocket, refusalError, type NetlinkRefusal } from "../socket.ts";
import type { NftBatch } from "./batch.ts";
import type { NftFamily } from "./constants.ts";
import { DesiredSet } from "./desired.ts";
import { NftEvents } from "./events.ts";
import {
  planBatch,
  sameHook,
  type DesiredChain,
  type KnownChain,
  type KnownTable,
  type Plan,
} from "./plan.ts";
import { NftReader, type KernelTable } from "./readback.ts";
import { encodeRule } from "./rule.ts";
import type { NftApplyResult, NftTable } from "./table.ts";
import type { NftChain, NftElement, NftSet } from "./types.ts";

const ATTEMPTS = 20;
/** A batch must fit the socket's send buffer; 100,000 IPv6 addresses take 3 MB. */
const SEND_BUFFER = 64 * 1024 * 1024;
const RECEIVE_BUFFER = 8 * 1024 * 1024;
/** From this size on the kernel is spared building a notification per element. */
const BULK_BYTES = 64 * 1024;

export interface NftTableOptions {
  readonly family: NftFamily;
  readonly name: string;
  /** Bytes of the request socket's buffers. */
  readonly sndBuf?: number;
  readonly rcvBuf?: number;
  readonly log?: Logger;
}

/**
 * Opens a table, which need not exist yet, in the network namespace of the calling thread. Nothing
 * is read or written before `apply`. Throws a system error without CAP_NET_ADMIN or nf_tables.
 */
export function openNftTable(options: NftTableOptions): NftTable {
  return new KernelNftTable(options);
}

class KernelNftTable implements NftTable {
  readonly #options: NftTableOptions;
  readonly #socket: NetlinkSocket;
  readonly #reader: NftReader;
  readonly #events: NftEvents;
  readonly #chains = new Map<string, DesiredChain>();
  readonly #sets = new Map<string, DesiredSet>();
  /** Sets that the kernel still has, with what is known of them, in case they come back. */
  readonly #removedSets = new Map<string, DesiredSet>();
  readonly #dirtyChains = new Set<string>();
  readonly #dirtySets = new Set<string>();
  #writer = new NetlinkWriter();
  #known: KnownTable | undefined;
  /** Others changed the table since the last commit. */
  #foreign = false;
  /** And what they changed is not what is wanted. */
  #damaged = false;
  #callbacks: (() => void)[] = [];
  #repairs = 0;

  constructor(options: NftTableOptions) {
    this.#options = options;
    this.#socket = NetlinkSocket.open({
      protocol: NETLINK_NETFILTER,
      sndBuf: options.sndBuf ?? SEND_BUFFER,
      rcvBuf: options.rcvBuf ?? RECEIVE_BUFFER,
    });
    this.#reader = new NftReader(this.#socket, options.family, options.name);
    try {
      this.#events = new NftEvents(options.family, options.name, this.#socket.portId, {
        generation: (generation) => {
          if (this.#known !== undefined) this.#known.generation = generation;
        },
        touched: (reason) => this.#touched(reason),
      });
    } catch (error) {
      this.#socket.close();
      throw error;
    }
  }

  get repairs(): number {
    return this.#repairs;
  }

  get dirty(): boolean {
    return this.#known === undefined || this.#dirtyChains.size > 0 || this.#dirtySets.size > 0;
  }

  setChain(chain: NftChain): void {
    const rules = chain.rules.map((rule) => encodeRule(rule));
    const desired = { name: chain.name, hook: chain.hook, rules };
    this.#chains.set(chain.name, desired);
    this.#noteChain(chain.name);
  }

  removeChain(name: string): void {
    if (this.#chains.delete(name)) this.#noteChain(name);
  }

  setSet(spec: NftSet, elements: Iterable<NftElement>): void {
    const fresh = new DesiredSet(spec);
    const current = this.#sets.get(spec.name) ?? this.#removedSets.get(spec.name);
    const set = current?.layout.signature === fresh.layout.signature ? current : fresh;
    set.replace(elements);
    this.#removedSets.delete(spec.name);
    this.#sets.set(spec.name, set);
    this.#noteSet(spec.name, set);
  }

  addElements(name: string, elements: Iterable<NftElement>): void {
    const set = this.#setNamed(name);
    set.add(elements);
    this.#noteSet(name, set);
  }

  removeElements(name: string, elements: Iterable<NftElement>): void {
    const set = this.#setNamed(name);
    set.remove(elements);
    this.#noteSet(name, set);
  }

  removeSet(name: string): void {
    const set = this.#sets.get(name);
    if (set === undefined) return;
    this.#sets.delete(name);
    if (this.#known?.sets.has(name) === true) {
      this.#removedSets.set(name, set);
      this.#dirtySets.add(name);
    } else {
      this.#dirtySets.delete(name);
    }
  }

  #setNamed(name: string): DesiredSet {
    const set = this.#sets.get(name);
    if (set === undefined) throw inputError("no-such-set", `no set ${name} in the table`);
    return set;
  }

  #noteSet(name: string, set: DesiredSet): void {
    if (set.dirty) this.#dirtySets.add(name);
    else this.#dirtySets.delete(name);
  }

  #noteChain(name: string): void {
    const known = this.#known?.chains.get(name);
    const chain = this.#chains.get(name);
    if (!sameChain(chain, known)) {
      this.#dirtyChains.add(name);
      return;
    }
    this.#dirtyChains.delete(name);
    // Equal rules are held once.
    if (chain !== undefined && known !== undefined) {
      this.#chains.set(name, { ...chain, rules: known.rules });
    }
  }

  apply(): NftApplyResult {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      this.#events.drain();
      const known = this.#known ?? this.#readBack();
      const plan = this.#plan(known);
      // The plan asks for handles and may find that the chain is not what it was.
      if (this.#known === undefined) continue;
      const messages = plan.batch.items.length;
      if (messages > 0 && !this.#commit(plan.batch, known)) continue;
      this.#settle(known, plan);
      return { messages, generation: known.generation };
    }
    throw systemError("nft-busy", "others keep changing the ruleset", {
      retryable: true,
      fields: { table: this.#options.name, attempts: ATTEMPTS },
    });
  }

  #plan(known: KnownTable): Plan {
    // The buffer of a bulk load is not kept for small changes.
    if (this.#writer.capacity > BULK_BYTES) this.#writer = new NetlinkWriter();
    return planBatch({
      family: this.#options.family,
      table: this.#options.name,
      writer: this.#writer,
      known,
      chains: this.#chains,
      sets: this.#sets,
      dirtyChains: this.#dirtyChains,
      dirtySets: this.#dirtySets,
      handlesOf: (chain, was) => this.#handlesOf(chain, was),
    });
  }

  #handlesOf(name: string, known: KnownChain): readonly number[] | undefined {
    const { rules, handles } = this.#reader.chainRules(name);
    const same =
      rules.length === known.rules.length && rules.every((rule, i) => rule === known.rules[i]);
    if (!same) {
      this.#known = undefined;
      return undefined;
    }
    known.handles = handles;
    return handles;
  }

  #readBack(): KnownTable {
    const kernel = this.#reader.table();
    const known = knownFrom(kernel);
    this.#known = known;
    const wanted = new Set([...this.#dirtyChains, ...this.#dirtySets]);
    this.#dirtyChains.clear();
    this.#dirtySets.clear();
    this.#removedSets.clear();
    for (const name of new Set([...this.#chains.keys(), ...known.chains.keys()])) {
      this.#noteChain(name);
    }
    for (const [name, set] of this.#sets) {
      const found = kernel.sets.get(name);
      const usable = found?.layout.signature === set.layout.signature;
      set.known(usable ? found.elements : undefined);
      this.#noteSet(name, set);
    }
    for (const name of known.sets.keys()) if (!this.#sets.has(name)) this.#dirtySets.add(name);
    const different = [...this.#dirtyChains, ...this.#dirtySets].some((name) => !wanted.has(name));
    if (this.#foreign && (different || known.objects.length > 0)) this.#damaged = true;
    return known;
  }

  /** False: somebody committed in between; try again. Throws when the kernel refuses. */
  #commit(batch: NftBatch, known: KnownTable): boolean {
    if (batch.length > this.#socket.maxSend) return this.#commitInParts(batch, known);
    const bulk = batch.length > BULK_BYTES;
    if (bulk) this.#events.pause();
    try {
      return this.#send(batch, known, batch.whole(known.generation), undefined);
    } finally {
      if (bulk) this.#resumeEvents(known);
    }
  }

  /** A commit that came while the events were paused shows in the generation. */
  #resumeEvents(known: KnownTable): void {
    this.#events.resume();
    if (this.#known !== undefined && this.#reader.generation() !== known.generation) {
      this.#touched("missed");
    }
  }

  /**
   * Without CAP_NET_ADMIN in the first user namespace the send buffer is small. Then what is new,
   * and so not yet used by any rule, goes first; the rest still is one transaction.
   */
  #commitInParts(batch: NftBatch, known: KnownTable): boolean {
    const done = this.#partsOf(batch).every((indexes) => this.#sendPart(batch, known, indexes));
    // Some parts may have been taken.
    if (!done) this.#known = undefined;
    return done;
  }

  #partsOf(batch: NftBatch): number[][] {
    const limit = this.#socket.maxSend - PART_OVERHEAD;
    const rest: number[] = [];
    const parts: number[][] = [];
    let size = Infinity;
    for (const [index, { early }] of batch.items.entries()) {
      const length = batch.sizeOf(index);
      if (!early) {
        rest.push(index);
      } else if (size + length > limit) {
        parts.push([index]);
        size = length;
      } else {
        parts.at(-1)?.push(index);
        size += length;
      }
    }
    return rest.length === 0 ? parts : [...parts, rest];
  }

  #sendPart(batch: NftBatch, known: KnownTable, indexes: readonly number[]): boolean {
    const bytes = batch.part(known.generation, indexes);
    if (bytes.length > this.#socket.maxSend) {
      this.#known = undefined;
      throw systemError("nft-batch-too-long", "the change does not fit the socket's send buffer", {
        fields: { bytes: bytes.length, limit: this.#socket.maxSend, see: "net.core.wmem_max" },
      });
    }
    return this.#send(batch, known, bytes, indexes);
  }

  #send(
    batch: NftBatch,
    known: KnownTable,
    bytes: Uint8Array,
    indexes: readonly number[] | undefined,
  ): boolean {
    const count = indexes?.length ?? batch.items.length;
    const answer = this.#socket.transactBatch(bytes, count);
    const [refusal] = answer.refusals;
    if (refusal === undefined) {
      known.generation = nextGeneration(known.generation);
      return true;
    }
    if (refusal.errno === "ERESTART") return this.#outdated(known);
    this.#known = undefined;
    const index = refusal.seq - answer.firstSeq - 1;
    throw this.#refused(batch, indexes === undefined ? index : (indexes[index] ?? -1), refusal);
  }

  /** If the events explain the new generation and did not touch our table, only that is new. */
  #outdated(known: KnownTable): false {
    const before = known.generation;
    this.#events.drain();
    if (this.#known !== undefined && known.generation === before) this.#touched("missed");
    return false;
  }

  #refused(batch: NftBatch, index: number, refusal: NetlinkRefusal): Error {
    const item = batch.items[index];
    const what =
      item === undefined
        ? `commit to table ${this.#options.name}`
        : `${item.action} ${item.name} in table ${this.#options.name}`;
    return refusalError(what, refusal);
  }

  #settle(known: KnownTable, plan: Plan): void {
    known.exists ||= this.#chains.size + this.#sets.size > 0;
    known.objects = [];
    for (const name of this.#dirtyChains) {
      const chain = this.#chains.get(name);
      if (chain === undefined) known.chains.delete(name);
      else known.chains.set(name, { hook: chain.hook, rules: chain.rules, handles: undefined });
    }
    for (const name of this.#dirtySets) {
      const set = this.#sets.get(name);
      set?.committed();
      if (set === undefined) known.sets.delete(name);
    }
    for (const [name, set] of plan.sets) known.sets.set(name, set);
    this.#dirtyChains.clear();
    this.#dirtySets.clear();
    this.#removedSets.clear();
    this.#foreign = false;
    if (!this.#damaged) return;
    this.#damaged = false;
    this.#repairs++;
    this.#options.log?.warn("nf_tables table was changed by another program; repaired", {
      table: this.#options.name,
    });
  }

  #touched(reason: "foreign-change" | "overrun" | "missed"): void {
    this.#known = undefined;
    this.#foreign = true;
    this.#options.log?.debug("nf_tables table must be read back", {
      table: this.#options.name,
      reason,
    });
    for (const callback of this.#callbacks) callback();
  }

  onForeignChange(callback: () => void): void {
    if (this.#callbacks.length === 0) this.#events.listen();
    this.#callbacks.push(callback);
  }

  close(): void {
    this.#callbacks = [];
    this.#events.close();
    this.#socket.close();
  }
}

/** Room for BEGIN and END. */
const PART_OVERHEAD = 256;

function sameChain(desired: DesiredChain | undefined, known: KnownChain | undefined): boolean {
  if (desired === undefined || known === undefined) return desired === known;
  return (
    sameHook(desired.hook, known.hook) &&
    desired.hook?.policy === known.hook?.policy &&
    desired.rules.length === known.rules.length &&
    desired.rules.every((rule, index) => rule === known.rules[index])
  );
}

function knownFrom(kernel: KernelTable): KnownTable {
  return {
    exists: kernel.exists,
    generation: kernel.generation,
    chains: new Map(kernel.chains),
    sets: new Map(
      [...kernel.sets].map(([name, { layout, capacity }]) => [
        name,
        { signature: layout.signature, capacity },
      ]),
    ),
    objects: kernel.objects,
  };
}

/** The kernel skips zero (nf_tables_commit). */
function nextGeneration(generation: number): number {
  return generation === 0xffffffff ? 1 : generation + 1;
}
