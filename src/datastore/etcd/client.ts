/**
 * Client of a real etcd (or of `margay datastore`). Calls go to one endpoint until its connection
 * fails, then to the next. A read is tried on each endpoint once. A write moves on only when nothing
 * was sent: after that its outcome is unknown, and the caller, who knows its revisions, decides.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { closedError, datastoreError } from "../errors.ts";
import type { EtcdApi } from "./api.ts";
import { EtcdEndpoint, type TlsSettings } from "./endpoint.ts";
import { isAuthNotEnabled, needsNewToken, refusesToken, toDatastoreError } from "./errors.ts";
import type {
  LeaseGrantRequestSchema,
  LeaseGrantResponse,
  RangeRequestSchema,
  RangeResponse,
  TxnRequestSchema,
  TxnResponse,
  WatchCreateRequestSchema,
  WatchRequestSchema,
  WatchResponse,
} from "./proto/rpc_pb.ts";

export interface EtcdClientSettings extends TlsSettings {
  readonly endpoints: readonly string[];
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly callTimeoutMs?: number;
  readonly dialTimeoutMs?: number;
  readonly keepaliveMs?: number;
}

const DEFAULT_CALL_TIMEOUT_MS = 10_000;
const DEFAULT_DIAL_TIMEOUT_MS = 5000;
const DEFAULT_KEEPALIVE_MS = 10_000;
/** Between the beginnings of dials to several endpoints. */
const STAGGER_MS = 250;
/** In place of a token where the cluster has authentication switched off. */
const NO_TOKEN = "";

type Call<T> = (endpoint: EtcdEndpoint, options: { readonly timeoutMs: number }) => Promise<T>;

export class EtcdClient implements EtcdApi {
  private readonly endpoints: readonly EtcdEndpoint[];
  private readonly callTimeoutMs: number;
  private readonly credentials: { readonly name: string; readonly password: string } | undefined;
  private active = 0;
  private token: string | undefined;
  private closed = false;

  constructor(settings: EtcdClientSettings) {
    if (settings.endpoints.length === 0) {
      throw datastoreError("invalid", "no etcd endpoint is configured: set ETCD_ENDPOINTS");
    }
    this.callTimeoutMs = settings.callTimeoutMs ?? DEFAULT_CALL_TIMEOUT_MS;
    const { username, password } = settings;
    if (username !== undefined && username !== "") {
      this.credentials = { name: username, password: password ?? "" };
    }
    const options = {
      tls: settings,
      keepaliveMs: settings.keepaliveMs ?? DEFAULT_KEEPALIVE_MS,
      dialTimeoutMs: settings.dialTimeoutMs ?? DEFAULT_DIAL_TIMEOUT_MS,
      headers: () => (hasToken(this.token) ? { token: this.token } : {}),
    };
    this.endpoints = settings.endpoints.map((endpoint) => new EtcdEndpoint(endpoint, options));
  }

  range(request: MessageInitShape<typeof RangeRequestSchema>): Promise<RangeResponse> {
    return this.call(true, (endpoint, options) => endpoint.kv.range(request, options));
  }

  txn(request: MessageInitShape<typeof TxnRequestSchema>): Promise<TxnResponse> {
    return this.call(false, (endpoint, options) => endpoint.kv.txn(request, options));
  }

  leaseGrant(
    request: MessageInitShape<typeof LeaseGrantRequestSchema>,
  ): Promise<LeaseGrantResponse> {
    // A grant whose answer was lost only leaves a lease that expires by itself.
    return this.call(true, (endpoint, options) => endpoint.lease.leaseGrant(request, options));
  }

  async *watch(
    request: MessageInitShape<typeof WatchCreateRequestSchema>,
    signal: AbortSignal,
  ): AsyncGenerator<WatchResponse, void, undefined> {
    const create = { requestUnion: { case: "createRequest" as const, value: request } };
    // Without a quorum etcd ends this stream, instead of leaving it silent for ever.
    const headers = { hasleader: "true" };
    for (let attempt = 1; !signal.aborted; attempt++) {
      if (this.closed) throw closedError();
      const endpoint = await this.connected();
      let refused = false;
      try {
        for await (const response of endpoint.watch.watch(openRequests(create, signal), {
          signal,
          headers,
        })) {
          refused = attempt === 1 && hasToken(this.token) && refusesToken(response);
          if (refused) break;
          yield response;
        }
      } catch (error) {
        if (signal.aborted) return;
        throw this.failed(endpoint, error);
      }
      // As in `sendAuthorized`: the next attempt gets a new one.
      if (refused) this.token = undefined;
      else if (!signal.aborted) {
        throw datastoreError("unavailable", `${endpoint.name}: the server ended the watch stream`);
      }
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const endpoint of this.endpoints) endpoint.close();
  }

  private async call<T>(idempotent: boolean, send: Call<T>): Promise<T> {
    const tries = idempotent ? this.endpoints.length : 1;
    for (let attempt = 1; ; attempt++) {
      if (this.closed) throw closedError();
      const endpoint = await this.connected();
      try {
        return await this.sendAuthorized(endpoint, send);
      } catch (error) {
        const failure = this.failed(endpoint, error);
        if (!failure.retryable || attempt >= tries) throw failure;
      }
    }
  }

  private async sendAuthorized<T>(endpoint: EtcdEndpoint, send: Call<T>): Promise<T> {
    const options = { timeoutMs: this.callTimeoutMs };
    try {
      return await send(endpoint, options);
    } catch (error) {
      if (!needsNewToken(error)) throw error;
      // Refused before it was executed, so that also a write may be sent again.
      this.token = undefined;
      await this.authenticate(endpoint);
      return await send(endpoint, options);
    }
  }

  /** An endpoint that is connected, and knows the user; else the last one's error. */
  private async connected(): Promise<EtcdEndpoint> {
    for (let attempt = 1; ; attempt++) {
      const endpoint = await this.reach();
      if (this.credentials === undefined || this.token !== undefined) return endpoint;
      try {
        await this.authenticate(endpoint);
        return endpoint;
      } catch (error) {
        const failure = this.failed(endpoint, error);
        if (!failure.retryable || attempt >= this.endpoints.length) throw failure;
      }
    }
  }

  /**
   * The active endpoint, or that of the next ones which connects first, if it fails or takes long: a
   * machine that is off refuses nothing, so to wait for it costs the whole time of a dial.
   */
  private async reach(): Promise<EtcdEndpoint> {
    if (this.closed) throw closedError();
    const order = [...this.endpoints.slice(this.active), ...this.endpoints.slice(0, this.active)];
    const { promise, resolve, reject } = Promise.withResolvers<EtcdEndpoint>();
    let started = 0;
    let failures = 0;
    let timer: NodeJS.Timeout | undefined;
    const startNext = (): void => {
      clearTimeout(timer);
      const endpoint = order[started];
      if (endpoint === undefined) return;
      started++;
      timer = setTimeout(startNext, STAGGER_MS);
      endpoint.connect().then(
        () => resolve(endpoint),
        (error: unknown) => {
          failures++;
          if (failures === order.length) reject(toDatastoreError(error, endpoint.name));
          else startNext();
        },
      );
    };
    startNext();
    try {
      const endpoint = await promise;
      this.active = this.endpoints.indexOf(endpoint);
      return endpoint;
    } catch (error) {
      throw this.closed ? closedError() : error;
    } finally {
      clearTimeout(timer);
      started = order.length;
    }
  }

  private failed(endpoint: EtcdEndpoint, error: unknown) {
    const failure = toDatastoreError(error, endpoint.name);
    if (failure.retryable && this.endpoints[this.active] === endpoint) {
      this.active = (this.active + 1) % this.endpoints.length;
    }
    return this.closed ? closedError() : failure;
  }

  private async authenticate(endpoint: EtcdEndpoint): Promise<void> {
    if (this.credentials === undefined) return;
    try {
      const options = { timeoutMs: this.callTimeoutMs };
      this.token = (await endpoint.auth.authenticate(this.credentials, options)).token;
    } catch (error) {
      // As etcd's own clients do: who may do everything without a name may keep the name.
      if (!isAuthNotEnabled(error)) throw error;
      this.token = NO_TOKEN;
    }
  }
}

function hasToken(token: string | undefined): token is string {
  return token !== undefined && token !== NO_TOKEN;
}

/** One create request; then the stream's sending side stays open until the watch is aborted. */
async function* openRequests(
  create: MessageInitShape<typeof WatchRequestSchema>,
  signal: AbortSignal,
): AsyncGenerator<MessageInitShape<typeof WatchRequestSchema>, void, undefined> {
  yield create;
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
}
