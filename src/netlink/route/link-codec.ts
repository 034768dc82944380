/**
 * Messages about devices and their addresses: struct ifinfomsg and ifaddrmsg with their attributes
 * (uapi/linux/if_link.h, if_addr.h).
 */
import { ipBytes, macBytes, macFromBytes, type Ip } from "#ip";
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST } from "../frame.ts";
import type { NetlinkMessage, NetlinkReader } from "../reader.ts";
import type { NetlinkWriter } from "../writer.ts";
import * as C from "./constants.ts";
import { addressFamily, ipFamily, MAC_LENGTH, readIp } from "./family.ts";
import type { InterfaceAddress, Link, NewLink, RouteChange, VxlanSettings } from "./types.ts";

type Writable<T> = { -readonly [Field in keyof T]: T[Field] };

/** struct ifinfomsg */
function writeLinkHeader(writer: NetlinkWriter, index = 0, flags = 0): void {
  writer.u32(0); // ifi_family, ifi_type
  writer.i32(index);
  writer.u32(flags);
  writer.u32(flags); // ifi_change: which of the flags are meant
}

export function writeLinkDump(writer: NetlinkWriter): void {
  const mark = writer.beginMessage(C.RTM_GETLINK, NLM_F_REQUEST);
  writeLinkHeader(writer);
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
  let info: Pick<Link, "kind" | "vxlan"> = {};
  while (body.nextAttr()) {
    if (body.attrType === C.IFLA_IFNAME) name = body.attrString();
    else if (body.attrType === C.IFLA_MTU) mtu = body.attrU32();
    else if (body.attrType === C.IFLA_LINKINFO) info = readLinkInfo(body.nested());
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
    ...info,
  };
}

/** The kind comes before what belongs to it. */
function readLinkInfo(info: NetlinkReader): Pick<Link, "kind" | "vxlan"> {
  let kind: string | undefined;
  while (info.nextAttr()) {
    if (info.attrType === C.IFLA_INFO_KIND) kind = info.attrString();
    else if (info.attrType === C.IFLA_INFO_DATA && kind === "vxlan") {
      return { kind, vxlan: readVxlan(info.nested()) };
    }
  }
  return kind === undefined ? {} : { kind };
}

function readVxlan(data: NetlinkReader): VxlanSettings {
  const settings: Writable<VxlanSettings> = { vni: 0, port: 0, learning: false, checksum: false };
  while (data.nextAttr()) {
    switch (data.attrType) {
      case C.IFLA_VXLAN_ID:
        settings.vni = data.attrU32();
        break;
      case C.IFLA_VXLAN_LINK:
        settings.parent = data.attrU32();
        break;
      case C.IFLA_VXLAN_LOCAL:
        settings.local = readIp(4, data);
        break;
      case C.IFLA_VXLAN_LOCAL6:
        settings.local = readIp(6, data);
        break;
      case C.IFLA_VXLAN_GROUP:
        settings.group = readIp(4, data);
        break;
      case C.IFLA_VXLAN_GROUP6:
        settings.group = readIp(6, data);
        break;
      case C.IFLA_VXLAN_LEARNING:
        settings.learning = data.attrU8() !== 0;
        break;
      case C.IFLA_VXLAN_PORT:
        settings.port = data.attrU16Be();
        break;
      case C.IFLA_VXLAN_UDP_CSUM:
        settings.checksum = data.attrU8() !== 0;
        break;
      default:
    }
  }
  return settings;
}

export function writeNewLink(writer: NetlinkWriter, link: NewLink): void {
  const flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
  const mark = writer.beginMessage(C.RTM_NEWLINK, flags);
  writeLinkHeader(writer);
  writer.attrString(C.IFLA_IFNAME, link.name);
  writer.attrU32(C.IFLA_MTU, link.mtu);
  if (link.mac !== undefined) writer.attrBytes(C.IFLA_ADDRESS, macBytes(link.mac));
  const info = writer.beginNested(C.IFLA_LINKINFO);
  writer.attrString(C.IFLA_INFO_KIND, link.kind);
  if (link.vxlan !== undefined) writeVxlan(writer, link.vxlan);
  writer.endNested(info);
  writer.endMessage(mark);
}

function writeVxlan(writer: NetlinkWriter, settings: VxlanSettings): void {
  const { checksum, group, learning, local, parent, port, vni } = settings;
  const data = writer.beginNested(C.IFLA_INFO_DATA);
  writer.attrU32(C.IFLA_VXLAN_ID, vni);
  if (parent !== undefined) writer.attrU32(C.IFLA_VXLAN_LINK, parent);
  writeEither(writer, local, C.IFLA_VXLAN_LOCAL, C.IFLA_VXLAN_LOCAL6);
  writeEither(writer, group, C.IFLA_VXLAN_GROUP, C.IFLA_VXLAN_GROUP6);
  writer.attrU8(C.IFLA_VXLAN_LEARNING, learning ? 1 : 0);
  writer.attrU16Be(C.IFLA_VXLAN_PORT, port);
  writer.attrU8(C.IFLA_VXLAN_UDP_CSUM, checksum ? 1 : 0);
  writer.endNested(data);
}

function writeEither(writer: NetlinkWriter, ip: Ip | undefined, v4: number, v6: number): void {
  if (ip !== undefined) writer.attrBytes(ip.family === 4 ? v4 : v6, ipBytes(ip));
}

export function writeLinkChange(
  writer: NetlinkWriter,
  { index, up, mtu, mac }: Extract<RouteChange, { readonly kind: "setLink" }>,
): void {
  const mark = writer.beginMessage(C.RTM_NEWLINK, NLM_F_REQUEST);
  writeLinkHeader(writer, index, up === true ? C.IFF_UP : 0);
  if (mtu !== undefined) writer.attrU32(C.IFLA_MTU, mtu);
  if (mac !== undefined) writer.attrBytes(C.IFLA_ADDRESS, macBytes(mac));
  writer.endMessage(mark);
}

export function writeLinkDeletion(writer: NetlinkWriter, index: number): void {
  const mark = writer.beginMessage(C.RTM_DELLINK, NLM_F_REQUEST);
  writeLinkHeader(writer, index);
  writer.endMessage(mark);
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
  const prefixLen = body.u8();
  body.skip(2);
  const ifindex = body.i32();
  if (family === undefined) return undefined;
  let address: Ip | undefined;
  let local: Ip | undefined;
  while (body.nextAttr()) {
    if (body.attrType === C.IFA_ADDRESS) address = readIp(family, body);
    else if (body.attrType === C.IFA_LOCAL) local = readIp(family, body);
  }
  const own = local ?? address;
  return own === undefined ? undefined : { ifindex, address: own, prefixLen };
}

export function writeAddress(
  writer: NetlinkWriter,
  verb: "add" | "delete",
  { address, ifindex, prefixLen }: InterfaceAddress,
): void {
  const [type, flags] =
    verb === "add" ? [C.RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE] : [C.RTM_DELADDR, 0];
  const mark = writer.beginMessage(type, NLM_F_REQUEST | flags);
  writer.u8(addressFamily(address.family));
  writer.u8(prefixLen);
  writer.u8(address.family === 6 ? C.IFA_F_NODAD : 0);
  writer.u8(C.RT_SCOPE_UNIVERSE);
  writer.i32(ifindex);
  writer.attrBytes(C.IFA_LOCAL, ipBytes(address));
  writer.attrBytes(C.IFA_ADDRESS, ipBytes(address));
  writer.endMessage(mark);
}
