/**
 * Runs a packet through a table as nf_tables does: base chains of a hook by priority, registers,
 * verdicts. Written from the kernel's semantics (net/netfilter/nf_tables_core.c), not from the
 * compiler's. Anything it does not know throws, so that a test never passes by ignorance.
 */
import type { ChainHook, Expr, NftRule, Verdict } from "#netlink";
import { formatIp, ipBytes, ipFromBytes, parseIp } from "#ip";
import { unreachable } from "#std";
import type { HeldElement, MemoryNftTable, MemorySet } from "./nft-memory-table.ts";

type CtState = "new" | "established" | "related" | "invalid" | "untracked";

export interface TestPacket {
  readonly src: string;
  readonly dst: string;
  /** IANA protocol number. */
  readonly protocol: number;
  readonly sport?: number;
  readonly dport?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
  readonly iifname?: string;
  readonly oifname?: string;
  /** Absent: the device has no link header. */
  readonly sourceMac?: string;
  readonly ctState?: CtState;
  readonly mark?: number;
  /** Conntrack's status says that the destination was translated. */
  readonly destinationTranslated?: boolean;
  /** Not the first fragment: there is no transport header to read. */
  readonly laterFragment?: boolean;
}

export interface RunResult {
  readonly verdict: "accept" | "drop" | "reject";
  /** As the next hook gets it. */
  readonly packet: TestPacket;
  readonly mark: number;
  readonly logs: readonly string[];
  /** Comments of rules that matched as a whole, in order. */
  readonly hits: readonly string[];
}

type Code = "accept" | "drop" | "reject" | "return" | "next";

class Packet {
  readonly family: 4 | 6;
  readonly network: Uint8Array;
  readonly transport: Uint8Array | undefined;
  readonly link: Uint8Array | undefined;
  of: TestPacket;
  readonly logs: string[] = [];
  readonly hits: string[] = [];

  constructor(of: TestPacket) {
    this.of = of;
    const src = parseIp(of.src);
    const dst = parseIp(of.dst);
    if (src.family !== dst.family) throw new Error("addresses of different families");
    this.family = src.family;
    this.network = new Uint8Array(src.family === 4 ? 20 : 40);
    this.network[src.family === 4 ? 9 : 6] = of.protocol;
    this.network.set(ipBytes(src), src.family === 4 ? 12 : 8);
    this.network.set(ipBytes(dst), DESTINATION_OFFSET[src.family]);
    this.transport = of.laterFragment === true ? undefined : transportOf(of);
    if (of.sourceMac !== undefined) {
      this.link = new Uint8Array(14);
      this.link.set(Buffer.from(of.sourceMac.replaceAll(":", ""), "hex"), 6);
    }
  }

  /** DNAT. */
  translate(address: Uint8Array): void {
    this.network.set(address, DESTINATION_OFFSET[this.family]);
    const dst = formatIp(ipFromBytes(this.family, address));
    this.of = { ...this.of, dst, destinationTranslated: true };
  }
}

/** RFC 791 §3.1, RFC 8200 §3. */
const DESTINATION_OFFSET = { 4: 16, 6: 24 } as const;

/** Bytes that look like ports of 0xaaaa where the protocol has something else there. */
function transportOf(of: TestPacket): Uint8Array {
  const bytes = new Uint8Array(20).fill(0xaa);
  const view = new DataView(bytes.buffer);
  if (of.sport !== undefined) view.setUint16(0, of.sport);
  if (of.dport !== undefined) view.setUint16(2, of.dport);
  if (of.icmpType !== undefined) bytes[0] = of.icmpType;
  if (of.icmpType !== undefined) bytes[1] = of.icmpCode ?? 0;
  return bytes;
}

/** All base chains of the hook; the first that drops ends it. */
export function runHook(table: MemoryNftTable, hook: ChainHook, of: TestPacket): RunResult {
  const packet = new Packet(of);
  const bases = [...table.chains.values()].filter((chain) => chain.hook?.hook === hook);
  bases.sort((a, b) => (a.hook?.priority ?? 0) - (b.hook?.priority ?? 0));
  for (const base of bases) {
    // Only what opens a connection is translated.
    if (base.hook?.type === "nat" && (packet.of.ctState ?? "new") !== "new") continue;
    const code = runChain(table, base.name, packet);
    if (code === "drop" || code === "reject") return result(code, packet);
    if (code !== "accept" && base.hook?.policy === "drop") return result("drop", packet);
  }
  return result("accept", packet);
}

/** From one interface to another through this host. */
export function runForward(table: MemoryNftTable, of: TestPacket): RunResult {
  const { oifname, ...arriving } = of;
  const leaving = oifname === undefined ? {} : { oifname };
  return runHooks(table, arriving, [["prerouting"], ["forward", leaving], ["postrouting"]]);
}

/** From an interface to this host itself. */
export function runInput(table: MemoryNftTable, of: TestPacket): RunResult {
  return runHooks(table, of, [["prerouting"], ["input"]]);
}

/** From this host itself: without `iifname`. */
export function runOutput(table: MemoryNftTable, of: TestPacket): RunResult {
  return runHooks(table, of, [["output"], ["postrouting"]]);
}

/** Each hook gets the packet as the one before left it, and what is known only there. */
function runHooks(
  table: MemoryNftTable,
  of: TestPacket,
  hooks: readonly (readonly [hook: ChainHook, more?: Partial<TestPacket>])[],
): RunResult {
  const logs: string[] = [];
  const hits: string[] = [];
  let last: RunResult | undefined;
  for (const [hook, more] of hooks) {
    last = runHook(table, hook, { ...(last?.packet ?? of), ...more });
    logs.push(...last.logs);
    hits.push(...last.hits);
    if (last.verdict !== "accept") break;
  }
  if (last === undefined) throw new Error("no hook");
  return { ...last, logs, hits };
}

function result(verdict: RunResult["verdict"], { of, logs, hits }: Packet): RunResult {
  return { verdict, packet: of, mark: of.mark ?? 0, logs, hits };
}

function runChain(table: MemoryNftTable, name: string, packet: Packet): Code {
  const chain = table.chains.get(name);
  if (chain === undefined) throw new Error(`no chain ${name}`);
  for (const rule of chain.rules) {
    const verdict = runRule(table, rule, packet);
    if (verdict === "reject") return "reject";
    if (verdict === undefined) continue;
    switch (verdict.kind) {
      case "accept":
      case "drop":
        return verdict.kind;
      case "return":
        return "return";
      case "continue":
        continue;
      case "goto":
        return runChain(table, verdict.chain, packet);
      case "jump": {
        const code = runChain(table, verdict.chain, packet);
        if (code !== "return" && code !== "next") return code;
      }
    }
  }
  return "next";
}

/** Undefined: no verdict, whether the rule matched or not. */
function runRule(
  table: MemoryNftTable,
  rule: NftRule,
  packet: Packet,
): Verdict | "reject" | undefined {
  const registers = new Uint8Array(64);
  for (const expr of rule.exprs) {
    const outcome = runExpr(table, expr, registers, packet);
    if (outcome === "break") return undefined;
    if (outcome === "go on") continue;
    packet.hits.push(rule.comment ?? "");
    return outcome;
  }
  packet.hits.push(rule.comment ?? "");
  return undefined;
}

type Outcome = "go on" | "break" | "reject" | Verdict;

function runExpr(
  table: MemoryNftTable,
  expr: Expr,
  registers: Uint8Array,
  packet: Packet,
): Outcome {
  const store = (reg: number, bytes: Uint8Array): "go on" => {
    registers.fill(0, reg * 4, reg * 4 + ((bytes.length + 3) & ~3));
    registers.set(bytes, reg * 4);
    return "go on";
  };
  const load = (reg: number, length: number): Uint8Array =>
    registers.slice(reg * 4, reg * 4 + length);
  switch (expr.type) {
    case "payload": {
      const header = packet[expr.base];
      if (header === undefined || expr.offset + expr.len > header.length) return "break";
      return store(expr.dreg, header.subarray(expr.offset, expr.offset + expr.len));
    }
    case "meta":
      return store(expr.dreg, metaOf(expr.key, packet));
    case "ct":
      return store(expr.dreg, hostU32(ctOf(expr.key, packet.of)));
    case "cmp":
      return compares(expr.op, Buffer.compare(load(expr.sreg, expr.data.length), expr.data));
    case "range": {
      const value = load(expr.sreg, expr.from.length);
      const inside = Buffer.compare(value, expr.from) >= 0 && Buffer.compare(value, expr.to) <= 0;
      return inside === (expr.op === "eq") ? "go on" : "break";
    }
    case "bitwise": {
      const value = load(expr.sreg, expr.len);
      return store(
        expr.dreg,
        value.map((byte, i) => (byte & (expr.mask[i] ?? 0)) ^ (expr.xor[i] ?? 0)),
      );
    }
    case "lookup":
      return runLookup(table, expr, registers, store);
    case "metaSet":
      if (expr.key !== "mark") throw new Error(`meta set ${expr.key} is not interpreted`);
      packet.of = { ...packet.of, mark: new Uint32Array(load(expr.sreg, 4).buffer)[0] ?? 0 };
      return "go on";
    case "immediate":
      return store(expr.dreg, expr.data);
    case "verdict":
      return expr.verdict;
    case "log":
      packet.logs.push(expr.prefix);
      return "go on";
    case "reject":
      return "reject";
    case "counter":
    case "limit":
      return "go on";
    case "notrack":
      packet.of = { ...packet.of, ctState: "untracked" };
      return "go on";
    case "fib":
      return store(expr.dreg, hostU32(addressTypeOf(expr, packet.of)));
    case "nat":
      if (expr.kind === "dnat") packet.translate(load(expr.address, expr.family === 4 ? 4 : 16));
      return { kind: "accept" };
    case "masq":
      return { kind: "accept" };
    case "exthdr":
      throw new Error(`expression ${expr.type} is not interpreted`);
    default:
      return unreachable(expr);
  }
}

function runLookup(
  table: MemoryNftTable,
  expr: Expr & { type: "lookup" },
  registers: Uint8Array,
  store: (reg: number, bytes: Uint8Array) => "go on",
): Outcome {
  const held = table.sets.get(expr.set);
  if (held === undefined) throw new Error(`no set ${expr.set}`);
  const element = find(held, registers.slice(expr.sreg * 4));
  if ((element === undefined) !== (expr.invert === true)) return "break";
  if (element === undefined || expr.dreg === undefined) return "go on";
  if (expr.dreg === "verdict") return element.data as Verdict;
  return store(expr.dreg, element.data as Uint8Array);
}

function find({ set, elements }: MemorySet, from: Uint8Array): HeldElement | undefined {
  const [first] = elements.values();
  if (first === undefined) return undefined;
  const key = from.slice(0, first.key.length);
  if (set.interval !== true) return elements.get(Buffer.from(key).toString("hex"));
  for (const element of elements.values()) {
    const { key: start, end } = element;
    if (Buffer.compare(start, key) > 0) continue;
    if (end === undefined || Buffer.compare(key, end) < 0) return element;
  }
  return undefined;
}

function metaOf(key: string, packet: Packet): Uint8Array {
  switch (key) {
    case "nfproto":
      return Uint8Array.of(packet.family === 4 ? 2 : 10);
    case "l4proto":
      return Uint8Array.of(packet.of.protocol);
    case "iiftype":
      return hostU32(packet.link === undefined ? ARPHRD_NONE : ARPHRD_ETHER);
    case "mark":
      return hostU32(packet.of.mark ?? 0);
    case "iifname":
    case "oifname": {
      const bytes = new Uint8Array(16);
      bytes.set(Buffer.from(packet.of[key] ?? "", "latin1"));
      return bytes;
    }
    default:
      throw new Error(`meta ${key} is not interpreted`);
  }
}

/** uapi/linux/if_arp.h */
const ARPHRD_ETHER = 1;
const ARPHRD_NONE = 0xfffe;

function compares(op: (Expr & { type: "cmp" })["op"], order: number): "go on" | "break" {
  const holds = {
    eq: order === 0,
    neq: order !== 0,
    lt: order < 0,
    lte: order <= 0,
    gt: order > 0,
    gte: order >= 0,
  }[op];
  return holds ? "go on" : "break";
}

function ctOf(key: string, { ctState = "new", destinationTranslated }: TestPacket): number {
  if (key === "state") return ctBits[ctState];
  if (key === "status") return destinationTranslated === true ? IPS_DST_NAT : 0;
  throw new Error(`ct ${key} is not interpreted`);
}

/** uapi/linux/netfilter/nf_conntrack_common.h */
const IPS_DST_NAT = 1 << 5;

/** The source's type: local exactly for what came by no interface. */
function addressTypeOf(expr: Expr & { type: "fib" }, { iifname }: TestPacket): number {
  if (expr.result !== "addrtype" || expr.flags !== NFTA_FIB_F_SADDR) {
    throw new Error("fib is interpreted for the type of the source alone");
  }
  return iifname === undefined ? RTN_LOCAL : RTN_UNICAST;
}

/** uapi/linux/netfilter/nf_tables.h, uapi/linux/rtnetlink.h */
const NFTA_FIB_F_SADDR = 1;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;

/** NF_CT_STATE_BIT(): invalid 1, established 2, related 4, new 8, untracked 64. */
const ctBits: Readonly<Record<CtState, number>> = {
  invalid: 1,
  established: 2,
  related: 4,
  new: 8,
  untracked: 64,
};

function hostU32(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array([value >>> 0]).buffer);
}
