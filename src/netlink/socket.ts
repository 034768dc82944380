/**
 * A resident netlink socket. Requests are synchronous: the kernel handles a request inside send(2),
 * so the answer is already queued when it returns (6 µs for a round trip). Multicast groups are
 * read by the event loop. Refusals become system errors with the errno's name and the kernel's own
 * explanation (NETLINK_EXT_ACK). Not for several threads.
 */
import { logger } from "#log";
import { MargayError, systemError } from "#std";
import {
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HEADER,
} from "./frame.ts";
import { MessageCursor, readMessages, type NetlinkMessage } from "./reader.ts";
import { numberMessages } from "./writer.ts";
import * as ffi from "./ffi.ts";
import { watchReadable } from "./readable.ts";

const log = logger("netlink");

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

const MAX_DATAGRAM = 256 * 1024;
const REPLY_TIMEOUT_MS = 5_000;
const DUMP_ATTEMPTS = 10;
// uapi/linux/netlink.h: flags of an NLMSG_ERROR that carries attributes, and those attributes.
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
const NLMSGERR_ATTR_OFFS = 2;

export interface NetlinkSocketOptions {
  readonly protocol: number;
  /** Multicast group numbers (RTNLGRP_*, NFNLGRP_*) to join. */
  readonly groups?: readonly number[];
  /** Bytes; beyond net.core.[rw]mem_max only with CAP_NET_ADMIN in the first user namespace. */
  readonly rcvBuf?: number;
  readonly sndBuf?: number;
  /** NETLINK_GET_STRICT_CHK: the kernel refuses or obeys filters in dumps instead of ignoring them. */
  readonly strict?: boolean;
}

/** The kernel's refusal of one message. */
export interface NetlinkRefusal {
  readonly seq: number;
  /** e.g. `ENOENT` */
  readonly errno: string;
  /** The kernel's explanation, when it gives one. */
  readonly text?: string;
  /** Byte of the request at fault, from its nlmsghdr on. */
  readonly offset?: number;
}

export interface NetlinkAnswer {
  readonly replies: readonly NetlinkMessage[];
  readonly refusals: readonly NetlinkRefusal[];
  /** Sequence number of the request's first message; the others follow by ones. */
  readonly firstSeq: number;
}

/** `overrun`: the receive buffer was full and events were lost; read everything again. */
export type NetlinkEvent =
  | { readonly kind: "messages"; readonly messages: readonly NetlinkMessage[] }
  | { readonly kind: "overrun" };

export class NetlinkSocket {
  readonly fd: number;
  /** nlmsg_pid of what this socket causes. */
  readonly portId: number;
  /** Largest datagram that `send` can carry. */
  readonly maxSend: number;
  readonly #scratch = Buffer.allocUnsafeSlow(MAX_DATAGRAM);
  readonly #cursor = new MessageCursor(this.#scratch);
  #seq = 1;
  #closed = false;
  #stopWatching: (() => void) | undefined;

  private constructor(fd: number, portId: number) {
    this.fd = fd;
    this.portId = portId;
    // The kernel doubles what is asked for and netlink_sendmsg compares with the doubled value.
    this.maxSend = ffi.getIntOption(fd, ffi.SOL_SOCKET, ffi.SO_SNDBUF) - 64;
  }

  /** Throws a system error `netlink-call-failed` when the kernel lacks the protocol or group. */
  static open(options: NetlinkSocketOptions): NetlinkSocket {
    const fd = ffi.orThrow("socket(AF_NETLINK)", ffi.openNetlink(options.protocol));
    try {
      const portId = ffi.orThrow("bind(AF_NETLINK)", ffi.bindNetlink(fd));
      setBuffer(fd, options.sndBuf, ffi.SO_SNDBUFFORCE, ffi.SO_SNDBUF);
      setBuffer(fd, options.rcvBuf, ffi.SO_RCVBUFFORCE, ffi.SO_RCVBUF);
      ffi.setIntOption(fd, ffi.SOL_NETLINK, ffi.NETLINK_EXT_ACK, 1);
      ffi.setIntOption(fd, ffi.SOL_NETLINK, ffi.NETLINK_CAP_ACK, 1);
      if (options.strict === true) {
        ffi.setIntOption(fd, ffi.SOL_NETLINK, ffi.NETLINK_GET_STRICT_CHK, 1);
      }
      const socket = new NetlinkSocket(fd, portId);
      for (const group of options.groups ?? []) socket.join(group);
      return socket;
    } catch (error) {
      ffi.closeFd(fd);
      throw error;
    }
  }

  join(group: number): void {
    ffi.orThrow(
      `join netlink group ${group}`,
      ffi.setIntOption(this.fd, ffi.SOL_NETLINK, ffi.NETLINK_ADD_MEMBERSHIP, group),
    );
  }

  leave(group: number): void {
    ffi.orThrow(
      `leave netlink group ${group}`,
      ffi.setIntOption(this.fd, ffi.SOL_NETLINK, ffi.NETLINK_DROP_MEMBERSHIP, group),
    );
  }

  /** Lets the kernel drop datagrams before they are queued (classic BPF, first message's header). */
  filter(program: readonly ffi.FilterInstruction[]): void {
    ffi.orThrow("SO_ATTACH_FILTER", ffi.attachFilter(this.fd, program));
  }

  send(bytes: Uint8Array): void {
    ffi.orThrow("send(AF_NETLINK)", ffi.sendBytes(this.fd, bytes));
  }

  /**
   * One datagram, or null when none is queued after `timeoutMs` (0: do not wait). Throws a system
   * error `netlink-overrun` when the kernel had to drop datagrams.
   */
  receive(timeoutMs = 0): Uint8Array | null {
    const length = this.#receiveLength(timeoutMs);
    return length < 0 ? null : Uint8Array.prototype.slice.call(this.#scratch, 0, length);
  }

  /** As `receive`, into the buffer of the socket; -1 for none. */
  #receiveLength(timeoutMs: number): number {
    for (;;) {
      const length = ffi.receiveBytes(this.fd, this.#scratch, ffi.MSG_DONTWAIT | ffi.MSG_TRUNC);
      if (length > MAX_DATAGRAM) {
        throw systemError("netlink-malformed", "netlink datagram too long", { fields: { length } });
      }
      if (length >= 0) return length;
      const errno = ffi.errnoName(-length);
      if (errno === "EINTR") continue;
      if (errno === "ENOBUFS") throw overrun();
      if (errno !== "EAGAIN") ffi.orThrow("recv(AF_NETLINK)", length);
      if (timeoutMs <= 0 || ffi.waitReadable(this.fd, timeoutMs) === 0) return -1;
    }
  }

  /**
   * Sends messages (written one after another), numbers them, asks for the last one to be
   * acknowledged and collects replies and refusals up to that. The kernel goes on after a refused
   * message, except within an nf_tables batch.
   */
  transact(bytes: Uint8Array): NetlinkAnswer {
    const firstSeq = this.#seq;
    const lastSeq = numberMessages(bytes, firstSeq, NLM_F_ACK);
    this.#seq = lastSeq + 1;
    this.send(bytes);
    const replies: NetlinkMessage[] = [];
    const refusals: NetlinkRefusal[] = [];
    for (;;) {
      for (const message of this.#answers(firstSeq)) {
        if (message.type !== NLMSG_ERROR) {
          replies.push(message);
          continue;
        }
        const refusal = readRefusal(message);
        if (refusal !== undefined) refusals.push(refusal);
        if (message.seq === lastSeq) return { replies, refusals, firstSeq };
      }
    }
  }

  /**
   * Sends one nfnetlink batch. The message at index `ackIndex` must ask for an acknowledgement
   * (older kernels never acknowledge the end of a batch). Returns when it or a refusal came.
   */
  transactBatch(bytes: Uint8Array, ackIndex: number): NetlinkAnswer {
    const firstSeq = this.#numberBatch(bytes);
    this.send(bytes);
    return this.#batchAnswer(firstSeq, ackIndex);
  }

  /**
   * As `transactBatch`; the kernel's work is done in another thread, which costs the event loop
   * nothing. The socket is not to be used, and `bytes` not to be changed, until it is done.
   */
  async transactBatchInBackground(bytes: Uint8Array, ackIndex: number): Promise<NetlinkAnswer> {
    const firstSeq = this.#numberBatch(bytes);
    const sent = await ffi.sendBytesInBackground(this.fd, bytes);
    if (this.#closed) throw systemError("netlink-closed", "the netlink socket was closed");
    ffi.orThrow("send(AF_NETLINK)", sent);
    return this.#batchAnswer(firstSeq, ackIndex);
  }

  #numberBatch(bytes: Uint8Array): number {
    const firstSeq = this.#seq;
    this.#seq = numberMessages(bytes, firstSeq, 0) + 1;
    return firstSeq;
  }

  #batchAnswer(firstSeq: number, ackIndex: number): NetlinkAnswer {
    const replies: NetlinkMessage[] = [];
    const refusals: NetlinkRefusal[] = [];
    let acknowledged = false;
    for (;;) {
      const done = acknowledged || refusals.length > 0;
      const datagram = done ? this.receive() : this.#receiveAnswer();
      if (datagram === null) return { replies, refusals, firstSeq };
      for (const message of readMessages(datagram)) {
        if (message.seq < firstSeq || message.portId !== this.portId) continue;
        if (message.type !== NLMSG_ERROR) {
          replies.push(message);
          continue;
        }
        const refusal = readRefusal(message);
        if (refusal !== undefined) refusals.push(refusal);
        else if (message.seq === firstSeq + ackIndex) acknowledged = true;
      }
    }
  }

  /** As `transact`; throws the first refusal. */
  request(bytes: Uint8Array, what = "netlink request"): readonly NetlinkMessage[] {
    const answer = this.transact(bytes);
    const [refusal] = answer.refusals;
    if (refusal !== undefined) throw refusalError(what, refusal);
    return answer.replies;
  }

  /**
   * Sends one NLM_F_DUMP request and returns what `read` makes of its parts, as they come and in the
   * buffer that they come in: `read` keeps neither the message nor its body and does not use this
   * socket. Starts again when the kernel says that what it walked was changed meanwhile; `read` then
   * sees the parts anew, and what it returned before is dropped.
   */
  dump<T>(bytes: Uint8Array, what: string, read: (message: NetlinkMessage) => T | undefined): T[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const found: T[] = [];
      const visit = (message: NetlinkMessage): void => {
        const value = read(message);
        if (value !== undefined) found.push(value);
      };
      if (this.#dumpOnce(bytes, what, visit)) return found;
    }
    throw systemError("netlink-dump-interrupted", `${what}: changed while it was read`, {
      retryable: true,
      fields: { attempts: DUMP_ATTEMPTS },
    });
  }

  /** False: interrupted. */
  #dumpOnce(bytes: Uint8Array, what: string, visit: (message: NetlinkMessage) => void): boolean {
    const seq = this.#seq++;
    numberMessages(bytes, seq, NLM_F_DUMP);
    this.send(bytes);
    const cursor = this.#cursor;
    let interrupted = false;
    for (;;) {
      const length = this.#receiveLength(REPLY_TIMEOUT_MS);
      if (length < 0) throw noAnswer();
      cursor.begin(length);
      while (cursor.next()) {
        if (cursor.seq < seq || cursor.portId !== this.portId) continue;
        if ((cursor.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (cursor.type === NLMSG_DONE) {
          const code = cursor.body.remaining >= 4 ? cursor.body.i32() : 0;
          if (code < 0) throw refusalError(what, { seq, errno: ffi.errnoName(-code) });
          return !interrupted;
        }
        if (cursor.type !== NLMSG_ERROR) {
          visit(cursor);
          continue;
        }
        const refusal = readRefusal(cursor);
        if (refusal?.errno === "EINTR") return false;
        if (refusal !== undefined) throw refusalError(what, refusal);
      }
    }
  }

  /** The messages of the next datagram that answer requests from `firstSeq` on. */
  #answers(firstSeq: number): NetlinkMessage[] {
    return readMessages(this.#receiveAnswer()).filter(
      (message) => message.seq >= firstSeq && message.portId === this.portId,
    );
  }

  #receiveAnswer(): Uint8Array {
    const bytes = this.receive(REPLY_TIMEOUT_MS);
    if (bytes !== null) return bytes;
    throw noAnswer();
  }

  /** Reads everything that is queued, without waiting. */
  drain(callback: (event: NetlinkEvent) => void): void {
    for (;;) {
      let bytes: Uint8Array | null;
      try {
        bytes = this.receive();
      } catch (error) {
        if (!isOverrun(error)) throw error;
        callback({ kind: "overrun" });
        continue;
      }
      if (bytes === null) return;
      deliver(bytes, callback);
    }
  }

  /** Calls back from the event loop for each datagram of the joined groups, until `close`. */
  onReadable(callback: (event: NetlinkEvent) => void): void {
    this.#stopWatching?.();
    this.#stopWatching = watchReadable(this.fd, {
      datagram: (bytes) => deliver(bytes, callback),
      overrun: () => callback({ kind: "overrun" }),
      readable: () => this.drain(callback),
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopWatching?.();
    ffi.closeFd(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** What cannot be read may have told anything: it counts as lost, so everything is read again. */
export function deliver(bytes: Uint8Array, callback: (event: NetlinkEvent) => void): void {
  try {
    callback({ kind: "messages", messages: readMessages(bytes) });
  } catch (error) {
    if (!(error instanceof MargayError) || error.kind === "bug") throw error;
    log.warn("a kernel notification cannot be read; everything is read again", { error });
    callback({ kind: "overrun" });
  }
}

/** NLMSG_ERROR: undefined for an acknowledgement (struct nlmsgerr, error 0). */
export function readRefusal(message: NetlinkMessage): NetlinkRefusal | undefined {
  const code = message.body.i32();
  if (code === 0) return undefined;
  const refusal = { seq: message.seq, errno: ffi.errnoName(-code) };
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return refusal;
  const original = message.body.u32();
  // The request is echoed whole unless NETLINK_CAP_ACK cut it down to its header.
  const echoed = (message.flags & NLM_F_CAPPED) === 0 ? original : NLMSG_HEADER;
  message.body.skip(((echoed + 3) & ~3) - 4);
  let text: string | undefined;
  let offset: number | undefined;
  while (message.body.nextAttr()) {
    if (message.body.attrType === NLMSGERR_ATTR_MSG) text = message.body.attrString();
    if (message.body.attrType === NLMSGERR_ATTR_OFFS) offset = message.body.attrU32();
  }
  return {
    ...refusal,
    ...(text === undefined ? {} : { text }),
    ...(offset === undefined ? {} : { offset }),
  };
}

/**
 * System error `netlink-refused`; retryable, since the kernel's state may change. `object`: the name
 * of what was refused, if it has one.
 */
export function refusalError(what: string, refusal: NetlinkRefusal, object?: string): MargayError {
  const text = refusal.text === undefined ? "" : ` (${refusal.text})`;
  return systemError("netlink-refused", `${what}: ${refusal.errno}${text}`, {
    retryable: true,
    fields: {
      what,
      errno: refusal.errno,
      ...(refusal.text ? { text: refusal.text } : {}),
      ...(object === undefined ? {} : { object }),
    },
  });
}

/** The errno's name if `error` comes from a system call or a netlink refusal. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof MargayError)) return undefined;
  const errno = error.fields["errno"];
  return typeof errno === "string" ? errno : undefined;
}

function noAnswer(): MargayError {
  return systemError("netlink-timeout", "the kernel did not answer a netlink request", {
    retryable: true,
    fields: { timeoutMs: REPLY_TIMEOUT_MS },
  });
}

function overrun(): MargayError {
  return systemError("netlink-overrun", "netlink events were lost: receive buffer full", {
    retryable: true,
    fields: { errno: "ENOBUFS" },
  });
}

function isOverrun(error: unknown): boolean {
  return error instanceof MargayError && error.code === "netlink-overrun";
}

function setBuffer(fd: number, size: number | undefined, force: number, plain: number): void {
  if (size === undefined) return;
  if (ffi.setIntOption(fd, ffi.SOL_SOCKET, force, size) < 0) {
    ffi.setIntOption(fd, ffi.SOL_SOCKET, plain, size);
  }
}
