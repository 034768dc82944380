/**
 * A block: the unit in which hosts take addresses from a pool, and what is taken from it. Values
 * are immutable and the functions pure. A write of the changed block, conditional on the revision
 * that was read, is the one step that gives an address to somebody or takes it back.
 */
import { addToIp, bitLength, cidrContainsIp, type Cidr, type Ip } from "#ip";
import { bug } from "#std";

/** Who holds some addresses of a block. Addresses with equal attributes share one. */
export interface Attribute {
  /** Null once released. */
  readonly handle: string | null;
  /** `node`, `pod`, `namespace`, `timestamp`, `type`, … */
  readonly secondary: Readonly<Record<string, string>>;
  /** Owner that a migrating virtual machine changes to or from. */
  readonly alternate: Readonly<Record<string, string>> | undefined;
  /** RFC 3339; while it is set the address cools down. */
  readonly releasedAt: string | undefined;
}

export interface Block {
  readonly cidr: Cidr;
  /** `host:…`, `virtual:…`; null for a block that its host gave up while addresses were in use. */
  readonly affinity: string | null;
  /** RFC 3339. */
  readonly claimTime: string | undefined;
  /** By ordinal: index into `attributes`, or null for a free address. */
  readonly allocations: readonly (number | null)[];
  /** Free ordinals; the first has been free for longest and is the next to be given out. */
  readonly unallocated: readonly number[];
  readonly attributes: readonly Attribute[];
  /** Grows with every write. */
  readonly sequenceNumber: bigint;
  /** Ordinal → the block's number when the address was given out. */
  readonly allocatedAt: ReadonlyMap<number, bigint>;
  readonly deleted: boolean;
  /** Fields of newer versions, kept as they are. */
  readonly unknown: readonly (readonly [string, unknown])[];
}

export interface NewBlock {
  readonly cidr: Cidr;
  readonly affinity: string | null;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

export function newBlock({ cidr, affinity, nowMs }: NewBlock): Block {
  const size = blockSize(cidr);
  return {
    cidr,
    affinity,
    claimTime: affinity === null ? undefined : rfc3339(nowMs),
    allocations: Array.from({ length: size }, () => null),
    unallocated: Array.from({ length: size }, (_, ordinal) => ordinal),
    attributes: [],
    // As Calico: nanoseconds, so that a block made anew continues above its predecessor.
    sequenceNumber: BigInt(Math.trunc(nowMs)) * 1_000_000n,
    allocatedAt: new Map(),
    deleted: false,
    unknown: [],
  };
}

/** Number of addresses; blocks have at most 4096. */
export function blockSize(cidr: Cidr): number {
  return 2 ** (bitLength(cidr.family) - cidr.prefixLen);
}

/** Undefined when the address is outside. */
export function ordinalOf(cidr: Cidr, ip: Ip): number | undefined {
  if (!cidrContainsIp(cidr, ip)) return undefined;
  return cidr.family === 4 ? (ip.w0 - cidr.w0) >>> 0 : (ip.w3 - cidr.w3) >>> 0;
}

export function ipAt(cidr: Cidr, ordinal: number): Ip {
  const ip = addToIp(cidr, ordinal);
  if (ip === undefined) throw bug("ordinal beyond the address space", { ordinal });
  return ip;
}

/** No address is in use or cools down. */
export function isEmpty(block: Block): boolean {
  return block.unallocated.length === block.allocations.length;
}

/** Undefined for a free address. */
export function attributeAt(block: Block, ordinal: number): Attribute | undefined {
  const index = block.allocations[ordinal];
  return index === null || index === undefined ? undefined : block.attributes[index];
}

/** Free ordinals that are not reserved, in the order in which they will be given out. */
export function freeOrdinals(
  block: Block,
  isReserved: (ip: Ip) => boolean,
  limit: number,
): readonly number[] {
  const found: number[] = [];
  for (const ordinal of block.unallocated) {
    if (found.length >= limit) break;
    if (!isReserved(ipAt(block.cidr, ordinal))) found.push(ordinal);
  }
  return found;
}

export type Holder = Pick<Attribute, "handle" | "secondary">;

/** All of `ordinals` must be free. The result's sequence number is one higher. */
export function allocate(block: Block, ordinals: readonly number[], holder: Holder): Block {
  const taken = new Set(ordinals);
  const { list, index } = withAttribute(block.attributes, {
    ...holder,
    alternate: undefined,
    releasedAt: undefined,
  });
  const allocations = [...block.allocations];
  const allocatedAt = new Map(block.allocatedAt);
  for (const ordinal of taken) {
    if (allocations[ordinal] !== null) throw bug("the address is not free", { ordinal });
    allocations[ordinal] = index;
    allocatedAt.set(ordinal, block.sequenceNumber);
  }
  return {
    ...block,
    allocations,
    unallocated: block.unallocated.filter((ordinal) => !taken.has(ordinal)),
    attributes: list,
    allocatedAt,
    sequenceNumber: block.sequenceNumber + 1n,
  };
}

export interface Cooling {
  readonly nowMs: number;
  readonly cooldownSeconds: number;
}

/** The addresses are nobody's from now on; they can be given out again once they have cooled. */
export function release(block: Block, ordinals: readonly number[], cooling: Cooling): Block {
  const allocations = [...block.allocations];
  let attributes = block.attributes;
  for (const ordinal of ordinals) {
    const held = attributeAt(block, ordinal);
    if (held === undefined) throw bug("the address is not allocated", { ordinal });
    // Whole seconds are stored, so up: the rest is never shorter than asked for.
    const releasedAt = rfc3339(Math.ceil(cooling.nowMs / 1000) * 1000);
    const { list, index } = withAttribute(attributes, { ...held, handle: null, releasedAt });
    attributes = list;
    allocations[ordinal] = index;
  }
  const stamped = { ...block, allocations, attributes, sequenceNumber: block.sequenceNumber + 1n };
  return collectCold(stamped, cooling);
}

/**
 * Frees what has cooled: the ordinals go to the end of the queue in ascending order, and attributes
 * that nobody refers to are dropped. The same object when there is nothing to free.
 */
export function collectCold(block: Block, { nowMs, cooldownSeconds }: Cooling): Block {
  const cold = block.attributes.map(
    ({ releasedAt }) =>
      releasedAt !== undefined &&
      (cooldownSeconds === 0 || !(Date.parse(releasedAt) + cooldownSeconds * 1000 > nowMs)),
  );
  const freed = block.allocations.flatMap((index, ordinal) =>
    index !== null && cold[index] === true ? [ordinal] : [],
  );
  if (freed.length === 0) return block;
  const allocatedAt = new Map(block.allocatedAt);
  const allocations = [...block.allocations];
  for (const ordinal of freed) {
    allocations[ordinal] = null;
    allocatedAt.delete(ordinal);
  }
  const used = new Set(allocations);
  const renumbered = new Map<number | null, number | null>([[null, null]]);
  const attributes = block.attributes.filter((_, index) => used.has(index));
  let next = 0;
  for (const index of block.attributes.keys()) if (used.has(index)) renumbered.set(index, next++);
  return {
    ...block,
    allocations: allocations.map((index) => renumbered.get(index) ?? null),
    unallocated: [...block.unallocated, ...freed],
    attributes,
    allocatedAt,
  };
}

/** Nobody's from now on; its addresses stay with their holders. */
export function withoutAffinity(block: Block): Block {
  const sequenceNumber = block.sequenceNumber + 1n;
  return { ...block, affinity: null, claimTime: undefined, sequenceNumber };
}

function rfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}

function withAttribute(
  attributes: readonly Attribute[],
  wanted: Attribute,
): { readonly list: readonly Attribute[]; readonly index: number } {
  const index = attributes.findIndex((one) => sameAttribute(one, wanted));
  if (index >= 0) return { list: attributes, index };
  return { list: [...attributes, wanted], index: attributes.length };
}

function sameAttribute(a: Attribute, b: Attribute): boolean {
  return (
    a.handle === b.handle &&
    a.releasedAt === b.releasedAt &&
    sameTexts(a.secondary, b.secondary) &&
    sameTexts(a.alternate ?? {}, b.alternate ?? {})
  );
}

function sameTexts(
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}
