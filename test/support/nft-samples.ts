/** Small rulesets that the tests of nf_tables share. */
import type { Expr, NftChain, NftElement, NftRule } from "#netlink";

const ipv4 = (text: string): Uint8Array => Uint8Array.from(text.split(".").map(Number));

export const ifname = (name: string): Uint8Array => {
  const bytes = new Uint8Array(16);
  bytes.set(Buffer.from(name));
  return bytes;
};

export const mark = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

export const addresses = (...texts: string[]): NftElement[] =>
  texts.map((text) => ({ key: ipv4(text) }));

export const range = (from: string, end?: string): NftElement => ({
  key: ipv4(from),
  ...(end === undefined ? {} : { end: ipv4(end) }),
});

const loadSource: Expr = {
  type: "payload",
  base: "network",
  offset: 12,
  len: 4,
  dreg: 0,
};

const rule = (comment: string, ...exprs: Expr[]): NftRule => ({
  comment,
  exprs: [...exprs, { type: "counter" }],
});

export const accept = (comment: string): NftRule =>
  rule(comment, { type: "verdict", verdict: { kind: "accept" } });

export const jump = (comment: string, chain: string): NftRule => ({
  comment,
  exprs: [{ type: "verdict", verdict: { kind: "jump", chain } }],
});

export const lookup = (comment: string, set: string): NftRule =>
  rule(comment, loadSource, { type: "lookup", set, sreg: 0 });

export const chain = (name: string, ...rules: NftRule[]): NftChain => ({ name, rules });

export const forward = (...rules: NftRule[]): NftChain => ({
  name: "forward",
  hook: { type: "filter", hook: "forward", priority: 0, policy: "accept" },
  rules,
});
