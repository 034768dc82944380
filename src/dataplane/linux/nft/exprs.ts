/**
 * Expressions in nf_tables terms. Loads and verdicts that do not vary are shared objects: a large
 * rule set holds hundreds of thousands of expressions.
 *
 * Register 0 is the scratch register of every match; concatenated keys start there too.
 */
import type { Expr, NatPorts, NftRule, Reg, Verdict } from "#netlink";
import { byteLength, ipBytes, isHostCidr, type Cidr, type Ip, type IpFamily } from "#ip";
import { ifname, ifnamePrefix, prefixMask, u16, u16Host, u32Host, u8 } from "./bytes.ts";

/** IANA protocol numbers. */
export const IPPROTO = {
  icmp: 1,
  ipip: 4,
  tcp: 6,
  udp: 17,
  dccp: 33,
  icmpv6: 58,
  sctp: 132,
  udplite: 136,
} as const;

/** uapi/linux/netfilter.h, NFPROTO_IPV4 and NFPROTO_IPV6. */
const NFPROTO: Readonly<Record<IpFamily, number>> = { 4: 2, 6: 10 };

/** Bits of `ct state`: NF_CT_STATE_BIT(ctinfo), uapi/linux/netfilter/nf_conntrack_common.h. */
const CT_STATE = { invalid: 1, established: 2, related: 4 } as const;

/** uapi/linux/netfilter/nf_conntrack_common.h */
const IPS_DST_NAT = 32;

/** uapi/linux/netfilter/nf_tables.h, enum nft_fib_flags. */
const NFTA_FIB_F_SADDR = 1;
const NFTA_FIB_F_DADDR = 2;
const NFTA_FIB_F_OIF = 16;

/** uapi/linux/rtnetlink.h */
const RTN_LOCAL = 2;

/** uapi/linux/if_arp.h */
const ARPHRD_ETHER = 1;

export type Side = "src" | "dst";

const shared = <T extends Expr>(expr: T): T => Object.freeze(expr);

const loadNfproto = shared({ type: "meta", key: "nfproto", dreg: 0 });
const loadL4proto = shared({ type: "meta", key: "l4proto", dreg: 0 });
const loadMark = shared({ type: "meta", key: "mark", dreg: 0 });
const loadIifname = shared({ type: "meta", key: "iifname", dreg: 0 });
const loadOifname = shared({ type: "meta", key: "oifname", dreg: 0 });
const loadCtState = shared({ type: "ct", key: "state", dreg: 0 });
const setMark = shared({ type: "metaSet", key: "mark", sreg: 0 });
export const counter = shared({ type: "counter" });

/** Offset of the addresses: RFC 791 §3.1, RFC 8200 §3. */
const loadAddress: Readonly<Record<IpFamily, Readonly<Record<Side, Expr>>>> = {
  4: {
    src: shared({ type: "payload", base: "network", offset: 12, len: 4, dreg: 0 }),
    dst: shared({ type: "payload", base: "network", offset: 16, len: 4, dreg: 0 }),
  },
  6: {
    src: shared({ type: "payload", base: "network", offset: 8, len: 16, dreg: 0 }),
    dst: shared({ type: "payload", base: "network", offset: 24, len: 16, dreg: 0 }),
  },
};

/** Ports are the first two 16-bit words of TCP, UDP, SCTP, UDP-Lite and DCCP. */
function loadPort(side: Side, dreg: Reg = 0): Expr {
  return dreg === 0
    ? loadPortScratch[side]
    : { type: "payload", base: "transport", offset: portOffset[side], len: 2, dreg };
}
const portOffset: Readonly<Record<Side, number>> = { src: 0, dst: 2 };
const loadPortScratch: Readonly<Record<Side, Expr>> = {
  src: shared({ type: "payload", base: "transport", offset: 0, len: 2, dreg: 0 }),
  dst: shared({ type: "payload", base: "transport", offset: 2, len: 2, dreg: 0 }),
};
const loadIcmpType = shared({ type: "payload", base: "transport", offset: 0, len: 1, dreg: 0 });
const loadIcmpTypeAndCode = shared({
  type: "payload",
  base: "transport",
  offset: 0,
  len: 2,
  dreg: 0,
});

/** Comparisons of the scratch register with one byte, shared by operator and value. */
const byteCmp = new Map<number, Expr>();
function cmpByte(op: "eq" | "neq", value: number): Expr {
  const key = op === "eq" ? value : value + 256;
  let expr = byteCmp.get(key);
  if (expr === undefined) {
    expr = shared({ type: "cmp", op, sreg: 0, data: u8(value) });
    byteCmp.set(key, expr);
  }
  return expr;
}

function cmp(op: "eq" | "neq", data: Uint8Array): Expr {
  return { type: "cmp", op, sreg: 0, data };
}

export function familyIs(family: IpFamily): Expr[] {
  return [loadNfproto, cmpByte("eq", NFPROTO[family])];
}

export function protocolIs(number: number, negated = false): Expr[] {
  return [loadL4proto, cmpByte(negated ? "neq" : "eq", number)];
}

export function protocolInSet(set: string, invert = false): Expr[] {
  return [loadL4proto, lookup(set, invert)];
}

export function addressInCidr(side: Side, cidr: Cidr, negated = false): Expr[] {
  const exprs: Expr[] = [loadAddress[cidr.family][side]];
  if (!isHostCidr(cidr)) {
    const len = byteLength(cidr.family);
    const xor = new Uint8Array(len);
    exprs.push({ type: "bitwise", sreg: 0, dreg: 0, len, mask: prefixMask(cidr), xor });
  }
  exprs.push(cmp(negated ? "neq" : "eq", ipBytes(cidr)));
  return exprs;
}

export function addressInSet(family: IpFamily, side: Side, set: string, invert = false): Expr[] {
  return [loadAddress[family][side], lookup(set, invert)];
}

/** Key `address . protocol . port`. */
export function endpointInSet(family: IpFamily, side: Side, set: string, invert = false): Expr[] {
  const addressRegs = family === 4 ? 1 : 4;
  return [
    loadAddress[family][side],
    { type: "meta", key: "l4proto", dreg: addressRegs },
    loadPort(side, addressRegs + 1),
    lookup(set, invert),
  ];
}

export function portInRange(side: Side, first: number, last: number, negated = false): Expr[] {
  const load = loadPort(side);
  if (first === last) return [load, cmp(negated ? "neq" : "eq", u16(first))];
  if (negated)
    return [load, { type: "range", op: "neq", sreg: 0, from: u16(first), to: u16(last) }];
  return [
    load,
    { type: "cmp", op: "gte", sreg: 0, data: u16(first) },
    { type: "cmp", op: "lte", sreg: 0, data: u16(last) },
  ];
}

export function portInSet(side: Side, set: string, invert = false): Expr[] {
  return [loadPort(side), lookup(set, invert)];
}

export function icmpIs(type: number, code: number | undefined, negated = false): Expr[] {
  if (code === undefined) return [loadIcmpType, cmpByte(negated ? "neq" : "eq", type)];
  return [loadIcmpTypeAndCode, cmp(negated ? "neq" : "eq", Uint8Array.of(type, code))];
}

export function icmpTypeInRange(first: number, last: number): Expr[] {
  return [
    loadIcmpType,
    { type: "cmp", op: "gte", sreg: 0, data: u8(first) },
    { type: "cmp", op: "lte", sreg: 0, data: u8(last) },
  ];
}

export type Device = "iifname" | "oifname";

const loadDevice: Readonly<Record<Device, Expr>> = { iifname: loadIifname, oifname: loadOifname };

export function deviceHasPrefix(device: Device, prefix: string): Expr[] {
  return [loadDevice[device], cmp("eq", ifnamePrefix(prefix))];
}

export function deviceIs(device: Device, name: string): Expr[] {
  return [loadDevice[device], cmp("eq", ifname(name))];
}

/** The verdict that the map has for the device; no match without one. */
export function deviceVerdict(device: Device, map: string): Expr[] {
  return [loadDevice[device], { type: "lookup", set: map, sreg: 0, dreg: "verdict" }];
}

export function deviceInSet(device: Device, set: string): Expr[] {
  return [loadDevice[device], lookup(set)];
}

/** The set is asked only for names that begin with the prefix. */
export function deviceOfPrefixInSet(device: Device, prefix: string, set: string): Expr[] {
  return [...deviceHasPrefix(device, prefix), lookup(set)];
}

/**
 * Device → class → verdict; no match if the device or its class is missing.
 *
 * nft cannot list a map inside a map (1.0.6 aborts): it follows what each register was loaded with,
 * and a map's result has no length there. So the class is looked up beside the device name, and a
 * copy of two registers puts it where nft still sees the packet mark, which has a class's type:
 * what nft lists, `meta mark vmap @from-class-chain`, it can also read again; after such a reload
 * no packet finds its class. Registers: mark in 1; name in 8–11, class in 9; then 8–9 to 0–1.
 */
export function deviceDispatch(device: Device, map: string, verdicts: string): Expr[] {
  const mask = new Uint8Array(8).fill(0xff);
  return [
    { type: "meta", key: "mark", dreg: 1 },
    { type: "meta", key: device, dreg: 8 },
    { type: "lookup", set: map, sreg: 8, dreg: 9 },
    { type: "bitwise", sreg: 8, dreg: 0, len: 8, mask, xor: new Uint8Array(8) },
    { type: "lookup", set: verdicts, sreg: 1, dreg: "verdict" },
  ];
}

/**
 * Key `class . segment . identity [. protocol [. port]]` in a set of one of the `peer` kinds; no match
 * if the peer has no identity. Without `peer`, the identity is 0 and stands for anybody.
 *
 * As in `deviceDispatch`, nft has to be kept from following the identity through its registers: it
 * sees the packet mark three times where class, segment and identity are. Registers: the address in
 * 8–11, its identity in 11, from where the copy puts all three into 1–3; protocol in 4, port in 5.
 */
export function peerInSet(key: {
  readonly set: string;
  readonly fields: 3 | 4 | 5;
  readonly classId: number;
  readonly segment: number;
  readonly peer?: { readonly family: IpFamily; readonly side: Side; readonly identities: string };
}): Expr[] {
  const exprs: Expr[] = [1, 2, 3].map((dreg) => ({ type: "meta", key: "mark", dreg }));
  const mask = new Uint8Array(16);
  const xor = new Uint8Array(16);
  xor.set(u32Host(key.classId), 4);
  xor.set(u32Host(key.segment), 8);
  if (key.peer === undefined) exprs.push({ type: "meta", key: "mark", dreg: 0 });
  else {
    const { family, side, identities } = key.peer;
    // The kernel copies only registers that were loaded (nft_parse_register_load).
    if (family === 4) for (const dreg of [9, 10]) exprs.push({ type: "meta", key: "mark", dreg });
    exprs.push({ ...(loadAddress[family][side] as Expr & { type: "payload" }), dreg: 8 });
    exprs.push({ type: "lookup", set: identities, sreg: 8, dreg: 11 });
    mask.fill(0xff, 12);
  }
  const sreg = key.peer === undefined ? 0 : 8;
  exprs.push({ type: "bitwise", sreg, dreg: 0, len: 16, mask, xor });
  if (key.fields > 3) exprs.push({ type: "meta", key: "l4proto", dreg: 4 });
  if (key.fields > 4) exprs.push(loadPort("dst", 5));
  exprs.push({ type: "lookup", set: key.set, sreg: 1 });
  return exprs;
}

/**
 * Key `iifname . source address`, or `iifname . source address . ether saddr`, the latter on Ethernet
 * devices alone. Most packets of workloads are decided here, and others pass it: so the name is loaded
 * once, and the set is asked only for names that begin with the prefix.
 */
export function sourceInSet(key: {
  readonly set: string;
  readonly prefix: string;
  readonly family: IpFamily;
  readonly withMac: boolean;
}): Expr[] {
  const { set, prefix, family, withMac } = key;
  const address = { ...(loadAddress[family].src as Expr & { type: "payload" }), dreg: 4 };
  const exprs = [...familyIs(family), ...(withMac ? deviceIsEthernet() : [])];
  exprs.push(...deviceHasPrefix("iifname", prefix), address);
  if (withMac) exprs.push(loadSourceMac(family === 4 ? 5 : 8));
  return [...exprs, lookup(set)];
}

/** Offset 6, IEEE 802.3. */
function loadSourceMac(dreg: Reg): Expr {
  return { type: "payload", base: "link", offset: 6, len: 6, dreg };
}

function deviceIsEthernet(): Expr[] {
  return [{ type: "meta", key: "iiftype", dreg: 0 }, cmp("eq", u16Host(ARPHRD_ETHER))];
}

/** Key `iifname . ether saddr`, on Ethernet devices alone. */
export function deviceAndSourceMacInSet(set: string): Expr[] {
  return [...deviceIsEthernet(), loadIifname, loadSourceMac(4), lookup(set)];
}

export function ctStateAny(...states: readonly (keyof typeof CT_STATE)[]): Expr[] {
  let bits = 0;
  for (const state of states) bits |= CT_STATE[state];
  return [loadCtState, maskScratch(bits), cmp("neq", u32Host(0))];
}

/** `ct status dnat`: the destination was translated. */
export function destinationTranslated(): Expr[] {
  const load: Expr = { type: "ct", key: "status", dreg: 0 };
  return [load, maskScratch(IPS_DST_NAT), cmp("neq", u32Host(0))];
}

/** `fib saddr type local`: sent by this host. */
export function sourceIsLocal(): Expr[] {
  const load: Expr = { type: "fib", flags: NFTA_FIB_F_SADDR, result: "addrtype", dreg: 0 };
  return [load, cmp("eq", u32Host(RTN_LOCAL))];
}

/** `fib saddr . oif type != local`: the interface that the packet leaves by does not have its source. */
export function sourceIsOfAnotherInterface(): Expr[] {
  const flags = NFTA_FIB_F_SADDR | NFTA_FIB_F_OIF;
  return [{ type: "fib", flags, result: "addrtype", dreg: 0 }, cmp("neq", u32Host(RTN_LOCAL))];
}

/** `fib daddr type local`: for this host. */
export function destinationIsLocal(): Expr[] {
  const load: Expr = { type: "fib", flags: NFTA_FIB_F_DADDR, result: "addrtype", dreg: 0 };
  return [load, cmp("eq", u32Host(RTN_LOCAL))];
}

export const notrack: Expr = shared({ type: "notrack" });

/** Protocol and destination or source port in one set. */
export function protocolPortInSet(side: Side, set: string): Expr[] {
  return [loadL4proto, loadPort(side, 1), lookup(set)];
}

export function markBitIsSet(bit: number): Expr[] {
  return [loadMark, maskScratch(bit), cmp("neq", u32Host(0))];
}

export function setMarkBit(bit: number): Expr[] {
  return [loadMark, maskScratch(~bit, bit), setMark];
}

export function clearMarkBit(bit: number): Expr[] {
  return [loadMark, maskScratch(~bit), setMark];
}

function maskScratch(mask: number, xor = 0): Expr {
  return { type: "bitwise", sreg: 0, dreg: 0, len: 4, mask: u32Host(mask), xor: u32Host(xor) };
}

function lookup(set: string, invert = false): Expr {
  return invert ? { type: "lookup", set, sreg: 0, invert } : { type: "lookup", set, sreg: 0 };
}

const verdictExprs = {
  accept: shared({ type: "verdict", verdict: Object.freeze({ kind: "accept" }) }),
  drop: shared({ type: "verdict", verdict: Object.freeze({ kind: "drop" }) }),
  return: shared({ type: "verdict", verdict: Object.freeze({ kind: "return" }) }),
} as const;

export const accept: Expr = verdictExprs.accept;
export const drop: Expr = verdictExprs.drop;
export const returnToCaller: Expr = verdictExprs.return;

export function jump(chain: string): Expr {
  return { type: "verdict", verdict: { kind: "jump", chain } };
}

export function goto(chain: string): Expr {
  return { type: "verdict", verdict: gotoVerdict(chain) };
}

export function gotoVerdict(chain: string): Verdict {
  return { kind: "goto", chain };
}

/** What source NAT gives a packet; `ports` only for a protocol that has some. */
export interface SourceNat {
  /** Absent: the address of the interface that the packet leaves by. */
  readonly address?: Ip;
  readonly ports?: { readonly first: number; readonly last: number };
}

/** Ports are chosen at random: two connections at once are then unlikely to want the same one. */
export function translateSource({ address, ports }: SourceNat): Expr[] {
  const exprs: Expr[] = [];
  const registers: { ports?: NatPorts } = {};
  if (ports !== undefined) {
    exprs.push({ type: "immediate", dreg: 4, data: u16(ports.first) });
    exprs.push({ type: "immediate", dreg: 5, data: u16(ports.last) });
    registers.ports = { min: 4, max: 5 };
  }
  if (address === undefined) {
    return [...exprs, { type: "masq", ...registers, fullyRandom: true }];
  }
  const { family } = address;
  exprs.push({ type: "immediate", dreg: 0, data: ipBytes(address) });
  return [
    ...exprs,
    { type: "nat", kind: "snat", family, address: 0, ...registers, fullyRandom: true },
  ];
}

/** `dnat to daddr map @map`; no match without an element. */
export function translateDestinationBy(family: IpFamily, map: string): Expr[] {
  return [
    ...familyIs(family),
    loadAddress[family].dst,
    { type: "lookup", set: map, sreg: 0, dreg: 0 },
    { type: "nat", kind: "dnat", family, address: 0 },
  ];
}

/** `snat to saddr . daddr map @map`; no match without an element. */
export function translateSourceBy(family: IpFamily, map: string): Expr[] {
  const destination = loadAddress[family].dst as Expr & { type: "payload" };
  return [
    ...familyIs(family),
    loadAddress[family].src,
    { ...destination, dreg: family === 4 ? 1 : 4 },
    { type: "lookup", set: map, sreg: 0, dreg: 0 },
    { type: "nat", kind: "snat", family, address: 0 },
  ];
}

/** A rule with a comment that any terminal may print. */
export function rule(exprs: readonly Expr[], comment?: string): NftRule {
  return comment === undefined ? { exprs } : { exprs, comment: printable(comment) };
}

/** nft prints comments between double quotes without escaping; names may come from anybody. */
function printable(comment: string): string {
  return comment.replace(/[^ !#-[\]-~]/g, "?");
}
