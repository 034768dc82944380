/**
 * The one reader of netlink bytes. Integers are in host order unless the name ends in `Be`. It never
 * runs past its bounds: a length that points outside is a system error, since the bytes come from
 * outside the process.
 */
import { systemError } from "#std";
import { HOST_LITTLE, NLA_HEADER, NLA_TYPE_MASK, NLMSG_HEADER, pad4 } from "./frame.ts";

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
  #end: number;
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
    if (count < 0 || at + count > this.#end) throw truncated(count, this.#end - at);
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

  /** Reads on within other bounds of the same bytes. */
  place(start: number, end: number): void {
    this.#at = start;
    this.#end = end;
  }

  /** The next byte, which stays the next one. */
  peekU8(): number {
    const at = this.#take(1);
    this.#at = at;
    return this.#view.getUint8(at);
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

  /** A copy of the value, of which there must be so many bytes. */
  attrBytes(least = 0): Uint8Array {
    this.#value(least);
    return Uint8Array.prototype.slice.call(this.#bytes, this.#attrStart, this.#attrEnd);
  }

  /** The value as a string of code units 0–255. */
  attrLatin1(): string {
    return this.#bytes.toString("latin1", this.#attrStart, this.#attrEnd);
  }

  /** The number of an attribute inside this one, without a reader for it; undefined: it is not there. */
  nestedU32(type: number): number | undefined {
    let at = this.#attrStart;
    while (this.#attrEnd - at >= NLA_HEADER) {
      const length = this.#view.getUint16(at, HOST_LITTLE);
      if (length < NLA_HEADER || at + length > this.#attrEnd) {
        throw truncated(length, this.#attrEnd - at);
      }
      const found = (this.#view.getUint16(at + 2, HOST_LITTLE) & NLA_TYPE_MASK) === type;
      if (found && length >= NLA_HEADER + 4)
        return this.#view.getUint32(at + NLA_HEADER, HOST_LITTLE);
      at += pad4(length);
    }
    return undefined;
  }

  /** A reader of the attributes inside this one. */
  nested(): NetlinkReader {
    return new NetlinkReader(this.#bytes, this.#view, this.#attrStart, this.#attrEnd);
  }
}

/**
 * Walks the messages of one datagram after another in a buffer that is used again, without an object
 * for each: what `next` stands on, `body` too, is good until the next call.
 */
export class MessageCursor implements NetlinkMessage {
  type = 0;
  flags = 0;
  seq = 0;
  portId = 0;
  readonly body: NetlinkReader;
  readonly #view: DataView;
  #at = 0;
  #end = 0;

  constructor(buffer: Buffer) {
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
    this.body = new NetlinkReader(buffer, this.#view);
  }

  /** The datagram is the buffer's first `length` bytes. */
  begin(length: number): void {
    this.#at = 0;
    this.#end = length;
  }

  /** Steps to the next message; false at the end. */
  next(): boolean {
    const at = this.#at;
    if (this.#end - at < NLMSG_HEADER) return false;
    const length = this.#view.getUint32(at, HOST_LITTLE);
    if (length < NLMSG_HEADER || at + length > this.#end) throw truncated(length, this.#end - at);
    this.type = this.#view.getUint16(at + 4, HOST_LITTLE);
    this.flags = this.#view.getUint16(at + 6, HOST_LITTLE);
    this.seq = this.#view.getUint32(at + 8, HOST_LITTLE);
    this.portId = this.#view.getUint32(at + 12, HOST_LITTLE);
    this.body.place(at + NLMSG_HEADER, at + length);
    this.#at = Math.min(this.#end, at + pad4(length));
    return true;
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

function truncated(wanted: number, available: number): Error {
  return systemError("netlink-malformed", "netlink message ends early", {
    fields: { wanted, available },
  });
}
