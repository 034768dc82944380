/**
 * One listening socket of the server: `unix:///path`, `http://host:port` or `https://host:port`. On
 * each, HTTP/2 goes to gRPC and HTTP/1.1 to the small pages that etcd has there as well.
 */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { createServer as createHttp1, type Server as Http1Server } from "node:http";
import {
  createServer as createHttp2,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import {
  connect,
  createServer as createNet,
  type Server as NetServer,
  type Socket,
} from "node:net";
import { dirname } from "node:path";
import { createServer as createTls } from "node:tls";
import { once } from "node:events";
import { messageOf } from "#std";
import { datastoreError } from "../errors.ts";
import { filterAuthority } from "./authority-filter.ts";
import { isGrpc, serveGrpc, type GrpcOptions } from "./grpc.ts";
import { TlsFiles, type ServerTls } from "./tls-files.ts";

export interface Page {
  readonly status: number;
  readonly body: string;
}

export interface ListenerOptions {
  readonly grpc: GrpcOptions;
  readonly pages: (path: string) => Page;
  readonly tls?: ServerTls | undefined;
  /** For the log: a client that did not get through TLS, such as one of another CA. */
  readonly onRejected: (error: Error, remoteAddress: string | undefined) => void;
}

/** The first bytes of HTTP/2 with prior knowledge, RFC 9113 §3.4: "PRI * HTTP/2.0…". */
const HTTP2_PREFACE = "PRI ";
/** Clean streams get this long to end before their connections are cut. */
const GRACE_MS = 500;
/** Megabytes that Node lets one connection hold; answers may be far above its default of 10. */
const MAX_SESSION_MEMORY_MB = 1024;
const WINDOW_BYTES = 1024 * 1024;
const KEEPALIVE_MS = 30_000;
/** sun_path of linux/un.h without its final zero. */
const MAX_UNIX_PATH_BYTES = 107;

export class Listener {
  /** Where it listens, with the port that port 0 became. */
  readonly url: string;
  private readonly server: NetServer;
  private readonly http2: Http2Server;
  private readonly http1: Http1Server;
  private readonly sockets: Set<Socket>;
  private readonly sessions: Set<ServerHttp2Session>;
  private readonly unixPath: string | undefined;

  private constructor(url: string, parts: Parts, unixPath: string | undefined) {
    this.url = url;
    this.server = parts.server;
    this.http2 = parts.http2;
    this.http1 = parts.http1;
    this.sockets = parts.sockets;
    this.sessions = parts.sessions;
    this.unixPath = unixPath;
  }

  /** Throws `invalid` for a bad URL, `unavailable` when the address cannot be had. */
  static async open(url: string, options: ListenerOptions): Promise<Listener> {
    const unixPath = unixPathOf(url);
    if (unixPath !== undefined) {
      if (Buffer.byteLength(unixPath) > MAX_UNIX_PATH_BYTES) {
        throw datastoreError(
          "invalid",
          `the socket path ${unixPath} is longer than the kernel's ${MAX_UNIX_PATH_BYTES} bytes: use a shorter data directory`,
        );
      }
      const parts = makeParts(options, undefined);
      await removeStaleSocket(unixPath);
      mkdirSync(dirname(unixPath), { recursive: true, mode: 0o700 });
      await listen(parts.server, { path: unixPath }, url);
      return new Listener(url, parts, unixPath);
    }
    const { protocol, host, port } = parseTcpUrl(url);
    const secure = protocol === "https:";
    if (secure && options.tls === undefined) {
      throw datastoreError("invalid", `${url} needs --cert-file and --key-file`);
    }
    const parts = makeParts(options, secure ? options.tls : undefined);
    await listen(parts.server, { host, port }, url);
    const address = parts.server.address();
    const actual = typeof address === "object" && address !== null ? address.port : port;
    const name = host.includes(":") ? `[${host}]` : host;
    return new Listener(`${protocol}//${name}:${actual}`, parts, undefined);
  }

  async close(): Promise<void> {
    const closed = once(this.server, "close");
    this.server.close();
    this.http1.close();
    for (const session of this.sessions) session.close();
    const cut = setTimeout(() => {
      for (const socket of this.sockets) socket.destroy();
    }, GRACE_MS);
    await closed;
    clearTimeout(cut);
    this.http2.close();
    if (this.unixPath !== undefined) rmSync(this.unixPath, { force: true });
  }
}

interface Parts {
  readonly server: NetServer;
  readonly http2: Http2Server;
  readonly http1: Http1Server;
  readonly sockets: Set<Socket>;
  readonly sessions: Set<ServerHttp2Session>;
}

function makeParts(options: ListenerOptions, tls: ServerTls | undefined): Parts {
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const http2 = makeHttp2(options, sessions);
  const http1 = createHttp1((request, response) => {
    const page = options.pages(request.url ?? "/");
    response.writeHead(page.status, { "content-type": "application/json" }).end(page.body);
  });
  const track = (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
  };
  if (tls === undefined) {
    const server = createNet((socket) => {
      track(socket);
      sniff(socket, (isHttp2) => {
        if (isHttp2) {
          http2.emit("connection", filterAuthority(socket));
          return;
        }
        http1.emit("connection", socket);
        process.nextTick(() => socket.resume());
      });
    });
    return { server, http2, http1, sockets, sessions };
  }
  const files = new TlsFiles(tls);
  const server = createTls({ ...files.options, ALPNProtocols: ["h2", "http/1.1"] }, (socket) => {
    track(socket);
    if (socket.alpnProtocol === "h2") http2.emit("connection", filterAuthority(socket));
    else http1.emit("connection", socket);
  });
  server.prependListener("connection", () => {
    const renewed = files.renewed();
    if (renewed !== undefined) server.setSecureContext(renewed);
  });
  server.on("tlsClientError", (error, socket) => options.onRejected(error, socket.remoteAddress));
  return { server, http2, http1, sockets, sessions };
}

function makeHttp2(options: ListenerOptions, sessions: Set<ServerHttp2Session>): Http2Server {
  const http2 = createHttp2({
    maxSessionMemory: MAX_SESSION_MEMORY_MB,
    // A client with many watches may cancel all of them at once.
    streamResetBurst: 100_000,
    streamResetRate: 10_000,
    settings: { initialWindowSize: WINDOW_BYTES },
  });
  http2.on("session", (session: ServerHttp2Session) => {
    sessions.add(session);
    session.setLocalWindowSize(4 * WINDOW_BYTES);
    session.once("close", () => sessions.delete(session));
    session.on("error", () => undefined);
  });
  http2.on("sessionError", () => undefined);
  http2.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    if (isGrpc(headers)) {
      serveGrpc(stream, headers, options.grpc);
      return;
    }
    stream.on("error", () => undefined);
    const page = options.pages(headers[":path"] ?? "/");
    stream.respond({ ":status": page.status, "content-type": "application/json" });
    stream.end(page.body);
  });
  return http2;
}

/** Looks at the first bytes and puts them back; Node's HTTP/2 session takes what is buffered. */
function sniff(socket: Socket, decide: (isHttp2: boolean) => void): void {
  let head = Buffer.alloc(0);
  const onData = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk]);
    const length = Math.min(head.length, HTTP2_PREFACE.length);
    const matches = head.toString("latin1", 0, length) === HTTP2_PREFACE.slice(0, length);
    if (matches && head.length < HTTP2_PREFACE.length) return;
    socket.off("data", onData);
    socket.pause();
    socket.unshift(head);
    decide(matches);
  };
  socket.on("data", onData);
}

async function listen(
  server: NetServer,
  where: { readonly path: string } | { readonly host: string; readonly port: number },
  url: string,
): Promise<void> {
  try {
    // The bind is synchronous: the socket never exists with wider rights than it keeps.
    const umask = process.umask(0o177);
    try {
      server.listen(where);
    } finally {
      process.umask(umask);
    }
    await once(server, "listening");
  } catch (error) {
    throw datastoreError("unavailable", `cannot listen on ${url}: ${messageOf(error)}`, {
      cause: error,
      fields: { url },
    });
  }
}

function unixPathOf(url: string): string | undefined {
  // `unix://dir/x` names a host "dir", not a path; it is refused as no URL of ours.
  return /^unix:(?:\/\/(?=\/)|(?!\/\/))(\/.+)$/.exec(url)?.[1];
}

function parseTcpUrl(text: string): { protocol: string; host: string; port: number } {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw datastoreError(
      "invalid",
      `listen URL ${JSON.stringify(text)}: expected unix:///PATH, http://HOST:PORT or https://HOST:PORT`,
    );
  }
  const fallback = url.protocol === "https:" ? 443 : 80;
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  return { protocol: url.protocol, host, port: url.port === "" ? fallback : Number(url.port) };
}

/** A socket that a killed process left behind; one that answers is somebody's and stays. */
async function removeStaleSocket(path: string): Promise<void> {
  if (!existsSync(path)) return;
  if (await socketAnswers(path)) {
    throw datastoreError("unavailable", `another process listens on ${path}`, {
      fields: { path },
    });
  }
  rmSync(path, { force: true });
}

export async function socketAnswers(path: string): Promise<boolean> {
  const socket = connect({ path });
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
