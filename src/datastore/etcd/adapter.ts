/**
 * The datastore port over etcd's API. Every write is one transaction with its comparison inside, so
 * that it is atomic on the server; a list of many pages reads all of them at one revision.
 */
import { comparisonFailed, compactedError, datastoreError } from "../errors.ts";
import { decodeText, encodeText, keyAfter, prefixRange } from "../keys.ts";
import type { Datastore, KeyValue, PutOptions, Revision, WatchBatch, WatchEvent } from "../port.ts";
import type { EtcdApi } from "./api.ts";
import { Event_EventType, type Event, type KeyValue as WireKeyValue } from "./proto/kv_pb.ts";
import {
  Compare_CompareResult,
  Compare_CompareTarget,
  type TxnResponse,
  type WatchResponse,
} from "./proto/rpc_pb.ts";

/** Keys a page; at a kilobyte each, a page stays a few megabytes. */
const PAGE_KEYS = 5000n;
/** Each page is retried from the first when a compaction passes between two of them. */
const LIST_ATTEMPTS = 5;

export class EtcdDatastore implements Datastore {
  private readonly api: EtcdApi;

  constructor(api: EtcdApi) {
    this.api = api;
  }

  async get(key: string): Promise<{ readonly kv: KeyValue | null; readonly revision: Revision }> {
    const response = await this.api.range({ key: encodeText(key) });
    const kv = response.kvs[0];
    return {
      kv: kv === undefined ? null : fromWire(kv),
      revision: Number(response.header?.revision ?? 0n),
    };
  }

  async list(
    prefix: string,
  ): Promise<{ readonly kvs: readonly KeyValue[]; readonly revision: Revision }> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.listOnce(prefix);
      } catch (error) {
        if (attempt >= LIST_ATTEMPTS || !isCompacted(error)) throw error;
      }
    }
  }

  async put(key: string, value: string, options: PutOptions = {}): Promise<Revision> {
    if (key === "") throw datastoreError("invalid", "the key is empty");
    const bytes = encodeText(key);
    let lease = 0n;
    if (options.ttlSeconds !== undefined) {
      const ttl = BigInt(Math.max(1, Math.ceil(options.ttlSeconds)));
      lease = (await this.api.leaseGrant({ TTL: ttl })).ID;
    }
    const put = { key: bytes, value: encodeText(value), lease };
    const response = await this.api.txn({
      compare: compareModRevision(bytes, options.ifModRevision),
      success: [{ request: { case: "requestPut", value: put } }],
      failure: [{ request: { case: "requestRange", value: { key: bytes, keysOnly: true } } }],
    });
    if (!response.succeeded) {
      throw comparisonFailed(key, options.ifModRevision ?? 0, actualRevision(response));
    }
    return Number(response.header?.revision ?? 0n);
  }

  async delete(key: string, options: { readonly ifModRevision?: Revision } = {}): Promise<boolean> {
    const bytes = encodeText(key);
    const response = await this.api.txn({
      compare: compareModRevision(bytes, options.ifModRevision),
      success: [{ request: { case: "requestDeleteRange", value: { key: bytes } } }],
      failure: [{ request: { case: "requestRange", value: { key: bytes, keysOnly: true } } }],
    });
    if (!response.succeeded) {
      throw comparisonFailed(key, options.ifModRevision ?? 0, actualRevision(response));
    }
    const op = response.responses[0]?.response;
    return op?.case === "responseDeleteRange" && op.value.deleted > 0n;
  }

  async *watch(
    prefix: string,
    fromRevision: Revision,
    signal: AbortSignal,
  ): AsyncGenerator<WatchBatch, void, undefined> {
    if (signal.aborted) return;
    const request = {
      ...prefixRange(prefix),
      startRevision: BigInt(fromRevision),
      progressNotify: true,
      fragment: true,
    };
    let fragments: Event[] = [];
    for await (const response of this.api.watch(request, signal)) {
      if (signal.aborted) return;
      checkAlive(response, fromRevision);
      if (response.created) continue;
      if (response.fragment) {
        fragments.push(...response.events);
        continue;
      }
      const events = fragments.length === 0 ? response.events : [...fragments, ...response.events];
      fragments = [];
      // While a watch catches up, the header is ahead of the events that were sent so far.
      const last = events.at(-1)?.kv?.modRevision;
      const revision = Number(last ?? response.header?.revision ?? 0n);
      // A watch from a future revision gets progress marks of before it; they say nothing to us.
      if (events.length > 0 || revision >= fromRevision) {
        yield { revision, events: events.map(eventFromWire) };
      }
    }
  }

  async close(): Promise<void> {
    await this.api.close();
  }

  private async listOnce(
    prefix: string,
  ): Promise<{ readonly kvs: readonly KeyValue[]; readonly revision: Revision }> {
    const { key, rangeEnd } = prefixRange(prefix);
    const kvs: KeyValue[] = [];
    let from = key;
    let revision = 0n;
    for (;;) {
      const page = await this.api.range({ key: from, rangeEnd, limit: PAGE_KEYS, revision });
      if (revision === 0n) revision = page.header?.revision ?? 0n;
      for (const kv of page.kvs) kvs.push(fromWire(kv));
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return { kvs, revision: Number(revision) };
      from = keyAfter(last.key);
    }
  }
}

function compareModRevision(key: Uint8Array, expected: Revision | undefined) {
  if (expected === undefined) return [];
  return [
    {
      key,
      result: Compare_CompareResult.EQUAL,
      target: Compare_CompareTarget.MOD,
      targetUnion: { case: "modRevision" as const, value: BigInt(expected) },
    },
  ];
}

function actualRevision(response: TxnResponse): Revision {
  const op = response.responses[0]?.response;
  if (op?.case !== "responseRange") return 0;
  return Number(op.value.kvs[0]?.modRevision ?? 0n);
}

function checkAlive(response: WatchResponse, fromRevision: Revision): void {
  if (response.compactRevision > 0n) {
    throw compactedError(fromRevision, Number(response.compactRevision));
  }
  if (response.canceled) {
    const reason = response.cancelReason === "" ? "no reason given" : response.cancelReason;
    throw datastoreError("unavailable", `the server ended the watch: ${reason}`);
  }
}

function fromWire(kv: WireKeyValue): KeyValue {
  return {
    key: decodeText(kv.key),
    value: decodeText(kv.value),
    modRevision: Number(kv.modRevision),
    createRevision: Number(kv.createRevision),
  };
}

function eventFromWire(event: Event): WatchEvent {
  if (event.kv === undefined) throw datastoreError("corrupt", "a watch event without a key");
  if (event.type === Event_EventType.DELETE) {
    return {
      type: "delete",
      key: decodeText(event.kv.key),
      modRevision: Number(event.kv.modRevision),
    };
  }
  return { type: "put", kv: fromWire(event.kv) };
}

function isCompacted(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "compacted";
}
