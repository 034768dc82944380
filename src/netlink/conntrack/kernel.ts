/**
 * Makes the kernel forget the connections of addresses (uapi/linux/netfilter/nfnetlink_conntrack.h),
 * so that an address that is used again inherits no established flow.
 *
 * A few IPv4 addresses: the kernel looks for them itself (CTA_FILTER, newer kernels). Many, or an
 * older kernel: one dump, and what matches is deleted by tuple and id. IPv6 always so: the kernel's
 * filter has its comparison of IPv6 addresses the wrong way round (seen on 6.18) and would delete
 * the flows of all the others.
 */
import { formatIp, ipBytes, ipFromBytes, type Ip } from "#ip";
import { NLA_F_NESTED, NLM_F_REQUEST } from "../frame.ts";
import type { NetlinkMessage, NetlinkReader } from "../reader.ts";
import { NetlinkWriter } from "../writer.ts";
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
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_REPLY_FLAGS = 2;
/** net/netfilter/nf_internals.h: CTA_FILTER_F_CTA_IP_SRC */
const FILTER_IP_SRC = 1;

/** Above this, one walk over all connections is cheaper than two for each address. */
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
    const v4 = addresses.filter(({ family }) => family === 4);
    const v6 = addresses.filter(({ family }) => family === 6);
    if (v4.length > 0 && !this.#forgetFew(v4)) this.#forgetByDump(AF_INET, v4);
    if (v6.length > 0) this.#forgetByDump(AF_INET6, v6);
  }

  #forgetFew(addresses: readonly Ip[]): boolean {
    if (!this.#filters || addresses.length > MAX_FILTERED) return false;
    this.#filters = addresses.every((address) => this.#forgetByFilter(address));
    return this.#filters;
  }

  /** False: this kernel does not know the filter and has deleted nothing. */
  #forgetByFilter(address: Ip): boolean {
    this.#writer.reset();
    // Whatever NAT there is: who began is the source of the original direction, who answers that of
    // the reply.
    writeIpv4Delete(this.#writer, address, CTA_TUPLE_ORIG);
    writeIpv4Delete(this.#writer, address, CTA_TUPLE_REPLY);
    const { refusals } = this.#socket.transact(this.#writer.bytes());
    return refusals.every(({ errno }) => errno === "ENOENT");
  }

  #forgetByDump(family: number, addresses: readonly Ip[]): void {
    const wanted = new Set(addresses.map(formatIp));
    this.#writer.reset();
    const mark = this.#writer.beginMessage(IPCTNL_MSG_CT_GET, NLM_F_REQUEST);
    writeHeader(this.#writer, family);
    this.#writer.endMessage(mark);
    const entries = this.#socket
      .dump(this.#writer.bytes(), "read connections", readEntry)
      .filter((entry) => entry.addresses.some((address) => wanted.has(address)));
    this.#delete(family, entries);
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

function writeIpv4Delete(writer: NetlinkWriter, source: Ip, tuple: number): void {
  const mark = writer.beginMessage(IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST);
  writeHeader(writer, AF_INET);
  const outer = writer.beginNested(tuple);
  const inner = writer.beginNested(CTA_TUPLE_IP);
  writer.attrBytes(CTA_IP_V4_SRC, ipBytes(source));
  writer.endNested(inner);
  writer.endNested(outer);
  const filter = writer.beginNested(CTA_FILTER);
  const flags = (of: number): number => (of === tuple ? FILTER_IP_SRC : 0);
  writer.attrU32(CTA_FILTER_ORIG_FLAGS, flags(CTA_TUPLE_ORIG));
  writer.attrU32(CTA_FILTER_REPLY_FLAGS, flags(CTA_TUPLE_REPLY));
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
      into.push(formatIp(ipFromBytes(v4 ? 4 : 6, ends.attrBytes(v4 ? 4 : 16))));
    }
  }
}
