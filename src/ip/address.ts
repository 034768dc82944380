/**
 * IP addresses: parsing, canonical text, bytes, order. An address is four big-endian signed 32-bit
 * words (V8 keeps those unboxed), of which IPv4 uses the first; 100,000 of them are cheap to make
 * and compare without a BigInt or a byte array each.
 */
import { inputError } from "#std";

export type IpFamily = 4 | 6;

declare const ipBrand: unique symbol;

/** Parsed and valid. Equality: `compareIps(a, b) === 0`, or equal `formatIp` texts. */
export interface Ip {
  readonly [ipBrand]: true;
  readonly family: IpFamily;
  /** Words from the most significant, as int32; `w1`–`w3` are 0 for IPv4. */
  readonly w0: number;
  readonly w1: number;
  readonly w2: number;
  readonly w3: number;
}

/** 32 or 128. */
export function bitLength(family: IpFamily): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** 4 or 16. */
export function byteLength(family: IpFamily): 4 | 16 {
  return family === 4 ? 4 : 16;
}

/** From words, of which IPv4 has the first alone. */
export function makeIp(family: IpFamily, w0: number, w1 = 0, w2 = 0, w3 = 0): Ip {
  return { family, w0: w0 | 0, w1: w1 | 0, w2: w2 | 0, w3: w3 | 0 } as Ip;
}

/**
 * RFC 4291 §2.2 text, or dotted quad without leading zeros. An IPv4-mapped IPv6 address is the
 * IPv4 address, as in Go's `net.ParseIP`. Zones, CIDRs and blanks are refused.
 */
export function tryParseIp(text: string): Ip | undefined {
  return parseIpRange(text, 0, text.length);
}

/** Throws `bad-ip`, an input error. */
export function parseIp(text: string): Ip {
  const ip = tryParseIp(text);
  if (ip) return ip;
  throw inputError(
    "bad-ip",
    `${JSON.stringify(text)} is no IP address, expected one like 10.0.0.1 or fd00::1`,
    { fields: { text } },
  );
}

/** Part of a text, so that a CIDR need not be cut first. */
export function parseIpRange(text: string, start: number, end: number): Ip | undefined {
  for (let i = start; i < end; i++) {
    const unit = text.charCodeAt(i);
    if (unit === DOT) {
      const word = parseQuad(text, start, end);
      return word === undefined ? undefined : makeIp(4, word);
    }
    if (unit === COLON) {
      const words = parseGroups(text, start, end);
      return words && unmapped(words);
    }
  }
  return undefined;
}

/** RFC 5952. */
export function formatIp(ip: Ip): string {
  if (ip.family === 4) return formatQuad(ip.w0);
  const groups = [
    ip.w0 >>> 16,
    ip.w0 & 0xffff,
    ip.w1 >>> 16,
    ip.w1 & 0xffff,
    ip.w2 >>> 16,
    ip.w2 & 0xffff,
    ip.w3 >>> 16,
    ip.w3 & 0xffff,
  ];
  const run = longestZeroRun(groups);
  if (!run) return hexGroups(groups, 0, 8);
  return `${hexGroups(groups, 0, run.start)}::${hexGroups(groups, run.end, 8)}`;
}

/** Canonical text of any valid spelling; throws `bad-ip`. */
export function canonicalIp(text: string): string {
  return formatIp(parseIp(text));
}

/** Network byte order. Returns the offset after the address. */
export function writeIp(ip: Ip, target: Uint8Array, offset: number): number {
  let at = writeWord(ip.w0, target, offset);
  if (ip.family === 4) return at;
  at = writeWord(ip.w1, target, at);
  at = writeWord(ip.w2, target, at);
  return writeWord(ip.w3, target, at);
}

/** 4 or 16 bytes in network byte order. */
export function ipBytes(ip: Ip): Uint8Array {
  const bytes = new Uint8Array(byteLength(ip.family));
  writeIp(ip, bytes, 0);
  return bytes;
}

/** From 4 or 16 bytes at `offset`. Mapped addresses stay IPv6: these bytes come from packets or the kernel. */
export function ipFromBytes(family: IpFamily, bytes: Uint8Array, offset = 0): Ip {
  if (bytes.length < offset + byteLength(family)) {
    throw inputError("short-ip", `IPv${family} address cut off after ${bytes.length} bytes`);
  }
  if (family === 4) return makeIp(4, readWord(bytes, offset));
  return makeIp(
    6,
    readWord(bytes, offset),
    readWord(bytes, offset + 4),
    readWord(bytes, offset + 8),
    readWord(bytes, offset + 12),
  );
}

/** IPv4 before IPv6, then by number. */
export function compareIps(a: Ip, b: Ip): number {
  return (
    a.family - b.family ||
    (a.w0 >>> 0) - (b.w0 >>> 0) ||
    (a.w1 >>> 0) - (b.w1 >>> 0) ||
    (a.w2 >>> 0) - (b.w2 >>> 0) ||
    (a.w3 >>> 0) - (b.w3 >>> 0)
  );
}

/** The address `count` (0 or more, below 2^53) further; undefined past the last one. */
export function addToIp(ip: Ip, count: number): Ip | undefined {
  const words = ip.family === 4 ? [ip.w0] : [ip.w0, ip.w1, ip.w2, ip.w3];
  let carry = count;
  for (let i = words.length - 1; i >= 0 && carry > 0; i--) {
    const sum = ((words[i] ?? 0) >>> 0) + (carry % 0x1_0000_0000);
    words[i] = sum | 0;
    carry = Math.floor(carry / 0x1_0000_0000) + (sum > 0xffff_ffff ? 1 : 0);
  }
  return carry > 0 ? undefined : makeIp(ip.family, words[0] ?? 0, words[1], words[2], words[3]);
}

const DOT = 0x2e;
const COLON = 0x3a;

function parseQuad(text: string, start: number, end: number): number | undefined {
  let word = 0;
  let octet = -1;
  let octets = 0;
  for (let i = start; i < end; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x30 && unit <= 0x39) {
      if (octet === 0) return undefined;
      octet = (octet < 0 ? 0 : octet * 10) + unit - 0x30;
      if (octet > 255) return undefined;
    } else if (unit === DOT && octet >= 0 && octets < 3) {
      word = (word << 8) | octet;
      octet = -1;
      octets++;
    } else {
      return undefined;
    }
  }
  return octets === 3 && octet >= 0 ? (word << 8) | octet : undefined;
}

type Words = [number, number, number, number];

/** Up to eight 16-bit groups, one `::`, and perhaps a dotted quad in place of the last two. */
function parseGroups(text: string, start: number, end: number): Words | undefined {
  const groups: number[] = [];
  let gap = -1;
  let at = start;
  if (text.charCodeAt(at) === COLON) {
    if (end - at < 2 || text.charCodeAt(at + 1) !== COLON) return undefined;
    gap = 0;
    at += 2;
  }
  while (at < end) {
    const groupStart = at;
    let group = 0;
    while (at < end && hexDigit(text.charCodeAt(at)) >= 0) {
      group = (group << 4) | hexDigit(text.charCodeAt(at++));
      if (at - groupStart > 4) return undefined;
    }
    if (at < end && text.charCodeAt(at) === DOT) {
      const quad = parseQuad(text, groupStart, end);
      if (quad === undefined) return undefined;
      groups.push(quad >>> 16, quad & 0xffff);
      break;
    }
    if (at === groupStart) return undefined;
    groups.push(group);
    if (at === end) break;
    if (text.charCodeAt(at++) !== COLON || at === end) return undefined;
    if (text.charCodeAt(at) === COLON) {
      if (gap >= 0) return undefined;
      gap = groups.length;
      at++;
    }
  }
  return wordsOf(groups, gap);
}

/** RFC 4291 §2.2.2: `::` stands for one or more groups of zeros. */
function wordsOf(groups: number[], gap: number): Words | undefined {
  if (gap < 0 ? groups.length !== 8 : groups.length > 7) return undefined;
  const missing = 8 - groups.length;
  const group = (i: number): number => {
    if (gap < 0 || i < gap) return groups[i] ?? 0;
    return i < gap + missing ? 0 : (groups[i - missing] ?? 0);
  };
  const word = (i: number): number => (group(i) << 16) | group(i + 1);
  return [word(0), word(2), word(4), word(6)];
}

/** RFC 4291 §2.5.5.2. */
function unmapped([w0, w1, w2, w3]: Words): Ip {
  const mapped = w0 === 0 && w1 === 0 && w2 === 0xffff;
  return mapped ? makeIp(4, w3) : makeIp(6, w0, w1, w2, w3);
}

function hexDigit(unit: number): number {
  if (unit >= 0x30 && unit <= 0x39) return unit - 0x30;
  const lower = unit | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function formatQuad(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
}

/** RFC 5952 §4.2: the longest run of at least two, the first of equals. */
function longestZeroRun(
  groups: readonly number[],
): { readonly start: number; readonly end: number } | undefined {
  let best: { readonly start: number; readonly end: number } | undefined;
  for (let start = 0; start < groups.length; start++) {
    let end = start;
    while (end < groups.length && groups[end] === 0) end++;
    if (end - start >= 2 && (!best || end - start > best.end - best.start)) best = { start, end };
    if (end > start) start = end;
  }
  return best;
}

function hexGroups(groups: readonly number[], start: number, end: number): string {
  let text = "";
  for (let i = start; i < end; i++) {
    text += (i > start ? ":" : "") + (groups[i] ?? 0).toString(16);
  }
  return text;
}

function writeWord(word: number, target: Uint8Array, offset: number): number {
  target[offset] = word >>> 24;
  target[offset + 1] = word >>> 16;
  target[offset + 2] = word >>> 8;
  target[offset + 3] = word;
  return offset + 4;
}

function readWord(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset] ?? 0) << 24) |
    ((bytes[offset + 1] ?? 0) << 16) |
    ((bytes[offset + 2] ?? 0) << 8) |
    (bytes[offset + 3] ?? 0)
  );
}
