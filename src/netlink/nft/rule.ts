/**
 * A rule as one string of bytes (code units 0–255): its expressions and its comment, ready to be put
 * in a message and at the same time the value by which rules are compared. A ruleset held this way
 * takes a fraction of the memory of expression objects.
 */
import type { NetlinkReader } from "../reader.ts";
import { NetlinkWriter } from "../writer.ts";
import {
  NFTA_EXPR,
  NFTA_LIST_ELEM,
  NFTA_RULE,
  UDATA_COMMENT_MAX,
  UDATA_RULE_COMMENT,
} from "./constants.ts";
import { decodeExprs } from "./expr-decode.ts";
import { encodeExprs } from "./expr-encode.ts";
import type { NftRule } from "./types.ts";

export type RuleBytes = string;

/** A rule in the kernel that this program never writes; equal to none of ours. */
const FOREIGN_RULE: RuleBytes = "foreign";

const scratch = new NetlinkWriter(1024);

export function encodeRule(rule: NftRule): RuleBytes {
  scratch.reset();
  const exprs = scratch.beginNested(NFTA_RULE.exprs);
  encodeExprs(scratch, rule.exprs);
  scratch.endNested(exprs);
  if (rule.comment !== undefined && rule.comment !== "") {
    scratch.attrBytes(NFTA_RULE.userdata, commentTriple(UDATA_RULE_COMMENT, rule.comment));
  }
  return scratch.latin1Since(0);
}

/** Reads NEWRULE's attributes; the comparison form of what the kernel has. */
export function decodeRule(exprs: NetlinkReader | undefined, comment: string): RuleBytes {
  const decoded = exprs === undefined ? [] : decodeExprs(exprs);
  return decoded === undefined ? FOREIGN_RULE : encodeRule({ exprs: decoded, comment });
}

/** Type, length, text, NUL; cut at a character's end so that it fits in what nft reads. */
export function commentTriple(type: number, comment: string): Uint8Array {
  let text = Buffer.from(comment.replaceAll("\0", ""));
  if (text.length >= UDATA_COMMENT_MAX) {
    let end = UDATA_COMMENT_MAX - 1;
    // 10xxxxxx continues a character (RFC 3629).
    while (((text[end] ?? 0) & 0xc0) === 0x80) end--;
    text = text.subarray(0, end);
  }
  return Buffer.concat([Uint8Array.of(type, text.length + 1), text, Uint8Array.of(0)]);
}

/** The comment among user-data triples, or "". */
export function readComment(userdata: Uint8Array, type: number): string {
  for (let at = 0; at + 2 <= userdata.length;) {
    const length = userdata[at + 1] ?? 0;
    if (userdata[at] === type) {
      const text = Buffer.from(userdata.subarray(at + 2, at + 2 + length)).toString();
      return text.replace(/\0+$/u, "");
    }
    at += 2 + length;
  }
  return "";
}

const LOOKUP_NAME = latin1Attr(NFTA_EXPR.name, "lookup");

/** True if the rule looks up the set `name`. May be wrongly true, never wrongly false. */
export function mentionsSet(rule: RuleBytes, name: string): boolean {
  return rule.includes(LOOKUP_NAME) && rule.includes(latin1Attr(NFTA_LIST_ELEM, name));
}

function latin1Attr(type: number, text: string): string {
  scratch.reset();
  scratch.attrString(type, text);
  return scratch.latin1Since(0);
}
