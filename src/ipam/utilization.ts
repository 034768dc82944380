/** How full pools and blocks are. */
import {
  bitLength,
  cidrContains,
  cidrContainsIp,
  cidrsOverlap,
  compareCidrs,
  formatCidr,
  type Cidr,
} from "#ip";
import { attributeAt, blockSize, ipAt, type Block } from "./block.ts";
import { poolAround, type Pool } from "./pools.ts";
import type { Snapshot } from "./snapshot.ts";

export interface Usage {
  readonly cidr: Cidr;
  readonly total: number;
  /** Assigned, or cooling down. */
  readonly inUse: number;
  /** Also what was assigned before it was reserved. */
  readonly reserved: number;
  readonly free: number;
  /** Part of `inUse`. */
  readonly cooling: number;
}

export interface PoolUsage extends Usage {
  /** Undefined for blocks that are in no pool; then only `blocks` counts. */
  readonly pool: Pool | undefined;
  readonly blocks: readonly Usage[];
}

/** Pools in order of name; last, if there are any, the blocks outside them. */
export function utilization(snapshot: Snapshot): readonly PoolUsage[] {
  const reservations = outermost(snapshot.reservations);
  const groups = new Map<Pool | undefined, Usage[]>(snapshot.pools.map((pool) => [pool, []]));
  for (const block of snapshot.blocks) {
    const pool = poolAround(snapshot.pools, block.cidr);
    const group = groups.get(pool) ?? [];
    group.push(blockUsage(block, reservations));
    groups.set(pool, group);
  }
  return [...groups].map(([pool, blocks]) => {
    const cidr = pool?.cidr ?? snapshot.blocks[0]?.cidr;
    const sum = (of: (usage: Usage) => number) =>
      blocks.reduce((total, usage) => total + of(usage), 0);
    const total = pool === undefined ? sum(({ total: one }) => one) : size(pool.cidr);
    const reserved =
      pool === undefined ? sum((one) => one.reserved) : reservedWithin(reservations, pool.cidr);
    const inUse = sum((one) => one.inUse);
    const both = sum((one) => one.inUse + one.reserved + one.free - one.total);
    const free = total - inUse - reserved + both;
    return {
      pool,
      cidr: cidr as Cidr,
      total,
      inUse,
      reserved,
      free,
      cooling: sum((one) => one.cooling),
      blocks,
    };
  });
}

function blockUsage(block: Block, reservations: readonly Cidr[]): Usage {
  const near = reservations.filter((cidr) => cidrsOverlap(cidr, block.cidr));
  const isReserved = (ordinal: number) =>
    near.some((cidr) => cidrContainsIp(cidr, ipAt(block.cidr, ordinal)));
  const ordinals = block.allocations.map((_, ordinal) => ordinal);
  const busy = ordinals.filter((ordinal) => block.allocations[ordinal] !== null);
  return {
    cidr: block.cidr,
    total: blockSize(block.cidr),
    inUse: busy.length,
    reserved: near.length === 0 ? 0 : ordinals.filter(isReserved).length,
    free: block.unallocated.filter((ordinal) => near.length === 0 || !isReserved(ordinal)).length,
    cooling: busy.filter((ordinal) => attributeAt(block, ordinal)?.releasedAt !== undefined).length,
  };
}

/** Calico counts with 64-bit integers, and its largest pools stop there. */
const MAX_COUNT = 2 ** 63;

function size(cidr: Cidr): number {
  return Math.min(MAX_COUNT, 2 ** (bitLength(cidr.family) - cidr.prefixLen));
}

function reservedWithin(reservations: readonly Cidr[], pool: Cidr): number {
  let count = 0;
  for (const cidr of reservations) {
    if (cidrContains(cidr, pool)) return size(pool);
    if (cidrContains(pool, cidr)) count += size(cidr);
  }
  return Math.min(count, size(pool));
}

/** Without those inside others. */
function outermost(cidrs: readonly Cidr[]): readonly Cidr[] {
  const kept: Cidr[] = [];
  const unique = new Map(cidrs.map((cidr) => [formatCidr(cidr), cidr]));
  for (const cidr of [...unique.values()].toSorted(compareCidrs)) {
    const last = kept.at(-1);
    if (last === undefined || !cidrContains(last, cidr)) kept.push(cidr);
  }
  return kept;
}
