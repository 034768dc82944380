/**
 * Watches the ruleset's notifications for commits of others: which generation the kernel is at, and
 * whether one of them touched our table. Our own are dropped by a filter in the kernel, so they
 * neither wake the process nor fill the buffer.
 */
import type { NetlinkMessage } from "../reader.ts";
import { NETLINK_NETFILTER, NetlinkSocket, type NetlinkEvent } from "../socket.ts";
import {
  DELCHAIN,
  DELRULE,
  DELSET,
  DELSETELEM,
  FAMILY_NUMBERS,
  NEWCHAIN,
  NEWGEN,
  NEWRULE,
  NEWSET,
  NEWSETELEM,
  NFNL_SUBSYS,
  NFNLGRP_NFTABLES,
  NFTA_CHAIN,
  NFTA_RULE,
  NFTA_SET,
  NFTA_SET_ELEM_LIST,
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
  /** Others changed these of our table, or it may be anything (`all`). */
  touched(names: ForeignNames | "all", reason: "foreign-change" | "overrun"): void;
}

/** Chains and sets of our table that others changed. */
export class ForeignNames {
  readonly chains = new Set<string>();
  readonly sets = new Set<string>();
  /** The table itself, or something that is neither. */
  all = false;
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
      this.#handlers.touched("all", "overrun");
      return;
    }
    const names = new ForeignNames();
    for (const message of event.messages) {
      if (message.type >> 8 !== NFNL_SUBSYS) continue;
      if (message.type === NEWGEN) this.#handlers.generation(readGeneration(message.body));
      else if (!names.all) this.#collect(message, names);
    }
    if (names.all) this.#handlers.touched("all", "foreign-change");
    else if (names.chains.size + names.sets.size > 0) {
      this.#handlers.touched(names, "foreign-change");
    }
  }

  #collect({ type, body }: NetlinkMessage, names: ForeignNames): void {
    if (body.u8() !== this.#family) return;
    body.skip(3);
    const kind = KINDS.get(type);
    let ours = false;
    let name: string | undefined;
    while (body.nextAttr() && (name === undefined || !ours)) {
      if (body.attrType === NFTA_TABLE) {
        if (!body.attrEquals(this.#table)) return;
        ours = true;
      } else if (body.attrType === kind?.attribute) {
        name = body.attrString();
      }
    }
    if (!ours) return;
    if (kind === undefined || name === undefined) names.all = true;
    else names[kind.what].add(name);
  }
}

/** What a message is about: NFTA_RULE_CHAIN, NFTA_CHAIN_NAME, NFTA_SET_NAME, NFTA_SET_ELEM_LIST_SET. */
const KINDS: ReadonlyMap<number, { what: "chains" | "sets"; attribute: number }> = new Map([
  [NEWCHAIN, { what: "chains", attribute: NFTA_CHAIN.name }],
  [DELCHAIN, { what: "chains", attribute: NFTA_CHAIN.name }],
  [NEWRULE, { what: "chains", attribute: NFTA_RULE.chain }],
  [DELRULE, { what: "chains", attribute: NFTA_RULE.chain }],
  [NEWSET, { what: "sets", attribute: NFTA_SET.name }],
  [DELSET, { what: "sets", attribute: NFTA_SET.name }],
  [NEWSETELEM, { what: "sets", attribute: NFTA_SET_ELEM_LIST.set }],
  [DELSETELEM, { what: "sets", attribute: NFTA_SET_ELEM_LIST.set }],
]);

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
