/**
 * `NftTable` over the kernel. State machine: `unknown` (at first, after a failure, after somebody
 * else touched the table) → read back → `known` at a generation → commit that presumes it. Only
 * differences are ever sent, and nothing when there are none.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { MargayError, systemError } from "#std";
import type { Logger } from "#log";
import { NETLINK_NETFILTER, NetlinkSocket } from "../socket.ts";
import { NetlinkWriter } from "../writer.ts";
import type { NftBatch } from "./batch.ts";
import { BULK_BYTES, NftCommitter, type CommitResult } from "./commit.ts";
import type { NftFamily } from "./constants.ts";
import { ForeignNames, NftEvents } from "./events.ts";
import { planBatch, type KnownChain, type KnownTable, type Plan } from "./plan.ts";
import { NftReader } from "./readback.ts";
import { TableState } from "./table-state.ts";
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
  readonly #state = new TableState();
  readonly #writer = new NetlinkWriter();
  /** What others touched and is to be read again. */
  #suspects = new ForeignNames();
  #applying = false;
  /** The last `apply`, done or not: the next one waits for it. */
  #turn: Promise<unknown> = Promise.resolve();
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
          if (this.#state.known !== undefined) this.#state.known.generation = generation;
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
      this.#state.chains.values(),
      this.#state.sets.values().map(({ spec }) => spec),
    );
  }

  get dirty(): boolean {
    const { known, dirtyChains, dirtySets } = this.#state;
    const { chains, sets } = this.#suspects;
    return known === undefined || dirtyChains.size + dirtySets.size + chains.size + sets.size > 0;
  }

  setChain(chain: NftChain): void {
    this.#wanted().setChain(chain);
  }

  removeChain(name: string): void {
    this.#wanted().removeChain(name);
  }

  setSet(spec: NftSet, elements: Iterable<NftElement>): void {
    this.#wanted().setSet(spec, elements);
  }

  addElements(name: string, elements: Iterable<NftElement>): void {
    this.#wanted().addElements(name, elements);
  }

  removeElements(name: string, elements: Iterable<NftElement>): void {
    this.#wanted().removeElements(name, elements);
  }

  removeSet(name: string): void {
    this.#wanted().removeSet(name);
  }

  /** What is wanted, to be changed. */
  #wanted(): TableState {
    if (this.#applying) {
      throw new MargayError("bug", "bug", "what is wanted in a table was changed during its apply");
    }
    return this.#state;
  }

  async apply(): Promise<NftApplyResult> {
    const before = this.#turn;
    const result = (async () => {
      await before;
      return await this.#apply();
    })();
    this.#turn = result.catch(() => undefined);
    return await result;
  }

  async #apply(): Promise<NftApplyResult> {
    this.#applying = true;
    try {
      return await this.#applyUntilAgreed();
    } finally {
      this.#applying = false;
      // The buffer of a bulk load is not kept for small changes.
      if (this.#writer.capacity > BULK_BYTES) this.#writer.release();
      if (this.#missed) queueMicrotask(() => this.#tell());
      this.#missed = false;
    }
  }

  async #applyUntilAgreed(): Promise<NftApplyResult> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      this.#events.drain();
      const before = this.#state.known;
      const known = before === undefined ? this.#readBack() : this.#refresh(before);
      if (known === undefined) continue;
      const plan = await this.#plan(known);
      if (plan === undefined) continue;
      const messages = plan.batch.items.length;
      if (messages > 0 && !(await this.#commit(plan.batch, known))) continue;
      this.#settle(known, plan);
      return { messages, generation: known.generation };
    }
    throw systemError("nft-busy", "others keep changing the ruleset", {
      retryable: true,
      fields: { table: this.#options.name, attempts: ATTEMPTS },
    });
  }

  /** Undefined: others changed the table meanwhile. A large plan is made in slices. */
  async #plan(known: KnownTable): Promise<Plan | undefined> {
    const steps = planBatch({
      family: this.#options.family,
      table: this.#options.name,
      writer: this.#writer,
      known,
      chains: this.#state.chains,
      sets: this.#state.sets,
      dirtyChains: this.#state.dirtyChains,
      dirtySets: this.#state.dirtySets,
      handlesOf: (chain, was) => this.#handlesOf(chain, was),
    });
    for (;;) {
      const step = steps.next();
      const { chains, sets } = this.#suspects;
      // The plan asks for handles, too, and may find that the chain is not what it was.
      if (this.#state.known !== known || chains.size + sets.size > 0) return undefined;
      if (step.done === true) return step.value;
      await nextTurn();
    }
  }

  #handlesOf(name: string, known: KnownChain): readonly number[] | undefined {
    const { rules, handles } = this.#reader.chainRules(name);
    const same =
      rules.length === known.rules.length && rules.every((rule, i) => rule === known.rules[i]);
    if (!same) {
      this.#state.known = undefined;
      return undefined;
    }
    known.handles = handles;
    return handles;
  }

  #readBack(): KnownTable {
    const kernel = this.#reader.table();
    this.#suspects = new ForeignNames();
    const { known, news } = this.#state.adopt(kernel);
    if (this.#foreign && (news || kernel.objects.length > 0)) this.#damaged = true;
    return known;
  }

  /** Reads again what others touched. Undefined: the ruleset moved on meanwhile; start over. */
  #refresh(known: KnownTable): KnownTable | undefined {
    const { chains, sets } = this.#suspects;
    if (chains.size + sets.size === 0) return known;
    const wanted = this.#state.pending();
    for (const name of chains) this.#state.adoptChain(known, name, this.#reader.chain(name));
    for (const name of sets) this.#state.adoptSet(known, name, this.#reader.set(name));
    if (this.#reader.generation() !== known.generation) {
      this.#events.drain();
      // Not explained by what was heard: trust nothing.
      if (this.#reader.generation() !== known.generation) this.#state.known = undefined;
      return undefined;
    }
    const touched = [...chains, ...sets];
    const now = this.#state.pending();
    if (touched.some((name) => now.has(name) && !wanted.has(name))) this.#damaged = true;
    this.#suspects = new ForeignNames();
    return known;
  }

  /** False: somebody committed in between; try again. Throws when the kernel refuses. */
  async #commit(batch: NftBatch, known: KnownTable): Promise<boolean> {
    const before = known.generation;
    let result: CommitResult;
    try {
      result = await this.#committer.commit(batch, known);
    } catch (error) {
      this.#state.known = undefined;
      throw error;
    }
    if (result === "outdated") {
      // If the events explain the new generation, only what they name is to be read again.
      this.#events.drain();
      if (known.generation === before) this.#state.known = undefined;
      return false;
    }
    if (result === "partly") this.#state.known = undefined;
    if (result === "missed") {
      this.#missed = true;
      this.#touched("all", "missed");
    }
    return result !== "partly";
  }

  #settle(known: KnownTable, plan: Plan): void {
    this.#state.settle(known, plan);
    // After a bulk commit others may have come unnoticed.
    if (this.#state.known !== undefined) this.#foreign = false;
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
    if (names === "all" || chains.size + sets.size > MOST_SUSPECTS) this.#state.known = undefined;
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
