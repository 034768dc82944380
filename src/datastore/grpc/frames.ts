/**
 * gRPC's messages on a byte stream: a flag byte, a big-endian length, the message. Not compressed.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
import { fromBinary, toBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { messageOf } from "#std";
import { Code, RpcError } from "./status.ts";

const HEADER_BYTES = 5;

export class FrameReader {
  private readonly maxBytes: number;
  private chunks: Buffer[] = [];
  private size = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** The messages that the chunk completes. Throws when one is compressed or too long. */
  *push(chunk: Buffer): Generator<Buffer, void, undefined> {
    this.chunks.push(chunk);
    this.size += chunk.length;
    for (;;) {
      const length = this.nextLength();
      if (length === undefined || this.size < HEADER_BYTES + length) return;
      const all =
        this.chunks.length === 1 ? (this.chunks[0] as Buffer) : Buffer.concat(this.chunks);
      const end = HEADER_BYTES + length;
      this.chunks = all.length === end ? [] : [all.subarray(end)];
      this.size -= end;
      yield all.subarray(HEADER_BYTES, end);
    }
  }

  private nextLength(): number | undefined {
    if (this.size < HEADER_BYTES) return undefined;
    let first = this.chunks[0] as Buffer;
    if (first.length < HEADER_BYTES) {
      first = Buffer.concat(this.chunks);
      this.chunks = [first];
    }
    if (first[0] !== 0) throw new RpcError(Code.Unimplemented, "compressed message");
    const length = first.readUInt32BE(1);
    if (length > this.maxBytes) {
      throw new RpcError(
        Code.ResourceExhausted,
        `grpc: received message larger than max (${length} vs. ${this.maxBytes})`,
      );
    }
    return length;
  }
}

export function encodeFrame(desc: DescMessage, message: unknown): Buffer {
  const body = toBinary(desc, message as MessageShape<DescMessage>);
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  frame[0] = 0;
  frame.writeUInt32BE(body.length, 1);
  frame.set(body, HEADER_BYTES);
  return frame;
}

export function decodeMessage<D extends DescMessage>(desc: D, bytes: Uint8Array): MessageShape<D> {
  try {
    return fromBinary(desc, bytes);
  } catch (error) {
    throw new RpcError(Code.Internal, `cannot read the message: ${messageOf(error)}`, error);
  }
}
