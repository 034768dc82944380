/** What rules do once they match, as the configuration wants it. */
import type { Expr, NftChain } from "#netlink";
import { unreachable } from "#std";
import { acceptMarkBit, passMarkBit, type NftPolicyConfig } from "./config.ts";
import {
  accept,
  counter,
  drop,
  goto,
  IPPROTO,
  notrack,
  protocolIs,
  returnToCaller,
  rule as nftRule,
  setMarkBit,
} from "./exprs.ts";
import { chains } from "./names.ts";

/** syslog's notice, as Felix logs packets. */
const LOG_LEVEL_NOTICE = 5;
/** uapi/linux/netfilter/nf_tables.h, enum nft_reject_inet_code: port unreachable. */
const NFT_REJECT_ICMPX_PORT_UNREACH = 1;
/** NF_LOG_PREFIXLEN less its NUL, uapi/linux/netfilter/nf_log.h. */
const MAX_LOG_PREFIX = 127;

/** What `%t`, `%k`, `%n` and `%p` in LogPrefix stand for. */
export interface LogSubject {
  readonly tier: string;
  readonly kind: string;
  readonly name: string;
  /** `namespace/name`, or the name of what has no namespace. */
  readonly fullName: string;
}

const NO_SUBJECT: LogSubject = { tier: "", kind: "unknown", name: "unknown", fullName: "unknown" };

export function allowExprs(): Expr[] {
  return [counter, accept];
}

/** Past conntrack, and past the host's other policy. */
export function allowUntrackedExprs(config: NftPolicyConfig): Expr[] {
  return [counter, notrack, ...setMarkBit(acceptMarkBit(config)), accept];
}

/** Past the host's other policy. */
export function allowPreDnatExprs(config: NftPolicyConfig): Expr[] {
  return [counter, ...setMarkBit(acceptMarkBit(config)), accept];
}

/** Needs `rejectChains`. */
export const reject: Expr = goto(chains.reject);

/** TCP gets a reset, which ends a connection attempt at once; all else ICMP port unreachable. */
export function rejectChains(config: NftPolicyConfig): NftChain[] {
  if (config.denyAction !== "Reject" && config.serviceLoopPrevention !== "Reject") return [];
  const reset: Expr = { type: "reject", rejectType: "tcp-rst", code: 0 };
  const unreachable: Expr = {
    type: "reject",
    rejectType: "icmpx-unreach",
    code: NFT_REJECT_ICMPX_PORT_UNREACH,
  };
  const rules = [nftRule([...protocolIs(IPPROTO.tcp), reset]), nftRule([unreachable])];
  return [{ name: chains.reject, rules }];
}

/** A drop that policy decided; DropActionOverride may turn it into something else, to debug. */
export function denyExprs(config: NftPolicyConfig, subject: LogSubject = NO_SUBJECT): Expr[] {
  const denial = config.denyAction === "Reject" ? reject : drop;
  switch (config.dropActionOverride) {
    case "Drop":
      return [counter, denial];
    case "Accept":
      return [counter, accept];
    case "LogAndDrop":
      return [counter, logExpr(config, subject), denial];
    case "LogAndAccept":
      return [counter, logExpr(config, subject), accept];
    default:
      return unreachable(config.dropActionOverride);
  }
}

/** A drop that no configuration may soften: unknown senders, spoofing, what cannot be enforced. */
export function dropExprs(): Expr[] {
  return [counter, drop];
}

/** Leaves the tier: the bit tells the tier's chain why the policy returned. */
export function passExprs(config: NftPolicyConfig): Expr[] {
  return [counter, ...setMarkBit(passMarkBit(config)), returnToCaller];
}

export function logExprs(config: NftPolicyConfig, subject: LogSubject): Expr[] {
  const limit = config.logActionRateLimit;
  if (limit === undefined) return [counter, logExpr(config, subject)];
  return [counter, { type: "limit", ...limit }, logExpr(config, subject)];
}

function logExpr(config: NftPolicyConfig, subject: LogSubject): Expr {
  const prefix = config.logPrefix
    .replace(/%[tknp]/g, (specifier) => {
      if (specifier === "%t") return subject.tier;
      if (specifier === "%k") return subject.kind;
      return specifier === "%n" ? subject.name : subject.fullName;
    })
    .replace(/[^ !#-[\]-~]/g, "?");
  return {
    type: "log",
    prefix: `${prefix.slice(0, MAX_LOG_PREFIX - 2)}: `,
    level: LOG_LEVEL_NOTICE,
  };
}
