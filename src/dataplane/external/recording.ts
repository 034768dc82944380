/**
 * Streams kept in a file: what a dataplane was told, and the way back. The bytes are those that an
 * external driver would read.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import type { FromDataplane, ToDataplane } from "#calc";
import { logger } from "#log";
import { inputError, MargayError, messageOf, systemError } from "#std";
import type { ApplyResult, Dataplane } from "../port.ts";
import { MessageChecker } from "./check.ts";
import { FrameCutter, readToDataplane, StreamWriter } from "./stream.ts";

const log = logger("dataplane.record");
const PIECE_BYTES = 1 << 20;

export class StreamRecorder {
  readonly #path: string;
  readonly #fd: number;
  #closed = false;
  readonly #writer = new StreamWriter();
  #failed = false;

  /** Begins the file anew, readable by its owner alone. Throws the system error `record-file`. */
  constructor(path: string) {
    this.#path = path;
    try {
      this.#fd = openSync(path, "w", 0o600);
    } catch (error) {
      throw systemError("record-file", `cannot write ${path}: ${messageOf(error)}`, {
        cause: error,
        fields: { path },
      });
    }
  }

  /** A file that cannot be written any more must not keep policy out of the kernel. */
  write(messages: readonly ToDataplane[]): void {
    if (this.#failed || this.#closed) return;
    try {
      for (const message of messages) {
        this.#writer.add(message);
        if (this.#writer.length >= PIECE_BYTES) this.#flush();
      }
      this.#flush();
    } catch (error) {
      this.#failed = true;
      log.error("recording ends here: the file cannot be written", {
        path: this.#path,
        reason: messageOf(error),
      });
    }
  }

  #flush(): void {
    const bytes = this.#writer.take();
    for (let at = 0; at < bytes.length;) at += writeSync(this.#fd, bytes, at);
  }

  /** Idempotent. */
  close(): void {
    if (!this.#closed) closeSync(this.#fd);
    this.#closed = true;
  }
}

/** Records what the dataplane behind it is told, before that acts on it. */
export class RecordedDataplane implements Dataplane {
  readonly #inner: Dataplane;
  readonly #recorder: StreamRecorder;
  #queue: ToDataplane[] = [];

  constructor(inner: Dataplane, recorder: StreamRecorder) {
    this.#inner = inner;
    this.#recorder = recorder;
  }

  onMessage(message: ToDataplane): void {
    this.#queue.push(message);
    this.#inner.onMessage(message);
  }

  apply(): Promise<ApplyResult> {
    const queue = this.#queue;
    this.#queue = [];
    this.#recorder.write(queue);
    return this.#inner.apply();
  }

  onWanted(callback: () => void): void {
    this.#inner.onWanted(callback);
  }

  onStatus(callback: (message: FromDataplane) => void): void {
    this.#inner.onStatus(callback);
  }

  /** The recorder is its opener's to close. */
  close(): Promise<void> {
    return this.#inner.close();
  }
}

export interface Recording {
  readonly messages: readonly ToDataplane[];
  /** Field numbers of payloads that this build does not know; they are left out. */
  readonly unknownPayloads: readonly number[];
}

/** Throws the system error `replay-file`, or what `parseRecording` throws. */
export function readRecording(path: string): Recording {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw systemError("replay-file", `cannot read ${path}: ${messageOf(error)}`, {
      cause: error,
      fields: { path },
    });
  }
  return parseRecording(bytes, path);
}

/**
 * The whole stream, or an input error that names the byte at which it stops being one: a part of the
 * policies is not a policy.
 */
export function parseRecording(bytes: Buffer, path: string): Recording {
  const messages: ToDataplane[] = [];
  const unknownPayloads = new Set<number>();
  const cutter = new FrameCutter(bytes.length);
  const checker = new MessageChecker();
  let offset = 0;
  let index = 0;
  const fail = (why: string, cause?: unknown): never => {
    throw inputError("bad-recording", `${path}: ${why}, at byte ${offset} (message ${index})`, {
      cause,
      fields: { path, offset },
    });
  };
  try {
    for (const frame of cutter.push(bytes)) {
      const { message, sequenceNumber, unknownPayload } = readToDataplane(frame);
      if (sequenceNumber !== index) fail(`sequence number ${sequenceNumber} instead of ${index}`);
      if (message !== undefined) {
        checker.check(message);
        messages.push(message);
      } else if (unknownPayload === undefined) fail("a message without content");
      else unknownPayloads.add(unknownPayload);
      offset = cutter.offset;
      index += 1;
    }
  } catch (error) {
    if (!(error instanceof MargayError) || error.code === "bad-recording") throw error;
    if (error.code === "bad-frame") fail("the rest is too short for the length announced", error);
    fail(messageOf(error), error);
  }
  if (cutter.rest > 0) fail("it ends within a message");
  if (!messages.some((message) => message.case === "inSync")) {
    fail("it ends before it is in sync");
  }
  return { messages, unknownPayloads: [...unknownPayloads] };
}
