/**
 * Writes rule expressions in the form in which the kernel itself would dump them: defaults that it
 * fills in are written out, counters carry no values. Two rules mean the same to the kernel if and
 * only if this encoding of them is equal.
 */
import { inputError, unreachable } from "#std";
import type { NetlinkWriter } from "../writer.ts";
import {
  NFT_REG32_00,
  NFT_REG_VERDICT,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_EXPR,
  NFTA_LIST_ELEM,
  NFTA_VERDICT,
  VERDICT_CODES,
} from "./constants.ts";
import type { CmpOp, CtKey, Expr, MetaKey, PayloadBase, Reg, Verdict } from "./types.ts";

export const PAYLOAD_BASES: Readonly<Record<PayloadBase, number>> = {
  link: 0,
  network: 1,
  transport: 2,
};
/** enum nft_meta_keys */
export const META_KEYS: Readonly<Record<MetaKey, number>> = {
  len: 0,
  protocol: 1,
  priority: 2,
  mark: 3,
  iif: 4,
  oif: 5,
  iifname: 6,
  oifname: 7,
  iiftype: 8,
  nfproto: 15,
  l4proto: 16,
  pkttype: 19,
};
/** enum nft_ct_keys */
export const CT_KEYS: Readonly<Record<CtKey, number>> = {
  state: 0,
  direction: 1,
  status: 2,
  mark: 3,
};
/** enum nft_cmp_ops */
export const CMP_OPS: Readonly<Record<CmpOp, number>> = {
  eq: 0,
  neq: 1,
  lt: 2,
  lte: 3,
  gt: 4,
  gte: 5,
};
/** enum nft_fib_result */
export const FIB_RESULTS = { oif: 1, oifname: 2, addrtype: 3 } as const;
/** enum nft_reject_types */
export const REJECT_TYPES = { "icmp-unreach": 0, "tcp-rst": 1, "icmpx-unreach": 2 } as const;
export const NFTA_FIB_F_PRESENT = 1 << 5;
export const NFT_EXTHDR_F_PRESENT = 1;
export const NFT_LOOKUP_F_INV = 1;
export const NFT_LIMIT_F_INV = 1;
/** NFT_LIMIT_PKT_BURST_DEFAULT in the kernel's nft_limit.c. */
const LIMIT_BURST_DEFAULT = 5;
/** NFT_LOGLEVEL_WARNING: what the kernel takes when neither level nor group is given. */
const LOG_LEVEL_DEFAULT = 4;
/** enum nft_nat_types */
export const NAT_TYPES = { snat: 0, dnat: 1 } as const;
/** NFPROTO_IPV4 and NFPROTO_IPV6, uapi/linux/netfilter.h. */
export const NAT_FAMILIES = { 4: 2, 6: 10 } as const;
/** NF_NAT_RANGE_*, uapi/linux/netfilter/nf_nat.h. */
export const NAT_RANGE = { mapIps: 1 << 0, ports: 1 << 1, fullyRandom: 1 << 4 } as const;
/** NF_LOG_PREFIXLEN - 1 */
const LOG_PREFIX_MAX = 127;
export const REGISTERS = 16;

/** Each as one NFTA_LIST_ELEM. Throws an input error on a register outside 0–15. */
export function encodeExprs(writer: NetlinkWriter, exprs: readonly Expr[]): void {
  for (const expr of exprs) {
    const element = writer.beginNested(NFTA_LIST_ELEM);
    writer.attrString(NFTA_EXPR.name, exprName(expr));
    const data = writer.beginNested(NFTA_EXPR.data);
    encodeExprData(writer, expr);
    writer.endNested(data);
    writer.endNested(element);
  }
}

function exprName(expr: Expr): string {
  if (expr.type === "metaSet") return "meta";
  return expr.type === "verdict" ? "immediate" : expr.type;
}

export function encodeVerdict(writer: NetlinkWriter, verdict: Verdict): void {
  const nested = writer.beginNested(NFTA_DATA_VERDICT);
  writer.attrU32Be(NFTA_VERDICT.code, VERDICT_CODES[verdict.kind]);
  if (verdict.kind === "jump" || verdict.kind === "goto") {
    writer.attrString(NFTA_VERDICT.chain, verdict.chain);
  }
  writer.endNested(nested);
}

function register(reg: Reg): number {
  if (reg >= 0 && reg < REGISTERS && Number.isInteger(reg)) return NFT_REG32_00 + reg;
  throw inputError("bad-register", `nf_tables has registers 0 to 15, not ${reg}`);
}

function attrData(writer: NetlinkWriter, type: number, data: Uint8Array): void {
  const nested = writer.beginNested(type);
  writer.attrBytes(NFTA_DATA_VALUE, data);
  writer.endNested(nested);
}

/** NFTA_<EXPRESSION>_* in the order of their numbers. */
function encodeExprData(writer: NetlinkWriter, expr: Expr): void {
  switch (expr.type) {
    case "payload":
      writer.attrU32Be(1, register(expr.dreg));
      writer.attrU32Be(2, PAYLOAD_BASES[expr.base]);
      writer.attrU32Be(3, expr.offset);
      writer.attrU32Be(4, expr.len);
      return;
    case "meta":
      writer.attrU32Be(1, register(expr.dreg));
      writer.attrU32Be(2, META_KEYS[expr.key]);
      return;
    case "metaSet":
      writer.attrU32Be(2, META_KEYS[expr.key]);
      writer.attrU32Be(3, register(expr.sreg));
      return;
    case "ct":
      writer.attrU32Be(1, register(expr.dreg));
      writer.attrU32Be(2, CT_KEYS[expr.key]);
      return;
    case "cmp":
      writer.attrU32Be(1, register(expr.sreg));
      writer.attrU32Be(2, CMP_OPS[expr.op]);
      attrData(writer, 3, expr.data);
      return;
    case "range":
      writer.attrU32Be(1, register(expr.sreg));
      writer.attrU32Be(2, expr.op === "eq" ? 0 : 1);
      attrData(writer, 3, expr.from);
      attrData(writer, 4, expr.to);
      return;
    case "bitwise":
      writer.attrU32Be(1, register(expr.sreg));
      writer.attrU32Be(2, register(expr.dreg));
      writer.attrU32Be(3, expr.len);
      attrData(writer, 4, expr.mask);
      attrData(writer, 5, expr.xor);
      return;
    case "lookup":
      encodeLookup(writer, expr);
      return;
    case "immediate":
      writer.attrU32Be(1, register(expr.dreg));
      attrData(writer, 2, expr.data);
      return;
    case "verdict":
      encodeVerdictExpr(writer, expr.verdict);
      return;
    case "fib":
      writer.attrU32Be(1, register(expr.dreg));
      writer.attrU32Be(2, FIB_RESULTS[expr.result]);
      writer.attrU32Be(3, expr.flags | (expr.present === true ? NFTA_FIB_F_PRESENT : 0));
      return;
    case "exthdr":
      writer.attrU32Be(1, register(expr.dreg));
      writer.attrU8(2, expr.headerType);
      writer.attrU32Be(3, expr.offset);
      writer.attrU32Be(4, expr.len);
      if (expr.present === true) writer.attrU32Be(5, NFT_EXTHDR_F_PRESENT);
      return;
    case "limit":
      encodeLimit(writer, expr);
      return;
    case "log":
      encodeLog(writer, expr);
      return;
    case "counter":
    case "notrack":
      return;
    case "masq":
      encodeMasq(writer, expr);
      return;
    case "nat":
      encodeNat(writer, expr);
      return;
    case "reject":
      writer.attrU32Be(1, REJECT_TYPES[expr.rejectType]);
      if (expr.rejectType !== "tcp-rst") writer.attrU8(2, expr.code);
      return;
    default:
      unreachable(expr);
  }
}

function encodeLookup(writer: NetlinkWriter, expr: Extract<Expr, { type: "lookup" }>): void {
  writer.attrString(1, expr.set);
  writer.attrU32Be(2, register(expr.sreg));
  if (expr.dreg !== undefined) {
    writer.attrU32Be(3, expr.dreg === "verdict" ? NFT_REG_VERDICT : register(expr.dreg));
  }
  if (expr.invert === true) writer.attrU32Be(5, NFT_LOOKUP_F_INV);
}

/** The port range alone does nothing without its flag, which the kernel does not set of itself. */
function encodeMasq(writer: NetlinkWriter, expr: Extract<Expr, { type: "masq" }>): void {
  const flags = natFlags(expr);
  if (flags !== 0) writer.attrU32Be(1, flags);
  if (expr.ports === undefined) return;
  writer.attrU32Be(2, register(expr.ports.min));
  writer.attrU32Be(3, register(expr.ports.max));
}

function encodeNat(writer: NetlinkWriter, expr: Extract<Expr, { type: "nat" }>): void {
  writer.attrU32Be(1, NAT_TYPES[expr.kind]);
  writer.attrU32Be(2, NAT_FAMILIES[expr.family]);
  // A range of one address, as the kernel reports it.
  writer.attrU32Be(3, register(expr.address));
  writer.attrU32Be(4, register(expr.address));
  if (expr.ports !== undefined) {
    writer.attrU32Be(5, register(expr.ports.min));
    writer.attrU32Be(6, register(expr.ports.max));
  }
  writer.attrU32Be(7, NAT_RANGE.mapIps | natFlags(expr));
}

function natFlags(expr: Extract<Expr, { type: "masq" | "nat" }>): number {
  return (
    (expr.ports === undefined ? 0 : NAT_RANGE.ports) |
    (expr.fullyRandom === true ? NAT_RANGE.fullyRandom : 0)
  );
}

function encodeVerdictExpr(writer: NetlinkWriter, verdict: Verdict): void {
  writer.attrU32Be(1, NFT_REG_VERDICT);
  const nested = writer.beginNested(2);
  encodeVerdict(writer, verdict);
  writer.endNested(nested);
}

function encodeLimit(writer: NetlinkWriter, expr: Extract<Expr, { type: "limit" }>): void {
  writer.attrU64Be(1, BigInt(expr.rate));
  writer.attrU64Be(2, BigInt(expr.unitSeconds));
  writer.attrU32Be(3, expr.burst === 0 ? LIMIT_BURST_DEFAULT : expr.burst);
  writer.attrU32Be(4, 0);
  writer.attrU32Be(5, expr.over === true ? NFT_LIMIT_F_INV : 0);
}

function encodeLog(writer: NetlinkWriter, expr: Extract<Expr, { type: "log" }>): void {
  if (expr.group !== undefined) writer.attrU16Be(1, expr.group);
  if (expr.prefix !== "") writer.attrString(2, expr.prefix.slice(0, LOG_PREFIX_MAX));
  if (expr.group !== undefined) {
    // The kernel refuses a level together with a group, and a length without one.
    if (expr.snaplen !== undefined) writer.attrU32Be(3, expr.snaplen);
  } else {
    writer.attrU32Be(5, expr.level ?? LOG_LEVEL_DEFAULT);
  }
}
