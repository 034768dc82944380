/** Taking addresses back: by address, with what the holder must be, or all of a handle. */
import {
  cidrContainsIp,
  cidrOf,
  formatCidr,
  formatIp,
  hostCidr,
  parseCidr,
  type Cidr,
  type Ip,
} from "#ip";
import { attributeAt, ipAt, isEmpty, ordinalOf, release, type Block } from "./block.ts";
import { releaseAffinity } from "./claim.ts";
import { retrying, type IpamContext } from "./context.ts";
import { countDown } from "./handles.ts";
import { parseOwner } from "./keys.ts";
import { poolAround, selectsNode, type Pool } from "./pools.ts";
import type { Stored } from "./records-store.ts";

export interface ReleaseRequest {
  readonly ip: Ip;
  /** Only while this handle holds it. */
  readonly handle?: string | undefined;
  /** Only if it was given out at this number; guards against releasing what is another's by now. */
  readonly sequenceNumber?: bigint | undefined;
}

export type ReleaseOutcome = "released" | "not-assigned" | "bad-handle" | "bad-sequence-number";

/** By canonical address. One write for each block, and one for each handle. */
export async function releaseIps(
  context: IpamContext,
  requests: readonly ReleaseRequest[],
): Promise<ReadonlyMap<string, ReleaseOutcome>> {
  const outcomes = new Map<string, ReleaseOutcome>();
  const groups = new Map<string, { readonly cidr: Cidr; readonly requests: ReleaseRequest[] }>();
  const find = blockFinder(context);
  for (const request of requests) {
    outcomes.set(formatIp(request.ip), "not-assigned");
    const cidr = await find(request.ip);
    if (cidr === undefined) continue;
    const group = groups.get(formatCidr(cidr)) ?? { cidr, requests: [] };
    group.requests.push(request);
    groups.set(formatCidr(cidr), group);
  }
  for (const { cidr, requests: wanted } of groups.values()) {
    for (const [ip, outcome] of await releaseFrom(context, cidr, wanted)) outcomes.set(ip, outcome);
  }
  return outcomes;
}

async function releaseFrom(
  context: IpamContext,
  cidr: Cidr,
  requests: readonly ReleaseRequest[],
): Promise<ReadonlyMap<string, ReleaseOutcome>> {
  const { records } = context;
  const { cooldownSeconds } = (await records.config()).value;
  const outcomes = new Map<string, ReleaseOutcome>();
  const done = await retrying(context, `releasing from ${formatCidr(cidr)}`, async () => {
    outcomes.clear();
    const read = await records.block(cidr);
    if (read === undefined) return undefined;
    const ordinals = new Set<number>();
    for (const request of requests) {
      const outcome = judge(read.value, request);
      outcomes.set(formatIp(request.ip), outcome);
      const ordinal = ordinalOf(cidr, request.ip);
      if (outcome === "released" && ordinal !== undefined) ordinals.add(ordinal);
    }
    if (ordinals.size === 0) return undefined;
    const after = release(read.value, [...ordinals], { nowMs: context.nowMs(), cooldownSeconds });
    await writeOrDelete(context, { value: after, revision: read.revision });
    return { before: read.value, ordinals, after };
  });
  if (done === undefined) return outcomes;
  for (const [handle, count] of countHandles(done.before, done.ordinals)) {
    await countDown(context, handle, cidr, count);
  }
  await dropUnselected(context, done.after, cooldownSeconds);
  return outcomes;
}

/**
 * Resolves with the addresses that the handle held. Also mends a handle that counts too much: the
 * block is written even if nothing in it changes, so that a writer who has counted its handle but
 * not yet written the block loses, and starts again after this.
 */
export async function releaseHandle(context: IpamContext, id: string): Promise<readonly Ip[]> {
  const { records } = context;
  const [handle, config] = await Promise.all([records.handle(id), records.config()]);
  const released = new Map<string, Ip>();
  for (const text of handle?.value.keys() ?? []) {
    const cidr = parseCidr(text);
    const after = await retrying(context, `releasing the handle ${id}`, async () => {
      const stored = await records.handle(id);
      if (stored?.value.has(text) !== true) return undefined;
      const read = await records.block(cidr);
      const rest = read && (await takeBack(context, read, id, config.value.cooldownSeconds));
      for (const ip of rest?.ips ?? []) released.set(formatIp(ip), ip);
      const blocks = new Map(stored.value);
      blocks.delete(text);
      await records.putHandle(id, blocks, stored.revision);
      return rest?.after;
    });
    if (after !== undefined) await dropUnselected(context, after, config.value.cooldownSeconds);
  }
  return [...released.values()];
}

async function takeBack(
  context: IpamContext,
  { value, revision }: Stored<Block>,
  handle: string,
  cooldownSeconds: number,
): Promise<{ readonly after: Block; readonly ips: readonly Ip[] }> {
  const ordinals = ordinalsOf(value, handle);
  const after = release(value, ordinals, { nowMs: context.nowMs(), cooldownSeconds });
  await writeOrDelete(context, { value: after, revision });
  return { after, ips: ordinals.map((ordinal) => ipAt(value.cidr, ordinal)) };
}

/** Of the addresses that a handle holds in the block. */
export function ordinalsOf(block: Block, handle: string): readonly number[] {
  return block.allocations.flatMap((_, ordinal) =>
    attributeAt(block, ordinal)?.handle === handle ? [ordinal] : [],
  );
}

/** The block that an address is in, if there is one: by its pool, else among all. */
export function blockFinder(context: IpamContext): (ip: Ip) => Promise<Cidr | undefined> {
  const { records } = context;
  let pools: Promise<readonly Pool[]> | undefined;
  const seen = new Map<string, boolean>();
  return async (ip) => {
    const pool = poolAround(await (pools ??= records.pools()), hostCidr(ip));
    if (pool !== undefined) {
      const cidr = cidrOf(ip, pool.blockSize);
      const known = seen.get(formatCidr(cidr)) ?? (await records.block(cidr)) !== undefined;
      seen.set(formatCidr(cidr), known);
      if (known) return cidr;
    }
    const blocks = await records.blocks(ip.family);
    return blocks.find(({ value }) => cidrContainsIp(value.cidr, ip))?.value.cidr;
  };
}

function judge(block: Block, { ip, handle, sequenceNumber }: ReleaseRequest): ReleaseOutcome {
  const ordinal = ordinalOf(block.cidr, ip);
  const held = ordinal === undefined ? undefined : attributeAt(block, ordinal);
  if (ordinal === undefined || held === undefined || held.releasedAt !== undefined) {
    return "not-assigned";
  }
  if (handle !== undefined && held.handle !== handle) return "bad-handle";
  if (sequenceNumber !== undefined && block.allocatedAt.get(ordinal) !== sequenceNumber) {
    return "bad-sequence-number";
  }
  return "released";
}

/** An empty block that is nobody's is not kept. */
async function writeOrDelete(
  context: IpamContext,
  { value, revision }: Stored<Block>,
): Promise<void> {
  if (value.affinity === null && isEmpty(value)) {
    await context.records.deleteBlock(value.cidr, revision);
  } else {
    await context.records.updateBlock(value, revision);
  }
}

function countHandles(block: Block, ordinals: Iterable<number>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const ordinal of ordinals) {
    const handle = attributeAt(block, ordinal)?.handle ?? null;
    if (handle !== null) counts.set(handle, (counts.get(handle) ?? 0) + 1);
  }
  return counts;
}

/** The last address of a block that its pool no longer gives to the node: the block goes back. */
async function dropUnselected(
  context: IpamContext,
  block: Block,
  cooldownSeconds: number,
): Promise<void> {
  const owner = parseOwner(block.affinity ?? "");
  if (owner?.type !== "host" || !isEmpty(block)) return;
  const { records } = context;
  const [pools, node] = await Promise.all([records.pools(), records.resource("Node", owner.name)]);
  const pool = poolAround(pools, block.cidr);
  if (pool === undefined || node === undefined) return;
  if (selectsNode(pool, node.metadata.labels ?? {})) return;
  await releaseAffinity(context, owner, block.cidr, { mustBeEmpty: true, cooldownSeconds });
}
