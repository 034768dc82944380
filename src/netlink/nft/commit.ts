/**
 * Sends a batch. One transaction, unless the socket's send buffer cannot hold it: without
 * CAP_NET_ADMIN in the first user namespace it is small (net.core.wmem_max). Then what is new, and so
 * not yet used by any rule, goes ahead in parts; all the rest still is one transaction.
 */
import { systemError } from "#std";
import { refusalError, type NetlinkRefusal, type NetlinkSocket } from "../socket.ts";
import type { NftBatch } from "./batch.ts";
import { NEWRULE } from "./constants.ts";
import type { NftEvents } from "./events.ts";
import type { KnownTable } from "./plan.ts";
import { readRuleHandle, type NftReader } from "./readback.ts";

/**
 * From this size on the kernel is spared building a notification per element, and does its work
 * (60 ms for 100,000 elements) while the event loop goes on.
 */
export const BULK_BYTES = 64 * 1024;
/** Room for BEGIN and END. */
const PART_OVERHEAD = 256;

/**
 * `outdated`: somebody else committed since; nothing of ours was taken. `missed`: ours was taken, but
 * a commit of others may have gone unnoticed. `partly`: some parts were taken, then `outdated`.
 */
export type CommitResult = "done" | "missed" | "outdated" | "partly";

export class NftCommitter {
  readonly #socket: NetlinkSocket;
  readonly #reader: NftReader;
  readonly #events: NftEvents;
  readonly #table: string;

  constructor(socket: NetlinkSocket, reader: NftReader, events: NftEvents, table: string) {
    this.#socket = socket;
    this.#reader = reader;
    this.#events = events;
    this.#table = table;
  }

  /** Advances `known.generation`. Rejects with a system error when the kernel refuses. */
  async commit(batch: NftBatch, known: KnownTable): Promise<CommitResult> {
    if (batch.length > this.#socket.maxSend) return await this.#commitInParts(batch, known);
    if (batch.length <= BULK_BYTES) {
      const bytes = batch.whole(known.generation, true);
      return (await this.#send(batch, known, bytes)) ? "done" : "outdated";
    }
    this.#events.pause();
    let done: boolean;
    try {
      done = await this.#send(batch, known, batch.whole(known.generation));
    } finally {
      this.#events.resume();
    }
    if (!done) return "outdated";
    // A commit that came while the events were paused shows in the generation.
    return this.#reader.generation() === known.generation ? "done" : "missed";
  }

  async #commitInParts(batch: NftBatch, known: KnownTable): Promise<CommitResult> {
    for (const [index, part] of this.#partsOf(batch).entries()) {
      const bytes = batch.part(known.generation, part);
      if (bytes.length > this.#socket.maxSend) throw this.#tooLong(bytes.length);
      if (!(await this.#send(batch, known, bytes, part)))
        return index === 0 ? "outdated" : "partly";
    }
    return "done";
  }

  #partsOf(batch: NftBatch): number[][] {
    const limit = this.#socket.maxSend - PART_OVERHEAD;
    const rest: number[] = [];
    const parts: number[][] = [];
    let size = Infinity;
    for (const [index, { early }] of batch.items.entries()) {
      const length = batch.sizeOf(index);
      if (!early) {
        rest.push(index);
      } else if (size + length > limit) {
        parts.push([index]);
        size = length;
      } else {
        parts.at(-1)?.push(index);
        size += length;
      }
    }
    return rest.length === 0 ? parts : [...parts, rest];
  }

  /** False: the generation is not the presumed one. `part`: which of the batch's items. */
  async #send(
    batch: NftBatch,
    known: KnownTable,
    bytes: Uint8Array,
    part?: readonly number[],
  ): Promise<boolean> {
    const acknowledged = part?.length ?? batch.items.length;
    const answer =
      bytes.length > BULK_BYTES
        ? await this.#socket.transactBatchInBackground(bytes, acknowledged)
        : this.#socket.transactBatch(bytes, acknowledged);
    const [refusal] = answer.refusals;
    if (refusal === undefined) {
      for (const { type, seq, body } of answer.replies) {
        if (type !== NEWRULE) continue;
        batch.handles.set(seq - answer.firstSeq - 1, readRuleHandle(body));
      }
      known.generation = nextGeneration(known.generation);
      return true;
    }
    if (refusal.errno === "ERESTART") return false;
    const index = refusal.seq - answer.firstSeq - 1;
    throw this.#refused(batch, part === undefined ? index : (part[index] ?? -1), refusal);
  }

  #refused(batch: NftBatch, index: number, refusal: NetlinkRefusal): Error {
    const item = batch.items[index];
    if (item === undefined) return refusalError(`commit to table ${this.#table}`, refusal);
    return refusalError(`${item.action} ${item.name} in table ${this.#table}`, refusal, item.name);
  }

  #tooLong(bytes: number): Error {
    return systemError("nft-batch-too-long", "the change does not fit the socket's send buffer", {
      fields: { bytes, limit: this.#socket.maxSend, see: "net.core.wmem_max" },
    });
  }
}

/** The kernel skips zero (nf_tables_commit). */
function nextGeneration(generation: number): number {
  return generation === 0xffffffff ? 1 : generation + 1;
}
