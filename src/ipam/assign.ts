/**
 * Giving out addresses: from the owner's blocks, from new ones, and at last from blocks of others.
 * An address is given by one conditional write of its block, so never to two.
 */
import { cidrContains, cidrsOverlap, formatCidr, type Cidr, type Ip, type IpFamily } from "#ip";
import {
  allocate,
  collectCold,
  freeOrdinals,
  ipAt,
  isEmpty,
  type Block,
  type Holder,
} from "./block.ts";
import { blockOrder, inBlockOrder } from "./block-order.ts";
import { claimBlock, releaseAffinity } from "./claim.ts";
import { isLostRace, reservedIn, retrying, type IpamContext } from "./context.ts";
import { countDown, countUp } from "./handles.ts";
import { ownerText, parseOwner, type Owner } from "./keys.ts";
import { selectsNode, type Pool } from "./pools.ts";
import type { Labels } from "#selector";
import type { IpamConfig } from "./records.ts";
import type { AffinityRecord, Stored } from "./records-store.ts";

/** What one request of one family is decided by, read once. */
export interface World {
  readonly owner: Owner;
  readonly family: IpFamily;
  /** The owner's, of the family. */
  readonly affinities: readonly AffinityRecord[];
  readonly config: IpamConfig;
  readonly reservations: readonly Cidr[];
  readonly allPools: readonly Pool[];
  readonly pools: readonly Pool[];
  readonly nodeLabels: Labels | undefined;
  /** 0 for none beyond the configuration's. */
  readonly maxBlocks: number;
  readonly holder: Holder;
}

export interface Assigned {
  readonly ip: Ip;
  /** The address's block. */
  readonly block: Cidr;
  readonly pool: string;
  /** The block is another's. */
  readonly borrowed: boolean;
}

export interface FamilyResult {
  readonly assigned: readonly Assigned[];
  /** Why there are fewer than asked for; empty when there are not. */
  readonly reasons: readonly string[];
}

const DEFAULT_MAX_BLOCKS = 20;
/** A block that another claimed is left to it for so long, even unused. */
const MIN_RECLAIM_AGE_MS = 60_000;

/** One family of one request. */
export class Assignment {
  readonly #context: IpamContext;
  readonly #world: World;
  readonly #wanted: number;
  readonly #assigned: Assigned[] = [];
  readonly #reasons: string[] = [];

  constructor(context: IpamContext, world: World, wanted: number) {
    this.#context = context;
    this.#world = world;
    this.#wanted = wanted;
  }

  /** If it throws, what was assigned until then is in `assigned`. */
  async run(): Promise<FamilyResult> {
    const { config } = this.#world;
    const owned = await this.#fromOwnBlocks();
    if (this.#missing() > 0) await this.#fromNewBlocks(owned);
    if (this.#missing() > 0) {
      if (config.strictAffinity) this.#reasons.push("strict affinity forbids to borrow");
      else await this.#borrow();
    }
    if (this.#missing() > 0) this.#reasons.push("no other block has a free address");
    return { assigned: this.#assigned, reasons: this.#missing() > 0 ? this.#reasons : [] };
  }

  /** The owner's first block with a free address, or a new one. */
  async ensureBlock(): Promise<Cidr | undefined> {
    const { owner, reservations, affinities } = this.#world;
    for (const { cidr } of affinities) {
      if (!this.#world.pools.some((pool) => cidrContains(pool.cidr, cidr))) continue;
      const block = await claimBlock(this.#context, owner, cidr);
      const isReserved = reservedIn(reservations, cidr);
      if (block !== undefined && freeOrdinals(block.value, isReserved, 1).length > 0) return cidr;
    }
    return (await this.#claimNew(this.#world.pools))?.block.value.cidr;
  }

  get assigned(): readonly Assigned[] {
    return this.#assigned;
  }

  #missing(): number {
    return this.#wanted - this.#assigned.length;
  }

  /** Resolves with the number of blocks that the owner has. */
  async #fromOwnBlocks(): Promise<number> {
    const { affinities, owner, pools } = this.#world;
    let owned = affinities.length;
    let ahead: ReadonlyMap<Cidr, Promise<Stored<Block> | undefined>> | undefined;
    for (const [index, { cidr, value: state }] of affinities.entries()) {
      const pool = pools.find((one) => cidrContains(one.cidr, cidr));
      if (pool === undefined) {
        if (await this.#dropUnselected(cidr)) owned--;
        continue;
      }
      if (this.#missing() === 0) break;
      if (this.#isReservedWhole(cidr)) continue;
      // Most often the first has an address; if it has none, all the others are asked at once.
      const found =
        state === "confirmed"
          ? await (ahead?.get(cidr) ?? this.#context.records.block(cidr))
          : undefined;
      // A crash between affinity and block is mended here.
      const whole = found?.value.affinity === ownerText(owner);
      const block = whole ? found : await claimBlock(this.#context, owner, cidr);
      if (block === undefined) owned--;
      else await this.#take(pool, block, { mayBorrow: false });
      if (this.#missing() > 0) ahead ??= this.#readAhead(affinities.slice(index + 1));
    }
    return owned;
  }

  #readAhead(
    affinities: readonly AffinityRecord[],
  ): ReadonlyMap<Cidr, Promise<Stored<Block> | undefined>> {
    return new Map(
      affinities.map(({ cidr }) => {
        const read = this.#context.records.block(cidr);
        // Whoever awaits it hears of it; who needs it no more does not.
        read.catch(() => undefined);
        return [cidr, read];
      }),
    );
  }

  /** An empty block of a pool that selects the node no longer goes back. */
  async #dropUnselected(cidr: Cidr): Promise<boolean> {
    const { allPools, nodeLabels, owner, config } = this.#world;
    const pool = allPools.find((one) => cidrContains(one.cidr, cidr));
    if (pool === undefined || selectsNode(pool, nodeLabels)) return false;
    const { cooldownSeconds } = config;
    const done = await releaseAffinity(this.#context, owner, cidr, {
      mustBeEmpty: true,
      cooldownSeconds,
    });
    return done !== "in-use";
  }

  async #fromNewBlocks(ownedBefore: number): Promise<void> {
    const { config, pools, maxBlocks } = this.#world;
    if (!config.autoAllocateBlocks) {
      this.#reasons.push("hosts do not claim blocks by themselves (autoAllocateBlocks is off)");
      return;
    }
    const limits = [config.maxBlocksPerHost, maxBlocks].filter((limit) => limit > 0);
    const limit = limits.length === 0 ? DEFAULT_MAX_BLOCKS : Math.min(...limits);
    let owned = ownedBefore;
    while (this.#missing() > 0) {
      if (owned >= limit) {
        this.#reasons.push(`the host has ${owned} blocks, and ${limit} are allowed`);
        return;
      }
      const claimed = await this.#claimNew(pools);
      if (claimed === undefined) {
        this.#reasons.push("no pool has a free block");
        return;
      }
      owned++;
      await this.#take(claimed.pool, claimed.block, { mayBorrow: false });
    }
  }

  /** The first free block in the host's order; else an empty one that another has left unused. */
  async #claimNew(
    pools: readonly Pool[],
  ): Promise<{ readonly pool: Pool; readonly block: Stored<Block> } | undefined> {
    const { owner, family } = this.#world;
    const existing = new Existing(await this.#context.records.blocks(family));
    const unused: { pool: Pool; block: Block }[] = [];
    for (const pool of pools) {
      const reserved = (cidr: Cidr) => this.#reservationAround(cidr, pool);
      for (const cidr of blockOrder(pool, owner.name, this.#context.random, reserved)) {
        const other = existing.exactly(cidr);
        if (other !== undefined) {
          if (this.#mayReclaim(other)) unused.push({ pool, block: other });
          continue;
        }
        // Blocks of another size, of a pool that was: two blocks would give one address twice.
        if (existing.overlaps(cidr)) continue;
        const block = await claimBlock(this.#context, owner, cidr);
        if (block !== undefined) return { pool, block };
      }
    }
    for (const { pool, block: other } of unused) {
      const block = await this.#reclaim(other);
      if (block !== undefined) return { pool, block };
    }
    return undefined;
  }

  #mayReclaim(block: Block): boolean {
    const { owner, config } = this.#world;
    if (block.affinity === null || block.affinity === ownerText(owner)) return false;
    const nowMs = this.#context.nowMs();
    const age = block.claimTime === undefined ? Infinity : nowMs - Date.parse(block.claimTime);
    if (!(age >= MIN_RECLAIM_AGE_MS)) return false;
    return isEmpty(collectCold(block, { nowMs, cooldownSeconds: config.cooldownSeconds }));
  }

  async #reclaim(block: Block): Promise<Stored<Block> | undefined> {
    const { owner, config } = this.#world;
    const other = parseOwner(block.affinity ?? "");
    if (other === undefined) return undefined;
    const released = await releaseAffinity(this.#context, other, block.cidr, {
      mustBeEmpty: true,
      sequenceNumber: block.sequenceNumber,
      cooldownSeconds: config.cooldownSeconds,
    });
    if (released !== "released") return undefined;
    return await claimBlock(this.#context, owner, block.cidr);
  }

  async #borrow(): Promise<void> {
    const { family, pools, owner } = this.#world;
    const blocks = await this.#context.records.blocks(family);
    for (const pool of pools) {
      const inPool = blocks
        .filter(({ value }) => cidrContains(pool.cidr, value.cidr))
        .map((block) => ({ cidr: block.value.cidr, block }));
      const ordered = inBlockOrder(pool, owner.name, this.#context.random, inPool);
      for (const { cidr, block } of ordered) {
        if (this.#missing() === 0) return;
        if (block.value.affinity === ownerText(owner) || this.#isReservedWhole(cidr)) continue;
        await this.#take(pool, block, { mayBorrow: true });
      }
    }
  }

  /** As many as are missing and free. The block is read again only when the write lost a race. */
  async #take(
    pool: Pool,
    block: Stored<Block>,
    { mayBorrow }: { readonly mayBorrow: boolean },
  ): Promise<void> {
    const own = ownerText(this.#world.owner);
    const ips = await takeFrom(this.#context, this.#world, block, (now, isReserved) =>
      mayBorrow || now.affinity === own ? freeOrdinals(now, isReserved, this.#missing()) : [],
    );
    for (const { ip, affinity } of ips) {
      const borrowed = affinity !== own;
      this.#assigned.push({ ip, block: block.value.cidr, pool: pool.name, borrowed });
    }
  }

  #isReservedWhole(cidr: Cidr): boolean {
    return this.#world.reservations.some((reserved) => cidrContains(reserved, cidr));
  }

  /** No wider than the pool, so that what follows it is the pool's next block or none. */
  #reservationAround(cidr: Cidr, pool: Pool): Cidr | undefined {
    const around = this.#world.reservations.find((reserved) => cidrContains(reserved, cidr));
    return around && (cidrContains(around, pool.cidr) ? pool.cidr : around);
  }
}

export interface Taken {
  readonly ip: Ip;
  readonly affinity: string | null;
}

/**
 * Takes from the block what `choose` picks among what is there when the write succeeds. The handle
 * is counted first, and back when the write is refused for certain; if its fate is not known, the
 * handle keeps naming the block, so that a release by handle finds the address.
 */
export async function takeFrom(
  context: IpamContext,
  { config, reservations, holder }: Pick<World, "config" | "reservations" | "holder">,
  first: Stored<Block>,
  choose: (block: Block, isReserved: (ip: Ip) => boolean) => readonly number[],
): Promise<readonly Taken[]> {
  const { records } = context;
  const { cidr } = first.value;
  const isReserved = reservedIn(reservations, cidr);
  let known: Stored<Block> | undefined = first;
  return await retrying(context, `assigning from ${formatCidr(cidr)}`, async () => {
    const read = known ?? (await records.block(cidr));
    known = undefined;
    if (read === undefined) return [];
    const { cooldownSeconds } = config;
    const block = collectCold(read.value, { nowMs: context.nowMs(), cooldownSeconds });
    const ordinals = choose(block, isReserved);
    if (ordinals.length === 0) return [];
    const { handle } = holder;
    if (handle !== null) await countUp(context, handle, cidr, ordinals.length);
    try {
      await records.updateBlock(allocate(block, ordinals, holder), read.revision);
    } catch (error) {
      if (handle !== null && isLostRace(error)) {
        await countDown(context, handle, cidr, ordinals.length);
      }
      throw error;
    }
    const { affinity } = block;
    return ordinals.map((ordinal) => ({ ip: ipAt(cidr, ordinal), affinity }));
  });
}

/** The blocks of a family, by CIDR and by what they overlap. */
class Existing {
  readonly #byCidr: ReadonlyMap<string, Stored<Block>>;
  readonly #lengths: ReadonlySet<number>;
  readonly #blocks: readonly Stored<Block>[];

  constructor(blocks: readonly Stored<Block>[]) {
    this.#blocks = blocks;
    this.#byCidr = new Map(blocks.map((block) => [formatCidr(block.value.cidr), block]));
    this.#lengths = new Set(blocks.map(({ value }) => value.cidr.prefixLen));
  }

  exactly(cidr: Cidr): Block | undefined {
    return this.#byCidr.get(formatCidr(cidr))?.value;
  }

  /** Blocks of one size overlap only when they are equal, so that this is seldom more than a look. */
  overlaps(cidr: Cidr): boolean {
    if (this.#lengths.size === 0) return false;
    if (this.#lengths.size === 1 && this.#lengths.has(cidr.prefixLen)) {
      return this.#byCidr.has(formatCidr(cidr));
    }
    return this.#blocks.some(({ value }) => cidrsOverlap(value.cidr, cidr));
  }
}
