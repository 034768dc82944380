/**
 * The port between the compiler and the kernel: one nf_tables table, held as desired state and
 * made true in one transaction. Implemented in this folder over a resident NETLINK_NETFILTER socket.
 */
import type { NftChain, NftElement, NftSet } from "./types.ts";

export interface NftApplyResult {
  /** Messages in the batch that went down; 0 = the kernel already agreed and nothing was sent. */
  readonly messages: number;
  /** Ruleset generation after the commit. */
  readonly generation: number;
}

/** What is wanted in the table; a map is no set here. */
export interface NftCounts {
  readonly chains: number;
  readonly rules: number;
  readonly sets: number;
  readonly maps: number;
}

export function countObjects(
  chains: Iterable<{ readonly rules: { readonly length: number } }>,
  sets: Iterable<{ readonly data?: unknown }>,
): NftCounts {
  const counts = { chains: 0, rules: 0, sets: 0, maps: 0 };
  for (const { rules } of chains) {
    counts.chains++;
    counts.rules += rules.length;
  }
  for (const { data } of sets) counts[data === undefined ? "sets" : "maps"]++;
  return counts;
}

/**
 * Desired state is set by name and compared with the last state known to be in the kernel; only the
 * difference goes down, in one batch, all or nothing. Elements are the unit of churn: a delta of n
 * elements costs O(n) whatever the size of the set.
 */
export interface NftTable {
  /** Replaces a chain's definition. Its rules are rewritten as a whole only if they differ. */
  setChain(chain: NftChain): void;
  removeChain(name: string): void;
  /** Creates the set with exactly these elements, or replaces its membership by difference. */
  setSet(set: NftSet, elements: Iterable<NftElement>): void;
  addElements(set: string, elements: Iterable<NftElement>): void;
  removeElements(set: string, elements: Iterable<NftElement>): void;
  removeSet(name: string): void;
  /** True when desired differs from what is known of the kernel, or a read-back is due. */
  readonly dirty: boolean;
  /**
   * Reads the table back if it is unknown or was changed by others, then commits the difference.
   * Rejects with a retryable system error when the kernel refuses; desired state is kept and nothing
   * was changed in the kernel. The event loop goes on while much is encoded and committed; what is
   * wanted must not be changed meanwhile.
   */
  apply(): Promise<NftApplyResult>;
  /** Somebody else changed our table (a generation that is not ours): `apply` is wanted. */
  onForeignChange(callback: () => void): void;
  /** How often the table was found changed by others and repaired. */
  readonly repairs: number;
  /** Costs a walk over all chains. */
  counts(): NftCounts;
  close(): void;
}
