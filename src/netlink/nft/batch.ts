/**
 * One nf_tables transaction (nfnetlink_rcv_batch): BEGIN with the generation that it presumes,
 * messages, END. The kernel takes all of it or nothing, and refuses with ERESTART when somebody
 * else committed since. The batch remembers what each message is about, to name what was refused.
 */
import {
  NLA_MAX_LENGTH,
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_ECHO,
  NLM_F_REQUEST,
} from "../frame.ts";
import { NetlinkWriter, type Mark } from "../writer.ts";
import {
  DELCHAIN,
  DELOBJ,
  DELRULE,
  DELSET,
  DELSETELEM,
  FAMILY_NUMBERS,
  HOOK_NUMBERS,
  NEWCHAIN,
  NEWRULE,
  NEWSET,
  NEWSETELEM,
  NEWTABLE,
  NF_ACCEPT,
  NF_DROP,
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS,
  NFTA_CHAIN,
  NFTA_HOOK,
  NFTA_OBJ,
  NFTA_RULE,
  NFTA_SET,
  NFTA_SET_ELEM_LIST,
  NFTA_TABLE,
  type NftFamily,
} from "./constants.ts";
import { encodeElement, type ElementKey, type ElementValue } from "./elements.ts";
import type { RuleBytes } from "./rule.ts";
import { encodeSet, type SetLayout } from "./sets.ts";
import type { DesiredChain } from "./plan.ts";
import type { NftSet } from "./types.ts";

/** What a message is about, e.g. `add rule 3 to chain forward`. */
export interface BatchItem {
  readonly action: string;
  readonly name: string;
  /** Touches only what the kernel does not have yet, so it may be committed ahead of the rest. */
  readonly early: boolean;
  readonly at: Mark;
}

const ADD_RULE = "add a rule to chain";
/** An element takes at most two keys of 64 bytes, data and headers. */
const ELEMENT_ROOM = 512;
const INITIAL_CAPACITY = 64 * 1024;
/** Encoded in about two milliseconds. */
const SLICE_BYTES = 128 * 1024;
/** Of the generation's value: nlmsghdr, nfgenmsg, nlattr. */
const GENERATION_OFFSET = 16 + 4 + 4;
const END_LENGTH = 16 + 4;

export class NftBatch {
  readonly items: BatchItem[] = [];
  /** What the kernel chose for the rules that were added, by index in `items`, if it was asked. */
  readonly handles = new Map<number, number>();
  readonly #writer: NetlinkWriter;
  readonly #family: NftFamily;
  readonly #table: string;
  #nextSetId = 1;
  #sliceStart = 0;

  /** `writer` may be used again after the batch was sent. */
  constructor(family: NftFamily, table: string, writer: NetlinkWriter = new NetlinkWriter()) {
    this.#family = family;
    this.#table = table;
    this.#writer = writer;
    writer.reset();
    writeBegin(this.#writer, 0);
  }

  /** True once after each slice: the caller may let the event loop go on. */
  takePause(): boolean {
    if (this.#writer.length - this.#sliceStart < SLICE_BYTES) return false;
    this.#sliceStart = this.#writer.length;
    return true;
  }

  /** Bytes of the whole transaction. */
  get length(): number {
    return this.#writer.length + END_LENGTH;
  }

  /**
   * All messages as one transaction. `echo`: the kernel is to send back the rules it adds, with
   * their handles. The view is good until the next call.
   */
  whole(generation: number, echo = false): Uint8Array {
    const writer = this.#writer;
    for (const { action, at } of this.items) {
      if (echo && action === ADD_RULE) writer.addFlags(at, NLM_F_ECHO);
    }
    const end = writer.length;
    writer.patchU32Be(GENERATION_OFFSET, generation);
    const last = this.items.at(-1);
    if (last !== undefined) writer.addFlags(last.at, NLM_F_ACK);
    writeEnd(writer);
    const bytes = writer.bytes();
    writer.truncate(end);
    return bytes;
  }

  /** Some of the messages, by index in `items`, as a transaction. */
  part(generation: number, indexes: readonly number[]): Uint8Array {
    const out = new NetlinkWriter(INITIAL_CAPACITY);
    writeBegin(out, generation);
    const bytes = this.#writer.bytes();
    let last: Mark = 0;
    for (const index of indexes) {
      last = out.length;
      out.raw(bytes.subarray(this.items[index]?.at ?? 0, this.#endOf(index)));
    }
    out.addFlags(last, NLM_F_ACK);
    writeEnd(out);
    return out.bytes();
  }

  /** Bytes of the message `index`. */
  sizeOf(index: number): number {
    return this.#endOf(index) - (this.items[index]?.at ?? 0);
  }

  #endOf(index: number): number {
    return this.items[index + 1]?.at ?? this.#writer.length;
  }

  addTable(): void {
    this.#message(NEWTABLE, NLM_F_CREATE, "create table", this.#table, true);
  }

  /** Creates the chain, or sets the policy of one that exists with the same hook. */
  addChain(chain: Pick<DesiredChain, "name" | "hook">, early: boolean): void {
    const writer = this.#writer;
    const mark = this.#begin(NEWCHAIN, NLM_F_CREATE, "create chain", chain.name, early);
    writer.attrString(NFTA_CHAIN.name, chain.name);
    if (chain.hook !== undefined) {
      const hook = writer.beginNested(NFTA_CHAIN.hook);
      writer.attrU32Be(NFTA_HOOK.num, HOOK_NUMBERS[chain.hook.hook]);
      writer.attrU32Be(NFTA_HOOK.priority, chain.hook.priority);
      writer.endNested(hook);
      writer.attrU32Be(NFTA_CHAIN.policy, chain.hook.policy === "drop" ? NF_DROP : NF_ACCEPT);
      writer.attrString(NFTA_CHAIN.type, chain.hook.type);
    }
    writer.endMessage(mark);
  }

  deleteChain(name: string): void {
    const mark = this.#begin(DELCHAIN, 0, "delete chain", name, false);
    this.#writer.attrString(NFTA_CHAIN.name, name);
    this.#writer.endMessage(mark);
  }

  /** Appends the rule, or puts it before the rule with the handle `before`. */
  addRule(chain: string, rule: RuleBytes, early: boolean, before?: number): void {
    const writer = this.#writer;
    const flags = NLM_F_CREATE | (before === undefined ? NLM_F_APPEND : 0);
    const mark = this.#begin(NEWRULE, flags, ADD_RULE, chain, early);
    writer.attrString(NFTA_RULE.chain, chain);
    if (before !== undefined) writer.attrU64Be(NFTA_RULE.position, BigInt(before));
    writer.latin1(rule);
    writer.endMessage(mark);
  }

  /** Deletes one rule, or all of the chain. */
  deleteRule(chain: string, handle?: number): void {
    const mark = this.#begin(DELRULE, 0, "delete rules of chain", chain, false);
    this.#writer.attrString(NFTA_RULE.chain, chain);
    if (handle !== undefined) this.#writer.attrU64Be(NFTA_RULE.handle, BigInt(handle));
    this.#writer.endMessage(mark);
  }

  addSet(set: NftSet, layout: SetLayout, capacity: number, early: boolean): void {
    const mark = this.#begin(NEWSET, NLM_F_CREATE, "create set", set.name, early);
    encodeSet(this.#writer, set, layout, this.#nextSetId++, capacity);
    this.#writer.endMessage(mark);
  }

  deleteSet(name: string): void {
    const mark = this.#begin(DELSET, 0, "delete set", name, false);
    this.#writer.attrString(NFTA_SET.name, name);
    this.#writer.endMessage(mark);
  }

  deleteObject(name: string, type: number): void {
    const mark = this.#begin(DELOBJ, 0, "delete object", name, false);
    this.#writer.attrString(NFTA_OBJ.name, name);
    this.#writer.attrU32Be(NFTA_OBJ.type, type);
    this.#writer.endMessage(mark);
  }

  addElements(
    set: string,
    layout: SetLayout,
    elements: Iterable<readonly [ElementKey, ElementValue]>,
    early: boolean,
  ): Generator<void> {
    return this.#elements(NEWSETELEM, "add elements to set", set, layout, elements, early);
  }

  deleteElements(
    set: string,
    layout: SetLayout,
    elements: Iterable<readonly [ElementKey, ElementValue]>,
  ): Generator<void> {
    return this.#elements(DELSETELEM, "delete elements of set", set, layout, elements, false);
  }

  /**
   * As many messages as the 64 KiB of one attribute ask for; none without elements. Yields where the
   * caller may pause, between two messages.
   */
  *#elements(
    type: number,
    action: string,
    set: string,
    layout: SetLayout,
    elements: Iterable<readonly [ElementKey, ElementValue]>,
    early: boolean,
  ): Generator<void> {
    const writer = this.#writer;
    let message: Mark | undefined;
    let list: Mark = 0;
    const close = (): void => {
      if (message === undefined) return;
      writer.endNested(list);
      writer.endMessage(message);
      message = undefined;
    };
    for (const [key, value] of elements) {
      if (message !== undefined && writer.length - list > NLA_MAX_LENGTH - ELEMENT_ROOM) {
        close();
        if (this.takePause()) yield;
      }
      if (message === undefined) {
        message = this.#begin(type, type === NEWSETELEM ? NLM_F_CREATE : 0, action, set, early);
        writer.attrString(NFTA_SET_ELEM_LIST.set, set);
        list = writer.beginNested(NFTA_SET_ELEM_LIST.elements);
      }
      encodeElement(writer, layout, key, value);
    }
    close();
  }

  #begin(type: number, flags: number, action: string, name: string, early: boolean): Mark {
    const at = this.#writer.length;
    this.items.push({ action, name, early, at });
    return beginNft(this.#writer, type, flags, this.#family, this.#table);
  }

  #message(type: number, flags: number, action: string, name: string, early: boolean): void {
    this.#writer.endMessage(this.#begin(type, flags, action, name, early));
  }
}

/** nlmsghdr, nfgenmsg and, if given, the table's name. */
export function beginNft(
  writer: NetlinkWriter,
  type: number,
  flags: number,
  family: NftFamily,
  table?: string,
): Mark {
  const mark = writer.beginMessage(type, flags | NLM_F_REQUEST);
  writer.u8(FAMILY_NUMBERS[family]);
  writer.u8(0);
  writer.u16Be(0);
  if (table !== undefined) writer.attrString(NFTA_TABLE, table);
  return mark;
}

function writeBegin(writer: NetlinkWriter, generation: number): void {
  const mark = writeBound(writer, NFNL_MSG_BATCH_BEGIN);
  writer.attrU32Be(NFNL_BATCH_GENID, generation);
  writer.endMessage(mark);
}

function writeEnd(writer: NetlinkWriter): void {
  writer.endMessage(writeBound(writer, NFNL_MSG_BATCH_END));
}

function writeBound(writer: NetlinkWriter, type: number): Mark {
  const mark = writer.beginMessage(type, NLM_F_REQUEST);
  writer.u8(0);
  writer.u8(0);
  writer.u16Be(NFNL_SUBSYS);
  return mark;
}
