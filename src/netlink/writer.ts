/**
 * The one writer of netlink bytes. Integers are in host order unless the name ends in `Be`.
 */
import { bug } from "#std";
import {
  HOST_LITTLE,
  NLA_F_NESTED,
  NLA_HEADER,
  NLA_MAX_LENGTH,
  NLM_F_REQUEST,
  NLMSG_HEADER,
  pad4,
} from "./frame.ts";

/** Where a message or attribute begins; hand it back to the matching `end`. */
export type Mark = number;

const BYTE_MASK = 0xff;
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
