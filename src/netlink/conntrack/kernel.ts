/**
 * Makes the kernel forget the connections of addresses (uapi/linux/netfilter/nfnetlink_conntrack.h),
 * so that an address that is used again inherits no established flow.
 *
 * A few addresses: the kernel looks for them itself (CTA_FILTER, newer kernels). Many, or an older
 * kernel: one dump, and what matches is deleted by tuple and id.
 */
import { formatIp, ipBytes, ipFromBytes, type Ip } from "#ip";
import {
  NLA_F_NESTED,
  NLM_F_REQUEST,
  NetlinkWriter,
  type NetlinkMessage,
  type NetlinkReader,
} from "../bytes.ts";
import { NETLINK_NETFILTER, NetlinkSocket } from "../socket.ts";

const NFNL_SUBSYS_CTNETLINK = 1 << 8;
const IPCTNL_MSG_CT_GET = NFNL_SUBSYS_CTNETLINK | 1;
const IPCTNL_MSG_CT_DELETE = NFNL_SUBSYS_CTNETLINK | 2;
const AF_INET = 2;
const AF_INET6 = 10;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_FILTER = 25;
const CTA_TUPLE_IP = 1;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_REPLY_FLAGS = 2;
/** net/netfilter/nf_internals.h: CTA_FILTER_F_CTA_IP_SRC, _DST. */
const FILTER_IP_SRC = 1;
const FILTER_IP_DST = 2;

/** Above this, one walk over all connections is cheaper than four for each address. */
const MAX_FILTERED = 4;
const DELETES_PER_SEND = 200;

export interface ConntrackKernel {
  /** Removes all entries with one of the addresses at either end. Throws a system error. */
  forget(addresses: readonly Ip[]): void;
  close(): void;
}

/** In the network namespace of the calling thread. */
export function openConntrack(): ConntrackKernel {
  return new NetlinkConntrack();
}

class NetlinkConntrack implements ConntrackKernel {
  readonly #socket = NetlinkSocket.open({ protocol: NETLINK_NETFILTER, rcvBuf: 1024 * 1024 });
  readonly #writer = new NetlinkWriter(64 * 1024);
  #filters = true;

  forget(addresses: readonly Ip[]): void {
    if (addresses.length === 0) return;
    if (this.#filters && addresses.length <= MAX_FILTERED) {
      if (addresses.every((address) => this.#forgetByFilter(address))) return;
      this.#filters = false;
    }
    this.#forgetByDump(addresses);
  }

  /** False: this kernel does not know the filter and has deleted nothing. */
  #forgetByFilter(address: Ip): boolean {
    this.#writer.reset();
    for (const tuple of [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY]) {
      for (const flag of [FILTER_IP_SRC, FILTER_IP_DST]) {
        writeFilteredDelete(this.#writer, address, tuple, flag);
      }
    }
    const { refusals } = this.#socket.transact(this.#writer.bytes());
    return refusals.every(({ errno }) => errno === "ENOENT");
  }

  #forgetByDump(addresses: readonly Ip[]): void {
    const wanted = new Set(addresses.map(formatIp));
    for (const family of [AF_INET, AF_INET6]) {
      if (!addresses.some((address) => (address.family === 4) === (family === AF_INET))) continue;
      this.#writer.reset();
      const mark = this.#writer.beginMessage(IPCTNL_MSG_CT_GET, NLM_F_REQUEST);
      writeHeader(this.#writer, family);
      this.#writer.endMessage(mark);
      const entries = this.#socket
        .dump(this.#writer.bytes(), "read connections")
        .map(readEntry)
        .filter((entry) => entry.addresses.some((address) => wanted.has(address)));
      this.#delete(family, entries);
    }
  }

  /** An entry that went by itself meanwhile is as good as deleted. */
  #delete(family: number, entries: readonly Entry[]): void {
    for (let start = 0; start < entries.length; start += DELETES_PER_SEND) {
      this.#writer.reset();
      for (const { orig, id, zone } of entries.slice(start, start + DELETES_PER_SEND)) {
        const mark = this.#writer.beginMessage(IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST);
        writeHeader(this.#writer, family);
        this.#writer.attrBytes(CTA_TUPLE_ORIG | NLA_F_NESTED, orig);
        this.#writer.attrBytes(CTA_ID, id);
        if (zone !== undefined) this.#writer.attrBytes(CTA_ZONE, zone);
        this.#writer.endMessage(mark);
      }
      this.#socket.transact(this.#writer.bytes());
    }
  }

  close(): void {
    this.#socket.close();
  }
}

/** struct nfgenmsg */
function writeHeader(writer: NetlinkWriter, family: number): void {
  writer.u8(family);
  writer.u8(0);
  writer.u16Be(0);
}

function writeFilteredDelete(
  writer: NetlinkWriter,
  address: Ip,
  tuple: number,
  flag: number,
): void {
  const source = flag === FILTER_IP_SRC;
  const v4 = address.family === 4;
  const mark = writer.beginMessage(IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST);
  writeHeader(writer, v4 ? AF_INET : AF_INET6);
  const outer = writer.beginNested(tuple);
  const inner = writer.beginNested(CTA_TUPLE_IP);
  const v4Type = source ? CTA_IP_V4_SRC : CTA_IP_V4_DST;
  const v6Type = source ? CTA_IP_V6_SRC : CTA_IP_V6_DST;
  writer.attrBytes(v4 ? v4Type : v6Type, ipBytes(address));
  writer.endNested(inner);
  writer.endNested(outer);
  const filter = writer.beginNested(CTA_FILTER);
  writer.attrU32(CTA_FILTER_ORIG_FLAGS, tuple === CTA_TUPLE_ORIG ? flag : 0);
  writer.attrU32(CTA_FILTER_REPLY_FLAGS, tuple === CTA_TUPLE_REPLY ? flag : 0);
  writer.endNested(filter);
  writer.endMessage(mark);
}

interface Entry {
  /** Ends of both directions. */
  readonly addresses: readonly string[];
  readonly orig: Uint8Array;
  readonly id: Uint8Array;
  readonly zone?: Uint8Array;
}

function readEntry({ body }: NetlinkMessage): Entry {
  body.skip(4);
  const addresses: string[] = [];
  let orig = new Uint8Array();
  let id = new Uint8Array();
  let zone: Uint8Array | undefined;
  while (body.nextAttr()) {
    switch (body.attrType) {
      case CTA_TUPLE_ORIG:
        orig = Uint8Array.from(body.attrBytes());
        readAddresses(body.nested(), addresses);
        break;
      case CTA_TUPLE_REPLY:
        readAddresses(body.nested(), addresses);
        break;
      case CTA_ID:
        id = Uint8Array.from(body.attrBytes());
        break;
      case CTA_ZONE:
        zone = body.attrBytes();
        break;
      default:
    }
  }
  return { addresses, orig, id, ...(zone === undefined ? {} : { zone }) };
}

function readAddresses(tuple: NetlinkReader, into: string[]): void {
  while (tuple.nextAttr()) {
    if (tuple.attrType !== CTA_TUPLE_IP) continue;
    const ends = tuple.nested();
    while (ends.nextAttr()) {
      const v4 = ends.attrType === CTA_IP_V4_SRC || ends.attrType === CTA_IP_V4_DST;
      into.push(formatIp(ipFromBytes(v4 ? 4 : 6, ends.attrBytes())));
    }
  }
}
