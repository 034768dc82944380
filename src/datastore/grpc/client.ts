/**
 * gRPC calls over an HTTP/2 connection: unary, and streams in both directions. A call that ends
 * without a status, because the connection broke or the peer reset it, is UNAVAILABLE.
 */
import type { ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";
import {
  create,
  type DescMessage,
  type DescMethod,
  type DescMethodBiDiStreaming,
  type DescMethodUnary,
  type DescService,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { bug, messageOf, unreachable } from "#std";
import { decodeMessage, encodeFrame, FrameReader } from "./frames.ts";
import { Code, readStatus, RpcError } from "./status.ts";

interface CallOptions {
  /** The call fails with DEADLINE_EXCEEDED after it; the server is told too. */
  readonly timeoutMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

interface StreamOptions {
  readonly signal: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Opens one HTTP/2 stream on a connection that lives. */
export type OpenStream = (
  path: string,
  headers: Readonly<Record<string, string>>,
) => Promise<ClientHttp2Stream>;

/** The service's methods as functions. */
export type Client<S extends DescService> = {
  readonly [M in keyof S["method"]]: S["method"][M] extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : S["method"][M] extends DescMethodBiDiStreaming<infer I, infer O>
      ? (
          requests: AsyncIterable<MessageInitShape<I>>,
          options: StreamOptions,
        ) => AsyncIterable<MessageShape<O>>
      : never;
};

const MAX_MESSAGE_BYTES = 2 ** 31 - 1;
/** RFC 9113 §7; a number, so that this file loads without Node's HTTP/2 and TLS. */
export const NGHTTP2_CANCEL = 0x8;

export function makeClient<S extends DescService>(service: S, open: OpenStream): Client<S> {
  const methods = service.methods.map((method) => [method.localName, callerOf(method, open)]);
  return Object.fromEntries(methods) as Client<S>;
}

function callerOf(method: DescMethod, open: OpenStream) {
  switch (method.methodKind) {
    case "unary":
      return (request: MessageInitShape<DescMessage>, options: CallOptions = {}) =>
        callUnary(open, method, request, options);
    case "bidi_streaming":
      return (requests: AsyncIterable<MessageInitShape<DescMessage>>, options: StreamOptions) =>
        callStream(open, method, requests, options);
    case "server_streaming":
    case "client_streaming":
      throw bug(`no caller for ${method.methodKind}`, { method: method.name });
    default:
      return unreachable(method.methodKind);
  }
}

async function callUnary(
  open: OpenStream,
  method: DescMethod,
  request: MessageInitShape<DescMessage>,
  options: CallOptions,
): Promise<unknown> {
  const frame = encodeFrame(method.input, create(method.input, request));
  const { timeoutMs } = options;
  const timeout = timeoutMs === undefined ? {} : { "grpc-timeout": `${Math.ceil(timeoutMs)}m` };
  const stream = await open(pathOf(method), { ...options.headers, ...timeout });
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          reject(new RpcError(Code.DeadlineExceeded, `no answer within ${timeoutMs} ms`));
          stream.close(NGHTTP2_CANCEL);
        }, timeoutMs);
  receive(stream, resolve, reject);
  stream.end(frame);
  try {
    return decodeMessage(method.output, await promise);
  } finally {
    clearTimeout(timer);
  }
}

/** Collects the one message and the status, which come in this order. */
function receive(
  stream: ClientHttp2Stream,
  resolve: (message: Buffer) => void,
  reject: (error: unknown) => void,
): void {
  const reader = new FrameReader(MAX_MESSAGE_BYTES);
  const status = watchStatus(stream);
  let message: Buffer | undefined;
  stream.on("data", (chunk: Buffer) => {
    try {
      for (const frame of reader.push(chunk)) message ??= frame;
    } catch (error) {
      reject(error);
      stream.close(NGHTTP2_CANCEL);
    }
  });
  const settle = () => {
    const error = status.read();
    if (error !== null) reject(error);
    else if (message === undefined)
      reject(new RpcError(Code.Internal, "an answer without message"));
    else resolve(message);
  };
  stream.once("end", () => {
    if (status.known()) settle();
  });
  stream.once("close", settle);
}

async function* callStream(
  open: OpenStream,
  method: DescMethod,
  requests: AsyncIterable<MessageInitShape<DescMessage>>,
  { signal, headers = {} }: StreamOptions,
): AsyncGenerator<unknown, void, undefined> {
  const stream = await open(pathOf(method), headers);
  const status = watchStatus(stream);
  const abort = () => stream.close(NGHTTP2_CANCEL);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  const sending = send(stream, method, requests);
  // What the sender could not send, the receiver hears as the end of the stream.
  sending.catch(() => stream.close(NGHTTP2_CANCEL));
  try {
    const reader = new FrameReader(MAX_MESSAGE_BYTES);
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      for (const frame of reader.push(chunk)) yield decodeMessage(method.output, frame);
    }
  } catch (error) {
    throw error instanceof RpcError ? error : (status.read(error) ?? error);
  } finally {
    signal.removeEventListener("abort", abort);
    stream.close(NGHTTP2_CANCEL);
  }
  const error = status.read();
  if (error !== null && !signal.aborted) throw error;
}

async function send(
  stream: ClientHttp2Stream,
  method: DescMethod,
  requests: AsyncIterable<MessageInitShape<DescMessage>>,
): Promise<void> {
  for await (const request of requests) {
    if (stream.destroyed || stream.closed) return;
    stream.write(encodeFrame(method.input, create(method.input, request)));
  }
  stream.end();
}

interface StatusWatch {
  known(): boolean;
  /** Null for OK. */
  read(cause?: unknown): RpcError | null;
}

function watchStatus(stream: ClientHttp2Stream): StatusWatch {
  let status: RpcError | null | undefined;
  let failure: unknown;
  stream.on("error", (error) => (failure = error));
  stream.once("response", (headers: IncomingHttpHeaders) => {
    status = readStatus(headers);
    const httpStatus = Number(headers[":status"]);
    if (status === undefined && httpStatus !== 200) {
      const code = httpStatus === 404 ? Code.Unimplemented : Code.Unavailable;
      status = new RpcError(code, `HTTP status ${httpStatus}`);
    }
  });
  stream.once("trailers", (trailers: IncomingHttpHeaders) => (status ??= readStatus(trailers)));
  return {
    known: () => status !== undefined,
    read: (cause = failure) => {
      if (status !== undefined) return status;
      const reason = cause === undefined ? "the stream ended early" : messageOf(cause);
      return new RpcError(Code.Unavailable, reason, cause);
    },
  };
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}
