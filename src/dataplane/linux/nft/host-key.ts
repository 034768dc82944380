/**
 * Addresses (and `address . protocol . port`) as set members are held: four bytes as a signed
 * big-endian number, which V8 keeps in place, others as a string of code units 0–255.
 */
export type HostKey = number | string;

export function hostKey(bytes: Uint8Array): HostKey {
  if (bytes.length !== 4) return Buffer.from(bytes).toString("latin1");
  const [a = 0, b = 0, c = 0, d = 0] = bytes;
  return (a << 24) | (b << 16) | (c << 8) | d;
}

export function hostKeyBytes(key: HostKey): Uint8Array {
  if (typeof key === "string") return Uint8Array.from(key, (unit) => unit.charCodeAt(0));
  return Uint8Array.of(key >>> 24, (key >>> 16) & 0xff, (key >>> 8) & 0xff, key & 0xff);
}
