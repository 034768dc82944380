/**
 * A dataplane that another program is: the driver gets the graph's messages as Felix would send
 * them, and says on a second pipe how its endpoints are.
 *
 * An apply ends when the driver has taken everything (or the pipe has: 64 KiB). Until then the
 * pipeline flushes nothing more out of the graph, which keeps one pending message per object; so a
 * driver that is slow costs no memory. Messages are put into bytes in pieces, as they can be sent.
 *
 * There is no driver to go on without: its end, or a message of it that cannot be read, is reported
 * once to `onLost`.
 */
import type { EndpointState, FromDataplane, ToDataplane } from "#calc";
import { logger } from "#log";
import { MargayError, messageOf, systemError } from "#std";
import type { ApplyResult, Dataplane } from "../port.ts";
import { startDriver, type DriverProcess } from "./driver-process.ts";
import type { DriverMessage } from "./messages.ts";
import { FrameCutter, readFromDriver, StreamWriter } from "./stream.ts";

const log = logger("dataplane.external");

const SEND_BYTES = 64 * 1024;
/** Status messages are small; this is a length that no driver means. */
const MAX_FRAME_BYTES = 1 << 20;
/** A broken pipe is mostly the driver's end, which is the better thing to say. */
const PIPE_GRACE_MS = 200;
/** Ctrl-C ends the driver beside us: then we are about to end too. */
const END_GRACE_MS = 50;
const STATES: ReadonlySet<string> = new Set<EndpointState>(["up", "down", "error"]);

export interface ExternalDataplaneOptions {
  /** Path, or a name in PATH. */
  readonly driver: string;
  /** Called once, unless it was asked to end; the dataplane is of no more use then. */
  readonly onLost: (error: MargayError) => void;
  /** Aborted when the agent ends: an apply that waits for the driver gives up. */
  readonly ending: AbortSignal;
}

/** Rejects with the system error `driver-start`. */
export async function openExternalDataplane(
  options: ExternalDataplaneOptions,
): Promise<ExternalDataplane> {
  const driver = await startDriver(options.driver);
  log.info("dataplane driver started", { driver: options.driver, pid: driver.pid });
  return new ExternalDataplane(options, driver);
}

export class ExternalDataplane implements Dataplane {
  readonly #options: ExternalDataplaneOptions;
  readonly #driver: DriverProcess;
  readonly #writer = new StreamWriter();
  readonly #cutter = new FrameCutter(MAX_FRAME_BYTES);
  readonly #unknown = new Set<string>();
  #queue: ToDataplane[] = [];
  #listeners: ((message: FromDataplane) => void)[] = [];
  #lost: MargayError | undefined;
  #closing = false;
  #grace: NodeJS.Timeout | undefined;
  /** Ends the write that is under way. */
  #giveUp: () => void = () => undefined;

  constructor(options: ExternalDataplaneOptions, driver: DriverProcess) {
    this.#options = options;
    this.#driver = driver;
    void driver.ended.then((how) => this.#onEnded(how));
    driver.toDriver.on("error", (error) => this.#loseSoon(`does not read: ${messageOf(error)}`));
    driver.fromDriver
      .on("data", (chunk) => this.#onBytes(chunk))
      .on("error", (error) => this.#loseSoon(`cannot be read: ${messageOf(error)}`))
      .on("end", () => this.#loseSoon("has closed its descriptor 4"));
    options.ending.addEventListener("abort", () => this.#giveUp(), { once: true });
  }

  onMessage(message: ToDataplane): void {
    this.#queue.push(message);
  }

  async apply(): Promise<ApplyResult> {
    const queue = this.#queue;
    this.#queue = [];
    for (const message of queue) {
      this.#writer.add(message);
      if (this.#writer.length >= SEND_BYTES) await this.#send();
    }
    await this.#send();
    return { complete: !this.#unwanted, errors: [], writes: queue.length };
  }

  /** Lost, or about to be closed: nothing more is sent, heard or said. */
  get #unwanted(): boolean {
    return this.#lost !== undefined || this.#closing || this.#options.ending.aborted;
  }

  /** Resolves when the pipe has it, or when it never will. */
  #send(): Promise<void> {
    const bytes = this.#writer.take();
    if (bytes.length === 0 || this.#unwanted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#giveUp = resolve;
      this.#driver.toDriver.write(bytes, () => resolve());
    });
  }

  #onBytes(chunk: Buffer | string): void {
    if (this.#unwanted) return;
    try {
      for (const frame of this.#cutter.push(chunk as Buffer)) {
        const { message, unknownPayload } = readFromDriver(frame);
        if (message !== undefined) this.#onDriverMessage(message);
        else this.#warnUnknown("message", `field ${unknownPayload ?? "none"}`);
      }
    } catch (error) {
      if (!(error instanceof MargayError)) throw error;
      this.#lose("driver-garbage", `sent what cannot be read: ${error.message}`, error);
    }
  }

  #onDriverMessage(message: DriverMessage): void {
    switch (message.case) {
      case "workloadEndpointStatusUpdate": {
        const { id, status } = message.value;
        const known = this.#state(status.status);
        if (known === undefined) return;
        if (known !== "") this.#tell({ case: message.case, value: { id, status: known } });
        else this.#tell({ case: "workloadEndpointStatusRemove", value: { id } });
        return;
      }
      case "hostEndpointStatusUpdate": {
        const { id, status } = message.value;
        const known = this.#state(status.status);
        if (known === undefined) return;
        if (known !== "") this.#tell({ case: message.case, value: { id, status: known } });
        else this.#tell({ case: "hostEndpointStatusRemove", value: { id } });
        return;
      }
      default:
        this.#tell(message);
    }
  }

  /** "": none, which removes the status; undefined: no state that anybody knows. */
  #state(text: string): EndpointState | "" | undefined {
    if (text === "" || STATES.has(text)) return text as EndpointState | "";
    this.#warnUnknown("endpoint status", text);
    return undefined;
  }

  /** Each once: a driver may say it for ever. */
  #warnUnknown(what: string, text: string): void {
    const key = `${what} ${text}`.slice(0, 100);
    if (this.#unknown.has(key) || this.#unknown.size > 100) return;
    this.#unknown.add(key);
    log.warn("ignored what the dataplane driver says", { unknown: what, value: text });
  }

  #tell(message: FromDataplane): void {
    for (const listener of this.#listeners) listener(message);
  }

  #onEnded(how: string): void {
    clearTimeout(this.#grace);
    this.#giveUp();
    this.#grace = setTimeout(() => this.#lose("driver-ended", `ended: ${how}`), END_GRACE_MS);
  }

  #loseSoon(what: string): void {
    this.#grace ??= setTimeout(() => this.#lose("driver-pipe", what), PIPE_GRACE_MS);
  }

  #lose(code: string, what: string, cause?: unknown): void {
    if (this.#unwanted) return;
    const { driver, onLost } = this.#options;
    this.#lost = systemError(code, `dataplane driver ${driver} ${what}`, {
      cause,
      fields: { driver, pid: this.#driver.pid },
    });
    clearTimeout(this.#grace);
    this.#giveUp();
    onLost(this.#lost);
  }

  /** A driver has no wishes; it repairs by itself. */
  onWanted(): void {}

  onStatus(callback: (message: FromDataplane) => void): void {
    this.#listeners.push(callback);
  }

  /** Takes up to 4.5 s with a driver that does not heed SIGTERM. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#listeners = [];
    clearTimeout(this.#grace);
    this.#giveUp();
    await this.#driver.stop();
  }
}
