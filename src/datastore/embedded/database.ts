/**
 * The SQLite file of an embedded store: opened by one process alone, never half written.
 *
 * Durability. WAL with `synchronous=NORMAL` makes a commit atomic, but leaves it in the page cache;
 * the caller calls `sync()` before it acknowledges anything. That is what `synchronous=FULL` does
 * too, only that there the event loop stands still during the disk's flush, and here one flush
 * carries every write that came while the one before it ran. SQLite itself still syncs the log
 * before each checkpoint and restart of the log (https://sqlite.org/wal.html), so that a crash at
 * any point leaves a prefix of the commits.
 *
 * Exclusion. `locking_mode=EXCLUSIVE` holds POSIX locks that end with the process, also on SIGKILL.
 * They are lost when any descriptor of `margay.db` is closed in this process: never open that file
 * otherwise. The log is another file, so that its own descriptor here does no harm.
 */
import { closeSync, fdatasync, fsyncSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { promisify } from "node:util";
import { messageOf } from "#std";
import { datastoreError } from "../errors.ts";

const SCHEMA_VERSION = 1;
const JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024;
const fdatasyncAsync = promisify(fdatasync);

// `event` is the history: one row for each change, ids in the order of revisions. `live` points at
// the last put of each key that exists. Lease ids are full int64 and therefore text.
const SCHEMA = `
CREATE TABLE event (
  id INTEGER PRIMARY KEY,
  revision INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  key BLOB NOT NULL,
  create_revision INTEGER NOT NULL,
  version INTEGER NOT NULL,
  lease TEXT NOT NULL,
  value BLOB NOT NULL
);
CREATE INDEX event_by_key ON event (key, id);
CREATE INDEX event_by_revision ON event (revision);
CREATE TABLE live (
  key BLOB PRIMARY KEY,
  id INTEGER NOT NULL,
  create_revision INTEGER NOT NULL,
  mod_revision INTEGER NOT NULL,
  version INTEGER NOT NULL,
  lease TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX live_by_lease ON live (lease) WHERE lease <> '0';
CREATE TABLE lease (id TEXT PRIMARY KEY, ttl INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
`;

/** SQLite's primary result codes, https://sqlite.org/rescode.html */
const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

interface Holder {
  readonly pid: number;
  readonly owner: string;
}

function makeDirectory(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    const text = `cannot make the data directory ${dir}: ${messageOf(error)}`;
    throw datastoreError("invalid", text, { cause: error, fields: { dir } });
  }
}

export class Database {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  private readonly dir: string;
  private readonly db: DatabaseSync;
  private readonly logFd: number;
  private readonly statements = new Map<string, StatementSync>();
  private closed = false;

  private constructor(dir: string, db: DatabaseSync) {
    this.dir = dir;
    this.db = db;
    this.clusterId = BigInt(this.readMeta("cluster_id") ?? "0");
    this.memberId = BigInt(this.readMeta("member_id") ?? "0");
    this.logFd = openSync(`${databasePath(dir)}-wal`, "r");
  }

  /** Throws `unavailable` with the holder's name when another process has the store. */
  static open(dir: string, owner: string): Database {
    makeDirectory(dir);
    const db = openSqlite(dir);
    try {
      db.exec("PRAGMA locking_mode=EXCLUSIVE");
      db.exec("PRAGMA journal_mode=WAL");
      db.exec("PRAGMA synchronous=NORMAL");
      db.exec(`PRAGMA journal_size_limit=${JOURNAL_LIMIT_BYTES}`);
      db.exec("PRAGMA temp_store=MEMORY");
      db.exec("PRAGMA cache_size=-16000");
      migrate(db);
      writeFileSync(holderPath(dir), JSON.stringify({ pid: process.pid, owner }), { mode: 0o600 });
      const database = new Database(dir, db);
      // The new files' names must survive a power cut as well as their contents.
      fsyncSync(database.logFd);
      syncDirectory(dir);
      return database;
    } catch (error) {
      db.close();
      throw openError(error, dir);
    }
  }

  prepare(sql: string): StatementSync {
    let statement = this.statements.get(sql);
    if (statement === undefined) {
      statement = this.db.prepare(sql);
      this.statements.set(sql, statement);
    }
    return statement;
  }

  exec(sql: string): void {
    this.prepare(sql).run();
  }

  get inTransaction(): boolean {
    return this.db.isTransaction;
  }

  /** Returns when every commit so far is on the disk. */
  async sync(): Promise<void> {
    await fdatasyncAsync(this.logFd);
  }

  readMeta(name: string): string | undefined {
    const row = this.prepare("SELECT value FROM meta WHERE name = ?").get(name);
    return row === undefined ? undefined : String(row["value"]);
  }

  writeMeta(name: string, value: string): void {
    this.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)").run(name, value);
  }

  /** Bytes of the file, and those of them in use. */
  size(): { readonly total: number; readonly used: number } {
    const pageSize = this.pragma("page_size");
    const pages = this.pragma("page_count");
    const free = this.pragma("freelist_count");
    return { total: pages * pageSize, used: (pages - free) * pageSize };
  }

  /** Gives free pages back to the file system. Blocks for the whole file's rewrite. */
  vacuum(): void {
    this.db.exec("VACUUM");
    this.db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    rmSync(holderPath(this.dir), { force: true });
    closeSync(this.logFd);
    this.statements.clear();
    this.db.close();
  }

  private pragma(name: string): number {
    return Number(this.prepare(`PRAGMA ${name}`).get()?.[name] ?? 0);
  }
}

function databasePath(dir: string): string {
  return join(dir, "margay.db");
}

export function isDiskFull(error: unknown): boolean {
  return resultCode(error) === SQLITE_FULL || (error as NodeJS.ErrnoException).code === "ENOSPC";
}

/** Who has the store, as far as the file that it left says so. */
function readHolder(dir: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(holderPath(dir), "utf8")) as Holder;
  } catch {
    return undefined;
  }
}

function holderPath(dir: string): string {
  return join(dir, "holder.json");
}

function openSqlite(dir: string): DatabaseSync {
  try {
    return new DatabaseSync(databasePath(dir), { timeout: 0 });
  } catch (error) {
    throw openError(error, dir);
  }
}

function migrate(db: DatabaseSync): void {
  db.exec("BEGIN IMMEDIATE");
  const version = Number(db.prepare("PRAGMA user_version").get()?.["user_version"] ?? 0);
  if (version > SCHEMA_VERSION) {
    throw datastoreError(
      "invalid",
      `the store is of format ${version}, written by a newer version; this one knows ${SCHEMA_VERSION}`,
    );
  }
  if (version === 0) {
    db.exec(SCHEMA);
    const insert = db.prepare("INSERT INTO meta (name, value) VALUES (?, ?)");
    insert.run("cluster_id", randomBytes(8).readBigUInt64BE().toString());
    insert.run("member_id", randomBytes(8).readBigUInt64BE().toString());
    db.exec(`PRAGMA user_version=${SCHEMA_VERSION}`);
  }
  db.exec("COMMIT");
}

function openError(error: unknown, dir: string): Error {
  const path = databasePath(dir);
  switch (resultCode(error)) {
    case SQLITE_BUSY: {
      const holder = readHolder(dir);
      const who = holder === undefined ? "another process" : `${holder.owner} (pid ${holder.pid})`;
      return datastoreError("unavailable", `the store ${path} is in use by ${who}`, {
        cause: error,
        fields: { dir, busy: true, ...(holder === undefined ? {} : { holder }) },
      });
    }
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return datastoreError("corrupt", `${path} is damaged: ${messageOf(error)}`, { cause: error });
    case SQLITE_FULL:
      return datastoreError("no-space", `no space left for ${path}`, { cause: error });
    case undefined:
    default:
      if (error instanceof Error && error.name === "MargayError") return error;
      return datastoreError("unavailable", `cannot open ${path}: ${messageOf(error)}`, {
        cause: error,
        fields: { dir },
      });
  }
}

function resultCode(error: unknown): number | undefined {
  const code = (error as { readonly errcode?: unknown }).errcode;
  return typeof code === "number" ? code & 0xff : undefined;
}

function syncDirectory(dir: string): void {
  const fd = openSync(dir, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
