/**
 * An `NftTable` in memory that is as strict as the kernel: `apply` refuses what nf_tables would
 * (dangling names, reads of registers that were not written, keys of the wrong length, overlapping
 * intervals, jumps to base chains, loops). What it holds is for the interpreter and for comparison.
 */
import type {
  Expr,
  KeyType,
  NftApplyResult,
  NftChain,
  NftCounts,
  NftElement,
  NftSet,
  NftTable,
  Verdict,
} from "#netlink";
import { unreachable } from "#std";

const KEY_LEN: Readonly<Record<KeyType, number>> = {
  ipv4_addr: 4,
  ipv6_addr: 16,
  ether_addr: 6,
  inet_proto: 1,
  inet_service: 2,
  ifname: 16,
  mark: 4,
  icmp_type: 1,
  icmpv6_type: 1,
};

/** An element whose key is bytes, however it was given. */
export interface HeldElement extends NftElement {
  readonly key: Uint8Array;
}

export interface MemorySet {
  readonly set: NftSet;
  readonly elements: Map<string, HeldElement>;
}

export class MemoryNftTable implements NftTable {
  readonly chains = new Map<string, NftChain>();
  readonly sets = new Map<string, MemorySet>();
  /** Calls since the last `apply`, by kind; elements counted singly. */
  readonly calls = { setChain: 0, removeChain: 0, setSet: 0, removeSet: 0, add: 0, remove: 0 };
  readonly repairs = 0;
  dirty = false;

  counts(): NftCounts {
    const rules = this.chains.values().reduce((sum, chain) => sum + chain.rules.length, 0);
    const maps = [...this.sets.values()].filter(({ set }) => set.data !== undefined).length;
    return { chains: this.chains.size, rules, sets: this.sets.size - maps, maps };
  }

  setChain(chain: NftChain): void {
    this.calls.setChain++;
    this.chains.set(chain.name, chain);
    this.dirty = true;
  }

  removeChain(name: string): void {
    this.calls.removeChain++;
    this.chains.delete(name);
    this.dirty = true;
  }

  setSet(set: NftSet, elements: Iterable<NftElement>): void {
    this.calls.setSet++;
    this.sets.set(set.name, { set, elements: new Map() });
    for (const element of elements) this.#put(set.name, element);
    this.dirty = true;
  }

  addElements(set: string, elements: Iterable<NftElement>): void {
    for (const element of elements) {
      this.calls.add++;
      this.#put(set, element);
    }
    this.dirty = true;
  }

  removeElements(set: string, elements: Iterable<NftElement>): void {
    const held = this.#set(set);
    for (const element of elements) {
      this.calls.remove++;
      held.elements.delete(Buffer.from(keyBytes(element)).toString("hex"));
    }
    this.dirty = true;
  }

  removeSet(name: string): void {
    this.calls.removeSet++;
    this.sets.delete(name);
    this.dirty = true;
  }

  async apply(): Promise<NftApplyResult> {
    return this.applyNow();
  }

  applyNow(): NftApplyResult {
    for (const chain of this.chains.values()) this.#checkChain(chain);
    for (const chain of this.chains.values()) if (chain.hook) this.#checkDepth(chain.name, []);
    for (const { set, elements } of this.sets.values()) this.#checkSet(set, elements);
    const messages = Object.values(this.calls).reduce((sum, count) => sum + count, 0);
    this.resetCalls();
    this.dirty = false;
    return { messages, generation: 1 };
  }

  resetCalls(): void {
    for (const key of Object.keys(this.calls) as (keyof typeof this.calls)[]) this.calls[key] = 0;
  }

  onForeignChange(): void {}

  close(): void {}

  /** All content, in one order whatever the path: equal text, equal table. */
  dump(): string {
    const lines: string[] = [];
    for (const name of [...this.sets.keys()].sort()) {
      const { set, elements } = this.#set(name);
      lines.push(JSON.stringify(set, bytesAsHex));
      for (const key of [...elements.keys()].sort()) {
        lines.push(`  ${JSON.stringify(elements.get(key), bytesAsHex)}`);
      }
    }
    for (const name of [...this.chains.keys()].sort()) {
      const chain = this.chains.get(name);
      lines.push(`${name} ${JSON.stringify(chain?.hook)}`);
      for (const rule of chain?.rules ?? []) lines.push(`  ${JSON.stringify(rule, bytesAsHex)}`);
    }
    return lines.join("\n");
  }

  #set(name: string): MemorySet {
    const held = this.sets.get(name);
    if (held === undefined) throw new Error(`no set ${name}`);
    return held;
  }

  #put(name: string, given: NftElement): void {
    const held = this.#set(name);
    const element = { ...given, key: keyBytes(given) };
    const key = Buffer.from(element.key).toString("hex");
    const before = held.elements.get(key);
    if (before && JSON.stringify(before, bytesAsHex) !== JSON.stringify(element, bytesAsHex)) {
      throw new Error(`set ${name}: element ${key} is there with another value or end`);
    }
    held.elements.set(key, element);
  }

  #checkSet(set: NftSet, elements: ReadonlyMap<string, HeldElement>): void {
    if (!/^[A-Za-z][A-Za-z0-9/\\_.-]{0,254}$/.test(set.name))
      throw new Error(`bad name ${set.name}`);
    const length = keyLength(set);
    for (const { key, end, data } of elements.values()) {
      if (key.length !== length) throw new Error(`set ${set.name}: key of ${key.length} bytes`);
      if (end !== undefined && set.interval !== true)
        throw new Error(`set ${set.name}: no interval`);
      if ((data === undefined) !== (set.data === undefined)) throw new Error(`${set.name}: data`);
      if (set.data === "verdict") this.#checkVerdict(set.name, data as Verdict);
      else if (set.data === "mark" && (data as Uint8Array).length !== 4)
        throw new Error("mark data");
    }
    if (set.interval === true) checkDisjoint(set.name, [...elements.values()]);
  }

  #checkVerdict(where: string, verdict: Verdict): void {
    if (verdict.kind !== "jump" && verdict.kind !== "goto") return;
    const target = this.chains.get(verdict.chain);
    if (target === undefined) throw new Error(`${where}: no chain ${verdict.chain}`);
    if (target.hook) throw new Error(`${where}: ${verdict.chain} is a base chain`);
  }

  #checkChain(chain: NftChain): void {
    if (!/^[A-Za-z][A-Za-z0-9/\\_.-]{0,126}$/.test(chain.name.replace(/^r[\d.]+-/, ""))) {
      throw new Error(`bad name ${chain.name}`);
    }
    for (const rule of chain.rules) {
      if (rule.comment !== undefined && /[^ -~]|"/.test(rule.comment))
        throw new Error("bad comment");
      const written = new Set<number>();
      for (const expr of rule.exprs) this.#checkExpr(chain.name, expr, written);
    }
  }

  #checkExpr(where: string, expr: Expr, written: Set<number>): void {
    const read = (reg: number, bytes: number): void => {
      for (let i = 0; i < bytes; i += 4) {
        if (!written.has(reg + i / 4))
          throw new Error(`${where}: register ${reg + i / 4} not written`);
      }
    };
    const write = (reg: number, bytes: number): void => {
      for (let i = 0; i < bytes; i += 4) written.add(reg + i / 4);
      if (reg * 4 + bytes > 64) throw new Error(`${where}: past the last register`);
    };
    switch (expr.type) {
      case "payload":
        return write(expr.dreg, expr.len);
      case "meta":
        return write(expr.dreg, expr.key.endsWith("name") ? 16 : 4);
      case "ct":
        return write(expr.dreg, 4);
      case "metaSet":
        return read(expr.sreg, 4);
      case "cmp":
        return read(expr.sreg, expr.data.length);
      case "range":
        return read(expr.sreg, expr.from.length);
      case "bitwise":
        read(expr.sreg, expr.len);
        return write(expr.dreg, expr.len);
      case "lookup":
        return this.#checkLookup(where, expr, read, write);
      case "verdict":
        return this.#checkVerdict(where, expr.verdict);
      case "counter":
      case "limit":
      case "log":
      case "notrack":
      case "reject":
        return;
      case "immediate":
        return write(expr.dreg, expr.data.length);
      case "fib":
        return write(expr.dreg, 4);
      case "masq":
        if (expr.ports !== undefined) read(expr.ports.min, 4);
        if (expr.ports !== undefined) read(expr.ports.max, 4);
        return;
      case "nat":
        if (expr.ports !== undefined) read(expr.ports.min, 4);
        if (expr.ports !== undefined) read(expr.ports.max, 4);
        return read(expr.address, expr.family === 4 ? 4 : 16);
      case "exthdr":
        throw new Error(`${where}: ${expr.type} is not checked here`);
      default:
        return unreachable(expr);
    }
  }

  #checkLookup(
    where: string,
    expr: Expr & { type: "lookup" },
    read: (reg: number, bytes: number) => void,
    write: (reg: number, bytes: number) => void,
  ): void {
    const held = this.sets.get(expr.set);
    if (held === undefined) throw new Error(`${where}: no set ${expr.set}`);
    read(expr.sreg, keyLength(held.set));
    const isMap = held.set.data !== undefined;
    if (isMap !== (expr.dreg !== undefined)) throw new Error(`${where}: map or set? ${expr.set}`);
    if ((held.set.data === "verdict") !== (expr.dreg === "verdict"))
      throw new Error(`${where}: data`);
    if (typeof expr.dreg === "number") write(expr.dreg, held.set.data === "ipv6_addr" ? 16 : 4);
  }

  /** NFT_JUMP_STACK_SIZE is 16, and the kernel refuses loops. */
  #checkDepth(name: string, path: readonly string[]): void {
    if (path.includes(name) || path.length > 16)
      throw new Error(`loop or depth: ${path.join(" ")}`);
    const next = new Set<string>();
    for (const { exprs } of this.chains.get(name)?.rules ?? []) {
      for (const expr of exprs) {
        if (expr.type === "verdict") this.#targets(expr.verdict, next);
        if (expr.type !== "lookup" || expr.dreg !== "verdict") continue;
        for (const { data } of this.#set(expr.set).elements.values()) {
          this.#targets(data as Verdict, next);
        }
      }
    }
    for (const target of next) this.#checkDepth(target, [...path, name]);
  }

  #targets(verdict: Verdict, into: Set<string>): void {
    if (verdict.kind === "jump" || verdict.kind === "goto") into.add(verdict.chain);
  }
}

function keyBytes({ key }: NftElement): Uint8Array {
  if (key instanceof Uint8Array) return key;
  if (typeof key === "string") return new Uint8Array(Buffer.from(key, "latin1"));
  return Uint8Array.of(key >>> 24, (key >>> 16) & 0xff, (key >>> 8) & 0xff, key & 0xff);
}

function keyLength(set: NftSet): number {
  if (set.key.length === 1) return KEY_LEN[set.key[0] as KeyType];
  return set.key.reduce((sum, type) => sum + ((KEY_LEN[type] + 3) & ~3), 0);
}

function checkDisjoint(name: string, elements: readonly HeldElement[]): void {
  const sorted = elements.toSorted((a, b) => Buffer.compare(a.key, b.key));
  for (const [i, { key, end }] of sorted.entries()) {
    if (end !== undefined && Buffer.compare(key, end) >= 0) throw new Error(`${name}: empty range`);
    const next = sorted[i + 1];
    if (next === undefined) continue;
    if (end === undefined || Buffer.compare(end, next.key) > 0) {
      throw new Error(`set ${name}: intervals overlap`);
    }
  }
}

function bytesAsHex(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
}
