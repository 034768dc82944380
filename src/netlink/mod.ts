export {
  NetlinkReader,
  NetlinkWriter,
  readMessages,
  type Mark,
  type NetlinkMessage,
} from "./bytes.ts";
export {
  errnoOf,
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  NetlinkSocket,
  refusalError,
  type NetlinkAnswer,
  type NetlinkEvent,
  type NetlinkRefusal,
  type NetlinkSocketOptions,
} from "./socket.ts";
export { enterNetworkNamespace } from "./netns.ts";
export { openNftTable, type NftTableOptions } from "./nft/kernelTable.ts";
export type { NftApplyResult, NftTable } from "./nft/table.ts";
export type {
  ChainHook,
  CmpOp,
  CtKey,
  Expr,
  KeyType,
  MetaKey,
  NftChain,
  NftElement,
  NftRule,
  NftSet,
  PayloadBase,
  Reg,
  Verdict,
} from "./nft/types.ts";
