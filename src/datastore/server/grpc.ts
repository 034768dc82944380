/**
 * gRPC over HTTP/2 streams: framing, deadlines, status and flow control, for servers of few methods.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 *
 * Written on node:http2 itself rather than on a framework: a small write costs a fraction, and each
 * stream's back-pressure reaches the watch that feeds it. Messages are not compressed.
 */
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import {
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethod,
  type MessageShape,
} from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { messageOf } from "#std";

export interface UnaryMethod {
  readonly kind: "unary";
  readonly desc: DescMethod;
  readonly handle: (request: never) => Promise<unknown>;
}

export interface StreamMethod {
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

const FRAME_HEADER_BYTES = 5;
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
    call.fail(new ConnectError(`unknown method ${path}`, Code.Unimplemented));
  } else if (encoding !== undefined && encoding !== "identity") {
    call.fail(new ConnectError(`compression ${String(encoding)}`, Code.Unimplemented));
  } else {
    call.startDeadline(headers["grpc-timeout"]);
    if (method.kind === "unary") call.serveUnary(method);
    else call.serveStream(method);
  }
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
      this.fail(new ConnectError("context deadline exceeded", Code.DeadlineExceeded));
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
        this.fail(new ConnectError("the request has no message", Code.Internal));
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
    const status = statusOf(error);
    if (!(error instanceof ConnectError)) this.options.onInternalError(error, this.path);
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
    const response = await method.handle(decode(method.desc.input, message) as never);
    if (this.ended || this.stream.destroyed) return;
    this.respond();
    this.stream.write(encode(method.desc.output, response));
    this.finish();
  }

  private async pump(method: StreamMethod): Promise<void> {
    const { signal } = this.aborted;
    // At once, not with the first message: clients wait for the headers.
    this.respond();
    const requests = this.requests(method.desc.input) as AsyncIterable<never>;
    for await (const response of method.handle(requests, signal)) {
      if (this.ended || this.stream.destroyed) return;
      const room = this.stream.write(encode(method.desc.output, response));
      if (!room) await drained(this.stream, signal);
    }
    this.finish();
  }

  private async *requests(input: DescMessage): AsyncGenerator<unknown, void, undefined> {
    const reader = new FrameReader(this.options.maxMessageBytes);
    try {
      for await (const chunk of this.stream as AsyncIterable<Buffer>) {
        for (const frame of reader.push(chunk)) yield decode(input, frame);
      }
    } catch (error) {
      // A client that goes away in the middle of a stream is nobody's fault.
      if (error instanceof ConnectError) throw error;
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

/** Cuts a byte stream into messages: a flag byte, a big-endian length, the message. */
class FrameReader {
  private readonly maxBytes: number;
  private chunks: Buffer[] = [];
  private size = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  *push(chunk: Buffer): Generator<Buffer, void, undefined> {
    this.chunks.push(chunk);
    this.size += chunk.length;
    for (;;) {
      const length = this.nextLength();
      if (length === undefined || this.size < FRAME_HEADER_BYTES + length) return;
      const all =
        this.chunks.length === 1 ? (this.chunks[0] as Buffer) : Buffer.concat(this.chunks);
      const end = FRAME_HEADER_BYTES + length;
      this.chunks = all.length === end ? [] : [all.subarray(end)];
      this.size -= end;
      yield all.subarray(FRAME_HEADER_BYTES, end);
    }
  }

  private nextLength(): number | undefined {
    if (this.size < FRAME_HEADER_BYTES) return undefined;
    let first = this.chunks[0] as Buffer;
    if (first.length < FRAME_HEADER_BYTES) {
      first = Buffer.concat(this.chunks);
      this.chunks = [first];
    }
    if (first[0] !== 0) throw new ConnectError("compressed message", Code.Unimplemented);
    const length = first.readUInt32BE(1);
    if (length > this.maxBytes) {
      throw new ConnectError(
        `grpc: received message larger than max (${length} vs. ${this.maxBytes})`,
        Code.ResourceExhausted,
      );
    }
    return length;
  }
}

function decode(desc: DescMessage, bytes: Uint8Array): unknown {
  try {
    return fromBinary(desc, bytes);
  } catch (error) {
    throw new ConnectError(`cannot read the request: ${messageOf(error)}`, Code.Internal);
  }
}

function encode(desc: DescMessage, message: unknown): Buffer {
  const body = toBinary(desc, message as MessageShape<DescMessage>);
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + body.length);
  frame[0] = 0;
  frame.writeUInt32BE(body.length, 1);
  frame.set(body, FRAME_HEADER_BYTES);
  return frame;
}

/** Connect's codes are gRPC's numbers. The message is percent-encoded, printable ASCII as it is. */
function statusOf(error: unknown): Record<string, string> {
  const rpc = error instanceof ConnectError ? error : undefined;
  const text = rpc?.rawMessage ?? messageOf(error);
  const message = encodeURIComponent(text).replaceAll(
    /%(20|21|22|23|24|26|27|28|29|2A|2B|2C|2F|3A|3B|3C|3D|3E|3F|40|5B|5C|5D|5E|60|7B|7C|7D)/g,
    (_, code: string) => String.fromCodePoint(Number.parseInt(code, 16)),
  );
  return { "grpc-status": String(rpc?.code ?? Code.Internal), "grpc-message": message };
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
