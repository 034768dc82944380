/** Address families and addresses as rtnetlink has them. */
import { ipFromBytes, makeIp, type Ip, type IpFamily } from "#ip";
import type { NetlinkReader } from "../reader.ts";
import * as C from "./constants.ts";

export const MAC_LENGTH = 6;

export function addressFamily(family: IpFamily): number {
  return family === 4 ? C.AF_INET : C.AF_INET6;
}

export function ipFamily(af: number): IpFamily | undefined {
  if (af === C.AF_INET) return 4;
  return af === C.AF_INET6 ? 6 : undefined;
}

/** Without a copy for IPv4: a table may hold tens of thousands. */
export function readIp(family: IpFamily, reader: NetlinkReader): Ip {
  return family === 4 ? makeIp(4, reader.attrI32Be()) : ipFromBytes(6, reader.attrBytes(16));
}

export function unspecified(family: IpFamily): Ip {
  return ipFromBytes(family, new Uint8Array(family === 4 ? 4 : 16));
}
