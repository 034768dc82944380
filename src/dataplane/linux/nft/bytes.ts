/**
 * Values as the kernel compares them: addresses and ports in network order, marks in host order,
 * interface names padded with NUL.
 */
import { byteLength, type Cidr, type IpFamily } from "#ip";

/** IFNAMSIZ, uapi/linux/if.h. */
const IFNAME_LEN = 16;
const hostOrder = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? "little" : "big";

export function u8(value: number): Uint8Array {
  return Uint8Array.of(value);
}

/** Network order, as in packets. */
export function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

/** Host order: device types. */
export function u16Host(value: number): Uint8Array {
  return u32Host(value).slice(hostOrder === "little" ? 0 : 2, hostOrder === "little" ? 2 : 4);
}

/** Host order: marks, classes, conntrack state bits. */
export function u32Host(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value >>> 0, hostOrder === "little");
  return bytes;
}

export function ifname(name: string): Uint8Array {
  const bytes = new Uint8Array(IFNAME_LEN);
  for (let i = 0; i < name.length && i < IFNAME_LEN - 1; i++) bytes[i] = name.charCodeAt(i);
  return bytes;
}

/** The bytes of an interface prefix, not padded: a comparison of so many bytes is a prefix match. */
export function ifnamePrefix(prefix: string): Uint8Array {
  return ifname(prefix).subarray(0, Math.min(prefix.length, IFNAME_LEN - 1));
}

/** dev_valid_name() of the kernel, restricted to printable ASCII. */
export function isInterfaceName(name: string): boolean {
  return /^[!-.0-9;-~]{1,15}$/.test(name) && name !== "." && name !== "..";
}

export function addressType(family: IpFamily): "ipv4_addr" | "ipv6_addr" {
  return family === 4 ? "ipv4_addr" : "ipv6_addr";
}

/** Concatenation as nf_tables lays it out: each field padded to four bytes. */
export function concat(...fields: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const field of fields) length += (field.length + 3) & ~3;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const field of fields) {
    bytes.set(field, at);
    at += (field.length + 3) & ~3;
  }
  return bytes;
}

export function prefixMask(cidr: Cidr): Uint8Array {
  const mask = new Uint8Array(byteLength(cidr.family));
  const whole = cidr.prefixLen >> 3;
  mask.fill(0xff, 0, whole);
  if ((cidr.prefixLen & 7) !== 0) mask[whole] = 0xff << (8 - (cidr.prefixLen & 7));
  return mask;
}
