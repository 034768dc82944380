/** Names and numbers of uapi/linux/netfilter/nf_tables.h and nfnetlink.h that this codec uses. */

/** nfgenmsg.nfgen_family */
export const FAMILY_NUMBERS = { inet: 1, ip: 2, ip6: 10, arp: 3, bridge: 7, netdev: 5 } as const;
export type NftFamily = keyof typeof FAMILY_NUMBERS;

const NFNL_SUBSYS_NFTABLES = 10;
export const NFNL_SUBSYS = NFNL_SUBSYS_NFTABLES;
export const NFNL_MSG_BATCH_BEGIN = 0x10;
export const NFNL_MSG_BATCH_END = 0x11;
export const NFNL_BATCH_GENID = 1;
/** Multicast group of ruleset changes (enum nfnetlink_groups). */
export const NFNLGRP_NFTABLES = 7;

/** enum nf_tables_msg_types, with the subsystem in the high byte as in nlmsg_type. */
const message = (number: number): number => (NFNL_SUBSYS_NFTABLES << 8) | number;
export const NEWTABLE = message(0);
export const GETTABLE = message(1);
export const NEWCHAIN = message(3);
export const GETCHAIN = message(4);
export const DELCHAIN = message(5);
export const NEWRULE = message(6);
export const GETRULE = message(7);
export const DELRULE = message(8);
export const NEWSET = message(9);
export const GETSET = message(10);
export const DELSET = message(11);
export const NEWSETELEM = message(12);
export const GETSETELEM = message(13);
export const DELSETELEM = message(14);
export const NEWGEN = message(15);
export const GETGEN = message(16);
export const GETOBJ = message(19);
export const DELOBJ = message(20);

export const NFTA_LIST_ELEM = 1;
/** The table's name: the same number in tables, chains, rules, sets, elements and objects. */
export const NFTA_TABLE = 1;
export const NFTA_GEN_ID = 1;

export const NFTA_CHAIN = { handle: 2, name: 3, hook: 4, policy: 5, type: 7 } as const;
export const NFTA_HOOK = { num: 1, priority: 2 } as const;
export const NF_DROP = 0;
export const NF_ACCEPT = 1;
/** enum nf_inet_hooks */
export const HOOK_NUMBERS = {
  prerouting: 0,
  input: 1,
  forward: 2,
  output: 3,
  postrouting: 4,
} as const;

export const NFTA_RULE = { chain: 2, handle: 3, exprs: 4, position: 6, userdata: 7 } as const;

export const NFTA_SET = {
  name: 2,
  flags: 3,
  keyType: 4,
  keyLen: 5,
  dataType: 6,
  dataLen: 7,
  desc: 9,
  id: 10,
  userdata: 13,
} as const;
export const NFTA_SET_DESC = { size: 1, concat: 2 } as const;
export const NFTA_SET_FIELD_LEN = 1;
export const NFT_SET_ANONYMOUS = 0x1;
export const NFT_SET_INTERVAL = 0x4;
export const NFT_SET_MAP = 0x8;
export const NFT_SET_CONCAT = 0x80;
export const NFT_DATA_VERDICT = 0xffffff00;

export const NFTA_SET_ELEM_LIST = { set: 2, elements: 3 } as const;
export const NFTA_SET_ELEM = { key: 1, data: 2, flags: 3, keyEnd: 10 } as const;
export const NFT_SET_ELEM_INTERVAL_END = 1;
export const NFT_SET_ELEM_CATCHALL = 2;

export const NFTA_OBJ = { name: 2, type: 3 } as const;

export const NFTA_DATA_VALUE = 1;
export const NFTA_DATA_VERDICT = 2;
export const NFTA_VERDICT = { code: 1, chain: 2 } as const;
/** enum nft_verdicts and NF_DROP, NF_ACCEPT */
export const VERDICT_CODES = {
  drop: 0,
  accept: 1,
  continue: -1,
  jump: -3,
  goto: -4,
  return: -5,
} as const;

export const NFTA_EXPR = { name: 1, data: 2 } as const;
export const NFT_REG_VERDICT = 0;
export const NFT_REG32_00 = 8;

/**
 * User data are type, length, value triples that only nft reads (libnftnl's udata.h); the comment
 * of a rule and of a set, and the byte order of a set's key and data.
 */
export const UDATA_RULE_COMMENT = 0;
export const UDATA_SET = { keyByteOrder: 0, dataByteOrder: 1, comment: 7 } as const;
/** Bytes with the closing NUL (NFTNL_UDATA_COMMENT_MAXLEN). */
export const UDATA_COMMENT_MAX = 128;
