/**
 * The frame of netlink bytes: struct nlmsghdr, struct nlattr, padding to four bytes
 * (uapi/linux/netlink.h). The writer and the reader build on it.
 */
import { endianness } from "node:os";

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_ECHO = 0x8;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
/** NLM_F_ROOT | NLM_F_MATCH */
export const NLM_F_DUMP = 0x300;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_HEADER = 16;
export const NLA_HEADER = 4;
export const NLA_F_NESTED = 0x8000;
export const NLA_TYPE_MASK = 0x3fff;
/** nla_len is 16 bits and counts the attribute's header. */
export const NLA_MAX_LENGTH = 0xffff;

export const HOST_LITTLE = endianness() === "LE";

export const pad4 = (length: number): number => (length + 3) & ~3;
