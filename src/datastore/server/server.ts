/** The embedded store as a server: the engine, and the sockets on which it speaks etcd's API. */
import { DEFAULT_MAX_REQUEST_BYTES, type Engine } from "../embedded/engine.ts";
import type { GrpcOptions } from "./grpc.ts";
import type { Listener, Page } from "./listener.ts";
import { ETCD_API_VERSION, etcdMethods } from "./services.ts";
import type { ServerTls } from "./tls-files.ts";

export interface ServerOptions {
  readonly listenUrls: readonly string[];
  readonly name?: string;
  /** What `member list` shows; by default where it listens. */
  readonly advertiseUrls?: readonly string[];
  readonly tls?: ServerTls | undefined;
  readonly maxRequestBytes?: number;
  readonly onInternalError?: (error: unknown, path: string) => void;
  /** Hears of clients that did not get through TLS. */
  readonly onRejected?: (error: Error, remoteAddress: string | undefined) => void;
}

/** etcd's room for what surrounds the largest request. */
const OVERHEAD_BYTES = 512 * 1024;

export class DatastoreServer {
  private readonly listeners: readonly Listener[];

  private constructor(listeners: readonly Listener[]) {
    this.listeners = listeners;
  }

  /** The engine stays the caller's: close it after the server. */
  static async start(engine: Engine, options: ServerOptions): Promise<DatastoreServer> {
    const listeners: Listener[] = [];
    const clientUrls: string[] = [...(options.advertiseUrls ?? [])];
    const grpc: GrpcOptions = {
      methods: etcdMethods(engine, { name: options.name ?? "default", clientUrls }),
      maxMessageBytes: (options.maxRequestBytes ?? DEFAULT_MAX_REQUEST_BYTES) + OVERHEAD_BYTES,
      onInternalError: options.onInternalError ?? (() => undefined),
    };
    const onRejected = options.onRejected ?? (() => undefined);
    // Loaded on use, as all that stands on HTTP/2 and TLS: 25 ms that `margay get` can spare.
    const { Listener } = await import("./listener.ts");
    const { tls } = options;
    try {
      for (const url of options.listenUrls) {
        listeners.push(await Listener.open(url, { grpc, pages, tls, onRejected }));
      }
    } catch (error) {
      await Promise.all(listeners.map((listener) => listener.close()));
      throw error;
    }
    if (clientUrls.length === 0) clientUrls.push(...listeners.map((listener) => listener.url));
    return new DatastoreServer(listeners);
  }

  get urls(): readonly string[] {
    return this.listeners.map((listener) => listener.url);
  }

  async close(): Promise<void> {
    await Promise.all(this.listeners.map((listener) => listener.close()));
  }
}

/** The pages that etcd answers beside gRPC. */
function pages(path: string): Page {
  switch (path.split("?")[0] ?? path) {
    case "/health":
      return { status: 200, body: '{"health":"true"}' };
    case "/version": {
      const body = JSON.stringify({ etcdserver: ETCD_API_VERSION, etcdcluster: "3.4.0" });
      return { status: 200, body };
    }
    default:
      return { status: 404, body: '{"message":"not found"}' };
  }
}
