/**
 * The system calls that Node does not offer: socket(2) of AF_NETLINK and its options, pipe2(2). Only this
 * file knows the foreign-function library; it is loaded on the first call, so programs that open no
 * socket do not pay for it. Every function returns the C result, or `-errno` instead of -1.
 */
import { createRequire } from "node:module";
import type Koffi from "koffi";
import { constants as osConstants } from "node:os";
import { systemError } from "#std";

// asm-generic/socket.h, linux/socket.h, linux/netlink.h
const AF_UNIX = 1;
const AF_NETLINK = 16;
export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
const SO_PEERCRED = 17;
const SO_ATTACH_FILTER = 26;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SOL_NETLINK = 270;
export const NETLINK_ADD_MEMBERSHIP = 1;
export const NETLINK_DROP_MEMBERSHIP = 2;
export const NETLINK_CAP_ACK = 10;
export const NETLINK_EXT_ACK = 11;
export const NETLINK_GET_STRICT_CHK = 12;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
const SOCK_STREAM = 1;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000; // also O_CLOEXEC
const POLLIN = 1;
/** Nobody accepts: each who asks for the holder of a name stays in the queue. */
const BACKLOG = 1024;
const CLONE_NEWNET = 0x40000000; // linux/sched.h

type IntFunction = (...args: unknown[]) => number;
type Callback = (error: Error | null, result: number) => void;

interface SystemCalls {
  readonly socket: IntFunction;
  readonly bind: IntFunction;
  readonly listen: IntFunction;
  readonly connect: IntFunction;
  readonly getsockname: IntFunction;
  readonly setsockopt: IntFunction;
  readonly getsockopt: IntFunction;
  readonly send: IntFunction & { readonly async: (...args: [...unknown[], Callback]) => void };
  readonly recv: IntFunction;
  readonly poll: IntFunction;
  readonly dup: IntFunction;
  readonly pipe2: IntFunction;
  readonly close: IntFunction;
  readonly setns: IntFunction;
  readonly unshare: IntFunction;
  readonly errno: () => number;
  readonly address: (bytes: Uint8Array) => bigint;
}

let loaded: SystemCalls | undefined;

function calls(): SystemCalls {
  loaded ??= load();
  return loaded;
}

function load(): SystemCalls {
  const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
  const libc = koffi.load(null);
  const define = (prototype: string): SystemCalls["send"] => libc.func(prototype);
  return {
    socket: define("int socket(int domain, int type, int protocol)"),
    bind: define("int bind(int fd, const void *address, uint32_t length)"),
    listen: define("int listen(int fd, int backlog)"),
    connect: define("int connect(int fd, const void *address, uint32_t length)"),
    getsockname: define("int getsockname(int fd, void *address, void *length)"),
    setsockopt: define(
      "int setsockopt(int fd, int level, int name, const void *value, uint32_t length)",
    ),
    getsockopt: define("int getsockopt(int fd, int level, int name, void *value, void *length)"),
    send: define("int64_t send(int fd, const void *bytes, uint64_t length, int flags)"),
    recv: define("int64_t recv(int fd, void *bytes, uint64_t length, int flags)"),
    poll: define("int poll(void *fds, uint64_t count, int timeout)"),
    dup: define("int dup(int fd)"),
    pipe2: define("int pipe2(void *fds, int flags)"),
    close: define("int close(int fd)"),
    setns: define("int setns(int fd, int kind)"),
    unshare: define("int unshare(int flags)"),
    errno: () => koffi.errno(),
    address: (bytes) => koffi.address(bytes),
  };
}

/** The C result, or `-errno`. */
function checked(result: number): number {
  return result < 0 ? -calls().errno() : result;
}

// ERESTART (85) never leaves ordinary system calls, so Node's table lacks it; nf_tables sends it
// in acknowledgements when the generation does not match.
const ERRNO_NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries(osConstants.errno).map(([name, number]) => [number, name] as const),
  [osConstants.errno.EAGAIN, "EAGAIN"],
  [osConstants.errno.EOPNOTSUPP, "EOPNOTSUPP"],
  [85, "ERESTART"],
]);

/** `ENOENT` for 2; `E<number>` for one without a name. */
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(errno) ?? `E${errno}`;
}

/** Throws a system error that names the call when `result` is `-errno`. */
export function orThrow(call: string, result: number): number {
  if (result >= 0) return result;
  const errno = errnoName(-result);
  throw systemError("netlink-call-failed", `${call}: ${errno}`, {
    fields: { call, errno },
    retryable: errno !== "EPERM" && errno !== "EPROTONOSUPPORT",
  });
}

/** A non-blocking, close-on-exec netlink socket. */
export function openNetlink(protocol: number): number {
  return checked(calls().socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
}

/** Binds with a port id chosen by the kernel and returns it (struct sockaddr_nl). */
export function bindNetlink(fd: number): number {
  const address = Buffer.alloc(12);
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_NETLINK;
  const bound = checked(calls().bind(fd, address, address.length));
  if (bound < 0) return bound;
  const length = Buffer.from(Uint32Array.of(address.length).buffer);
  const named = checked(calls().getsockname(fd, address, length));
  if (named < 0) return named;
  return new Uint32Array(address.buffer, address.byteOffset + 4, 1)[0] ?? 0;
}

/** A non-blocking, close-on-exec unix stream socket. */
export function openUnix(): number {
  return checked(calls().socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

/** unix(7): an abstract name lives in the network namespace, and only while its socket is open. */
function abstractAddress(name: string): Buffer {
  const family = Buffer.from(new Uint8Array(Uint16Array.of(AF_UNIX).buffer));
  return Buffer.concat([family, Buffer.from(`\0${name}`)]);
}

export function listenAbstract(fd: number, name: string): number {
  const address = abstractAddress(name);
  const bound = checked(calls().bind(fd, address, address.length));
  return bound < 0 ? bound : checked(calls().listen(fd, BACKLOG));
}

export function connectAbstract(fd: number, name: string): number {
  const address = abstractAddress(name);
  return checked(calls().connect(fd, address, address.length));
}

/** Who called listen(2) at the other end; pid 0 when it is in another pid namespace. */
export function peerCredentials(fd: number): { readonly pid: number; readonly uid: number } {
  const ucred = Uint32Array.of(0, 0, 0); // struct ucred { pid_t pid; uid_t uid; gid_t gid; }
  const length = Uint32Array.of(12);
  const [value, size] = [new Uint8Array(ucred.buffer), new Uint8Array(length.buffer)];
  orThrow(
    "getsockopt(SO_PEERCRED)",
    checked(calls().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, size)),
  );
  return { pid: ucred[0] ?? 0, uid: ucred[1] ?? 0 };
}

export function setIntOption(fd: number, level: number, name: number, value: number): number {
  const bytes = new Uint8Array(Int32Array.of(value).buffer);
  return checked(calls().setsockopt(fd, level, name, bytes, bytes.length));
}

export function getIntOption(fd: number, level: number, name: number): number {
  const value = Int32Array.of(0);
  const length = Uint32Array.of(4);
  const result = checked(
    calls().getsockopt(
      fd,
      level,
      name,
      new Uint8Array(value.buffer),
      new Uint8Array(length.buffer),
    ),
  );
  return result < 0 ? result : (value[0] ?? 0);
}

/** One instruction of classic BPF (struct sock_filter). */
export interface FilterInstruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** Attaches a classic BPF program that sees each datagram from its first byte. */
export function attachFilter(fd: number, program: readonly FilterInstruction[]): number {
  const code = Buffer.alloc(program.length * 8);
  const view = new DataView(code.buffer, code.byteOffset, code.length);
  for (const [index, { code: opcode, jt, jf, k }] of program.entries()) {
    view.setUint16(index * 8, opcode, true);
    view.setUint8(index * 8 + 2, jt);
    view.setUint8(index * 8 + 3, jf);
    view.setUint32(index * 8 + 4, k >>> 0, true);
  }
  // struct sock_fprog { unsigned short len; struct sock_filter *filter; }, 64-bit
  const fprog = Buffer.alloc(16);
  fprog.writeUInt16LE(program.length, 0);
  fprog.writeBigUInt64LE(BigInt.asUintN(64, calls().address(code)), 8);
  return checked(calls().setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, fprog, fprog.length));
}

export function sendBytes(fd: number, bytes: Uint8Array): number {
  return checked(calls().send(fd, bytes, bytes.length, 0));
}

/** As `sendBytes`, in another thread; nothing else may use `fd` and nothing change `bytes` meanwhile. */
export async function sendBytesInBackground(fd: number, bytes: Uint8Array): Promise<number> {
  const { send } = calls();
  const result = await new Promise<number>((resolve, reject) => {
    send.async(fd, bytes, bytes.length, 0, (error, sent) => {
      if (error === null) resolve(sent);
      else reject(error);
    });
  });
  // errno is the other thread's. What was not sent had no effect, so it can be tried here.
  return result < 0 ? sendBytes(fd, bytes) : result;
}

/** With MSG_TRUNC in `flags` the result is the datagram's whole length, also if it did not fit. */
export function receiveBytes(fd: number, into: Uint8Array, flags: number): number {
  return checked(calls().recv(fd, into, into.length, flags));
}

/** Waits until `fd` is readable. 0 = the time passed. Blocks the thread. */
export function waitReadable(fd: number, timeoutMs: number): number {
  const pollFd = new Uint8Array(8);
  const view = new DataView(pollFd.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, POLLIN, true);
  return checked(calls().poll(pollFd, 1, timeoutMs));
}

export function duplicate(fd: number): number {
  return checked(calls().dup(fd));
}

/** The ends of a new close-on-exec pipe; blocking. Writes them into `ends`: read, then write. */
export function makePipe(ends: Int32Array): number {
  return checked(calls().pipe2(new Uint8Array(ends.buffer), SOCK_CLOEXEC));
}

export function closeFd(fd: number): number {
  return checked(calls().close(fd));
}

/** setns(2); moves the calling thread only, so call it before any worker or thread-pool use. */
export function setNetworkNamespace(fd: number): number {
  return checked(calls().setns(fd, CLONE_NEWNET));
}

/** unshare(2); the calling thread alone is in a new, empty network namespace afterwards. */
export function unshareNetworkNamespace(): number {
  return checked(calls().unshare(CLONE_NEWNET));
}
