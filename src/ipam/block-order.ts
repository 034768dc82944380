/**
 * In which order a host tries the blocks of a pool: from a place that its name decides, onwards and
 * around. Hosts that start together so meet seldom, and a host comes back to where it was.
 */
import {
  addToIp,
  bitLength,
  byteLength,
  cidrContainsIp,
  cidrOf,
  compareIps,
  ipBytes,
  ipFromBytes,
  lastIp,
  type Cidr,
} from "#ip";
import { utf8Bytes } from "#std";
import type { Pool } from "./pools.ts";

/**
 * `random` is asked only for blocks of one address, which would all start at the same one. What
 * `skip` names (a CIDR around the block) is passed over at once: a reservation in an IPv6 pool may
 * cover more blocks than anybody can count.
 */
export function* blockOrder(
  pool: PoolShape,
  host: string,
  random: () => number,
  skip: (block: Cidr) => Cidr | undefined,
): Generator<Cidr, void, undefined> {
  const start = firstBlock(pool, host, random);
  const { cidr: range, blockSize: length } = pool;
  const onward = (from: Cidr): Cidr | undefined => {
    const next = addToIp(lastIp(from), 1);
    return next && cidrContainsIp(range, next) ? cidrOf(next, length) : undefined;
  };
  for (let block: Cidr | undefined = start; block !== undefined;) {
    const skipped = skip(block);
    if (skipped === undefined) yield block;
    block = onward(skipped ?? block);
  }
  let block: Cidr | undefined = cidrOf(range, length);
  while (block !== undefined && compareIps(block, start) < 0) {
    const skipped = skip(block);
    if (skipped === undefined) yield block;
    block = onward(skipped ?? block);
  }
}

/** The same order for blocks that are there: cheap also in a pool that is nearly empty. */
export function inBlockOrder<T extends { readonly cidr: Cidr }>(
  pool: PoolShape,
  host: string,
  random: () => number,
  blocks: readonly T[],
): readonly T[] {
  const start = firstBlock(pool, host, random);
  const sorted = blocks.toSorted((a, b) => compareIps(a.cidr, b.cidr));
  const split = sorted.findIndex(({ cidr }) => compareIps(cidr, start) >= 0);
  return split < 0 ? sorted : [...sorted.slice(split), ...sorted.slice(0, split)];
}

type PoolShape = Pick<Pool, "cidr" | "blockSize">;

function firstBlock(pool: PoolShape, host: string, random: () => number): Cidr {
  const single = pool.blockSize === bitLength(pool.cidr.family);
  return startBlock(pool, single ? Math.trunc(random() * 2 ** 32) : fnv32(host));
}

/** The pool's prefix, then random bits: any block, each as likely. */
function startBlock({ cidr, blockSize: length }: PoolShape, seed: number): Cidr {
  const low = ipBytes(cidr);
  const high = ipBytes(lastIp(cidr));
  const next = mulberry32(seed);
  const bytes = new Uint8Array(byteLength(cidr.family));
  for (const [at, byte] of low.entries()) {
    const open = (high[at] ?? 0) ^ byte;
    bytes[at] = byte | (open & Math.trunc(next() * 256));
  }
  return cidrOf(ipFromBytes(cidr.family, bytes), length);
}

/** FNV-1, 32 bits (the multiplication first): the seed that Calico takes from a host's name. */
function fnv32(text: string): number {
  let hash = 0x811c_9dc5;
  for (const byte of utf8Bytes(text)) hash = Math.imul(hash, 0x0100_0193) ^ byte;
  return hash >>> 0;
}

/** Tommy Ettinger's generator: 32 bits of state, well mixed already on the first draw. */
function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
