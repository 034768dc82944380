/** Ethernet frames byte by byte, for packets that no socket would send. */
import { addressBytes } from "./packet-thread.ts";

export const ETH_IPV4 = 0x0800;
export const ETH_IPV6 = 0x86dd;

export interface FrameOptions {
  readonly src: string;
  readonly dst?: string;
  /** IEEE 802.1Q tag. */
  readonly vlan?: number;
}

export interface Ipv4Options {
  /** Flags and fragment offset, as in the header (RFC 791 §3.1). */
  readonly fragment?: number;
  /** Fragments of one packet have one. */
  readonly id?: number;
  /** A multiple of four bytes. */
  readonly options?: readonly number[];
}

/** Host side of a workload's link in `goldenWorld`. */
const HOST_MAC = "ee:ee:ee:ee:ee:ee";

export function frame(type: number, payload: readonly number[], options: FrameOptions): number[] {
  const mac = (text: string): number[] => text.split(":").map((part) => Number.parseInt(part, 16));
  const tag = options.vlan === undefined ? [] : [0x81, 0, ...u16(options.vlan)];
  return [...mac(options.dst ?? HOST_MAC), ...mac(options.src), ...tag, ...u16(type), ...payload];
}

export function ipv4(
  src: string,
  dst: string,
  protocol: number,
  payload: readonly number[],
  { fragment = 0, id = 0, options = [] }: Ipv4Options = {},
): number[] {
  const words = 5 + options.length / 4;
  const header = [
    0x40 | words,
    0,
    ...u16(words * 4 + payload.length),
    ...u16(id),
    ...u16(fragment),
    64,
    protocol,
    0,
    0,
    ...addressBytes(src),
    ...addressBytes(dst),
    ...options,
  ];
  header.splice(10, 2, ...u16(checksum(header)));
  return [...header, ...payload];
}

export function ipv6(
  src: string,
  dst: string,
  nextHeader: number,
  payload: readonly number[],
): number[] {
  const head = [0x60, 0, 0, 0, ...u16(payload.length), nextHeader, 64];
  return [...head, ...addressBytes(src), ...addressBytes(dst), ...payload];
}

/** SYN (RFC 9293 §3.1); the checksum is not looked at on the way. */
export function tcpSyn(port: number): number[] {
  return [0x75, 0x31, ...u16(port), 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 255, 255, 0, 0, 0, 0];
}

export function udp(port: number): number[] {
  return [0x75, 0x32, ...u16(port), 0, 12, 0, 0, 1, 2, 3, 4];
}

/** Hop-by-hop or destination options: only padding (RFC 8200 §4.2). */
export function optionsHeader(nextHeader: number): number[] {
  return [nextHeader, 0, 1, 4, 0, 0, 0, 0];
}

export function routingHeader(nextHeader: number, type: number, to: string): number[] {
  return [nextHeader, 2, type, 1, 0, 0, 0, 0, ...addressBytes(to)];
}

/** Offset in bytes, a multiple of eight. */
export function fragmentHeader(nextHeader: number, offset: number, more: boolean): number[] {
  return [nextHeader, 0, ...u16(offset | Number(more)), 0, 0, 0, 7];
}

function u16(value: number): [number, number] {
  return [value >> 8, value & 255];
}

/** RFC 1071. */
function checksum(bytes: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
