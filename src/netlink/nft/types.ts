/**
 * A declarative nf_tables table, in the kernel's own terms (uapi/linux/netfilter/nf_tables.h).
 * The compiler in `#dataplane` builds these; the codec here turns them into messages and back.
 *
 * Registers are NFT_REG32_xx numbers 0–15 (four bytes each); the codec writes
 * NFTA reg = NFT_REG32_00 + n. Data is raw bytes in the byte order that the kernel compares:
 * network order for packet fields, host order for `meta mark`, interface names NUL-padded to 16.
 */

export type Reg = number;

export type CmpOp = "eq" | "neq" | "lt" | "lte" | "gt" | "gte";

export type PayloadBase = "link" | "network" | "transport";

export type MetaKey =
  | "len"
  | "protocol"
  | "priority"
  | "mark"
  | "iif"
  | "oif"
  | "iifname"
  | "oifname"
  | "iiftype"
  | "nfproto"
  | "l4proto"
  | "pkttype";

export type CtKey = "state" | "direction" | "status" | "mark";

export type Verdict =
  | { readonly kind: "accept" }
  | { readonly kind: "drop" }
  | { readonly kind: "return" }
  | { readonly kind: "continue" }
  | { readonly kind: "jump"; readonly chain: string }
  | { readonly kind: "goto"; readonly chain: string };

export type Expr =
  | {
      readonly type: "payload";
      readonly base: PayloadBase;
      readonly offset: number;
      readonly len: number;
      readonly dreg: Reg;
    }
  | { readonly type: "meta"; readonly key: MetaKey; readonly dreg: Reg }
  | { readonly type: "metaSet"; readonly key: "mark" | "priority" | "pkttype"; readonly sreg: Reg }
  | { readonly type: "ct"; readonly key: CtKey; readonly dreg: Reg }
  | { readonly type: "cmp"; readonly op: CmpOp; readonly sreg: Reg; readonly data: Uint8Array }
  | {
      readonly type: "range";
      readonly op: "eq" | "neq";
      readonly sreg: Reg;
      readonly from: Uint8Array;
      readonly to: Uint8Array;
    }
  | {
      readonly type: "bitwise";
      readonly sreg: Reg;
      readonly dreg: Reg;
      readonly len: number;
      readonly mask: Uint8Array;
      readonly xor: Uint8Array;
    }
  | {
      readonly type: "lookup";
      readonly set: string;
      readonly sreg: Reg;
      readonly dreg?: Reg | "verdict";
      readonly invert?: boolean;
    }
  | { readonly type: "immediate"; readonly dreg: Reg; readonly data: Uint8Array }
  | { readonly type: "verdict"; readonly verdict: Verdict }
  /** `flags`/`result`: NFTA_F_FIB_* and NFT_FIB_RESULT_*. */
  | {
      readonly type: "fib";
      readonly flags: number;
      readonly result: "oif" | "oifname" | "addrtype";
      readonly dreg: Reg;
      readonly present?: boolean;
    }
  | {
      readonly type: "exthdr";
      readonly headerType: number;
      readonly offset: number;
      readonly len: number;
      readonly dreg: Reg;
      readonly present?: boolean;
    }
  | { readonly type: "counter" }
  | {
      readonly type: "limit";
      readonly rate: number;
      readonly unitSeconds: number;
      readonly burst: number;
      readonly over?: boolean;
    }
  | {
      readonly type: "log";
      readonly prefix: string;
      readonly group?: number;
      readonly snaplen?: number;
      readonly level?: number;
    }
  | { readonly type: "notrack" }
  | { readonly type: "masq"; readonly ports?: NatPorts; readonly fullyRandom?: boolean }
  | {
      readonly type: "nat";
      readonly kind: "snat" | "dnat";
      readonly family: 4 | 6;
      readonly address: Reg;
      readonly ports?: NatPorts;
      readonly fullyRandom?: boolean;
    }
  | {
      readonly type: "reject";
      readonly rejectType: "icmp-unreach" | "tcp-rst" | "icmpx-unreach";
      readonly code: number;
    };

/** Registers with the first and the last port, both included. */
export interface NatPorts {
  readonly min: Reg;
  readonly max: Reg;
}

export interface NftRule {
  readonly exprs: readonly Expr[];
  /** What the rule is for; visible in `nft list` (user data, at most 128 bytes; longer is cut). */
  readonly comment?: string;
}

export type ChainHook = "prerouting" | "input" | "forward" | "output" | "postrouting";

export interface NftChain {
  readonly name: string;
  /** Absent: a regular chain. */
  readonly hook?: {
    readonly type: "filter" | "nat" | "route";
    readonly hook: ChainHook;
    readonly priority: number;
    readonly policy: "accept" | "drop";
  };
  readonly rules: readonly NftRule[];
}

/** Scalar types that sets may concatenate; length in bytes, nft's datatype number for `nft list`. */
export type KeyType =
  | "ipv4_addr"
  | "ipv6_addr"
  | "ether_addr"
  | "inet_proto"
  | "inet_service"
  | "ifname"
  | "mark"
  | "icmp_type"
  | "icmpv6_type";

export interface NftSet {
  readonly name: string;
  readonly key: readonly KeyType[];
  /** A map's data; `verdict` = verdict map. */
  readonly data?: "verdict" | "mark" | "ipv4_addr" | "ipv6_addr";
  /** CIDRs and ranges instead of single values (elements are then half-open ranges, see NftElement). */
  readonly interval?: boolean;
  readonly comment?: string;
}

/**
 * Bytes without an object of their own, since there may be 100,000: four as a signed big-endian number,
 * which V8 keeps in place, others as a string of code units 0–255.
 */
export type PackedBytes = number | string;

export function packBytes(bytes: Uint8Array): PackedBytes {
  if (bytes.length !== 4) return Buffer.from(bytes).toString("latin1");
  const [a = 0, b = 0, c = 0, d = 0] = bytes;
  return (a << 24) | (b << 16) | (c << 8) | d;
}

/**
 * An element. `key` is the concatenation of the key fields, each padded to 4 bytes. In an interval
 * set `key` is the first address and `end` the first address after the range (absent: to the top).
 * In an interval set over a concatenation `end` has the last value of each field, itself included
 * (absent: the one value `key`).
 */
export interface NftElement {
  readonly key: Uint8Array | PackedBytes;
  readonly end?: Uint8Array;
  readonly data?: Uint8Array | Verdict;
}
