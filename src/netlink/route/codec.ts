/**
 * Messages about routes and neighbours: struct rtmsg and ndmsg with their attributes
 * (uapi/linux/rtnetlink.h, neighbour.h).
 */
import { cidrOf, ipBytes, macBytes, macFromBytes, type Ip, type IpFamily } from "#ip";
import { unreachable } from "#std";
import { NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST } from "../frame.ts";
import type { NetlinkMessage } from "../reader.ts";
import type { NetlinkWriter } from "../writer.ts";
import * as C from "./constants.ts";
import { addressFamily, ipFamily, MAC_LENGTH, readIp, unspecified } from "./family.ts";
import { writeAddress, writeLinkChange, writeLinkDeletion, writeNewLink } from "./link-codec.ts";
import type { ForwardingEntry, Neighbour, Route, RouteChange } from "./types.ts";

/** With NETLINK_GET_STRICT_CHK the kernel sends the routes of this table and no others. */
export function writeRouteDump(writer: NetlinkWriter, family: IpFamily, table: number): void {
  const mark = writer.beginMessage(C.RTM_GETROUTE, NLM_F_REQUEST);
  writeRouteHeader(writer, { family, prefixLen: 0, table });
  writer.attrU32(C.RTA_TABLE, table);
  writer.endMessage(mark);
}

interface RouteHeader {
  readonly family: IpFamily;
  readonly prefixLen: number;
  readonly table: number;
  readonly tos?: number;
  readonly protocol?: number;
  readonly scope?: number;
  readonly type?: number;
  readonly onlink?: boolean;
}

/** struct rtmsg */
function writeRouteHeader(writer: NetlinkWriter, header: RouteHeader): void {
  writer.u8(addressFamily(header.family));
  writer.u8(header.prefixLen);
  writer.u8(0); // rtm_src_len
  writer.u8(header.tos ?? 0);
  writer.u8(header.table <= 255 ? header.table : 0);
  writer.u8(header.protocol ?? 0);
  writer.u8(header.scope ?? 0);
  writer.u8(header.type ?? 0);
  writer.u32(header.onlink === true ? C.RTNH_F_ONLINK : 0); // rtm_flags
}

type Writable<T> = { -readonly [Field in keyof T]: T[Field] };

/** Undefined for another family's, and for the kernel's own copies (RTM_F_CLONED). */
export function readRoute({ body }: NetlinkMessage): Route | undefined {
  const family = ipFamily(body.u8());
  const prefixLen = body.u8();
  body.skip(1);
  const tos = body.u8();
  let table = body.u8();
  const protocol = body.u8();
  const scope = body.u8();
  const type = body.u8();
  const flags = body.u32();
  if (family === undefined || (flags & C.RTM_F_CLONED) !== 0) return undefined;
  let dst: Ip | undefined;
  let priority = 0;
  let oif: number | undefined;
  let gateway: Ip | undefined;
  let prefSrc: Ip | undefined;
  let mtu = 0;
  let several = false;
  while (body.nextAttr()) {
    switch (body.attrType) {
      case C.RTA_DST:
        dst = readIp(family, body);
        break;
      case C.RTA_OIF:
        oif = body.attrU32();
        break;
      case C.RTA_GATEWAY:
        gateway = readIp(family, body);
        break;
      case C.RTA_PRIORITY:
        priority = body.attrU32();
        break;
      case C.RTA_PREFSRC:
        prefSrc = readIp(family, body);
        break;
      case C.RTA_TABLE:
        table = body.attrU32();
        break;
      case C.RTA_METRICS:
        mtu = body.nestedU32(C.RTAX_MTU) ?? 0;
        break;
      case C.RTA_MULTIPATH:
      case C.RTA_NH_ID:
        several = true;
        break;
      default:
    }
  }
  const net = cidrOf(dst ?? unspecified(family), prefixLen);
  const route: Writable<Route> = { dst: net, table, protocol, type, scope, tos, priority };
  // Not by spreading, which takes longer than all the rest.
  if (oif !== undefined && !several) route.oif = oif;
  if (gateway !== undefined) route.gateway = gateway;
  if ((flags & C.RTNH_F_ONLINK) !== 0) route.onlink = true;
  if (prefSrc !== undefined) route.prefSrc = prefSrc;
  if (mtu !== 0) route.mtu = mtu;
  return route;
}

/** struct ndmsg */
function writeNeighbourHeader(
  writer: NetlinkWriter,
  af: number,
  { ifindex = 0, state = 0, flags = 0 }: { ifindex?: number; state?: number; flags?: number },
): void {
  writer.u8(af);
  writer.u8(0);
  writer.u16(0);
  writer.i32(ifindex);
  writer.u16(state);
  writer.u8(flags); // ndm_flags
  writer.u8(0); // ndm_type
}

export function writeNeighbourDump(writer: NetlinkWriter, family: IpFamily): void {
  const mark = writer.beginMessage(C.RTM_GETNEIGH, NLM_F_REQUEST);
  writeNeighbourHeader(writer, addressFamily(family), {});
  writer.endMessage(mark);
}

/** Of one device. */
export function writeForwardingDump(writer: NetlinkWriter, ifindex: number): void {
  const mark = writer.beginMessage(C.RTM_GETNEIGH, NLM_F_REQUEST);
  writeNeighbourHeader(writer, C.AF_BRIDGE, { ifindex });
  writer.endMessage(mark);
}

/** Undefined for another family's. */
export function readForwarding({ body }: NetlinkMessage): ForwardingEntry | undefined {
  const family = body.u8();
  body.skip(3);
  const ifindex = body.i32();
  const state = body.u16();
  body.skip(2);
  if (family !== C.AF_BRIDGE) return undefined;
  let host: Ip | undefined;
  let mac: Uint8Array | undefined;
  while (body.nextAttr()) {
    if (body.attrType === C.NDA_DST) host = readIp(body.attrLength === 4 ? 4 : 6, body);
    else if (body.attrType === C.NDA_LLADDR && body.attrLength === MAC_LENGTH) {
      mac = body.attrBytes();
    }
  }
  if (mac === undefined) return undefined;
  const entry = { ifindex, mac: macFromBytes(mac), state };
  return host === undefined ? entry : { ...entry, host };
}

export function readNeighbour({ body }: NetlinkMessage): Neighbour | undefined {
  const family = ipFamily(body.u8());
  body.skip(3);
  const ifindex = body.i32();
  const state = body.u16();
  body.skip(2);
  if (family === undefined) return undefined;
  let address: Ip | undefined;
  let mac: Uint8Array | undefined;
  let protocol = 0;
  while (body.nextAttr()) {
    if (body.attrType === C.NDA_DST) address = readIp(family, body);
    else if (body.attrType === C.NDA_LLADDR && body.attrLength === MAC_LENGTH) {
      mac = body.attrBytes();
    } else if (body.attrType === C.NDA_PROTOCOL) protocol = body.attrU8();
  }
  if (address === undefined) return undefined;
  return {
    ifindex,
    address,
    state,
    protocol,
    ...(mac === undefined ? {} : { mac: macFromBytes(mac) }),
  };
}

/** One message. */
export function writeChange(writer: NetlinkWriter, change: RouteChange): void {
  switch (change.kind) {
    case "replaceRoute":
      return writeRoute(writer, C.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, change.route);
    case "deleteRoute":
      return writeRoute(writer, C.RTM_DELROUTE, 0, change.route);
    case "replaceNeighbour":
      return writeNeighbour(writer, C.RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, change.neighbour);
    case "deleteNeighbour":
      return writeNeighbour(writer, C.RTM_DELNEIGH, 0, change.neighbour);
    case "replaceForwarding":
    case "deleteForwarding":
      return writeForwarding(writer, change.kind === "replaceForwarding", change.entry);
    case "createLink":
      return writeNewLink(writer, change.link);
    case "setLink":
      return writeLinkChange(writer, change);
    case "deleteLink":
      return writeLinkDeletion(writer, change.index);
    case "addAddress":
    case "deleteAddress":
      return writeAddress(writer, change.kind === "addAddress" ? "add" : "delete", change.address);
    default:
      return unreachable(change);
  }
}

function writeRoute(writer: NetlinkWriter, type: number, flags: number, route: Route): void {
  const { dst, gateway, prefSrc } = route;
  const mark = writer.beginMessage(type, NLM_F_REQUEST | flags);
  writeRouteHeader(writer, { ...route, family: dst.family, prefixLen: dst.prefixLen });
  if (dst.prefixLen > 0) writer.attrBytes(C.RTA_DST, ipBytes(dst));
  if (route.priority !== 0) writer.attrU32(C.RTA_PRIORITY, route.priority);
  if (gateway !== undefined) writer.attrBytes(C.RTA_GATEWAY, ipBytes(gateway));
  if (prefSrc !== undefined) writer.attrBytes(C.RTA_PREFSRC, ipBytes(prefSrc));
  if (route.oif !== undefined) writer.attrU32(C.RTA_OIF, route.oif);
  if (route.table > 255) writer.attrU32(C.RTA_TABLE, route.table);
  if (route.mtu !== undefined) {
    const metrics = writer.beginNested(C.RTA_METRICS);
    writer.attrU32(C.RTAX_MTU, route.mtu);
    writer.endNested(metrics);
  }
  writer.endMessage(mark);
}

function writeNeighbour(
  writer: NetlinkWriter,
  type: number,
  flags: number,
  { address, ifindex, mac, protocol, state }: Neighbour,
): void {
  const mark = writer.beginMessage(type, NLM_F_REQUEST | flags);
  writeNeighbourHeader(writer, addressFamily(address.family), { ifindex, state });
  writer.attrBytes(C.NDA_DST, ipBytes(address));
  if (type === C.RTM_NEWNEIGH) {
    if (mac !== undefined) writer.attrBytes(C.NDA_LLADDR, macBytes(mac));
    if (protocol !== 0) writer.attrU8(C.NDA_PROTOCOL, protocol);
  }
  writer.endMessage(mark);
}

/** A deletion names no host: the entry goes, to however many hosts it leads. */
function writeForwarding(
  writer: NetlinkWriter,
  present: boolean,
  { ifindex, mac, host, state }: ForwardingEntry,
): void {
  const [type, flags] = present
    ? [C.RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE]
    : [C.RTM_DELNEIGH, 0];
  const mark = writer.beginMessage(type, NLM_F_REQUEST | flags);
  writeNeighbourHeader(writer, C.AF_BRIDGE, { ifindex, state, flags: C.NTF_SELF });
  writer.attrBytes(C.NDA_LLADDR, macBytes(mac));
  if (present && host !== undefined) writer.attrBytes(C.NDA_DST, ipBytes(host));
  writer.endMessage(mark);
}
