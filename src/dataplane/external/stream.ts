/**
 * The stream between an agent and an external dataplane, as Felix frames it: the length as a 64-bit
 * little-endian number, then a protobuf envelope with a sequence number and one payload.
 */
import type { ToDataplane } from "#calc";
import { inputError, MargayError, messageOf } from "#std";
import { FROM_DATAPLANE, TO_DATAPLANE, type DriverMessage, type Payload } from "./messages.ts";
import { checkWire } from "./fields.ts";
import { WIRE_BYTES, WIRE_VARINT, WireReader, WireWriter } from "./wire.ts";

const FRAME_HEADER_BYTES = 8;
const TO_SEQUENCE = 15;
const FROM_SEQUENCE = 8;

/** An envelope as read. `message` undefined: a payload that this build does not know, or none. */
export interface Envelope<M> {
  readonly sequenceNumber: number;
  readonly message: M | undefined;
  /** Field number of a payload that is not known. */
  readonly unknownPayload?: number;
}

type AnyMessage = { readonly case: string; readonly value: unknown };
type Payloads = Readonly<Record<string, Payload<unknown>>>;

/** Writes frames; numbers them from 0. */
export class StreamWriter {
  readonly #out = new WireWriter();
  #sequenceNumber = 0;

  /** Bytes that `take` would give. */
  get length(): number {
    return this.#out.length;
  }

  add(message: ToDataplane): void {
    this.#frame(message, TO_DATAPLANE, TO_SEQUENCE);
  }

  /** The other direction: what a driver says. */
  addFromDriver(message: DriverMessage): void {
    this.#frame(message, FROM_DATAPLANE, FROM_SEQUENCE);
  }

  take(): Buffer {
    return this.#out.take();
  }

  #frame({ case: kind, value }: AnyMessage, payloads: Payloads, sequenceField: number): void {
    const out = this.#out;
    const { number, codec } = payloads[kind] as Payload<unknown>;
    const frame = out.beginFrame();
    if (this.#sequenceNumber > 0) {
      out.tag(sequenceField, WIRE_VARINT);
      out.varint(this.#sequenceNumber);
    }
    out.tag(number, WIRE_BYTES);
    codec.write(out, value);
    out.endFrame(frame);
    this.#sequenceNumber += 1;
  }
}

const toByNumber = byNumber(TO_DATAPLANE);
const fromByNumber = byNumber(FROM_DATAPLANE);

/** Throws the input error `bad-message`. */
export function readToDataplane(envelope: Buffer): Envelope<ToDataplane> {
  return readEnvelope(envelope, toByNumber, TO_SEQUENCE) as Envelope<ToDataplane>;
}

/** Throws the input error `bad-message`. */
export function readFromDriver(envelope: Buffer): Envelope<DriverMessage> {
  return readEnvelope(envelope, fromByNumber, FROM_SEQUENCE) as Envelope<DriverMessage>;
}

/** Protobuf's JSON form of a message, as `protojson` prints it: defaults are left out. */
export function toDataplaneJson(
  { case: kind, value }: ToDataplane,
  sequenceNumber = 0,
): Readonly<Record<string, unknown>> {
  const codec: Payload<unknown>["codec"] = TO_DATAPLANE[kind].codec;
  return { ...(sequenceNumber === 0 ? {} : { sequenceNumber }), [kind]: codec.json(value) };
}

interface KnownPayload {
  readonly kind: string;
  readonly codec: Payload<unknown>["codec"];
}
type ByNumber = ReadonlyMap<number, KnownPayload>;

function byNumber(payloads: Payloads): ByNumber {
  return new Map(
    Object.entries(payloads).map(([kind, { number, codec }]) => [number, { kind, codec }]),
  );
}

function readEnvelope(
  bytes: Buffer,
  payloads: ByNumber,
  sequenceField: number,
): Envelope<AnyMessage> {
  const from = new WireReader(bytes);
  let sequenceNumber = 0;
  let message: AnyMessage | undefined;
  let unknownPayload: number | undefined;
  while (!from.atEnd) {
    const { number, wire } = from.tag();
    const known = payloads.get(number);
    if (number === sequenceField) {
      checkWire(WIRE_VARINT, wire, number);
      sequenceNumber = from.varint();
    } else if (known === undefined) {
      unknownPayload = number;
      from.skip(wire);
    } else {
      checkWire(WIRE_BYTES, wire, number);
      message = { case: known.kind, value: readPayload(from, known) };
    }
  }
  return {
    sequenceNumber,
    message,
    ...(unknownPayload === undefined || message !== undefined ? {} : { unknownPayload }),
  };
}

function readPayload(from: WireReader, { kind, codec }: KnownPayload): unknown {
  try {
    return codec.read(from);
  } catch (error) {
    if (!(error instanceof MargayError)) throw error;
    throw inputError(error.code, `${kind}: ${messageOf(error)}`, {
      cause: error,
      fields: { ...error.fields, payload: kind },
    });
  }
}

/** Cuts a stream of bytes into envelopes, however it comes in pieces. */
export class FrameCutter {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #size = 0;
  /** Offset in the stream of the first byte that is held. */
  #offset = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get offset(): number {
    return this.#offset;
  }

  /** Bytes of a frame that is not whole yet. */
  get rest(): number {
    return this.#size;
  }

  /** The envelopes that the chunk completes. Throws `bad-frame` when one is announced too long. */
  *push(chunk: Buffer): Generator<Buffer, void, undefined> {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    for (;;) {
      if (this.#size < FRAME_HEADER_BYTES) return;
      const length = this.#nextLength();
      const end = FRAME_HEADER_BYTES + length;
      if (this.#size < end) return;
      const all = this.#joined();
      this.#chunks = all.length === end ? [] : [all.subarray(end)];
      this.#size -= end;
      this.#offset += end;
      yield all.subarray(FRAME_HEADER_BYTES, end);
    }
  }

  #nextLength(): number {
    const first = this.#chunks[0] as Buffer;
    const header = first.length >= FRAME_HEADER_BYTES ? first : this.#joined();
    const length = header.readBigUInt64LE(0);
    if (length <= BigInt(this.#maxBytes)) return Number(length);
    throw inputError(
      "bad-frame",
      `the frame at byte ${this.#offset} is announced with ${length} bytes; at most ${this.#maxBytes} are taken`,
      { fields: { offset: this.#offset } },
    );
  }

  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks, this.#size)];
    return this.#chunks[0] as Buffer;
  }
}
