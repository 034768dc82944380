/**
 * gRPC over HTTP/2 streams: framing, deadlines, status and flow control, for servers of few methods.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 *
 * Written on node:http2 itself rather than on a framework: a small write costs a fraction, and each
 * stream's back-pressure reaches the watch that feeds it. Messages are not compressed.
 */
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { DescMessage, DescMethod } from "@bufbuild/protobuf";
import { messageOf } from "#std";
import { decodeMessage, encodeFrame, FrameReader } from "../grpc/frames.ts";
import { Code, RpcError, statusFields } from "../grpc/status.ts";

interface UnaryMethod {
  readonly kind: "unary";
  readonly desc: DescMethod;
  readonly handle: (request: never) => Promise<unknown>;
}

interface StreamMethod {
  readonly kind: "stream";
  readonly desc: DescMethod;
  /** Requests end when the client has said all; `signal` aborts when it is gone. */
  readonly handle: (requests: AsyncIterable<never>, signal: AbortSignal) => AsyncIterable<unknown>;
}

export type Method = UnaryMethod | StreamMethod;

/** Methods by path: `/etcdserverpb.KV/Range`. */
export type MethodTable = ReadonlyMap<string, Method>;

export interface GrpcOptions {
  readonly methods: MethodTable;
  readonly maxMessageBytes: number;
  /** For the log: what no client can have caused. */
  readonly onInternalError: (error: unknown, path: string) => void;
}

const { HTTP2_HEADER_STATUS, HTTP2_HEADER_CONTENT_TYPE } = constants;
const OK_HEADERS = { [HTTP2_HEADER_STATUS]: 200, [HTTP2_HEADER_CONTENT_TYPE]: "application/grpc" };
const TIMEOUT_UNITS_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};
/** setTimeout's longest; a later deadline never comes. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export function isGrpc(headers: IncomingHttpHeaders): boolean {
  return headers["content-type"]?.startsWith("application/grpc") === true;
}

export function serveGrpc(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders & { readonly ":path"?: string | undefined },
  options: GrpcOptions,
): void {
  const path = headers[":path"] ?? "";
  const call = new ServerCall(stream, path, options);
  // Without a listener a reset by the peer would be an uncaught exception.
  stream.on("error", () => call.abort());
  stream.on("close", () => call.abort());
  const method = options.methods.get(path);
  const encoding = headers["grpc-encoding"];
  if (method === undefined) {
    call.fail(new RpcError(Code.Unimplemented, unknownMethod(path)));
  } else if (encoding !== undefined && encoding !== "identity") {
    call.fail(new RpcError(Code.Unimplemented, `compression ${String(encoding)}`));
  } else {
    call.startDeadline(headers["grpc-timeout"]);
    if (method.kind === "unary") call.serveUnary(method);
    else call.serveStream(method);
  }
}

/** In the words of Go's gRPC, which scripts look for. */
function unknownMethod(path: string): string {
  const [, service, method] = /^\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  if (service === undefined || method === undefined) return `malformed method name: "${path}"`;
  return `unknown method ${method} for service ${service}`;
}

class ServerCall {
  private readonly stream: ServerHttp2Stream;
  private readonly path: string;
  private readonly options: GrpcOptions;
  private readonly aborted = new AbortController();
  private deadline: NodeJS.Timeout | undefined;
  private ended = false;

  constructor(stream: ServerHttp2Stream, path: string, options: GrpcOptions) {
    this.stream = stream;
    this.path = path;
    this.options = options;
  }

  abort(): void {
    clearTimeout(this.deadline);
    this.ended = true;
    this.aborted.abort();
  }

  startDeadline(header: string | string[] | undefined): void {
    const timeoutMs = parseTimeout(header);
    if (timeoutMs === undefined || timeoutMs > MAX_TIMER_MS) return;
    this.deadline = setTimeout(() => {
      this.fail(new RpcError(Code.DeadlineExceeded, "context deadline exceeded"));
    }, timeoutMs);
  }

  serveUnary(method: UnaryMethod): void {
    const reader = new FrameReader(this.options.maxMessageBytes);
    let message: Buffer | undefined;
    this.stream.on("data", (chunk: Buffer) => {
      try {
        for (const frame of reader.push(chunk)) message ??= frame;
      } catch (error) {
        this.fail(error);
      }
    });
    this.stream.on("end", () => {
      if (message === undefined) {
        this.fail(new RpcError(Code.Internal, "the request has no message"));
        return;
      }
      this.answer(method, message).catch((error: unknown) => this.fail(error));
    });
  }

  serveStream(method: StreamMethod): void {
    this.pump(method).catch((error: unknown) => this.fail(error));
  }

  /** Ends the call with the error's status; what was not sent yet is dropped. */
  fail(error: unknown): void {
    if (this.ended || this.stream.destroyed) return;
    this.ended = true;
    clearTimeout(this.deadline);
    const known = error instanceof RpcError;
    if (!known) this.options.onInternalError(error, this.path);
    const status = statusFields(known ? error.code : Code.Internal, messageOf(error));
    if (this.stream.headersSent) {
      this.endWith(status);
    } else {
      this.stream.respond({ ...OK_HEADERS, ...status }, { endStream: true });
    }
    this.aborted.abort();
    // The rest of the request is of no interest; without reading on it would fill the window.
    this.stream.resume();
  }

  private async answer(method: UnaryMethod, message: Buffer): Promise<void> {
    const response = await method.handle(decodeMessage(method.desc.input, message) as never);
    if (this.ended || this.stream.destroyed) return;
    this.respond();
    this.stream.write(encodeFrame(method.desc.output, response));
    this.finish();
  }

  private async pump(method: StreamMethod): Promise<void> {
    const { signal } = this.aborted;
    // At once, not with the first message: clients wait for the headers.
    this.respond();
    const requests = this.requests(method.desc.input) as AsyncIterable<never>;
    for await (const response of method.handle(requests, signal)) {
      if (this.ended || this.stream.destroyed) return;
      const room = this.stream.write(encodeFrame(method.desc.output, response));
      if (!room) await drained(this.stream, signal);
    }
    this.finish();
  }

  private async *requests(input: DescMessage): AsyncGenerator<unknown, void, undefined> {
    const reader = new FrameReader(this.options.maxMessageBytes);
    try {
      for await (const chunk of this.stream as AsyncIterable<Buffer>) {
        for (const frame of reader.push(chunk)) yield decodeMessage(input, frame);
      }
    } catch (error) {
      // A client that goes away in the middle of a stream is nobody's fault.
      if (error instanceof RpcError) throw error;
    }
  }

  private respond(): void {
    this.stream.respond(OK_HEADERS, { waitForTrailers: true });
    this.stream.once("wantTrailers", () => this.stream.sendTrailers(this.trailers));
  }

  private trailers: Record<string, string> = { "grpc-status": "0" };

  private finish(): void {
    if (this.ended || this.stream.destroyed) return;
    this.ended = true;
    clearTimeout(this.deadline);
    this.stream.end();
  }

  private endWith(trailers: Record<string, string>): void {
    this.trailers = trailers;
    this.stream.end();
  }
}

function parseTimeout(header: string | string[] | undefined): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(typeof header === "string" ? header : "");
  const unit = TIMEOUT_UNITS_MS[match?.[2] ?? ""];
  return match === null || unit === undefined ? undefined : Number(match[1]) * unit;
}

async function drained(stream: ServerHttp2Stream, signal: AbortSignal): Promise<void> {
  if (signal.aborted || stream.destroyed) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.once("drain", resolve);
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
}
