/**
 * Watches the ruleset's notifications for commits of others: which generation the kernel is at, and
 * whether one of them touched our table. Our own are dropped by a filter in the kernel, so they
 * neither wake the process nor fill the buffer.
 */
import type { NetlinkMessage } from "../bytes.ts";
import { NETLINK_NETFILTER, NetlinkSocket, type NetlinkEvent } from "../socket.ts";
import {
  FAMILY_NUMBERS,
  NEWGEN,
  NFNL_SUBSYS,
  NFNLGRP_NFTABLES,
  NFTA_TABLE,
  type NftFamily,
} from "./constants.ts";
import { readGeneration } from "./readback.ts";

const RECEIVE_BUFFER = 8 * 1024 * 1024;
// linux/bpf_common.h
const BPF_LD_W_ABS = 0x20;
const BPF_JEQ_K = 0x15;
const BPF_RET_K = 0x06;
const NLMSG_PID_OFFSET = 12;

export interface NftEventHandlers {
  /** A commit of others ended; the kernel is at this generation. */
  generation(generation: number): void;
  /** Our table was changed by others, or events were lost so that it may have been. */
  touched(reason: "foreign-change" | "overrun"): void;
}

export class NftEvents {
  readonly #socket: NetlinkSocket;
  readonly #family: number;
  readonly #table: string;
  readonly #handlers: NftEventHandlers;

  /** `ownPortId`: the socket whose commits are ours. */
  constructor(family: NftFamily, table: string, ownPortId: number, handlers: NftEventHandlers) {
    this.#family = FAMILY_NUMBERS[family];
    this.#table = table;
    this.#handlers = handlers;
    this.#socket = NetlinkSocket.open({ protocol: NETLINK_NETFILTER, rcvBuf: RECEIVE_BUFFER });
    try {
      this.#socket.filter(dropOwn(ownPortId));
      this.#socket.join(NFNLGRP_NFTABLES);
    } catch (error) {
      this.#socket.close();
      throw error;
    }
  }

  /** Takes in what has come so far, without waiting. */
  drain(): void {
    this.#socket.drain((event) => this.#handle(event));
  }

  /** Takes in events as they come, and keeps the process alive for them. */
  listen(): void {
    this.#socket.onReadable((event) => this.#handle(event));
  }

  /** While paused the kernel does not build notifications for us; a commit may be missed. */
  pause(): void {
    this.#socket.leave(NFNLGRP_NFTABLES);
  }

  resume(): void {
    this.#socket.join(NFNLGRP_NFTABLES);
  }

  close(): void {
    this.#socket.close();
  }

  #handle(event: NetlinkEvent): void {
    if (event.kind === "overrun") {
      this.#handlers.touched("overrun");
      return;
    }
    let touched = false;
    for (const message of event.messages) {
      if (message.type >> 8 !== NFNL_SUBSYS) continue;
      if (message.type === NEWGEN) this.#handlers.generation(readGeneration(message.body));
      else if (!touched && this.#isOurs(message)) touched = true;
    }
    if (touched) this.#handlers.touched("foreign-change");
  }

  /** The table's name is the first attribute of every nf_tables message. */
  #isOurs({ body }: NetlinkMessage): boolean {
    if (body.u8() !== this.#family) return false;
    body.skip(3);
    while (body.nextAttr()) {
      if (body.attrType === NFTA_TABLE) return body.attrString() === this.#table;
    }
    return false;
  }
}

/** Datagrams of one commit share their nlmsg_pid; the filter loads it in network order. */
function dropOwn(portId: number): { code: number; jt: number; jf: number; k: number }[] {
  const swapped = new DataView(Uint32Array.of(portId).buffer).getUint32(0);
  return [
    { code: BPF_LD_W_ABS, jt: 0, jf: 0, k: NLMSG_PID_OFFSET },
    { code: BPF_JEQ_K, jt: 0, jf: 1, k: swapped },
    { code: BPF_RET_K, jt: 0, jf: 0, k: 0 },
    { code: BPF_RET_K, jt: 0, jf: 0, k: 0xffffffff },
  ];
}
