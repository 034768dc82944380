/**
 * A handle lists the blocks in which somebody holds addresses, so that all of them can be found and
 * released. It is counted up before an address is given and down after it is taken back: after a
 * crash it may name too much, which a release mends, never too little.
 */
import { formatCidr, type Cidr } from "#ip";
import { isLostRace, retrying, type IpamContext } from "./context.ts";

/** One write for a handle that is new, as most are; a read more for another. */
export async function countUp(
  context: IpamContext,
  id: string,
  cidr: Cidr,
  count: number,
): Promise<void> {
  try {
    await context.records.putHandle(id, new Map([[formatCidr(cidr), count]]), undefined);
  } catch (error) {
    if (!isLostRace(error)) throw error;
    await change(context, id, cidr, (before) => before + count);
  }
}

/** At most to 0, where the block leaves the handle. */
export async function countDown(
  context: IpamContext,
  id: string,
  cidr: Cidr,
  count: number,
): Promise<void> {
  await change(context, id, cidr, (before) => before - count);
}

async function change(
  context: IpamContext,
  id: string,
  cidr: Cidr,
  count: (before: number) => number,
): Promise<void> {
  const { records } = context;
  const block = formatCidr(cidr);
  await retrying(context, `counting the addresses of handle ${id}`, async () => {
    const stored = await records.handle(id);
    const before = stored?.value.get(block) ?? 0;
    const after = Math.max(0, count(before));
    if (after === before) return;
    const blocks = new Map(stored?.value);
    if (after > 0) blocks.set(block, after);
    else blocks.delete(block);
    await records.putHandle(id, blocks, stored?.revision);
  });
}
