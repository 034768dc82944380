/** Address families and addresses as rtnetlink has them. */
import { ipFromBytes, type Ip, type IpFamily } from "#ip";
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

const scratch = new Uint8Array(4);

/** Without a copy for IPv4: a table may hold tens of thousands. */
export function readIp(family: IpFamily, reader: NetlinkReader): Ip {
  if (family === 6) return ipFromBytes(6, reader.attrBytes(16));
  const word = reader.attrU32Be();
  scratch[0] = word >>> 24;
  scratch[1] = word >>> 16;
  scratch[2] = word >>> 8;
  scratch[3] = word;
  return ipFromBytes(4, scratch);
}

export function unspecified(family: IpFamily): Ip {
  return ipFromBytes(family, new Uint8Array(family === 4 ? 4 : 16));
}
