/**
 * Makes etcd's own clients acceptable to Node's HTTP/2. They send the endpoint as `:authority`, such
 * as `/run/margay.sock` or `http://127.0.0.1:2379`; Go takes it, but nghttp2 resets the stream because
 * a slash is no character of an authority (RFC 3986 §3.2). This filter stands before the HTTP/2
 * session and replaces such characters in the client's HEADERS frames by others of the same number,
 * so that both sides' HPACK tables stay alike (RFC 7541 §4.1). Nothing else is touched.
 */
import { Duplex } from "node:stream";
import type { Socket } from "node:net";

const PREFACE_BYTES = 24;
const FRAME_HEADER_BYTES = 9;
const FRAME_TYPE_HEADERS = 1;
const FLAG_END_HEADERS = 0x4;
const FLAG_PADDED = 0x8;
const FLAG_PRIORITY = 0x20;
const PRIORITY_BYTES = 5;
/** Index of `:authority` in HPACK's static table, RFC 7541 appendix A. */
const AUTHORITY_INDEX = 1;
const INVALID_CHARACTERS = /[^A-Za-z0-9!$%&'()*+,\-.:;=@[\]_~]/g;
const REPLACEMENT = "-";

/** RFC 7541 appendix B: the Huffman codes of the printable characters from the space on. */
const HUFFMAN_CODES = `
010100 1111111000 1111111001 111111111010 1111111111001 010101 11111000 11111111010 1111111010
1111111011 11111001 11111111011 11111010 010110 010111 011000 00000 00001 00010 011001 011010
011011 011100 011101 011110 011111 1011100 11111011 111111111111100 100000 111111111011
1111111100 1111111111010 100001 1011101 1011110 1011111 1100000 1100001 1100010 1100011 1100100
1100101 1100110 1100111 1101000 1101001 1101010 1101011 1101100 1101101 1101110 1101111 1110000
1110001 1110010 11111100 1110011 11111101 1111111111011 1111111111111110000 1111111111100
11111111111100 100010 111111111111101 00011 100011 00100 100100 00101 100101 100110 100111 00110
1110100 1110101 101000 101001 101010 00111 101011 1110110 101100 01000 01001 101101 1110111
1111000 1111001 1111010 1111011 111111111111110 11111111100 11111111111101 1111111111101`;
const LONGEST_CODE_BITS = 19;
const huffmanCharacters = new Map(
  HUFFMAN_CODES.trim()
    .split(/\s+/)
    .map((code, i) => [code, String.fromCodePoint(0x20 + i)]),
);

/** The socket, as the HTTP/2 session shall see it. */
export function filterAuthority(socket: Socket): Duplex {
  const filter = new AuthorityFilter();
  const duplex = new Duplex({
    read: () => socket.resume(),
    write: (chunk: Buffer, _encoding, done) => void socket.write(chunk, done),
    writev: (chunks, done) => {
      socket.cork();
      for (const { chunk } of chunks.slice(0, -1)) socket.write(chunk as Buffer);
      socket.write(chunks.at(-1)?.chunk as Buffer, done);
      socket.uncork();
    },
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on("data", (chunk: Buffer) => {
    for (const piece of filter.push(chunk)) if (!duplex.push(piece)) socket.pause();
  });
  socket.on("end", () => duplex.push(null));
  socket.on("close", () => duplex.destroy());
  return duplex;
}

/** Cuts the client's bytes into frames; only HEADERS frames are held back until they are whole. */
class AuthorityFilter {
  private pending: Buffer = Buffer.alloc(0);
  /** Bytes that pass as they are before the next frame begins. */
  private passing = PREFACE_BYTES;

  push(chunk: Buffer): Buffer[] {
    const out: Buffer[] = [];
    let rest = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk]);
    while (rest.length > 0) {
      if (this.passing > 0) {
        const piece = rest.subarray(0, this.passing);
        this.passing -= piece.length;
        out.push(piece);
        rest = rest.subarray(piece.length);
        continue;
      }
      if (rest.length < FRAME_HEADER_BYTES) break;
      const size = FRAME_HEADER_BYTES + rest.readUIntBE(0, 3);
      if (rest[3] !== FRAME_TYPE_HEADERS) {
        this.passing = size;
        continue;
      }
      if (rest.length < size) break;
      out.push(...rewriteHeaders(rest.subarray(0, size)));
      rest = rest.subarray(size);
    }
    this.pending = rest;
    return out;
  }
}

function rewriteHeaders(frame: Buffer): Buffer[] {
  const flags = frame[4] ?? 0;
  // Padded or continued blocks are legal, but no etcd client sends them; they pass unchanged.
  if ((flags & FLAG_END_HEADERS) === 0 || (flags & FLAG_PADDED) !== 0) return [frame];
  const start = FRAME_HEADER_BYTES + ((flags & FLAG_PRIORITY) === 0 ? 0 : PRIORITY_BYTES);
  const found = findAuthority(frame, start);
  if (found === undefined) return [frame];
  const valid = found.text.replaceAll(INVALID_CHARACTERS, REPLACEMENT);
  if (valid === found.text) return [frame];
  const value = encodeString(valid);
  const head = Buffer.from(frame.subarray(0, found.start));
  const size = found.start + value.length + (frame.length - found.end);
  head.writeUIntBE(size - FRAME_HEADER_BYTES, 0, 3);
  return [head, value, frame.subarray(found.end)];
}

interface StringAt {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Walks the header block's representations, RFC 7541 §6. */
function findAuthority(frame: Buffer, start: number): StringAt | undefined {
  let at = start;
  while (at < frame.length) {
    const first = frame[at] ?? 0;
    if ((first & 0x80) !== 0) {
      at = readInteger(frame, at, 7).end; // an indexed field
    } else if ((first & 0xe0) === 0x20) {
      at = readInteger(frame, at, 5).end; // a new size of the dynamic table
    } else {
      const index = readInteger(frame, at, (first & 0x40) === 0 ? 4 : 6);
      const name = index.value === 0 ? readString(frame, index.end) : undefined;
      const value = readString(frame, name?.end ?? index.end);
      if (index.value === AUTHORITY_INDEX || name?.text === ":authority") return value;
      at = value.end;
    }
  }
  return undefined;
}

/** RFC 7541 §5.1. */
function readInteger(
  frame: Buffer,
  at: number,
  prefixBits: number,
): { value: number; end: number } {
  const max = (1 << prefixBits) - 1;
  let value = (frame[at] ?? 0) & max;
  let end = at + 1;
  if (value < max) return { value, end };
  for (let shift = 0; end < frame.length; shift += 7) {
    const byte = frame[end++] ?? 0;
    value += (byte & 0x7f) * 2 ** shift;
    if ((byte & 0x80) === 0) break;
  }
  return { value, end };
}

/** RFC 7541 §5.2. */
function readString(frame: Buffer, at: number): StringAt {
  const huffman = ((frame[at] ?? 0) & 0x80) !== 0;
  const length = readInteger(frame, at, 7);
  const end = length.end + length.value;
  const bytes = frame.subarray(length.end, end);
  return { text: huffman ? decodeHuffman(bytes) : bytes.toString("latin1"), start: at, end };
}

/** Stops at what is not printable: such a string is not an authority that could be mended. */
function decodeHuffman(bytes: Buffer): string {
  let text = "";
  let code = "";
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code += (byte >> bit) & 1;
      const character = huffmanCharacters.get(code);
      if (character === undefined) continue;
      text += character;
      code = "";
    }
    if (code.length > LONGEST_CODE_BITS) return text;
  }
  return text;
}

/** Without Huffman coding; the sizes in HPACK's tables count the decoded length. */
function encodeString(text: string): Buffer {
  const length = [];
  let rest = text.length;
  if (rest < 0x7f) {
    length.push(rest);
  } else {
    length.push(0x7f);
    for (rest -= 0x7f; rest >= 0x80; rest = Math.floor(rest / 0x80))
      length.push((rest & 0x7f) | 0x80);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), Buffer.from(text, "latin1")]);
}
