/**
 * Protobuf's wire format (https://protobuf.dev/programming-guides/encoding): one writer, one reader.
 * The reader trusts nothing: every length is checked against what is there, and text must be UTF-8.
 */
import { inputError, type MargayError } from "#std";

export const WIRE_VARINT = 0;
const WIRE_64 = 1;
export const WIRE_BYTES = 2;
const WIRE_32 = 5;

const INITIAL_BYTES = 4096;
const MAX_VARINT_BYTES = 10;
const SHORT_TEXT = 64;
const TWO_TO_32 = 2 ** 32;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function malformed(why: string, position: number): MargayError {
  return inputError("bad-message", `not a protobuf message: ${why} at byte ${position}`, {
    fields: { position },
  });
}

export class WireWriter {
  #bytes = Buffer.allocUnsafe(INITIAL_BYTES);
  #end = 0;

  get length(): number {
    return this.#end;
  }

  /** What was written, as a copy; empty afterwards. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#end));
    this.#end = 0;
    return taken;
  }

  tag(number: number, wire: number): void {
    this.varint(number * 8 + wire);
  }

  /** A whole number up to 2^53; a negative one as in proto's int32 and int64: ten bytes. */
  varint(value: number): void {
    this.#reserve(MAX_VARINT_BYTES);
    if (value < 0) {
      this.#negative(value);
      return;
    }
    const bytes = this.#bytes;
    let end = this.#end;
    let rest = value;
    while (rest >= 0x80) {
      bytes[end++] = (rest & 0x7f) | 0x80;
      rest = rest < TWO_TO_32 ? rest >>> 7 : Math.floor(rest / 128);
    }
    bytes[end] = rest;
    this.#end = end + 1;
  }

  #negative(value: number): void {
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest >= 0x80n) {
      this.#bytes[this.#end++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#end++] = Number(rest);
  }

  double(value: number): void {
    this.#reserve(8);
    this.#bytes.writeDoubleLE(value, this.#end);
    this.#end += 8;
  }

  /** Length and UTF-8 bytes. */
  text(value: string): void {
    this.#reserve(value.length * 3 + MAX_VARINT_BYTES);
    if (value.length < SHORT_TEXT && this.#shortText(value)) return;
    const length = Buffer.byteLength(value);
    this.varint(length);
    this.#end += this.#bytes.write(value, this.#end, "utf8");
  }

  /** Addresses and names: ASCII, whose length is known before it is written. */
  #shortText(value: string): boolean {
    const bytes = this.#bytes;
    const start = this.#end + 1;
    const { length } = value;
    for (let index = 0; index < length; index++) {
      const code = value.charCodeAt(index);
      if (code > 0x7f) return false;
      bytes[start + index] = code;
    }
    bytes[start - 1] = length;
    this.#end = start + length;
    return true;
  }

  /** The length of what `write` writes, and that. */
  delimited(write: () => void): void {
    this.#reserve(1);
    const at = this.#end++;
    write();
    const length = this.#end - at - 1;
    if (length < 0x80) {
      this.#bytes[at] = length;
      return;
    }
    // One byte was left for the length; it takes more.
    let more = 0;
    for (let rest = length; rest >= 0x80; rest = Math.floor(rest / 128)) more += 1;
    this.#reserve(more);
    this.#bytes.copyWithin(at + 1 + more, at + 1, this.#end);
    const end = this.#end + more;
    this.#end = at;
    this.varint(length);
    this.#end = end;
  }

  /** Room for a length of 64 bits, which `endFrame` fills in. */
  beginFrame(): number {
    this.#reserve(8);
    const at = this.#end;
    this.#end += 8;
    return at;
  }

  endFrame(at: number): void {
    this.#bytes.writeBigUInt64LE(BigInt(this.#end - at - 8), at);
  }

  #reserve(bytes: number): void {
    const needed = this.#end + bytes;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}

export class WireReader {
  readonly #bytes: Buffer;
  #position = 0;
  #end: number;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#end = bytes.length;
  }

  get atEnd(): boolean {
    return this.#position >= this.#end;
  }

  /** Number and wire type of the next field. */
  tag(): { readonly number: number; readonly wire: number } {
    const position = this.#position;
    const tag = this.varint();
    const number = Math.floor(tag / 8);
    if (number < 1 || number > 0x1fff_ffff) throw malformed(`field number ${number}`, position);
    return { number, wire: tag % 8 };
  }

  /** As an unsigned number; beyond 2^53 the lowest digits are lost. */
  varint(): number {
    const start = this.#position;
    const first = this.#byte(start);
    if (first < 0x80) return first;
    let value = first & 0x7f;
    let scale = 128;
    for (let count = 1; count < MAX_VARINT_BYTES; count++) {
      const byte = this.#byte(start);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw malformed("a number of more than ten bytes", start);
  }

  /** Proto's int32, also when it comes as 64 bits. */
  int32(): number {
    const start = this.#position;
    let value = 0;
    for (let count = 0; count < MAX_VARINT_BYTES; count++) {
      const byte = this.#byte(start);
      if (count < 5) value |= (byte & 0x7f) << (7 * count);
      if (byte < 0x80) return value;
    }
    throw malformed("a number of more than ten bytes", start);
  }

  double(): number {
    const start = this.#skipBytes(8);
    return this.#bytes.readDoubleLE(start);
  }

  text(): string {
    const length = this.varint();
    const start = this.#skipBytes(length);
    const end = start + length;
    const bytes = this.#bytes;
    for (let index = start; index < end; index++) {
      if ((bytes[index] ?? 0) > 0x7f) return this.#unicode(start, end);
    }
    return bytes.toString("latin1", start, end);
  }

  #unicode(start: number, end: number): string {
    try {
      return utf8.decode(this.#bytes.subarray(start, end));
    } catch {
      throw malformed("text that is not UTF-8", start);
    }
  }

  /** Reads a length, then lets `read` have that many bytes, all of which it must take. */
  delimited<T>(read: () => T): T {
    const { start, end } = this.#span();
    const outer = this.#end;
    this.#position = start;
    this.#end = end;
    const value = read();
    this.#position = end;
    this.#end = outer;
    return value;
  }

  /** Of a field that nobody knows. */
  skip(wire: number): void {
    switch (wire) {
      case WIRE_VARINT:
        this.varint();
        return;
      case WIRE_64:
        this.#skipBytes(8);
        return;
      case WIRE_BYTES:
        this.#span();
        return;
      case WIRE_32:
        this.#skipBytes(4);
        return;
      default:
        throw malformed(`wire type ${wire}`, this.#position);
    }
  }

  #span(): { readonly start: number; readonly end: number } {
    const length = this.varint();
    const start = this.#skipBytes(length);
    return { start, end: start + length };
  }

  #skipBytes(count: number): number {
    const start = this.#position;
    if (count > this.#end - start) {
      throw malformed(`${count} bytes are announced and ${this.#end - start} are there`, start);
    }
    this.#position = start + count;
    return start;
  }

  #byte(start: number): number {
    if (this.#position >= this.#end) throw malformed("a number is cut off", start);
    return this.#bytes[this.#position++] ?? 0;
  }
}
