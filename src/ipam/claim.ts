/**
 * Claiming a block for an owner and giving it up. Both take several writes, each conditional, in an
 * order in which any crash leaves what the next one recognises: affinity `pending` → block →
 * affinity `confirmed`; affinity `pendingDeletion` → block → affinity gone.
 */
import type { Cidr } from "#ip";
import { collectCold, isEmpty, newBlock, withoutAffinity, type Block } from "./block.ts";
import { isLostRace, retrying, type IpamContext } from "./context.ts";
import { ownerText, type Owner } from "./keys.ts";
import type { Stored } from "./records-store.ts";

/**
 * Undefined when somebody else has the block. Completes a claim that was begun and a release that
 * was not finished.
 */
export async function claimBlock(
  context: IpamContext,
  owner: Owner,
  cidr: Cidr,
): Promise<Stored<Block> | undefined> {
  const { records } = context;
  return await retrying(context, "claiming a block", async () => {
    const affinity = await records.affinity(owner, cidr);
    let revision = affinity?.revision;
    if (affinity?.value !== "confirmed") {
      revision = await records.putAffinity(owner, cidr, "pending", revision);
    }
    const found = await records.block(cidr);
    const block = found ?? (await create(context, owner, cidr));
    if (block.value.affinity !== ownerText(owner)) {
      if (revision !== undefined) await records.deleteAffinity(owner, cidr, revision);
      return undefined;
    }
    // Also when it was confirmed: a release may have taken it, and the block, in between.
    if (affinity?.value !== "confirmed" || found === undefined) {
      await records.putAffinity(owner, cidr, "confirmed", revision);
    }
    return block;
  });
}

async function create(context: IpamContext, owner: Owner, cidr: Cidr): Promise<Stored<Block>> {
  const value = newBlock({ cidr, affinity: ownerText(owner), nowMs: context.nowMs() });
  return { value, revision: await context.records.createBlock(value) };
}

export interface ReleaseCondition {
  /** Keep a block with addresses in use; otherwise it stays without an owner until they are released. */
  readonly mustBeEmpty: boolean;
  /** The block must be as it was seen. */
  readonly sequenceNumber?: bigint;
  readonly cooldownSeconds: number;
}

export type AffinityReleased = "released" | "in-use" | "not-owner";

/** `not-owner` also when there is neither affinity nor block. */
export async function releaseAffinity(
  context: IpamContext,
  owner: Owner,
  cidr: Cidr,
  condition: ReleaseCondition,
): Promise<AffinityReleased> {
  const { records } = context;
  return await retrying(context, "giving up a block", async () => {
    const [affinity, block] = await Promise.all([
      records.affinity(owner, cidr),
      records.block(cidr),
    ]);
    const owned = block !== undefined && block.value.affinity === ownerText(owner);
    if (owned && mustStay(context, block.value, condition)) return "in-use";
    if (!owned && affinity === undefined) return "not-owner";
    const revision = await records.putAffinity(owner, cidr, "pendingDeletion", affinity?.revision);
    if (owned)
      await giveUp(context, block, condition, () => restore(context, owner, cidr, revision));
    await records.deleteAffinity(owner, cidr, revision);
    return owned ? "released" : "not-owner";
  });
}

function mustStay(context: IpamContext, block: Block, condition: ReleaseCondition): boolean {
  const { mustBeEmpty, sequenceNumber, cooldownSeconds } = condition;
  if (sequenceNumber !== undefined && sequenceNumber !== block.sequenceNumber) return true;
  return mustBeEmpty && !isEmpty(collectCold(block, { nowMs: context.nowMs(), cooldownSeconds }));
}

async function giveUp(
  context: IpamContext,
  { value, revision }: Stored<Block>,
  { cooldownSeconds }: ReleaseCondition,
  onLostRace: () => Promise<void>,
): Promise<void> {
  const { records } = context;
  const cleaned = collectCold(value, { nowMs: context.nowMs(), cooldownSeconds });
  try {
    if (isEmpty(cleaned)) await records.deleteBlock(value.cidr, revision);
    else await records.updateBlock(withoutAffinity(cleaned), revision);
  } catch (error) {
    if (isLostRace(error)) await onLostRace();
    throw error;
  }
}

/** The block changed meanwhile, perhaps by its owner: until decided anew it stays his. */
async function restore(
  context: IpamContext,
  owner: Owner,
  cidr: Cidr,
  revision: number,
): Promise<void> {
  await context.records.putAffinity(owner, cidr, "confirmed", revision);
}
