/**
 * `NftTable` over the kernel. State machine: `unknown` (at first, after a failure, after somebody
 * else touched the table) → read back → `known` at a generation → commit that presumes it. Only
 * differences are ever sent, and nothing when there are none.
 */
import { inputError, systemError } from "#std";
import type { Logger } from "#log";
import { NetlinkWriter } from "../bytes.ts";
import { NETLINK_NETFILTER, NetlinkSocket } from "../socket.ts";
import type { NftBatch } from "./batch.ts";
import type { NftFamily } from "./constants.ts";
import { DesiredSet } from "./desired.ts";
import { BULK_BYTES, NftCommitter, type CommitResult } from "./commit.ts";
import { ForeignNames, NftEvents } from "./events.ts";
import {
  handlesAfter,
  planBatch,
  sameHook,
  type DesiredChain,
  type KnownChain,
  type KnownSet,
  type KnownTable,
  type Plan,
} from "./plan.ts";
import { NftReader, type KernelSet, type KernelTable } from "./readback.ts";
import { encodeRule } from "./rule.ts";
import { countObjects, type NftApplyResult, type NftCounts, type NftTable } from "./table.ts";
import type { NftChain, NftElement, NftSet } from "./types.ts";

const ATTEMPTS = 20;
/** A batch must fit the socket's send buffer; 100,000 IPv6 addresses take 3 MB. */
const SEND_BUFFER = 64 * 1024 * 1024;
const RECEIVE_BUFFER = 8 * 1024 * 1024;
/** When others touched more chains and sets than this, everything is read again. */
const MOST_SUSPECTS = 64;

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
  readonly #committer: NftCommitter;
  readonly #chains = new Map<string, DesiredChain>();
  readonly #sets = new Map<string, DesiredSet>();
  /** Sets that the kernel still has, with what is known of them, in case they come back. */
  readonly #removedSets = new Map<string, DesiredSet>();
  readonly #dirtyChains = new Set<string>();
  readonly #dirtySets = new Set<string>();
  readonly #writer = new NetlinkWriter();
  #known: KnownTable | undefined;
  /** What others touched and is to be read again. */
  #suspects = new ForeignNames();
  #applying = false;
  /** This `apply` cannot mend what others may have done meanwhile; another one is wanted. */
  #missed = false;
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
        touched: (names, reason) => this.#touched(names, reason),
      });
    } catch (error) {
      this.#socket.close();
      throw error;
    }
    this.#committer = new NftCommitter(this.#socket, this.#reader, this.#events, options.name);
  }

  get repairs(): number {
    return this.#repairs;
  }

  counts(): NftCounts {
    return countObjects(
      this.#chains.values(),
      this.#sets.values().map(({ spec }) => spec),
    );
  }

  get dirty(): boolean {
    const { chains, sets } = this.#suspects;
    return (
      this.#known === undefined ||
      this.#dirtyChains.size + this.#dirtySets.size > 0 ||
      chains.size + sets.size > 0
    );
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
    this.#applying = true;
    try {
      return this.#applyUntilAgreed();
    } finally {
      this.#applying = false;
      // The buffer of a bulk load is not kept for small changes.
      if (this.#writer.capacity > BULK_BYTES) this.#writer.release();
      if (this.#missed) queueMicrotask(() => this.#tell());
      this.#missed = false;
    }
  }

  #applyUntilAgreed(): NftApplyResult {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      this.#events.drain();
      const known = this.#known === undefined ? this.#readBack() : this.#refresh(this.#known);
      if (known === undefined) continue;
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
    this.#suspects = new ForeignNames();
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

  /** Reads again what others touched. Undefined: the ruleset moved on meanwhile; start over. */
  #refresh(known: KnownTable): KnownTable | undefined {
    const { chains, sets } = this.#suspects;
    if (chains.size + sets.size === 0) return known;
    const wanted = new Set([...this.#dirtyChains, ...this.#dirtySets]);
    for (const name of chains) {
      const found = this.#reader.chain(name);
      if (found === undefined) known.chains.delete(name);
      else known.chains.set(name, found);
      this.#noteChain(name);
    }
    for (const name of sets) this.#refreshSet(known, name);
    if (this.#reader.generation() !== known.generation) {
      this.#events.drain();
      // Not explained by what was heard: trust nothing.
      if (this.#reader.generation() !== known.generation) this.#known = undefined;
      return undefined;
    }
    const dirty = [
      ...[...chains].filter((name) => this.#dirtyChains.has(name)),
      ...[...sets].filter((name) => this.#dirtySets.has(name)),
    ];
    if (dirty.some((name) => !wanted.has(name))) this.#damaged = true;
    this.#suspects = new ForeignNames();
    return known;
  }

  #refreshSet(known: KnownTable, name: string): void {
    const found = this.#reader.set(name);
    if (found === undefined) known.sets.delete(name);
    else known.sets.set(name, knownSet(found));
    this.#removedSets.delete(name);
    const set = this.#sets.get(name);
    if (set === undefined) {
      if (found === undefined) this.#dirtySets.delete(name);
      else this.#dirtySets.add(name);
      return;
    }
    const usable = found?.layout.signature === set.layout.signature;
    set.known(usable ? found.elements : undefined);
    this.#noteSet(name, set);
  }

  /** False: somebody committed in between; try again. Throws when the kernel refuses. */
  #commit(batch: NftBatch, known: KnownTable): boolean {
    const before = known.generation;
    let result: CommitResult;
    try {
      result = this.#committer.commit(batch, known);
    } catch (error) {
      this.#known = undefined;
      throw error;
    }
    if (result === "outdated") {
      // If the events explain the new generation, only what they name is to be read again.
      this.#events.drain();
      if (known.generation === before) this.#known = undefined;
      return false;
    }
    if (result === "partly") this.#known = undefined;
    if (result === "missed") {
      this.#missed = true;
      this.#touched("all", "missed");
    }
    return result !== "partly";
  }

  #settle(known: KnownTable, plan: Plan): void {
    known.exists ||= this.#chains.size + this.#sets.size > 0;
    known.objects = [];
    for (const name of this.#dirtyChains) if (!this.#chains.has(name)) known.chains.delete(name);
    for (const edit of plan.edits) {
      const { name, hook, rules } = edit.chain;
      known.chains.set(name, { hook, rules, handles: handlesAfter(edit, plan.batch) });
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
    // After a bulk commit others may have come unnoticed.
    if (this.#known !== undefined) this.#foreign = false;
    if (!this.#damaged) return;
    this.#damaged = false;
    this.#repairs++;
    this.#options.log?.warn("nf_tables table was changed by another program; repaired", {
      table: this.#options.name,
    });
  }

  #touched(names: ForeignNames | "all", reason: "foreign-change" | "overrun" | "missed"): void {
    this.#foreign = true;
    if (names !== "all") {
      for (const name of names.chains) this.#suspects.chains.add(name);
      for (const name of names.sets) this.#suspects.sets.add(name);
    }
    const { chains, sets } = this.#suspects;
    if (names === "all" || chains.size + sets.size > MOST_SUSPECTS) this.#known = undefined;
    this.#options.log?.debug("nf_tables table must be read back", {
      table: this.#options.name,
      reason,
    });
    // `apply` mends what it finds itself; telling it in the midst would only call it again.
    if (!this.#applying) this.#tell();
  }

  #tell(): void {
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
    sets: new Map([...kernel.sets].map(([name, set]) => [name, knownSet(set)])),
    objects: kernel.objects,
  };
}

function knownSet({ layout, capacity }: KernelSet): KnownSet {
  return { signature: layout.signature, capacity };
}
