/**
 * Keys as UTF-8 bytes in memcmp order, the order of etcd and SQLite blobs. Not the order of
 * JavaScript strings: those compare UTF-16 units, and a surrogate sorts before U+E000.
 */

export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);
const ZERO_BYTE: Uint8Array = Uint8Array.of(0);

export function encodeText(text: string): Uint8Array {
  return Buffer.from(text, "utf8");
}

/** Keeps a leading byte order mark, which TextDecoder would drop. */
export function decodeText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
}

export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/**
 * The end of the half-open range of all keys with the prefix: the prefix with its last byte that is
 * not 0xff raised by one. The empty prefix has none: etcd writes the single byte 0, "to the end".
 */
function prefixRangeEnd(prefix: Uint8Array): Uint8Array {
  const end = Uint8Array.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] ?? 0;
    if (byte < 0xff) {
      end[i] = byte + 1;
      return end.subarray(0, i + 1);
    }
  }
  return ZERO_BYTE;
}

/** The range of all keys with the prefix; the empty prefix is every key, which etcd writes \0 … \0. */
export function prefixRange(prefix: string): {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
} {
  const key = encodeText(prefix);
  return { key: key.length === 0 ? ZERO_BYTE : key, rangeEnd: prefixRangeEnd(key) };
}

/** The smallest key after `key`. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}
