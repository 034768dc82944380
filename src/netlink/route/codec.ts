/**
 * rtnetlink messages: struct ifinfomsg, rtmsg and ndmsg with their attributes
 * (uapi/linux/rtnetlink.h, if_link.h, neighbour.h).
 */
import { cidrOf, ipBytes, ipFromBytes, macBytes, macFromBytes, type Ip, type IpFamily } from "#ip";
import { NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST } from "../frame.ts";
import type { NetlinkMessage, NetlinkReader } from "../reader.ts";
import type { NetlinkWriter } from "../writer.ts";
import * as C from "./constants.ts";
import type { InterfaceAddress, Link, Neighbour, Route, RouteChange } from "./types.ts";

const MAC_LENGTH = 6;

function addressFamily(family: IpFamily): number {
  return family === 4 ? C.AF_INET : C.AF_INET6;
}

function ipFamily(af: number): IpFamily | undefined {
  if (af === C.AF_INET) return 4;
  return af === C.AF_INET6 ? 6 : undefined;
}

/** struct ifinfomsg: family, type, index, flags, change. */
export function writeLinkDump(writer: NetlinkWriter): void {
  const mark = writer.beginMessage(C.RTM_GETLINK, NLM_F_REQUEST);
  for (let word = 0; word < 4; word++) writer.u32(0);
  writer.endMessage(mark);
}

/** Undefined for what is no device message, e.g. a bridge port's (AF_BRIDGE). */
export function readLink({ body }: NetlinkMessage): Link | undefined {
  const family = body.u8();
  if (family !== 0) return undefined;
  body.skip(3);
  const index = body.i32();
  const flags = body.u32();
  body.skip(4);
  let name = "";
  let mtu = 0;
  let mac: Uint8Array | undefined;
  while (body.nextAttr()) {
    if (body.attrType === C.IFLA_IFNAME) name = body.attrString();
    else if (body.attrType === C.IFLA_MTU) mtu = body.attrU32();
    else if (body.attrType === C.IFLA_ADDRESS && body.attrLength === MAC_LENGTH) {
      mac = body.attrBytes();
    }
  }
  if (name === "") return undefined;
  return {
    index,
    name,
    adminUp: (flags & C.IFF_UP) !== 0,
    operUp: (flags & C.IFF_UP) !== 0 && (flags & C.IFF_RUNNING) !== 0,
    mtu,
    ...(mac === undefined ? {} : { mac: macFromBytes(mac) }),
  };
}

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
  writer.u32(0); // rtm_flags
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
  if (prefSrc !== undefined) route.prefSrc = prefSrc;
  return route;
}

/** struct ndmsg */
function writeNeighbourHeader(
  writer: NetlinkWriter,
  family: IpFamily,
  ifindex: number,
  state: number,
): void {
  writer.u8(addressFamily(family));
  writer.u8(0);
  writer.u16(0);
  writer.i32(ifindex);
  writer.u16(state);
  writer.u8(0); // ndm_flags
  writer.u8(0); // ndm_type
}

export function writeNeighbourDump(writer: NetlinkWriter, family: IpFamily): void {
  const mark = writer.beginMessage(C.RTM_GETNEIGH, NLM_F_REQUEST);
  writeNeighbourHeader(writer, family, 0, 0);
  writer.endMessage(mark);
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

export function writeAddressDump(writer: NetlinkWriter): void {
  const mark = writer.beginMessage(C.RTM_GETADDR, NLM_F_REQUEST);
  // struct ifaddrmsg; AF_UNSPEC: of both families.
  writer.u32(0);
  writer.u32(0);
  writer.endMessage(mark);
}

/** Of a point-to-point link, IFA_ADDRESS is the peer's and IFA_LOCAL ours. */
export function readInterfaceAddress({ body }: NetlinkMessage): InterfaceAddress | undefined {
  const family = ipFamily(body.u8());
  body.skip(3);
  const ifindex = body.i32();
  if (family === undefined) return undefined;
  let address: Ip | undefined;
  let local: Ip | undefined;
  while (body.nextAttr()) {
    if (body.attrType === C.IFA_ADDRESS) address = readIp(family, body);
    else if (body.attrType === C.IFA_LOCAL) local = readIp(family, body);
  }
  const own = local ?? address;
  return own === undefined ? undefined : { ifindex, address: own };
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
  writer.endMessage(mark);
}

function writeNeighbour(
  writer: NetlinkWriter,
  type: number,
  flags: number,
  { address, ifindex, mac, protocol, state }: Neighbour,
): void {
  const mark = writer.beginMessage(type, NLM_F_REQUEST | flags);
  writeNeighbourHeader(writer, address.family, ifindex, state);
  writer.attrBytes(C.NDA_DST, ipBytes(address));
  if (type === C.RTM_NEWNEIGH) {
    if (mac !== undefined) writer.attrBytes(C.NDA_LLADDR, macBytes(mac));
    if (protocol !== 0) writer.attrU8(C.NDA_PROTOCOL, protocol);
  }
  writer.endMessage(mark);
}

const scratch = new Uint8Array(4);

/** Without a copy for IPv4: a table may hold tens of thousands. */
function readIp(family: IpFamily, reader: NetlinkReader): Ip {
  if (family === 6) return ipFromBytes(6, reader.attrBytes(16));
  const word = reader.attrU32Be();
  scratch[0] = word >>> 24;
  scratch[1] = word >>> 16;
  scratch[2] = word >>> 8;
  scratch[3] = word;
  return ipFromBytes(4, scratch);
}

function unspecified(family: IpFamily): Ip {
  return ipFromBytes(family, new Uint8Array(family === 4 ? 4 : 16));
}
