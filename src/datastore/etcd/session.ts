/**
 * One HTTP/2 connection to an etcd endpoint: opened on use, shared by all calls, watched by pings
 * while calls are open, replaced when it broke.
 */
import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  ClientSessionOptions,
  SecureClientSessionOptions,
} from "node:http2";
import { messageOf } from "#std";
import { datastoreError } from "../errors.ts";
import { NGHTTP2_CANCEL } from "../grpc/client.ts";

export interface SessionTimes {
  /** Silence before a PING, ms; etcd ends connections that ping more often than every 5 s. */
  readonly keepaliveMs: number;
  readonly pingTimeoutMs: number;
  readonly dialTimeoutMs: number;
}

/** Megabytes that Node lets one connection hold; its default of 10 is less than a large answer. */
const MAX_SESSION_MEMORY_MB = 1024;
const WINDOW_BYTES = 4 * 1024 * 1024;

export class EtcdSession {
  readonly authority: string;
  private readonly name: string;
  private readonly options: () => ClientSessionOptions | SecureClientSessionOptions;
  private readonly times: SessionTimes;
  private opening: Promise<ClientHttp2Session> | undefined;
  private session: ClientHttp2Session | undefined;
  private openStreams = 0;
  private lastDataAt = 0;
  private pingTimer: NodeJS.Timeout | undefined;

  /** `name` is the endpoint as configured, for messages; `options` are asked for at each connection. */
  constructor(
    authority: string,
    name: string,
    options: () => ClientSessionOptions | SecureClientSessionOptions,
    times: SessionTimes,
  ) {
    this.authority = new URL(authority).origin;
    this.name = name;
    this.options = options;
    this.times = times;
  }

  /** Opens the connection if there is none that lives. Throws `unavailable`: nothing was sent. */
  async connect(): Promise<ClientHttp2Session> {
    const { session } = this;
    if (session !== undefined && usable(session)) {
      if (performance.now() - this.lastDataAt < this.times.keepaliveMs) return session;
      if (await this.ping(session)) return session;
    }
    this.opening ??= this.open().finally(() => {
      this.opening = undefined;
    });
    return await this.opening;
  }

  /** One call's stream. */
  async openStream(
    path: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<ClientHttp2Stream> {
    const session = await this.connect();
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    this.openStreams++;
    session.ref();
    this.armPing(session);
    stream.once("response", () => this.noteLife());
    stream.once("close", () => {
      this.openStreams--;
      if (this.openStreams === 0 && this.session === session) {
        clearTimeout(this.pingTimer);
        if (!session.destroyed) session.unref();
      }
    });
    return stream;
  }

  /** Data came: the peer lives. */
  private noteLife(): void {
    this.lastDataAt = performance.now();
  }

  close(): void {
    clearTimeout(this.pingTimer);
    this.session?.destroy(undefined, NGHTTP2_CANCEL);
    this.session = undefined;
  }

  private async open(): Promise<ClientHttp2Session> {
    const { connect } = await import("node:http2");
    const session = connect(this.authority, {
      ...this.options(),
      maxSessionMemory: MAX_SESSION_MEMORY_MB,
      settings: { enablePush: false, initialWindowSize: WINDOW_BYTES },
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    session.once("connect", () => resolve());
    // Stays for the connection's whole life: whoever has a stream on it hears of the error there.
    session.on("error", reject);
    session.once("close", () => reject(new Error("the connection was closed")));
    const timer = setTimeout(() => {
      reject(new Error(`no connection within ${this.times.dialTimeoutMs} ms`));
    }, this.times.dialTimeoutMs);
    try {
      await promise;
    } catch (error) {
      session.destroy();
      throw this.unavailable(error);
    } finally {
      clearTimeout(timer);
    }
    session.setLocalWindowSize(WINDOW_BYTES);
    if (this.openStreams === 0) session.unref();
    this.session = session;
    this.noteLife();
    return session;
  }

  private armPing(session: ClientHttp2Session): void {
    clearTimeout(this.pingTimer);
    const silentMs = performance.now() - this.lastDataAt;
    const waitMs = Math.max(1, this.times.keepaliveMs - silentMs);
    this.pingTimer = setTimeout(() => void this.onPingTimer(session), waitMs).unref();
  }

  private async onPingTimer(session: ClientHttp2Session): Promise<void> {
    if (this.session !== session || session.destroyed || this.openStreams === 0) return;
    const silentMs = performance.now() - this.lastDataAt;
    if (silentMs >= this.times.keepaliveMs && !(await this.ping(session))) return;
    if (!session.destroyed && this.session === session) this.armPing(session);
  }

  /** False, and the connection is destroyed with all its calls, when no answer comes. */
  private async ping(session: ClientHttp2Session): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), this.times.pingTimeoutMs);
    try {
      session.ping((error) => resolve(error === null));
    } catch {
      resolve(false);
    }
    const alive = await promise;
    clearTimeout(timer);
    if (alive) {
      this.noteLife();
    } else if (!session.destroyed) {
      session.destroy(
        this.unavailable(new Error(`no answer to a ping within ${this.times.pingTimeoutMs} ms`)),
        NGHTTP2_CANCEL,
      );
    }
    return alive;
  }

  private unavailable(cause: unknown) {
    return datastoreError("unavailable", `${this.name}: ${innermost(cause)}`, {
      cause,
      fields: { where: this.name },
    });
  }
}

function usable(session: ClientHttp2Session): boolean {
  return !session.destroyed && !session.closed && !session.connecting;
}

function innermost(error: unknown): string {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  return messageOf(inner);
}
