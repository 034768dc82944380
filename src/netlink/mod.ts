export { NetlinkReader, readMessages, type NetlinkMessage } from "./reader.ts";
export { NetlinkWriter, type Mark } from "./writer.ts";
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
export { claimNetworkNamespace, type Claim } from "./claim.ts";
export { enterNetworkNamespace, enterNewNetworkNamespace } from "./netns.ts";
export { openPipe, type Pipe } from "./pipe.ts";
export { openConntrack, type ConntrackKernel } from "./conntrack/kernel.ts";
export {
  NUD_PERMANENT,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_LOCAL,
  RTN_UNICAST,
  RTPROT_BIRD,
  RTPROT_BOOT,
  RTPROT_KERNEL,
  RTPROT_RA,
} from "./route/constants.ts";
export { FakeRouteKernel } from "./route/fake.ts";
export { openRouteKernel, type RouteKernel } from "./route/kernel.ts";
export type {
  ForwardingEntry,
  InterfaceAddress,
  Link,
  Neighbour,
  NewLink,
  Route,
  RouteChange,
  RouteEvent,
  VxlanSettings,
} from "./route/types.ts";
export { FakeNftKernel, FakeNftTable, type FakeNftSet } from "./nft/fake-table.ts";
export { openNftTable, type NftTableOptions } from "./nft/kernel-table.ts";
export type { NftApplyResult, NftCounts, NftTable } from "./nft/table.ts";
export type {
  ChainHook,
  CmpOp,
  CtKey,
  Expr,
  KeyType,
  MetaKey,
  NatPorts,
  NftChain,
  NftElement,
  NftRule,
  NftSet,
  PackedBytes,
  PayloadBase,
  Reg,
  Verdict,
} from "./nft/types.ts";
export { packBytes } from "./nft/types.ts";
