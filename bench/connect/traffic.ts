/**
 * Traffic from threads of their own, with blocking system calls and pinned to a processor, since the
 * sockets of Node cost more than what is to be measured. A count in shared memory tells how much went.
 */
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { setTimeout as sleep } from "node:timers/promises";
import koffi from "koffi";
import { enterNetworkNamespace } from "#netlink";

type Role = "tcp-server" | "tcp-client" | "udp-sender";

interface ThreadData {
  readonly role: Role;
  readonly netns: string;
  readonly cpu: number;
  readonly address: string;
  readonly port: number;
  readonly shared: Int32Array;
}

const RUNNING = 0;
const COUNT = 1;
const FAILED = 2;
const READY = 3;

const WARM_UP_MS = 10;

export class Traffic {
  readonly #shared = new Int32Array(new SharedArrayBuffer(16));
  readonly #worker: Worker;

  constructor(role: Role, at: Pick<ThreadData, "netns" | "cpu" | "address" | "port">) {
    const workerData: ThreadData = { ...at, role, shared: this.#shared };
    this.#worker = new Worker(new URL(import.meta.url), { workerData });
  }

  async ready(): Promise<void> {
    while (Atomics.load(this.#shared, READY) === 0) await sleep(2);
  }

  /** Exchanges (or packets) per second over `milliseconds`. Throws when one fails. */
  async rate(milliseconds: number): Promise<number> {
    Atomics.store(this.#shared, RUNNING, 1);
    Atomics.notify(this.#shared, RUNNING);
    await sleep(WARM_UP_MS);
    const [count, start] = [Atomics.load(this.#shared, COUNT), performance.now()];
    await sleep(milliseconds);
    const done = Atomics.load(this.#shared, COUNT) - count;
    const seconds = (performance.now() - start) / 1_000;
    Atomics.store(this.#shared, RUNNING, 0);
    await sleep(WARM_UP_MS);
    const failed = Atomics.exchange(this.#shared, FAILED, 0);
    if (failed !== 0 || done <= 0) throw new Error(`traffic failed: ${failed} of ${done}`);
    return done / seconds;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

// asm-generic/socket.h, linux/in.h
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_LINGER = 13;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const BACKLOG = 128;

const BYTES = "const uint8_t *";

function libc() {
  const lib = koffi.load("libc.so.6");
  return {
    socket: lib.func("int socket(int, int, int)"),
    bind: lib.func(`int bind(int, ${BYTES}, uint32_t)`),
    listen: lib.func("int listen(int, int)"),
    accept: lib.func("int accept(int, void *, void *)"),
    connect: lib.func(`int connect(int, ${BYTES}, uint32_t)`),
    setsockopt: lib.func(`int setsockopt(int, int, int, ${BYTES}, uint32_t)`),
    send: lib.func(`long send(int, ${BYTES}, size_t, int)`),
    recv: lib.func("long recv(int, _Out_ uint8_t *, size_t, int)"),
    close: lib.func("int close(int)"),
    pin: lib.func(`int sched_setaffinity(int, size_t, ${BYTES})`),
  };
}

type Libc = ReturnType<typeof libc>;

function sockaddr(address: string, port: number): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set([AF_INET, 0, port >> 8, port & 255]);
  bytes.set(address.split(".").map(Number), 4);
  return bytes;
}

/** struct timeval of half a second: nothing hangs for long. */
const TIMEOUT = new Uint8Array(BigInt64Array.of(0n, 500_000n).buffer);
/** struct linger: close with a reset, so that no port waits. */
const RESET = new Uint8Array(Int32Array.of(1, 0).buffer);
const ONE = new Uint8Array(Int32Array.of(1).buffer);

function serve(c: Libc, { address, port, shared }: ThreadData): void {
  const listener = c.socket(AF_INET, SOCK_STREAM, 0) as number;
  c.setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, ONE, 4);
  if ((c.bind(listener, sockaddr(address, port), 16) as number) < 0) throw new Error("bind failed");
  c.listen(listener, BACKLOG);
  // A thread ends only between two calls.
  c.setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, TIMEOUT, 16);
  // Takes UDP packets and answers none; nobody reads them.
  const sink = c.socket(AF_INET, SOCK_DGRAM, 0) as number;
  if ((c.bind(sink, sockaddr(address, port), 16) as number) < 0) throw new Error("bind failed");
  Atomics.store(shared, READY, 1);
  const byte = new Uint8Array(1);
  for (;;) {
    const fd = c.accept(listener, null, null) as number;
    if (fd < 0) continue;
    c.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, TIMEOUT, 16);
    if ((c.recv(fd, byte, 1, 0) as number) === 1) c.send(fd, byte, 1, 0);
    // Until the client's reset.
    c.recv(fd, byte, 1, 0);
    c.close(fd);
  }
}

function exchange(c: Libc, to: Uint8Array, byte: Uint8Array): boolean {
  const fd = c.socket(AF_INET, SOCK_STREAM, 0) as number;
  c.setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, TIMEOUT, 16);
  c.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, TIMEOUT, 16);
  const ok =
    (c.connect(fd, to, 16) as number) === 0 &&
    (c.send(fd, byte, 1, 0) as number) === 1 &&
    (c.recv(fd, byte, 1, 0) as number) === 1;
  c.setsockopt(fd, SOL_SOCKET, SO_LINGER, RESET, 8);
  c.close(fd);
  return ok;
}

function whileRunning(shared: Int32Array, once: () => boolean): void {
  Atomics.store(shared, READY, 1);
  for (;;) {
    Atomics.wait(shared, RUNNING, 0);
    Atomics.add(shared, once() ? COUNT : FAILED, 1);
  }
}

function run(data: ThreadData): void {
  const c = libc();
  enterNetworkNamespace(data.netns);
  const mask = new Uint8Array(8);
  mask[0] = 1 << data.cpu;
  c.pin(0, mask.length, mask);
  if (data.role === "tcp-server") return serve(c, data);
  const to = sockaddr(data.address, data.port);
  const byte = new Uint8Array(18);
  if (data.role === "tcp-client") {
    return whileRunning(data.shared, () => exchange(c, to, byte.subarray(0, 1)));
  }
  const fd = c.socket(AF_INET, SOCK_DGRAM, 0) as number;
  c.connect(fd, to, 16);
  whileRunning(data.shared, () => (c.send(fd, byte, byte.length, 0) as number) === byte.length);
}

if (!isMainThread) run(workerData as ThreadData);
