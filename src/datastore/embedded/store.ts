/**
 * Multi-version key-value store on SQLite tables: reads at any revision that is not compacted, and
 * writes inside the caller's SQLite transaction. Synchronous; knows nothing of requests or clients.
 *
 *     event   id  revision  kind  key  …        live   key → id of its last put
 *             1   2         put   a                    b → 2
 *             2   3         put   b
 *             3   4         del   a
 */
import { EMPTY_BYTES } from "../keys.ts";
import type { Database } from "./database.ts";

export interface StoredKv {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  /** Puts since the key was created, from 1. */
  readonly version: number;
  readonly lease: bigint;
}

export interface StoredEvent {
  /** Place in the history; grows with each change. */
  readonly id: number;
  readonly revision: number;
  readonly kind: "put" | "delete";
  /** Of a delete: key and modRevision alone count. */
  readonly kv: StoredKv;
}

export interface RangeOptions {
  /** 0: now. */
  readonly revision: number;
  /** 0: no limit. */
  readonly limit: number;
  readonly withValues: boolean;
  readonly countOnly: boolean;
}

export interface RangeResult {
  readonly kvs: readonly StoredKv[];
  /** Keys in the range, also those beyond the limit. */
  readonly count: number;
}

/** `end` undefined: the single key; null: to the end of all keys; else exclusive. */
export interface KeyRange {
  readonly key: Uint8Array;
  readonly end: Uint8Array | null | undefined;
}

type Row = Record<string, unknown>;

const KIND_PUT = 0;
const KIND_DELETE = 1;
const NO_LIMIT = -1;

export class MvccStore {
  /** Of the last committed transaction, durable or not. */
  revision: number;
  /** -1: never compacted; etcd accepts a compaction at 0 before. */
  compactRevision: number;
  private readonly db: Database;
  private nextId: number;

  constructor(db: Database) {
    this.db = db;
    this.compactRevision = Number(db.readMeta("compact_revision") ?? "-1");
    const last = db.prepare("SELECT MAX(id) AS id, MAX(revision) AS revision FROM event").get();
    // After a compaction up to the last revision there may be no event left to say it.
    this.revision = Math.max(1, this.compactRevision, Number(last?.["revision"] ?? 0));
    this.nextId = Math.max(Number(last?.["id"] ?? 0), Number(db.readMeta("purged_id") ?? "0")) + 1;
  }

  range(range: KeyRange, options: RangeOptions): RangeResult {
    const past = options.revision > 0 && options.revision < this.revision;
    return past ? this.rangePast(range, options) : this.rangeNow(range, options);
  }

  getNow(key: Uint8Array): StoredKv | undefined {
    const row = this.db.prepare(selectLive("l.key = ?", true)).get(key);
    return row === undefined ? undefined : kvOf(row);
  }

  /** Writes at `revision`, which is one above the current; the caller raises `this.revision`. */
  put(revision: number, key: Uint8Array, value: Uint8Array, lease: bigint): StoredEvent {
    const previous = this.db
      .prepare("SELECT create_revision, version FROM live WHERE key = ?")
      .get(key);
    const kv: StoredKv = {
      key,
      value,
      createRevision: previous === undefined ? revision : Number(previous["create_revision"]),
      modRevision: revision,
      version: previous === undefined ? 1 : Number(previous["version"]) + 1,
      lease,
    };
    const event = this.append(revision, "put", kv);
    this.db
      .prepare(
        "INSERT OR REPLACE INTO live (key, id, create_revision, mod_revision, version, lease) VALUES (?, ?, ?, ?, ?, ?)",
      )
      .run(key, event.id, kv.createRevision, revision, kv.version, lease.toString());
    return event;
  }

  /** Deletes the keys that exist in the range. */
  deleteRange(revision: number, range: KeyRange): StoredEvent[] {
    const { where, values } = liveWhere(range);
    const rows = this.db
      .prepare(`SELECT l.key AS key FROM live l WHERE ${where} ORDER BY l.key`)
      .all(...values);
    return rows.map((row) => {
      const key = row["key"] as Uint8Array;
      this.db.prepare("DELETE FROM live WHERE key = ?").run(key);
      const kv = { key, value: EMPTY_BYTES, createRevision: 0, version: 0, lease: 0n };
      return this.append(revision, "delete", { ...kv, modRevision: revision });
    });
  }

  keysOfLease(lease: bigint): Uint8Array[] {
    return this.db
      .prepare("SELECT key FROM live WHERE lease = ? AND lease <> '0' ORDER BY key")
      .all(lease.toString())
      .map((row) => row["key"] as Uint8Array);
  }

  /**
   * The changes of `from` … `to` in the range, oldest first; after `maxEvents` or `maxBytes` it stops
   * at the end of that revision. `through` is the revision up to which nothing is missing.
   */
  history(
    range: KeyRange,
    from: number,
    to: number,
    maxEvents: number,
    maxBytes: number,
  ): { readonly events: readonly StoredEvent[]; readonly through: number } {
    const rows = this.db
      .prepare("SELECT * FROM event WHERE revision >= ? AND revision <= ? ORDER BY revision, id")
      .iterate(from, to);
    const events: StoredEvent[] = [];
    let bytes = 0;
    for (const row of rows) {
      const last = events.at(-1);
      const revision = Number(row["revision"]);
      if (last !== undefined && revision !== last.revision) {
        if (events.length >= maxEvents || bytes >= maxBytes) {
          return { events, through: last.revision };
        }
      }
      if (!contains(range, row["key"] as Uint8Array)) continue;
      const event = eventOf(row);
      bytes += event.kv.key.length + event.kv.value.length;
      events.push(event);
    }
    return { events, through: to };
  }

  /** The key at the revision before the event's; undefined when absent there, or compacted. */
  before(event: StoredEvent): StoredKv | undefined {
    const { revision } = event;
    if (revision - 1 < this.compactRevision) return undefined;
    const row = this.db
      .prepare("SELECT * FROM event WHERE key = ? AND revision < ? ORDER BY id DESC LIMIT 1")
      .get(event.kv.key, revision);
    return row === undefined || row["kind"] === KIND_DELETE ? undefined : kvOf(row);
  }

  /**
   * Removes up to `maxRows` events' superseded history at or below the compact revision. Tombstones
   * of that very revision stay for watchers that start there. Returns false when nothing is left.
   */
  purge(maxRows: number): boolean {
    const purged = Number(this.db.readMeta("purged_id") ?? "0");
    const rows = this.db
      .prepare("SELECT id, key, kind, revision FROM event WHERE id > ? ORDER BY id LIMIT ?")
      .all(purged, maxRows);
    let last = purged;
    for (const row of rows) {
      const revision = Number(row["revision"]);
      if (revision > this.compactRevision) break;
      const id = Number(row["id"]);
      const key = row["key"] as Uint8Array;
      this.db.prepare("DELETE FROM event WHERE key = ? AND id < ?").run(key, id);
      // Those of the compact revision itself are looked at again next time.
      if (revision === this.compactRevision) continue;
      if (row["kind"] === KIND_DELETE) this.db.prepare("DELETE FROM event WHERE id = ?").run(id);
      last = id;
    }
    if (last === purged) return false;
    this.db.writeMeta("purged_id", String(last));
    return rows.length === maxRows;
  }

  /** Undoes what `append` did to the counters when the transaction was rolled back. */
  reset(revision: number): void {
    this.revision = revision;
    const last = this.db.prepare("SELECT MAX(id) AS id FROM event").get();
    this.nextId =
      Math.max(Number(last?.["id"] ?? 0), Number(this.db.readMeta("purged_id") ?? "0")) + 1;
  }

  private append(revision: number, kind: "put" | "delete", kv: StoredKv): StoredEvent {
    const id = this.nextId++;
    this.db
      .prepare(
        "INSERT INTO event (id, revision, kind, key, create_revision, version, lease, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      )
      .run(
        id,
        revision,
        kind === "put" ? KIND_PUT : KIND_DELETE,
        kv.key,
        kv.createRevision,
        kv.version,
        kv.lease.toString(),
        kv.value,
      );
    return { id, revision, kind, kv };
  }

  private rangeNow(range: KeyRange, options: RangeOptions): RangeResult {
    const { where, values } = liveWhere(range);
    const count = () =>
      Number(
        this.db.prepare(`SELECT COUNT(*) AS n FROM live l WHERE ${where}`).get(...values)?.["n"],
      );
    if (options.countOnly) return { kvs: [], count: count() };
    const limit = options.limit === 0 ? NO_LIMIT : options.limit;
    const kvs = this.db
      .prepare(`${selectLive(where, options.withValues)} ORDER BY l.key LIMIT ?`)
      .all(...values, limit)
      .map(kvOf);
    return { kvs, count: kvs.length === options.limit ? count() : kvs.length };
  }

  private rangePast(range: KeyRange, options: RangeOptions): RangeResult {
    const { where, values } = liveWhere(range);
    const last = this.db
      .prepare("SELECT MAX(id) AS id FROM event WHERE revision <= ?")
      .get(options.revision);
    const newest = `SELECT MAX(l.id) AS id FROM event l WHERE ${where} AND l.id <= ? GROUP BY l.key`;
    const rows = this.db
      .prepare(
        `SELECT e.* FROM (${newest}) AS n JOIN event e ON e.id = n.id WHERE e.kind = ${KIND_PUT} ORDER BY e.key`,
      )
      .all(...values, Number(last?.["id"] ?? 0));
    const kvs = options.countOnly ? [] : rows.map(kvOf);
    return {
      kvs: options.limit === 0 ? kvs : kvs.slice(0, options.limit),
      count: rows.length,
    };
  }
}

export function contains(range: KeyRange, key: Uint8Array): boolean {
  const order = Buffer.compare(key, range.key);
  if (range.end === undefined) return order === 0;
  return order >= 0 && (range.end === null || Buffer.compare(key, range.end) < 0);
}

function selectLive(where: string, withValues: boolean): string {
  const columns = "l.key, l.create_revision, l.mod_revision, l.version, l.lease";
  return withValues
    ? `SELECT ${columns}, e.value FROM live l JOIN event e ON e.id = l.id WHERE ${where}`
    : `SELECT ${columns} FROM live l WHERE ${where}`;
}

/** Also for `event l`, which has the same column. */
function liveWhere(range: KeyRange): { readonly where: string; readonly values: Uint8Array[] } {
  if (range.end === undefined) return { where: "l.key = ?", values: [range.key] };
  if (range.end === null) return { where: "l.key >= ?", values: [range.key] };
  return { where: "l.key >= ? AND l.key < ?", values: [range.key, range.end] };
}

function kvOf(row: Row): StoredKv {
  return {
    key: row["key"] as Uint8Array,
    value: (row["value"] as Uint8Array | undefined) ?? EMPTY_BYTES,
    createRevision: Number(row["create_revision"]),
    modRevision: Number(row["mod_revision"] ?? row["revision"]),
    version: Number(row["version"]),
    lease: BigInt(String(row["lease"])),
  };
}

function eventOf(row: Row): StoredEvent {
  return {
    id: Number(row["id"]),
    revision: Number(row["revision"]),
    kind: row["kind"] === KIND_PUT ? "put" : "delete",
    kv: kvOf(row),
  };
}
