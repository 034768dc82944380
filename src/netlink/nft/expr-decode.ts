/**
 * Reads rule expressions from a kernel dump. `undefined` when a rule has an expression, or an
 * attribute of one, that this program never writes: such a rule is somebody else's.
 */
import type { NetlinkReader } from "../reader.ts";
import {
  NFT_REG32_00,
  NFT_REG_VERDICT,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_EXPR,
  NFTA_VERDICT,
  VERDICT_CODES,
} from "./constants.ts";
import {
  CMP_OPS,
  CT_KEYS,
  FIB_RESULTS,
  META_KEYS,
  NAT_FAMILIES,
  NAT_RANGE,
  NAT_TYPES,
  NFT_EXTHDR_F_PRESENT,
  NFT_LIMIT_F_INV,
  NFT_LOOKUP_F_INV,
  NFTA_FIB_F_PRESENT,
  PAYLOAD_BASES,
  REJECT_TYPES,
  REGISTERS,
} from "./expr-encode.ts";
import type { Expr, NatPorts, Reg, Verdict } from "./types.ts";

/** Few expressions have more attributes; those beyond are none that this program writes. */
const MOST_ATTRIBUTES = 16;

/** Attributes of one expression by number. */
class Attributes {
  readonly #positions = new Int32Array(MOST_ATTRIBUTES);
  #reader: NetlinkReader | undefined;

  /** Made for one expression after the other, since there are tens of thousands. */
  load(reader: NetlinkReader | undefined): this {
    this.#positions.fill(-1);
    this.#reader = reader;
    while (reader?.nextAttr() === true) {
      if (reader.attrType < MOST_ATTRIBUTES) this.#positions[reader.attrType] = reader.attrPosition;
    }
    return this;
  }

  #at(type: number): NetlinkReader | undefined {
    const position = this.#positions[type] ?? -1;
    if (position < 0 || this.#reader === undefined) return undefined;
    this.#reader.goTo(position);
    return this.#reader;
  }

  u8(type: number): number | undefined {
    return this.#at(type)?.attrU8();
  }

  u16(type: number): number | undefined {
    return this.#at(type)?.attrU16Be();
  }

  u32(type: number): number | undefined {
    return this.#at(type)?.attrU32Be();
  }

  u64(type: number): number | undefined {
    const reader = this.#at(type);
    return reader === undefined ? undefined : Number(reader.attrU64Be());
  }

  text(type: number): string | undefined {
    return this.#at(type)?.attrString();
  }

  data(type: number): Uint8Array | undefined {
    const reader = this.#at(type);
    return reader === undefined ? undefined : decodeValue(reader.nested());
  }

  verdict(type: number): Verdict | undefined {
    const reader = this.#at(type);
    return reader === undefined ? undefined : decodeVerdict(reader.nested());
  }
}

const attributes = new Attributes();

export function decodeExprs(list: NetlinkReader): Expr[] | undefined {
  const exprs: Expr[] = [];
  while (list.nextAttr()) {
    const element = list.nested();
    let decode: Decoder | undefined;
    let data: NetlinkReader | undefined;
    while (element.nextAttr()) {
      if (element.attrType === NFTA_EXPR.name) decode = decoderOf(element);
      else if (element.attrType === NFTA_EXPR.data) data = element.nested();
    }
    const expr = decode?.(attributes.load(data));
    if (expr === undefined) return undefined;
    exprs.push(expr);
  }
  return exprs;
}

/** The NFTA_DATA_VERDICT inside NFTA_SET_ELEM_DATA or NFTA_IMMEDIATE_DATA. */
export function decodeVerdict(data: NetlinkReader): Verdict | undefined {
  while (data.nextAttr()) {
    if (data.attrType !== NFTA_DATA_VERDICT) continue;
    const nested = data.nested();
    let code: number | undefined;
    let chain = "";
    while (nested.nextAttr()) {
      if (nested.attrType === NFTA_VERDICT.code) code = nested.attrI32Be();
      else if (nested.attrType === NFTA_VERDICT.chain) chain = nested.attrString();
    }
    const kind = nameOf(VERDICT_CODES, code);
    if (kind === undefined) return undefined;
    return kind === "jump" || kind === "goto" ? { kind, chain } : { kind };
  }
  return undefined;
}

/** The NFTA_DATA_VALUE inside a nested data attribute. */
export function decodeValue(data: NetlinkReader): Uint8Array | undefined {
  while (data.nextAttr()) {
    if (data.attrType === NFTA_DATA_VALUE) return data.attrBytes();
  }
  return undefined;
}

type Decoder = (a: Attributes) => Expr | undefined;

/** Compares bytes instead of making a string for each of a ruleset's expressions. */
function decoderOf(name: NetlinkReader): Decoder | undefined {
  for (const [known, decode] of DECODER_LIST) if (name.attrEquals(known)) return decode;
  return undefined;
}

function nameOf<Name extends string>(
  numbers: Readonly<Record<Name, number>>,
  number: number | undefined,
): Name | undefined {
  for (const name in numbers) if (numbers[name] === number) return name;
  return undefined;
}

/**
 * The kernel writes register 4n as NFT_REG_(n+1) and the others as NFT_REG32_xx (nft_dump_register).
 * Ours is the number of the 32-bit register.
 */
function register(value: number | undefined): Reg | undefined {
  if (value === undefined || value === NFT_REG_VERDICT) return undefined;
  const number = value >= NFT_REG32_00 ? value - NFT_REG32_00 : (value - 1) * 4;
  return number < REGISTERS ? number : undefined;
}

function complete<T extends Record<string, unknown>>(
  fields: T,
): { [Field in keyof T]: Exclude<T[Field], undefined> } | undefined {
  for (const field in fields) if (fields[field] === undefined) return undefined;
  return fields as { [Field in keyof T]: Exclude<T[Field], undefined> };
}

/** Undefined: with flags that this program never sets. */
function natRange(
  flags: number,
  min: number | undefined,
  max: number | undefined,
): { readonly fullyRandom: boolean; readonly ports?: NatPorts } | undefined {
  const fullyRandom = (flags & NAT_RANGE.fullyRandom) !== 0;
  const ports = (flags & NAT_RANGE.ports) !== 0;
  if ((flags & ~(NAT_RANGE.fullyRandom | NAT_RANGE.ports)) !== 0) return undefined;
  if (ports !== (min !== undefined)) return undefined;
  if (!ports) return { fullyRandom };
  const range = complete({ min: register(min), max: register(max) });
  return range === undefined ? undefined : { fullyRandom, ports: range };
}

const DECODERS: Readonly<Record<string, Decoder>> = {
  payload(a) {
    // A source register means that the packet is written to.
    if (a.u32(5) !== undefined) return undefined;
    return complete({
      type: "payload" as const,
      dreg: register(a.u32(1)),
      base: nameOf(PAYLOAD_BASES, a.u32(2)),
      offset: a.u32(3),
      len: a.u32(4),
    });
  },
  meta(a) {
    const key = nameOf(META_KEYS, a.u32(2));
    const sreg = register(a.u32(3));
    if (sreg === undefined)
      return complete({ type: "meta" as const, key, dreg: register(a.u32(1)) });
    if (key !== "mark" && key !== "priority" && key !== "pkttype") return undefined;
    return { type: "metaSet", key, sreg };
  },
  ct: (a) =>
    complete({ type: "ct" as const, key: nameOf(CT_KEYS, a.u32(2)), dreg: register(a.u32(1)) }),
  cmp: (a) =>
    complete({
      type: "cmp" as const,
      sreg: register(a.u32(1)),
      op: nameOf(CMP_OPS, a.u32(2)),
      data: a.data(3),
    }),
  range: (a) =>
    complete({
      type: "range" as const,
      sreg: register(a.u32(1)),
      op: nameOf({ eq: 0, neq: 1 }, a.u32(2)),
      from: a.data(3),
      to: a.data(4),
    }),
  bitwise(a) {
    if ((a.u32(6) ?? 0) !== 0) return undefined;
    return complete({
      type: "bitwise" as const,
      sreg: register(a.u32(1)),
      dreg: register(a.u32(2)),
      len: a.u32(3),
      mask: a.data(4),
      xor: a.data(5),
    });
  },
  lookup(a) {
    const known = complete({
      type: "lookup" as const,
      set: a.text(1),
      sreg: register(a.u32(2)),
    });
    if (known === undefined) return undefined;
    const target = a.u32(3);
    const dreg = target === NFT_REG_VERDICT ? "verdict" : register(target);
    if (target !== undefined && dreg === undefined) return undefined;
    return {
      ...known,
      ...(dreg === undefined ? {} : { dreg }),
      ...(((a.u32(5) ?? 0) & NFT_LOOKUP_F_INV) === 0 ? {} : { invert: true }),
    };
  },
  immediate(a) {
    if (a.u32(1) === NFT_REG_VERDICT) {
      return complete({ type: "verdict" as const, verdict: a.verdict(2) });
    }
    return complete({ type: "immediate" as const, dreg: register(a.u32(1)), data: a.data(2) });
  },
  fib(a) {
    const flags = a.u32(3);
    if (flags === undefined) return undefined;
    return complete({
      type: "fib" as const,
      dreg: register(a.u32(1)),
      result: nameOf(FIB_RESULTS, a.u32(2)),
      flags: flags & ~NFTA_FIB_F_PRESENT,
      present: (flags & NFTA_FIB_F_PRESENT) !== 0,
    });
  },
  exthdr(a) {
    // Only IPv6 extension headers (NFT_EXTHDR_OP_IPV6), read and not written.
    if ((a.u32(6) ?? 0) !== 0 || a.u32(7) !== undefined) return undefined;
    return complete({
      type: "exthdr" as const,
      dreg: register(a.u32(1)),
      headerType: a.u8(2),
      offset: a.u32(3),
      len: a.u32(4),
      present: ((a.u32(5) ?? 0) & NFT_EXTHDR_F_PRESENT) !== 0,
    });
  },
  counter: () => ({ type: "counter" }),
  limit(a) {
    if (a.u32(4) !== 0) return undefined;
    return complete({
      type: "limit" as const,
      rate: a.u64(1),
      unitSeconds: a.u64(2),
      burst: a.u32(3),
      over: ((a.u32(5) ?? 0) & NFT_LIMIT_F_INV) !== 0,
    });
  },
  log(a) {
    if (a.u16(4) !== undefined || a.u32(6) !== undefined) return undefined;
    const group = a.u16(1);
    const snaplen = a.u32(3);
    const level = a.u32(5);
    return {
      type: "log",
      prefix: a.text(2) ?? "",
      ...(group === undefined ? {} : { group }),
      ...(snaplen === undefined ? {} : { snaplen }),
      ...(level === undefined ? {} : { level }),
    };
  },
  notrack: () => ({ type: "notrack" }),
  masq(a) {
    const range = natRange(a.u32(1) ?? 0, a.u32(2), a.u32(3));
    return range === undefined ? undefined : { type: "masq", ...range };
  },
  nat(a) {
    const range = natRange((a.u32(7) ?? 0) & ~NAT_RANGE.mapIps, a.u32(5), a.u32(6));
    // One address, not a range of them.
    if (range === undefined || a.u32(3) !== a.u32(4)) return undefined;
    const number = a.u32(2);
    const family: 4 | 6 | undefined =
      number === NAT_FAMILIES[4] ? 4 : number === NAT_FAMILIES[6] ? 6 : undefined;
    return complete({
      type: "nat" as const,
      kind: nameOf(NAT_TYPES, a.u32(1)),
      family,
      address: register(a.u32(3)),
      ...range,
    });
  },
  reject(a) {
    const rejectType = nameOf(REJECT_TYPES, a.u32(1));
    if (rejectType === undefined) return undefined;
    return { type: "reject", rejectType, code: a.u8(2) ?? 0 };
  },
};

const DECODER_LIST = Object.entries(DECODERS);
