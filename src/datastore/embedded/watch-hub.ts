/**
 * Watches on the embedded store. A watcher that keeps up gets each durable change at once, from
 * memory. One that starts in the past, or whose client reads slowly, is "behind": it reads the
 * history from the tables in portions, as fast as its client takes them, and then keeps up again.
 * So a slow client costs no memory and loses nothing.
 */
import { create } from "@bufbuild/protobuf";
import { Event_EventType, EventSchema, KeyValueSchema, type Event } from "../etcd/proto/kv_pb.ts";
import {
  WatchCreateRequest_FilterType,
  WatchResponseSchema,
  type ResponseHeader,
  type WatchCreateRequest,
  type WatchRequest,
  type WatchResponse,
} from "../etcd/proto/rpc_pb.ts";
import { BatchQueue } from "../batch-queue.ts";
import { compareKeys } from "../keys.ts";
import { toWire } from "./requests.ts";
import { contains, type KeyRange, type MvccStore, type StoredEvent } from "./store.ts";

const PORTION_EVENTS = 1000;
const PORTION_BYTES = 1024 * 1024;
/** Responses that wait for the client before its watchers fall behind. */
const MAX_WAITING = 1000;
/** etcd answers a progress request on behalf of the whole stream under this id. */
const NO_WATCH_ID = -1n;

interface Watcher {
  readonly id: bigint;
  readonly range: KeyRange;
  readonly noPut: boolean;
  readonly noDelete: boolean;
  readonly prevKv: boolean;
  readonly progressNotify: boolean;
  readonly fragment: boolean;
  /** The first revision that it has not been told. */
  next: number;
  behind: boolean;
  quiet: boolean;
}

export interface HubOptions {
  readonly header: (revision: number) => ResponseHeader;
  readonly progressIntervalMs: number;
  /** Responses above this many bytes are split for watchers that allow it. */
  readonly fragmentBytes: number;
}

export class WatchHub {
  durableRevision: number;
  readonly store: MvccStore;
  readonly options: HubOptions;
  private readonly streams = new Set<WatchStream>();
  private readonly progressTimer: NodeJS.Timeout;

  constructor(store: MvccStore, options: HubOptions) {
    this.store = store;
    this.options = options;
    this.durableRevision = store.revision;
    this.progressTimer = setInterval(() => {
      for (const stream of this.streams) stream.notifyProgress();
    }, options.progressIntervalMs).unref();
  }

  get watcherCount(): number {
    let count = 0;
    for (const stream of this.streams) count += stream.size;
    return count;
  }

  open(): WatchStream {
    const stream = new WatchStream(this, () => this.streams.delete(stream));
    this.streams.add(stream);
    return stream;
  }

  /** Whole revisions, in order. */
  publish(events: readonly StoredEvent[]): void {
    const last = events.at(-1);
    if (last === undefined) return;
    this.durableRevision = last.revision;
    for (const stream of this.streams) stream.publish(events);
  }

  close(): void {
    clearInterval(this.progressTimer);
    for (const stream of this.streams) stream.close();
  }
}

/** One client's stream of many watchers. */
export class WatchStream {
  private readonly hub: WatchHub;
  private readonly queue = new BatchQueue<WatchResponse>();
  private readonly watchers = new Map<bigint, Watcher>();
  private readonly onClose: () => void;
  private nextId = 0n;
  private progressWanted = false;

  constructor(hub: WatchHub, onClose: () => void) {
    this.hub = hub;
    this.onClose = onClose;
  }

  get size(): number {
    return this.watchers.size;
  }

  handle(request: WatchRequest): void {
    const union = request.requestUnion;
    switch (union.case) {
      case "createRequest":
        this.create(union.value);
        break;
      case "cancelRequest":
        this.cancel(union.value.watchId);
        break;
      case "progressRequest":
        this.progressWanted = true;
        this.answerProgress();
        break;
      case undefined:
        break;
    }
  }

  /** Ends when the stream is closed; taking a response makes room for those that are behind. */
  async *responses(): AsyncGenerator<WatchResponse, void, undefined> {
    for await (const response of this.queue) {
      yield response;
      if (this.queue.length === 0) this.catchUpAll();
    }
  }

  publish(events: readonly StoredEvent[]): void {
    for (const watcher of this.watchers.values()) {
      if (watcher.behind) continue;
      if (this.queue.length >= MAX_WAITING) {
        watcher.behind = true;
        continue;
      }
      this.tell(watcher, events, this.hub.durableRevision);
      watcher.next = Math.max(watcher.next, this.hub.durableRevision + 1);
    }
    if (this.queue.length === 0) this.catchUpAll();
  }

  notifyProgress(): void {
    for (const watcher of this.watchers.values()) {
      if (watcher.progressNotify && watcher.quiet && !watcher.behind) {
        this.push({ watchId: watcher.id });
      }
      watcher.quiet = true;
    }
  }

  close(): void {
    this.watchers.clear();
    this.queue.close();
    this.onClose();
  }

  private create(request: WatchCreateRequest): void {
    const range = watchRange(request);
    const end = range.end;
    if (end instanceof Uint8Array && compareKeys(range.key, end) >= 0) {
      this.refuse("mvcc: watcher range is empty");
      return;
    }
    if (request.watchId !== 0n && this.watchers.has(request.watchId)) {
      this.refuse("mvcc: duplicate watch ID provided on the WatchStream");
      return;
    }
    const start = Number(request.startRevision);
    const now = this.hub.durableRevision;
    const watcher: Watcher = {
      id: request.watchId === 0n ? this.freeId() : request.watchId,
      range,
      noPut: request.filters.includes(WatchCreateRequest_FilterType.NOPUT),
      noDelete: request.filters.includes(WatchCreateRequest_FilterType.NODELETE),
      prevKv: request.prevKv,
      progressNotify: request.progressNotify,
      fragment: request.fragment,
      next: start <= 0 ? now + 1 : start,
      behind: start > 0 && start <= now,
      quiet: true,
    };
    this.watchers.set(watcher.id, watcher);
    this.push({ watchId: watcher.id, created: true });
    if (watcher.behind) this.catchUp(watcher);
  }

  private cancel(id: bigint): void {
    if (!this.watchers.delete(id)) return;
    this.push({ watchId: id, canceled: true });
    this.answerProgress();
  }

  private refuse(cancelReason: string): void {
    this.push({ watchId: NO_WATCH_ID, created: true, canceled: true, cancelReason });
  }

  private freeId(): bigint {
    while (this.watchers.has(this.nextId)) this.nextId++;
    return this.nextId++;
  }

  private catchUpAll(): void {
    for (const watcher of this.watchers.values()) {
      if (watcher.behind) this.catchUp(watcher);
    }
    this.answerProgress();
  }

  /** One portion of history; more when the client has taken it. */
  private catchUp(watcher: Watcher): void {
    const { store, durableRevision } = this.hub;
    while (watcher.next <= durableRevision) {
      if (watcher.next < store.compactRevision) {
        this.watchers.delete(watcher.id);
        const compactRevision = BigInt(store.compactRevision);
        this.push({ watchId: watcher.id, canceled: true, compactRevision });
        return;
      }
      const { range, next } = watcher;
      const portion = store.history(range, next, durableRevision, PORTION_EVENTS, PORTION_BYTES);
      const told = this.tell(watcher, portion.events, portion.through);
      watcher.next = portion.through + 1;
      if (told) break;
    }
    watcher.behind = watcher.next <= durableRevision;
  }

  /** `through`: nothing up to this revision is missing when the events are told. */
  private tell(watcher: Watcher, stored: readonly StoredEvent[], through: number): boolean {
    const events: Event[] = [];
    for (const event of stored)
      if (wants(watcher, event)) events.push(this.toEvent(watcher, event));
    if (events.length === 0) return false;
    watcher.quiet = false;
    const portions = watcher.fragment ? split(events, this.hub.options.fragmentBytes) : [events];
    for (const [i, portion] of portions.entries()) {
      const fragment = i < portions.length - 1;
      this.push({ watchId: watcher.id, events: portion, fragment }, through);
    }
    return true;
  }

  private toEvent(watcher: Watcher, stored: StoredEvent): Event {
    const event = create(EventSchema);
    if (stored.kind === "put") {
      event.kv = toWire(stored.kv);
    } else {
      event.type = Event_EventType.DELETE;
      const modRevision = BigInt(stored.revision);
      event.kv = create(KeyValueSchema, { key: stored.kv.key, modRevision });
    }
    if (watcher.prevKv) {
      const previous = this.hub.store.before(stored);
      if (previous !== undefined) event.prevKv = toWire(previous);
    }
    return event;
  }

  private answerProgress(): void {
    if (!this.progressWanted) return;
    for (const watcher of this.watchers.values()) if (watcher.behind) return;
    this.progressWanted = false;
    this.push({ watchId: NO_WATCH_ID });
  }

  private push(
    fields: Partial<Omit<WatchResponse, "$typeName" | "header">>,
    revision: number = this.hub.durableRevision,
  ): void {
    const header = this.hub.options.header(revision);
    this.queue.push(create(WatchResponseSchema, { header, ...fields }));
  }
}

/** etcd: an empty key is the first of all; an end of the byte 0 is open. */
function watchRange(request: WatchCreateRequest): KeyRange {
  const key = request.key.length === 0 ? Uint8Array.of(0) : request.key;
  const end = request.rangeEnd;
  if (end.length === 0) return { key, end: undefined };
  return { key, end: end.length === 1 && end[0] === 0 ? null : end };
}

function wants(watcher: Watcher, event: StoredEvent): boolean {
  if (event.revision < watcher.next) return false;
  if (event.kind === "put" ? watcher.noPut : watcher.noDelete) return false;
  return contains(watcher.range, event.kv.key);
}

function split(events: readonly Event[], maxBytes: number): Event[][] {
  const portions: Event[][] = [];
  let current: Event[] = [];
  let bytes = 0;
  for (const event of events) {
    const size = eventSize(event);
    if (current.length > 0 && bytes + size > maxBytes) {
      portions.push(current);
      current = [];
      bytes = 0;
    }
    current.push(event);
    bytes += size;
  }
  portions.push(current);
  return portions;
}

function eventSize(event: Event): number {
  const { kv, prevKv } = event;
  return (
    64 +
    (kv === undefined ? 0 : kv.key.length + kv.value.length) +
    (prevKv === undefined ? 0 : prevKv.key.length + prevKv.value.length)
  );
}
