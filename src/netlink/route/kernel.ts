/**
 * The port to a network namespace's links, routes and neighbours, and its kernel adapter: one socket
 * for requests, which are synchronous and batched, and one for notifications. What this adapter
 * writes is not notified back to it.
 */
import type { IpFamily } from "#ip";
import { bug } from "#std";
import { NLM_F_REPLACE } from "../frame.ts";
import type { NetlinkMessage } from "../reader.ts";
import { NetlinkWriter } from "../writer.ts";
import type { FilterInstruction } from "../ffi.ts";
import {
  errnoOf,
  NETLINK_ROUTE,
  NetlinkSocket,
  type NetlinkEvent,
  type NetlinkRefusal,
} from "../socket.ts";
import {
  readForwarding,
  readNeighbour,
  readRoute,
  writeChange,
  writeForwardingDump,
  writeNeighbourDump,
  writeRouteDump,
} from "./codec.ts";
import * as C from "./constants.ts";
import { readInterfaceAddress, readLink, writeAddressDump, writeLinkDump } from "./link-codec.ts";
import type {
  ForwardingEntry,
  InterfaceAddress,
  Link,
  Neighbour,
  Route,
  RouteChange,
  RouteEvent,
} from "./types.ts";

export interface RouteKernel {
  links(): Link[];
  /** Of all interfaces, both families. */
  addresses(): InterfaceAddress[];
  /**
   * The main table's. When a change interrupts the reading it starts over, so `visit` may see a route
   * twice, or one that went meanwhile; `watch` tells that.
   */
  routes(family: IpFamily, visit: (route: Route) => void): void;
  neighbours(family: IpFamily): Neighbour[];
  /** Of a tunnel device; none when there is no such device. */
  forwarding(ifindex: number): ForwardingEntry[];
  /**
   * Writes all, in order; a refused change does not hold up the next. Returns the refusals by
   * position. Throws a system error when the kernel cannot be reached.
   */
  write(changes: readonly RouteChange[]): ReadonlyMap<number, NetlinkRefusal>;
  /** What others change, from now on and in the kernel's order; call it before the first read. */
  watch(callback: (event: RouteEvent) => void): void;
  close(): void;
}

/**
 * A refusal takes about 1.3 KB of receive buffer, of which an ordinary user gets 416 KB: so many
 * refusals in a row always fit.
 */
const CHANGES_PER_SEND = 200;
const EVENT_BUFFER = 8 * 1024 * 1024;

const GROUPS = [
  C.RTNLGRP_LINK,
  C.RTNLGRP_NEIGH,
  C.RTNLGRP_IPV4_IFADDR,
  C.RTNLGRP_IPV6_IFADDR,
  C.RTNLGRP_IPV4_ROUTE,
  C.RTNLGRP_IPV6_ROUTE,
];

/** Opens both sockets in the network namespace of the calling thread. Throws a system error. */
export function openRouteKernel(): RouteKernel {
  return new NetlinkRouteKernel();
}

class NetlinkRouteKernel implements RouteKernel {
  readonly #socket = NetlinkSocket.open({
    protocol: NETLINK_ROUTE,
    strict: true,
    rcvBuf: EVENT_BUFFER,
  });
  readonly #writer = new NetlinkWriter(64 * 1024);
  #events: NetlinkSocket | undefined;

  links(): Link[] {
    return this.#dump(writeLinkDump, readLink, "read interfaces");
  }

  addresses(): InterfaceAddress[] {
    return this.#dump(writeAddressDump, readInterfaceAddress, "read addresses");
  }

  routes(family: IpFamily, visit: (route: Route) => void): void {
    const write = (writer: NetlinkWriter): void => writeRouteDump(writer, family, C.RT_TABLE_MAIN);
    const read = (message: NetlinkMessage): void => {
      const route = readRoute(message);
      // A kernel without strict checking sends every table.
      if (route?.table === C.RT_TABLE_MAIN) visit(route);
    };
    try {
      this.#dump(write, read, "read routes");
    } catch (error) {
      // The table is made with its first route: a new namespace whose `lo` is down has none.
      if (errnoOf(error) !== "ENOENT") throw error;
    }
  }

  neighbours(family: IpFamily): Neighbour[] {
    const write = (writer: NetlinkWriter): void => writeNeighbourDump(writer, family);
    return this.#dump(write, readNeighbour, "read neighbours");
  }

  forwarding(ifindex: number): ForwardingEntry[] {
    const write = (writer: NetlinkWriter): void => writeForwardingDump(writer, ifindex);
    const read = (message: NetlinkMessage): ForwardingEntry | undefined => {
      const entry = readForwarding(message);
      // A kernel without strict checking sends every device's.
      return entry?.ifindex === ifindex ? entry : undefined;
    };
    return this.#dump(write, read, "read forwarding entries");
  }

  #dump<T>(
    write: (writer: NetlinkWriter) => void,
    read: (message: NetlinkMessage) => T | undefined,
    what: string,
  ): T[] {
    this.#writer.reset();
    write(this.#writer);
    return this.#socket.dump(this.#writer.bytes(), what, read);
  }

  write(changes: readonly RouteChange[]): ReadonlyMap<number, NetlinkRefusal> {
    const refusals = new Map<number, NetlinkRefusal>();
    for (let start = 0; start < changes.length; start += CHANGES_PER_SEND) {
      this.#writer.reset();
      const end = Math.min(changes.length, start + CHANGES_PER_SEND);
      for (const change of changes.slice(start, end)) writeChange(this.#writer, change);
      const answer = this.#socket.transact(this.#writer.bytes());
      for (const refusal of answer.refusals) {
        refusals.set(start + refusal.seq - answer.firstSeq, refusal);
      }
    }
    return refusals;
  }

  watch(callback: (event: RouteEvent) => void): void {
    if (this.#events !== undefined) throw bug("routes are watched already");
    const events = NetlinkSocket.open({ protocol: NETLINK_ROUTE, rcvBuf: EVENT_BUFFER });
    this.#events = events;
    events.filter(interesting(this.#socket.portId));
    for (const group of GROUPS) events.join(group);
    events.onReadable((event) => {
      for (const each of decodeEvents(event)) callback(each);
    });
  }

  close(): void {
    this.#events?.close();
    this.#socket.close();
  }
}

function decodeEvents(event: NetlinkEvent): RouteEvent[] {
  if (event.kind === "overrun") return [{ kind: "lost" }];
  const events: RouteEvent[] = [];
  for (const message of event.messages) {
    const decoded = decodeEvent(message);
    if (decoded !== undefined) events.push(decoded);
  }
  return events;
}

function decodeEvent(message: NetlinkMessage): RouteEvent | undefined {
  switch (message.type) {
    case C.RTM_NEWLINK:
    case C.RTM_DELLINK: {
      const link = readLink(message);
      return link && { kind: "link", link, present: message.type === C.RTM_NEWLINK };
    }
    case C.RTM_NEWADDR:
    case C.RTM_DELADDR: {
      const address = readInterfaceAddress(message);
      return address && { kind: "address", address, present: message.type === C.RTM_NEWADDR };
    }
    case C.RTM_NEWROUTE:
    case C.RTM_DELROUTE: {
      const route = readRoute(message);
      if (route?.table !== C.RT_TABLE_MAIN) return undefined;
      const present = message.type === C.RTM_NEWROUTE;
      return { kind: "route", route, present, replaced: (message.flags & NLM_F_REPLACE) !== 0 };
    }
    case C.RTM_NEWNEIGH:
    case C.RTM_DELNEIGH:
      return decodeNeighbourEvent(message, message.type === C.RTM_NEWNEIGH);
    default:
      return undefined;
  }
}

/** A notification can be read once. */
function decodeNeighbourEvent(message: NetlinkMessage, present: boolean): RouteEvent | undefined {
  if (message.body.peekU8() === C.AF_BRIDGE) {
    const entry = readForwarding(message);
    return entry && { kind: "forwarding", entry, present };
  }
  const neighbour = readNeighbour(message);
  return neighbour && { kind: "neighbour", neighbour, present };
}

// linux/bpf_common.h
const BPF_LD_W_ABS = 0x20;
const BPF_LD_H_ABS = 0x28;
const BPF_JMP_JEQ_K = 0x15;
const BPF_JMP_JSET_K = 0x45;
const BPF_RET_K = 0x06;
const NLMSG_TYPE_OFFSET = 4;
const NLMSG_PID_OFFSET = 12;
/** After the nlmsghdr: family, padding, index. */
const NDM_STATE_OFFSET = 24;
const WHOLE = 0xffffffff;

/**
 * Drops datagrams before they are queued whose cause was the socket with this port (nlmsg_pid), and
 * what the kernel learns of neighbours in passing: that is told with every turn of an ARP entry.
 */
function interesting(portId: number): FilterInstruction[] {
  return [
    { code: BPF_LD_W_ABS, jt: 0, jf: 0, k: NLMSG_PID_OFFSET },
    { code: BPF_JMP_JEQ_K, jt: 5, jf: 0, k: asLoaded(Uint32Array.of(portId)) },
    { code: BPF_LD_H_ABS, jt: 0, jf: 0, k: NLMSG_TYPE_OFFSET },
    { code: BPF_JMP_JEQ_K, jt: 0, jf: 2, k: asLoaded(Uint16Array.of(C.RTM_NEWNEIGH)) },
    { code: BPF_LD_H_ABS, jt: 0, jf: 0, k: NDM_STATE_OFFSET },
    { code: BPF_JMP_JSET_K, jt: 0, jf: 1, k: asLoaded(Uint16Array.of(C.NUD_PERMANENT)) },
    { code: BPF_RET_K, jt: 0, jf: 0, k: WHOLE },
    { code: BPF_RET_K, jt: 0, jf: 0, k: 0 },
  ];
}

/** BPF loads big-endian, the headers are in host order. */
function asLoaded(value: Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>): number {
  const view = new DataView(value.buffer);
  return value instanceof Uint16Array ? view.getUint16(0) : view.getUint32(0);
}
