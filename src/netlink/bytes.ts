/**
 * The one writer and the one reader of netlink bytes: struct nlmsghdr, struct nlattr, padding to
 * four bytes (uapi/linux/netlink.h, include/net/netlink.h). Integers are in host order unless the
 * name ends in `Be`. The reader never runs past its bounds: a length that points outside is a
 * system error, since the bytes come from outside the process.
 */
import { endianness } from "node:os";
import { bug, systemError } from "#std";

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_ECHO = 0x8;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
/** NLM_F_ROOT | NLM_F_MATCH */
export const NLM_F_DUMP = 0x300;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_HEADER = 16;
const NLA_HEADER = 4;
export const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
/** nla_len is 16 bits and counts the attribute's header. */
export const NLA_MAX_LENGTH = 0xffff;

const HOST_LITTLE = endianness() === "LE";
const BYTE_MASK = 0xff;

const pad4 = (length: number): number => (length + 3) & ~3;

/** Where a message or attribute begins; hand it back to the matching `end`. */
export type Mark = number;

const MIN_CAPACITY = 4096;

/** Appends to one growing buffer; `bytes()` is a view that stays valid until the next write. */
export class NetlinkWriter {
  #bytes: Buffer;
  #view: DataView;
  #length = 0;

  constructor(capacity = MIN_CAPACITY) {
    this.#bytes = Buffer.allocUnsafeSlow(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  get capacity(): number {
    return this.#bytes.length;
  }

  reset(): void {
    this.#length = 0;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Makes room for `count` more bytes in advance of a long run of small writes. */
  reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    this.#resize(Math.max(needed, this.#bytes.length * 2));
  }

  /** Empties the buffer and gives its memory back at once, not at some later collection. */
  release(): void {
    this.#length = 0;
    this.#resize(MIN_CAPACITY);
  }

  #resize(capacity: number): void {
    const resized = (this.#bytes.buffer as ArrayBuffer).transfer(capacity);
    this.#bytes = Buffer.from(resized);
    this.#view = new DataView(resized);
  }

  #take(count: number): number {
    const at = this.#length;
    if (at + count > this.#bytes.length) this.reserve(count);
    this.#length = at + count;
    return at;
  }

  /** struct nlmsghdr; the length is set by `endMessage`. */
  beginMessage(type: number, flags: number, seq = 0): Mark {
    const at = this.#take(NLMSG_HEADER);
    this.#view.setUint32(at, 0, HOST_LITTLE);
    this.#view.setUint16(at + 4, type, HOST_LITTLE);
    this.#view.setUint16(at + 6, flags, HOST_LITTLE);
    this.#view.setUint32(at + 8, seq, HOST_LITTLE);
    this.#view.setUint32(at + 12, 0, HOST_LITTLE);
    return at;
  }

  endMessage(mark: Mark): void {
    this.#view.setUint32(mark, this.#length - mark, HOST_LITTLE);
    this.#pad();
  }

  /** Opens a nested attribute (with NLA_F_NESTED). */
  beginNested(type: number): Mark {
    const at = this.#take(NLA_HEADER);
    this.#view.setUint16(at, 0, HOST_LITTLE);
    this.#view.setUint16(at + 2, type | NLA_F_NESTED, HOST_LITTLE);
    return at;
  }

  endNested(mark: Mark): void {
    const length = this.#length - mark;
    if (length > NLA_MAX_LENGTH) throw bug("netlink attribute above 64 KiB", { length });
    this.#view.setUint16(mark, length, HOST_LITTLE);
  }

  /** Gives back what was written after `mark`. */
  truncate(mark: Mark): void {
    this.#length = mark;
  }

  #attrHeader(type: number, length: number): number {
    const at = this.#take(NLA_HEADER + pad4(length));
    this.#view.setUint16(at, NLA_HEADER + length, HOST_LITTLE);
    this.#view.setUint16(at + 2, type, HOST_LITTLE);
    if ((length & 3) !== 0) this.#view.setUint32(at + NLA_HEADER + (length & ~3), 0);
    return at + NLA_HEADER;
  }

  attrU8(type: number, value: number): void {
    const at = this.#attrHeader(type, 1);
    this.#bytes[at] = value;
  }

  attrU16(type: number, value: number): void {
    const at = this.#attrHeader(type, 2);
    this.#view.setUint16(at, value, HOST_LITTLE);
  }

  attrU16Be(type: number, value: number): void {
    const at = this.#attrHeader(type, 2);
    this.#view.setUint16(at, value);
  }

  attrU32(type: number, value: number): void {
    const at = this.#attrHeader(type, 4);
    this.#view.setUint32(at, value, HOST_LITTLE);
  }

  attrU32Be(type: number, value: number): void {
    const at = this.#attrHeader(type, 4);
    this.#view.setUint32(at, value);
  }

  attrU64Be(type: number, value: bigint): void {
    const at = this.#attrHeader(type, 8);
    this.#view.setBigUint64(at, value);
  }

  attrBytes(type: number, value: Uint8Array): void {
    const length = value.length;
    const at = this.#attrHeader(type, length);
    // Keys are mostly 4 bytes: a loop beats the call into the runtime.
    if (length <= 32) {
      for (let index = 0; index < length; index++) this.#bytes[at + index] = value[index] ?? 0;
    } else {
      this.#bytes.set(value, at);
    }
  }

  /** Bytes held as a string of code units 0–255. */
  attrLatin1(type: number, value: string): void {
    const at = this.#attrHeader(type, value.length);
    this.#bytes.write(value, at, "latin1");
  }

  /** NUL-terminated. */
  attrString(type: number, value: string): void {
    const length = Buffer.byteLength(value) + 1;
    const at = this.#attrHeader(type, length);
    this.#bytes.write(value, at);
    this.#bytes[at + length - 1] = 0;
  }

  /** An attribute without a value. */
  attrFlag(type: number): void {
    this.#attrHeader(type, 0);
  }

  u8(value: number): void {
    const at = this.#take(1);
    this.#bytes[at] = value & BYTE_MASK;
  }

  u16(value: number): void {
    const at = this.#take(2);
    this.#view.setUint16(at, value, HOST_LITTLE);
  }

  u16Be(value: number): void {
    const at = this.#take(2);
    this.#view.setUint16(at, value);
  }

  u32(value: number): void {
    const at = this.#take(4);
    this.#view.setUint32(at, value, HOST_LITTLE);
  }

  i32(value: number): void {
    const at = this.#take(4);
    this.#view.setInt32(at, value, HOST_LITTLE);
  }

  u32Be(value: number): void {
    const at = this.#take(4);
    this.#view.setUint32(at, value);
  }

  raw(value: Uint8Array): void {
    const at = this.#take(value.length);
    this.#bytes.set(value, at);
  }

  /** Bytes held as a string of code units 0–255. */
  latin1(value: string): void {
    const at = this.#take(value.length);
    this.#bytes.write(value, at, "latin1");
  }

  /** What was written since `mark` as a string of code units 0–255 (compact and comparable). */
  latin1Since(mark: Mark): string {
    return this.#bytes.toString("latin1", mark, this.#length);
  }

  /** Adds flags to the header at `mark`. */
  addFlags(mark: Mark, flags: number): void {
    const old = this.#view.getUint16(mark + 6, HOST_LITTLE);
    this.#view.setUint16(mark + 6, old | flags, HOST_LITTLE);
  }

  /** Overwrites four bytes at an offset noted before. */
  patchU32Be(at: number, value: number): void {
    this.#view.setUint32(at, value);
  }

  #pad(): void {
    const padding = pad4(this.#length) - this.#length;
    if (padding === 0) return;
    const at = this.#take(padding);
    this.#bytes.fill(0, at, this.#length);
  }
}

/** A message's header and a reader placed on its body. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly portId: number;
  readonly body: NetlinkReader;
}

/** Walks fixed fields (`u8`, `u32`, ...) and then attributes (`nextAttr`, `attrU32`, ...). */
export class NetlinkReader {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #end: number;
  #at: number;
  #attrStart = 0;
  #attrEnd = 0;
  /** Type of the attribute that `nextAttr` stands on, flags removed. */
  attrType = 0;

  constructor(bytes: Uint8Array, view?: DataView, start = 0, end = bytes.length) {
    this.#bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#view = view ?? new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = start;
    this.#end = end;
  }

  get remaining(): number {
    return this.#end - this.#at;
  }

  #take(count: number): number {
    const at = this.#at;
    if (at + count > this.#end) throw truncated(count, this.#end - at);
    this.#at = at + count;
    return at;
  }

  /** The next message, or undefined at the end of the datagram. */
  nextMessage(): NetlinkMessage | undefined {
    if (this.#end - this.#at < NLMSG_HEADER) return undefined;
    const at = this.#at;
    const length = this.#view.getUint32(at, HOST_LITTLE);
    if (length < NLMSG_HEADER || at + length > this.#end) throw truncated(length, this.#end - at);
    this.#at = Math.min(this.#end, at + pad4(length));
    return {
      type: this.#view.getUint16(at + 4, HOST_LITTLE),
      flags: this.#view.getUint16(at + 6, HOST_LITTLE),
      seq: this.#view.getUint32(at + 8, HOST_LITTLE),
      portId: this.#view.getUint32(at + 12, HOST_LITTLE),
      body: new NetlinkReader(this.#bytes, this.#view, at + NLMSG_HEADER, at + length),
    };
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), HOST_LITTLE);
  }

  u16Be(): number {
    return this.#view.getUint16(this.#take(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), HOST_LITTLE);
  }

  i32(): number {
    return this.#view.getInt32(this.#take(4), HOST_LITTLE);
  }

  u32Be(): number {
    return this.#view.getUint32(this.#take(4));
  }

  /** A copy of the next bytes. */
  take(count: number): Uint8Array {
    const at = this.#take(count);
    return Uint8Array.prototype.slice.call(this.#bytes, at, at + count);
  }

  skip(count: number): void {
    this.#take(count);
  }

  /** Steps to the next attribute; false at the end. */
  nextAttr(): boolean {
    if (this.#end - this.#at < NLA_HEADER) return false;
    const at = this.#at;
    const length = this.#view.getUint16(at, HOST_LITTLE);
    if (length < NLA_HEADER || at + length > this.#end) throw truncated(length, this.#end - at);
    this.attrType = this.#view.getUint16(at + 2, HOST_LITTLE) & NLA_TYPE_MASK;
    this.#attrStart = at + NLA_HEADER;
    this.#attrEnd = at + length;
    this.#at = Math.min(this.#end, at + pad4(length));
    return true;
  }

  /** Where the current attribute is, for `goTo`. */
  get attrPosition(): number {
    return this.#attrStart - NLA_HEADER;
  }

  /** Stands on an attribute seen before, known by its `attrPosition`. */
  goTo(position: number): void {
    const at = this.#at;
    this.#at = position;
    this.nextAttr();
    this.#at = at;
  }

  get attrLength(): number {
    return this.#attrEnd - this.#attrStart;
  }

  #value(count: number): number {
    if (this.attrLength < count) throw truncated(count, this.attrLength);
    return this.#attrStart;
  }

  attrU8(): number {
    return this.#view.getUint8(this.#value(1));
  }

  attrU16(): number {
    return this.#view.getUint16(this.#value(2), HOST_LITTLE);
  }

  attrU16Be(): number {
    return this.#view.getUint16(this.#value(2));
  }

  attrU32(): number {
    return this.#view.getUint32(this.#value(4), HOST_LITTLE);
  }

  attrI32(): number {
    return this.#view.getInt32(this.#value(4), HOST_LITTLE);
  }

  attrU32Be(): number {
    return this.#view.getUint32(this.#value(4));
  }

  attrI32Be(): number {
    return this.#view.getInt32(this.#value(4));
  }

  attrU64(): bigint {
    return this.#view.getBigUint64(this.#value(8), HOST_LITTLE);
  }

  attrU64Be(): bigint {
    return this.#view.getBigUint64(this.#value(8));
  }

  /** Text up to the first NUL. */
  attrString(): string {
    const zero = this.#bytes.indexOf(0, this.#attrStart);
    const end = zero === -1 || zero > this.#attrEnd ? this.#attrEnd : zero;
    return this.#bytes.toString("utf8", this.#attrStart, end);
  }

  /** True if the value is this ASCII text, with or without a closing NUL; makes no string. */
  attrEquals(text: string): boolean {
    const start = this.#attrStart;
    const length = text.length;
    const extra = this.#attrEnd - start - length;
    if (extra < 0 || extra > 1) return false;
    if (extra === 1 && this.#bytes[start + length] !== 0) return false;
    for (let index = 0; index < length; index++) {
      if (this.#bytes[start + index] !== text.charCodeAt(index)) return false;
    }
    return true;
  }

  /** A copy of the value. */
  attrBytes(): Uint8Array {
    return Uint8Array.prototype.slice.call(this.#bytes, this.#attrStart, this.#attrEnd);
  }

  /** The value as a string of code units 0–255. */
  attrLatin1(): string {
    return this.#bytes.toString("latin1", this.#attrStart, this.#attrEnd);
  }

  /** A reader of the attributes inside this one. */
  nested(): NetlinkReader {
    return new NetlinkReader(this.#bytes, this.#view, this.#attrStart, this.#attrEnd);
  }
}

/** All messages of one datagram. */
export function readMessages(bytes: Uint8Array): NetlinkMessage[] {
  const reader = new NetlinkReader(bytes);
  const messages: NetlinkMessage[] = [];
  for (let message = reader.nextMessage(); message; message = reader.nextMessage()) {
    messages.push(message);
  }
  return messages;
}

/**
 * Numbers the messages in `bytes` from `firstSeq` on, in place, makes each a request and adds
 * `lastFlags` to the last. Returns the last number used.
 */
export function numberMessages(bytes: Uint8Array, firstSeq: number, lastFlags: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let seq = firstSeq;
  for (let at = 0; ; seq++) {
    const length = view.getUint32(at, HOST_LITTLE);
    if (length < NLMSG_HEADER || at + length > bytes.length) throw bug("malformed netlink request");
    const next = at + pad4(length);
    const last = next >= bytes.length;
    const flags = view.getUint16(at + 6, HOST_LITTLE) | NLM_F_REQUEST | (last ? lastFlags : 0);
    view.setUint16(at + 6, flags, HOST_LITTLE);
    view.setUint32(at + 8, seq, HOST_LITTLE);
    if (last) return seq;
    at = next;
  }
}

function truncated(wanted: number, available: number): Error {
  return systemError("netlink-malformed", "netlink message ends early", {
    fields: { wanted, available },
  });
}
