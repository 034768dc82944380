/**
 * One etcd endpoint: `http://host:port`, `https://host:port`, `unix:///path` or `host:port`. Holds at
 * most one HTTP/2 connection, opened on use, checked by pings while calls are open.
 */
import { readFileSync } from "node:fs";
import { connect as connectNet, type Socket } from "node:net";
import type { ClientSessionOptions, SecureClientSessionOptions } from "node:http2";
import { datastoreError } from "../errors.ts";
import { makeClient, type Client } from "../grpc/client.ts";
import { messageOf } from "#std";
import { EtcdSession } from "./session.ts";
import { Auth, KV, Lease, Watch } from "./proto/rpc_pb.ts";

export interface TlsSettings {
  /** PEM files or PEM texts; the text wins. */
  readonly caCertFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly caCert?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export interface EndpointOptions {
  readonly tls: TlsSettings;
  /** A PING after this many ms without data while calls are open; etcd refuses less than 5000. */
  readonly keepaliveMs: number;
  readonly dialTimeoutMs: number;
  /** Sent with each call, such as the token of a user. */
  readonly headers?: () => Readonly<Record<string, string>>;
}

const PING_TIMEOUT_MS = 5000;

export class EtcdEndpoint {
  readonly name: string;
  readonly kv: Client<typeof KV>;
  readonly lease: Client<typeof Lease>;
  readonly watch: Client<typeof Watch>;
  readonly auth: Client<typeof Auth>;
  private readonly session: EtcdSession;

  constructor(endpoint: string, options: EndpointOptions) {
    this.name = endpoint;
    const { baseUrl, sessionOptions } = parseEndpoint(endpoint, options.tls);
    this.session = new EtcdSession(baseUrl, endpoint, sessionOptions, {
      keepaliveMs: options.keepaliveMs,
      dialTimeoutMs: options.dialTimeoutMs,
      pingTimeoutMs: PING_TIMEOUT_MS,
    });
    const open = (path: string, headers: Readonly<Record<string, string>>) =>
      this.session.openStream(path, { ...options.headers?.(), ...headers });
    this.kv = makeClient(KV, open);
    this.lease = makeClient(Lease, open);
    this.watch = makeClient(Watch, open);
    this.auth = makeClient(Auth, open);
  }

  /** Opens the connection if there is none. Throws `unavailable`: then nothing was sent. */
  async connect(): Promise<void> {
    await this.session.connect();
  }

  close(): void {
    this.session.close();
  }
}

interface ParsedEndpoint {
  readonly baseUrl: string;
  /** Of the next connection. */
  readonly sessionOptions: () => ClientSessionOptions | SecureClientSessionOptions;
}

function parseEndpoint(endpoint: string, tls: TlsSettings): ParsedEndpoint {
  const unixPath = /^unixs?:(?:\/\/)?(\/.+)$/.exec(endpoint)?.[1];
  if (unixPath !== undefined) {
    // The authority is only a name here; the socket's path says where to go.
    return {
      baseUrl: "http://localhost",
      sessionOptions: () => ({ createConnection: () => connectUnix(unixPath) }),
    };
  }
  const url = URL.parse(endpoint.includes("://") ? endpoint : `http://${endpoint}`);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw datastoreError(
      "invalid",
      `etcd endpoint ${JSON.stringify(endpoint)}: expected http://HOST:PORT, https://HOST:PORT or unix:///PATH`,
    );
  }
  // URL drops the scheme's own port, and etcd's default is none of them: only an explicit port counts.
  const port = url.port === "" ? (/:(80|443)\/?$/.exec(endpoint)?.[1] ?? "2379") : url.port;
  return {
    baseUrl: `${url.protocol}//${url.hostname}:${port}`,
    sessionOptions: url.protocol === "https:" ? renewableTls(tls) : () => ({}),
  };
}

/** Certificates are renewed while a process runs: each connection takes those that are there then. */
function renewableTls(tls: TlsSettings): () => SecureClientSessionOptions {
  let last = readTls(tls);
  return () => {
    try {
      last = readTls(tls);
    } catch {
      // They are just being written, or were taken away: the last ones may still do.
    }
    return last;
  };
}

function connectUnix(path: string): Socket {
  return connectNet({ path });
}

function readTls(tls: TlsSettings): SecureClientSessionOptions {
  const ca = tls.caCert ?? readPem(tls.caCertFile, "CA certificate");
  const cert = tls.cert ?? readPem(tls.certFile, "client certificate");
  const key = tls.key ?? readPem(tls.keyFile, "client key");
  if ((cert === undefined) !== (key === undefined)) {
    throw datastoreError(
      "invalid",
      "a client certificate needs its key: set both ETCD_CERT_FILE and ETCD_KEY_FILE, or none",
    );
  }
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

function readPem(path: string | undefined, what: string): string | undefined {
  if (path === undefined || path === "") return undefined;
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw datastoreError("invalid", `cannot read the ${what} for etcd: ${messageOf(error)}`, {
      cause: error,
      fields: { path },
    });
  }
}
