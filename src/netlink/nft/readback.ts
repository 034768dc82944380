/**
 * What the kernel has under our table's name: chains, rules, sets, elements, objects, all of one
 * generation. Other tables are skipped as they come by.
 */
import { systemError } from "#std";
import type { NetlinkMessage, NetlinkReader } from "../reader.ts";
import { NetlinkWriter } from "../writer.ts";
import { errnoOf, type NetlinkSocket } from "../socket.ts";
import { beginNft } from "./batch.ts";
import {
  FAMILY_NUMBERS,
  GETCHAIN,
  GETGEN,
  GETOBJ,
  GETRULE,
  GETSET,
  GETSETELEM,
  GETTABLE,
  HOOK_NUMBERS,
  NEWGEN,
  NF_DROP,
  NFT_SET_ANONYMOUS,
  NFTA_CHAIN,
  NFTA_GEN_ID,
  NFTA_HOOK,
  NFTA_LIST_ELEM,
  NFTA_OBJ,
  NFTA_RULE,
  NFTA_SET,
  NFTA_SET_DESC,
  NFTA_SET_ELEM_LIST,
  NFTA_SET_FIELD_LEN,
  NFTA_TABLE,
  UDATA_RULE_COMMENT,
  type NftFamily,
} from "./constants.ts";
import { ElementsDecoder, type Elements } from "./elements.ts";
import { decodeRule, readComment, type RuleBytes } from "./rule.ts";
import { withSignature, type SetLayout } from "./sets.ts";
import type { NftChain } from "./types.ts";

export interface KernelChain {
  readonly hook: NftChain["hook"];
  readonly rules: RuleBytes[];
  readonly handles: number[];
}

export interface KernelSet {
  readonly layout: SetLayout;
  /** Declared size; 0: none. */
  readonly capacity: number;
  /** Undefined: not such as this program writes. */
  readonly elements: Elements | undefined;
}

export interface KernelTable {
  readonly exists: boolean;
  readonly generation: number;
  readonly chains: Map<string, KernelChain>;
  readonly sets: Map<string, KernelSet>;
  readonly objects: readonly KernelObject[];
}

interface KernelObject {
  readonly name: string;
  readonly type: number;
}

interface KernelRule {
  readonly chain: string;
  readonly handle: number;
  readonly bytes: RuleBytes;
}

const ATTEMPTS = 20;

export class NftReader {
  readonly #socket: NetlinkSocket;
  readonly #family: NftFamily;
  readonly #table: string;
  readonly #writer = new NetlinkWriter(512);

  constructor(socket: NetlinkSocket, family: NftFamily, table: string) {
    this.#socket = socket;
    this.#family = family;
    this.#table = table;
  }

  generation(): number {
    const bytes = this.#message(GETGEN, undefined);
    for (const { type, body } of this.#socket.request(bytes, "get ruleset generation")) {
      if (type === NEWGEN) return readGeneration(body);
    }
    throw systemError("nft-no-generation", "the kernel did not tell its ruleset generation");
  }

  /** Throws a retryable system error when others keep committing. */
  table(): KernelTable {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const generation = this.generation();
      const table = this.#read(generation);
      if (this.generation() === generation) return table;
    }
    throw systemError("nft-busy", "the ruleset changes faster than it can be read", {
      retryable: true,
      fields: { table: this.#table, attempts: ATTEMPTS },
    });
  }

  /** The rules of one chain with their handles. */
  chainRules(chain: string): { readonly rules: RuleBytes[]; readonly handles: number[] } {
    const found = { rules: [] as RuleBytes[], handles: [] as number[] };
    for (const rule of this.#rules(chain)) {
      if (rule.chain !== chain) continue;
      found.rules.push(rule.bytes);
      found.handles.push(rule.handle);
    }
    return found;
  }

  /** One chain with its rules; undefined if the kernel has none of that name. */
  chain(name: string): KernelChain | undefined {
    const found = this.#one(GETCHAIN, `get chain ${name}`, () =>
      this.#writer.attrString(NFTA_CHAIN.name, name),
    );
    const chain = found === undefined ? undefined : this.#readChain(found.body);
    return chain === undefined ? undefined : { hook: chain.hook, ...this.chainRules(name) };
  }

  /** One set with its elements; undefined if the kernel has none of that name. */
  set(name: string): KernelSet | undefined {
    const found = this.#one(GETSET, `get set ${name}`, () =>
      this.#writer.attrString(NFTA_SET.name, name),
    );
    const set = found === undefined ? undefined : this.#readSet(found.body);
    if (set === undefined) return undefined;
    const { layout, capacity } = set;
    return { layout, capacity, elements: this.#elements(name, layout) };
  }

  #one(type: number, what: string, more: () => void): NetlinkMessage | undefined {
    try {
      return this.#socket.request(this.#message(type, this.#table, more), what)[0];
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  #read(generation: number): KernelTable {
    const chains = new Map<string, KernelChain>();
    const sets = new Map<string, KernelSet>();
    if (!this.#exists()) return { exists: false, generation, chains, sets, objects: [] };
    const list = this.#dump(GETCHAIN, undefined, "list chains", (body) => this.#readChain(body));
    for (const { name, hook } of list) chains.set(name, { hook, rules: [], handles: [] });
    for (const rule of this.#rules(undefined)) {
      const chain = chains.get(rule.chain);
      chain?.rules.push(rule.bytes);
      chain?.handles.push(rule.handle);
    }
    const found = this.#dump(GETSET, this.#table, "list sets", (body) => this.#readSet(body));
    for (const { name, layout, capacity } of found) {
      sets.set(name, { layout, capacity, elements: this.#elements(name, layout) });
    }
    return { exists: true, generation, chains, sets, objects: this.#objects() };
  }

  #exists(): boolean {
    return this.#one(GETTABLE, "get table", () => {}) !== undefined;
  }

  #message(type: number, table: string | undefined, more?: () => void): Uint8Array {
    const writer = this.#writer;
    writer.reset();
    const mark = beginNft(writer, type, 0, this.#family, table);
    more?.();
    writer.endMessage(mark);
    return writer.bytes();
  }

  #dump<T>(
    type: number,
    table: string | undefined,
    what: string,
    read: (body: NetlinkReader) => T | undefined,
    more?: () => void,
  ): readonly T[] {
    const request = this.#message(type, table, more);
    return this.#socket.dump(request, `${what} of ${this.#table}`, ({ body }) => read(body));
  }

  /** Reads nfgenmsg; false for another family. */
  #ours(body: NetlinkReader): boolean {
    const family = body.u8();
    body.skip(3);
    return family === FAMILY_NUMBERS[this.#family];
  }

  #readChain(body: NetlinkReader): Pick<NftChain, "name" | "hook"> | undefined {
    if (!this.#ours(body)) return undefined;
    let table = "";
    let name = "";
    let type = "";
    let policy: number | undefined;
    let hook: { num: number; priority: number } | undefined;
    while (body.nextAttr()) {
      if (body.attrType === NFTA_TABLE) table = body.attrString();
      else if (body.attrType === NFTA_CHAIN.name) name = body.attrString();
      else if (body.attrType === NFTA_CHAIN.type) type = body.attrString();
      else if (body.attrType === NFTA_CHAIN.policy) policy = body.attrU32Be();
      else if (body.attrType === NFTA_CHAIN.hook) hook = readHook(body.nested());
    }
    if (table !== this.#table) return undefined;
    const hookName = hookNameOf(hook?.num);
    if (hook === undefined || hookName === undefined) return { name };
    return {
      name,
      hook: {
        type: type as "filter" | "nat" | "route",
        hook: hookName,
        priority: hook.priority,
        policy: policy === NF_DROP ? "drop" : "accept",
      },
    };
  }

  #rules(only: string | undefined): readonly KernelRule[] {
    let chain = "";
    const read = (body: NetlinkReader): KernelRule | undefined => {
      if (!this.#ours(body)) return undefined;
      let ours = false;
      let handle = 0;
      let comment = "";
      let exprs: NetlinkReader | undefined;
      while (body.nextAttr()) {
        if (body.attrType === NFTA_TABLE) ours = body.attrEquals(this.#table);
        else if (body.attrType === NFTA_RULE.chain) {
          // Rules of one chain come together.
          if (!body.attrEquals(chain)) chain = body.attrString();
        } else if (body.attrType === NFTA_RULE.handle) handle = Number(body.attrU64Be());
        else if (body.attrType === NFTA_RULE.exprs) exprs = body.nested();
        else if (body.attrType === NFTA_RULE.userdata) {
          comment = readComment(body.attrBytes(), UDATA_RULE_COMMENT);
        }
      }
      return ours ? { chain, handle, bytes: decodeRule(exprs, comment) } : undefined;
    };
    return this.#dump(GETRULE, this.#table, "list rules", read, () => {
      if (only !== undefined) this.#writer.attrString(NFTA_RULE.chain, only);
    });
  }

  /** Anonymous sets belong to the rule that names them and go with it. */
  #readSet(body: NetlinkReader): { name: string; layout: SetLayout; capacity: number } | undefined {
    if (!this.#ours(body)) return undefined;
    let table = "";
    let name = "";
    const layout = { flags: 0, keyType: 0, keyLen: 0, dataType: 0, dataLen: 0 };
    let desc = { capacity: 0, fieldLens: [] as readonly number[] };
    while (body.nextAttr()) {
      if (body.attrType === NFTA_TABLE) table = body.attrString();
      else if (body.attrType === NFTA_SET.name) name = body.attrString();
      else if (body.attrType === NFTA_SET.flags) layout.flags = body.attrU32Be();
      else if (body.attrType === NFTA_SET.keyType) layout.keyType = body.attrU32Be();
      else if (body.attrType === NFTA_SET.keyLen) layout.keyLen = body.attrU32Be();
      else if (body.attrType === NFTA_SET.dataType) layout.dataType = body.attrU32Be();
      else if (body.attrType === NFTA_SET.dataLen) layout.dataLen = body.attrU32Be();
      else if (body.attrType === NFTA_SET.desc) desc = readDescription(body.nested());
    }
    if (table !== this.#table || (layout.flags & NFT_SET_ANONYMOUS) !== 0) return undefined;
    const { capacity, fieldLens } = desc;
    return { name, capacity, layout: withSignature({ ...layout, fieldLens }) };
  }

  #elements(set: string, layout: SetLayout): Elements | undefined {
    const decoder = new ElementsDecoder(layout);
    const read = (body: NetlinkReader): void => decoder.read(body);
    this.#dump(GETSETELEM, this.#table, `list set ${set}`, read, () =>
      this.#writer.attrString(NFTA_SET_ELEM_LIST.set, set),
    );
    return decoder.elements();
  }

  #objects(): readonly KernelObject[] {
    return this.#dump(GETOBJ, this.#table, "list objects", (body) => {
      if (!this.#ours(body)) return undefined;
      let table = "";
      let name = "";
      let type = 0;
      while (body.nextAttr()) {
        if (body.attrType === NFTA_TABLE) table = body.attrString();
        else if (body.attrType === NFTA_OBJ.name) name = body.attrString();
        else if (body.attrType === NFTA_OBJ.type) type = body.attrU32Be();
      }
      return table === this.#table ? { name, type } : undefined;
    });
  }
}

/** The generation in a NEWGEN message's body. */
export function readGeneration(body: NetlinkReader): number {
  body.skip(4);
  while (body.nextAttr()) if (body.attrType === NFTA_GEN_ID) return body.attrU32Be();
  throw systemError("netlink-malformed", "NFT_MSG_NEWGEN without NFTA_GEN_ID");
}

/** The handle in a NEWRULE message's body. */
export function readRuleHandle(body: NetlinkReader): number {
  body.skip(4);
  while (body.nextAttr()) if (body.attrType === NFTA_RULE.handle) return Number(body.attrU64Be());
  throw systemError("netlink-malformed", "NFT_MSG_NEWRULE without NFTA_RULE_HANDLE");
}

function readHook(nested: NetlinkReader): { num: number; priority: number } {
  const hook = { num: -1, priority: 0 };
  while (nested.nextAttr()) {
    if (nested.attrType === NFTA_HOOK.num) hook.num = nested.attrU32Be();
    else if (nested.attrType === NFTA_HOOK.priority) hook.priority = nested.attrI32Be();
  }
  return hook;
}

function hookNameOf(number: number | undefined): keyof typeof HOOK_NUMBERS | undefined {
  for (const [name, value] of Object.entries(HOOK_NUMBERS)) {
    if (value === number) return name as keyof typeof HOOK_NUMBERS;
  }
  return undefined;
}

function readDescription(desc: NetlinkReader): {
  capacity: number;
  fieldLens: readonly number[];
} {
  const fieldLens: number[] = [];
  let capacity = 0;
  while (desc.nextAttr()) {
    if (desc.attrType === NFTA_SET_DESC.size) capacity = desc.attrU32Be();
    if (desc.attrType !== NFTA_SET_DESC.concat) continue;
    const concat = desc.nested();
    while (concat.nextAttr()) {
      if (concat.attrType !== NFTA_LIST_ELEM) continue;
      const field = concat.nested();
      while (field.nextAttr()) {
        if (field.attrType === NFTA_SET_FIELD_LEN) fieldLens.push(field.attrU32Be());
      }
    }
  }
  return { capacity, fieldLens };
}
