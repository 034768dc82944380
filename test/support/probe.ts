/**
 * Probe packets on their own threads, with blocking system calls: a UDP packet of a new flow (a new
 * source port) at each interval from one namespace, and a receiver in another that notes when the first
 * and the last one arrived.
 */
import { isMainThread, Worker, workerData } from "node:worker_threads";
import koffi from "koffi";
import { enterNetworkNamespace } from "#netlink";

/** Slots of the shared array, nanoseconds of the monotonic clock or counts. */
const SENDING = 0;
const EPOCH = 1;
const RECEIVED = 2;
const FIRST_AT = 3;
const LAST_AT = 4;
const SENT = 5;
const INTERVAL_US = 6;

interface ThreadData {
  readonly role: "send" | "receive";
  readonly netns: string;
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly shared: BigInt64Array;
}

export interface ProbeOptions {
  readonly sendFrom: string;
  readonly receiveIn: string;
  readonly source: string;
  readonly target: string;
  readonly port: number;
  readonly intervalMs: number;
}

export function nowNs(): bigint {
  return process.hrtime.bigint();
}

export class Probe {
  readonly #shared = new BigInt64Array(new SharedArrayBuffer(8 * 8));
  readonly #workers: Worker[];

  constructor(options: ProbeOptions) {
    const common = {
      from: options.source,
      to: options.target,
      port: options.port,
      shared: this.#shared,
    };
    this.setInterval(options.intervalMs);
    const start = (data: ThreadData): Worker =>
      new Worker(new URL(import.meta.url), { workerData: data });
    this.#workers = [
      start({ ...common, role: "receive", netns: options.receiveIn }),
      start({ ...common, role: "send", netns: options.sendFrom }),
    ];
  }

  send(on: boolean): void {
    Atomics.store(this.#shared, SENDING, on ? 1n : 0n);
  }

  /** Between two packets; the sending itself comes on top. */
  setInterval(milliseconds: number): void {
    Atomics.store(this.#shared, INTERVAL_US, BigInt(Math.round(milliseconds * 1000)));
  }

  /** Forgets what was received until now. */
  reset(): void {
    Atomics.add(this.#shared, EPOCH, 1n);
    Atomics.store(this.#shared, RECEIVED, 0n);
    Atomics.store(this.#shared, SENT, 0n);
  }

  get received(): number {
    return Number(Atomics.load(this.#shared, RECEIVED));
  }

  get sent(): number {
    return Number(Atomics.load(this.#shared, SENT));
  }

  get firstAtNs(): bigint {
    return Atomics.load(this.#shared, FIRST_AT);
  }

  get lastAtNs(): bigint {
    return Atomics.load(this.#shared, LAST_AT);
  }

  async close(): Promise<void> {
    Atomics.store(this.#shared, SENDING, -1n);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_RCVBUFFORCE = 33;
/** While the receiving thread waits for a processor, nothing may be lost for want of room. */
const RECEIVE_BUFFER_BYTES = 64 << 20;

function libc() {
  const lib = koffi.load("libc.so.6");
  return {
    socket: lib.func("int socket(int, int, int)"),
    bind: lib.func("int bind(int, uint8_t *, uint32_t)"),
    setsockopt: lib.func("int setsockopt(int, int, int, uint8_t *, uint32_t)"),
    sendto: lib.func("long sendto(int, uint8_t *, size_t, int, uint8_t *, uint32_t)"),
    recv: lib.func("long recv(int, _Out_ uint8_t *, size_t, int)"),
  };
}

function sockaddr(address: string, port: number): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes[0] = AF_INET;
  bytes[2] = port >> 8;
  bytes[3] = port & 255;
  bytes.set(address.split(".").map(Number), 4);
  return bytes;
}

function receiveLoop(data: ThreadData): void {
  const c = libc();
  enterNetworkNamespace(data.netns);
  const fd = c.socket(AF_INET, SOCK_DGRAM, 0) as number;
  if ((c.bind(fd, sockaddr("0.0.0.0", data.port), 16) as number) < 0)
    throw new Error("bind failed");
  const room = new Uint8Array(Int32Array.of(RECEIVE_BUFFER_BYTES).buffer);
  if ((c.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, room, 4) as number) < 0)
    throw new Error("no room for a receive buffer");
  const timeout = new Uint8Array(16);
  new DataView(timeout.buffer).setBigInt64(8, 200_000n, true);
  c.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, 16);
  const buffer = new Uint8Array(64);
  let epoch = -1n;
  while (Atomics.load(data.shared, SENDING) >= 0n) {
    if ((c.recv(fd, buffer, 64, 0) as number) < 0) continue;
    const at = nowNs();
    const current = Atomics.load(data.shared, EPOCH);
    if (current !== epoch) {
      epoch = current;
      Atomics.store(data.shared, FIRST_AT, at);
    }
    Atomics.store(data.shared, LAST_AT, at);
    Atomics.add(data.shared, RECEIVED, 1n);
  }
}

/** Raw IPv4 (RFC 791) with a UDP header (RFC 768, checksum 0 = none); the kernel fills in the IP checksum. */
function sendLoop(data: ThreadData): void {
  const c = libc();
  enterNetworkNamespace(data.netns);
  const fd = c.socket(AF_INET, SOCK_RAW, IPPROTO_RAW) as number;
  if (fd < 0) throw new Error("no raw socket");
  const packet = new Uint8Array(36);
  const view = new DataView(packet.buffer);
  packet.set([0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17]);
  packet.set(data.from.split(".").map(Number), 12);
  packet.set(data.to.split(".").map(Number), 16);
  view.setUint16(22, data.port);
  view.setUint16(24, 16);
  const to = sockaddr(data.to, data.port);
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  let sourcePort = 1024;
  for (;;) {
    const state = Atomics.load(data.shared, SENDING);
    if (state < 0n) return;
    if (state === 1n) {
      sourcePort = sourcePort >= 65_000 ? 1024 : sourcePort + 1;
      view.setUint16(20, sourcePort);
      c.sendto(fd, packet, 36, 0, to, 16);
      Atomics.add(data.shared, SENT, 1n);
      Atomics.wait(sleeper, 0, 0, Number(Atomics.load(data.shared, INTERVAL_US)) / 1000);
    } else {
      Atomics.wait(sleeper, 0, 0, 1);
    }
  }
}

if (!isMainThread) {
  const data = workerData as ThreadData;
  if (data.role === "send") sendLoop(data);
  else receiveLoop(data);
}
