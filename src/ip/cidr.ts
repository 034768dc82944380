/**
 * CIDR blocks. A `Cidr` never has host bits, so equal blocks have equal words and equal text.
 */
import { inputError } from "#std";
import {
  addToIp,
  bitLength,
  compareIps,
  formatIp,
  ipBytes,
  makeIp,
  parseIpRange,
  tryParseIp,
  type Ip,
} from "./address.ts";

/** A network address and its length; the address has no bit set beyond `prefixLen`. */
export interface Cidr extends Ip {
  /** 0–32 or 0–128. */
  readonly prefixLen: number;
}

/** An address together with the network that it is in, as on an interface: `10.0.0.11/24`. */
export interface IpInNetwork {
  readonly ip: Ip;
  readonly cidr: Cidr;
}

/** The block of this length that holds the address. */
export function cidrOf(ip: Ip, prefixLen: number): Cidr {
  return {
    family: ip.family,
    w0: ip.w0 & maskWord(prefixLen),
    w1: ip.w1 & maskWord(prefixLen - 32),
    w2: ip.w2 & maskWord(prefixLen - 64),
    w3: ip.w3 & maskWord(prefixLen - 96),
    prefixLen,
  } as Cidr;
}

/** /32 or /128. */
export function hostCidr(ip: Ip): Cidr {
  return cidrOf(ip, bitLength(ip.family));
}

/** `address/length`, host bits kept apart. IPv4-mapped addresses are refused: which length is meant? */
export function tryParseIpInNetwork(text: string): IpInNetwork | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const ip = parseIpRange(text, 0, slash);
  if (!ip || (ip.family === 4 && text.includes(":"))) return undefined;
  const prefixLen = parseLength(text, slash + 1);
  if (prefixLen === undefined || prefixLen > bitLength(ip.family)) return undefined;
  return { ip, cidr: cidrOf(ip, prefixLen) };
}

/** `address/length`; host bits are masked away, as Go's `net.ParseCIDR` does for the network. */
export function tryParseCidr(text: string): Cidr | undefined {
  return tryParseIpInNetwork(text)?.cidr;
}

/** As `tryParseCidr`; a bare address is its host block. */
export function tryParseCidrOrIp(text: string): Cidr | undefined {
  if (text.includes("/")) return tryParseCidr(text);
  const ip = tryParseIp(text);
  return ip && hostCidr(ip);
}

/** Masks host bits away. Throws `bad-cidr`, an input error. */
export function parseCidr(text: string): Cidr {
  const cidr = tryParseCidr(text);
  if (cidr) return cidr;
  throw badCidr(text, "expected one like 10.0.0.0/8 or fd00::/8");
}

/** Also takes a bare address. Throws `bad-cidr`. */
export function parseCidrOrIp(text: string): Cidr {
  const cidr = tryParseCidrOrIp(text);
  if (cidr) return cidr;
  throw badCidr(text, "expected one like 10.0.0.0/8 or fd00::/8, or an address");
}

/** Refuses host bits. Throws `bad-cidr`; its `fix` field is the masked block. */
export function parseCidrStrict(text: string): Cidr {
  const { ip, cidr } = parseIpInNetwork(text);
  if (compareIps(ip, cidr) === 0) return cidr;
  const fix = formatCidr(cidr);
  throw badCidr(text, `its address has bits beyond the prefix; did you mean ${fix}?`, fix);
}

/** Throws `bad-cidr`. */
export function parseIpInNetwork(text: string): IpInNetwork {
  const parsed = tryParseIpInNetwork(text);
  if (parsed) return parsed;
  throw badCidr(text, "expected an address and a prefix length like 10.0.0.1/24 or fd00::1/64");
}

export function formatCidr(cidr: Cidr): string {
  return `${formatIp(cidr)}/${cidr.prefixLen}`;
}

/** Canonical text of any valid spelling, host bits masked; throws `bad-cidr`. */
export function canonicalCidr(text: string): string {
  return formatCidr(parseCidr(text));
}

export function isHostCidr(cidr: Cidr): boolean {
  return cidr.prefixLen === bitLength(cidr.family);
}

/** Never across families. */
export function cidrContainsIp(cidr: Cidr, ip: Ip): boolean {
  const { prefixLen } = cidr;
  return (
    cidr.family === ip.family &&
    ((cidr.w0 ^ ip.w0) & maskWord(prefixLen)) === 0 &&
    (prefixLen <= 32 ||
      (((cidr.w1 ^ ip.w1) & maskWord(prefixLen - 32)) === 0 &&
        ((cidr.w2 ^ ip.w2) & maskWord(prefixLen - 64)) === 0 &&
        ((cidr.w3 ^ ip.w3) & maskWord(prefixLen - 96)) === 0))
  );
}

/** True for equal blocks too. */
export function cidrContains(outer: Cidr, inner: Cidr): boolean {
  return outer.prefixLen <= inner.prefixLen && cidrContainsIp(outer, inner);
}

/** Two blocks overlap only when one contains the other. */
export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return a.prefixLen <= b.prefixLen ? cidrContainsIp(a, b) : cidrContainsIp(b, a);
}

/** IPv4 first, then by address, the wider first. */
export function compareCidrs(a: Cidr, b: Cidr): number {
  return compareIps(a, b) || a.prefixLen - b.prefixLen;
}

export interface CidrRange {
  readonly first: Uint8Array;
  /** The address after the last; undefined when the block reaches the end of the address space. */
  readonly end: Uint8Array | undefined;
}

/** Half-open, in network byte order: the keys of an nf_tables interval. */
export function cidrRange(cidr: Cidr): CidrRange {
  const next = addToIp(lastIp(cidr), 1);
  return { first: ipBytes(cidr), end: next && ipBytes(next) };
}

export function lastIp(cidr: Cidr): Ip {
  const { family, prefixLen } = cidr;
  const w0 = cidr.w0 | ~maskWord(prefixLen);
  if (family === 4) return makeIp(4, w0);
  return makeIp(
    6,
    w0,
    cidr.w1 | ~maskWord(prefixLen - 32),
    cidr.w2 | ~maskWord(prefixLen - 64),
    cidr.w3 | ~maskWord(prefixLen - 96),
  );
}

/** The two blocks one bit longer; undefined for a host block. */
export function cidrHalves(cidr: Cidr): readonly [Cidr, Cidr] | undefined {
  if (isHostCidr(cidr)) return undefined;
  const prefixLen = cidr.prefixLen + 1;
  return [cidrOf(cidr, prefixLen), cidrOf(lastIp(cidr), prefixLen)];
}

/** Bit `index` (0 = most significant) of an address. */
export function bitAt(ip: Ip, index: number): 0 | 1 {
  return ((wordAt(ip, index >> 5) >>> (31 - (index & 31))) & 1) as 0 | 1;
}

/** Length of the longest block that holds both, at most `limit`. Same family required. */
export function commonPrefixLen(a: Ip, b: Ip, limit: number): number {
  const words = a.family === 4 ? 1 : 4;
  for (let i = 0; i < words; i++) {
    const difference = wordAt(a, i) ^ wordAt(b, i);
    if (difference !== 0) return Math.min(limit, i * 32 + Math.clz32(difference));
  }
  return Math.min(limit, words * 32);
}

/** First `bits` bits of 32 set; any number is clamped to 0–32. */
function maskWord(bits: number): number {
  if (bits >= 32) return -1;
  return bits <= 0 ? 0 : -1 << (32 - bits);
}

function wordAt(ip: Ip, index: number): number {
  if (index === 0) return ip.w0;
  if (index === 1) return ip.w1;
  return index === 2 ? ip.w2 : ip.w3;
}

/** Decimal without leading zero, to the end of the text. */
function parseLength(text: string, start: number): number | undefined {
  const digits = text.length - start;
  if (digits < 1 || digits > 3 || (digits > 1 && text.charAt(start) === "0")) return undefined;
  let length = 0;
  for (let i = start; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    length = length * 10 + digit;
  }
  return length;
}

function badCidr(text: string, expectation: string, fix?: string): Error {
  return inputError("bad-cidr", `${JSON.stringify(text)} is no CIDR block: ${expectation}`, {
    fields: { text, ...(fix === undefined ? {} : { fix }) },
  });
}
