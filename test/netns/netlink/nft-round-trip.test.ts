/** Every expression, verdict and kind of set comes back from the real kernel as it went down. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { before, describe, it } from "node:test";
import {
  enterNewNetworkNamespace,
  openNftTable,
  type Expr,
  type KeyType,
  type NftChain,
  type NftElement,
  type NftSet,
  type NftTable,
  type Verdict,
} from "#netlink";

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** What is loaded first, the expression, and what a rule needs behind it. */
interface Sample {
  readonly title: string;
  readonly exprs: readonly Expr[];
  /** How nft shows it; empty: not checked. */
  readonly shown?: RegExp;
}

const load = (dreg: number, len = 4): Expr => ({
  type: "payload",
  base: "network",
  offset: 12,
  len,
  dreg,
});

const META = [
  "len",
  "protocol",
  "priority",
  "mark",
  "iif",
  "oif",
  "iifname",
  "oifname",
  "iiftype",
  "nfproto",
  "l4proto",
  "pkttype",
] as const;

const SAMPLES: readonly Sample[] = [
  ...(["link", "network", "transport"] as const).map((base, dreg) => ({
    title: `payload ${base}`,
    exprs: [{ type: "payload", base, offset: 2, len: 2, dreg }] as const,
  })),
  ...Array.from({ length: 16 }, (_, dreg) => ({
    title: `register ${dreg}`,
    exprs: [load(dreg), { type: "cmp", op: "eq", sreg: dreg, data: bytes(1, 2, 3, 4) }] as const,
  })),
  ...META.map((key) => ({
    title: `meta ${key}`,
    exprs: [{ type: "meta", key, dreg: 0 }] as const,
  })),
  ...(["mark", "priority", "pkttype"] as const).map((key) => ({
    title: `set meta ${key}`,
    exprs: [
      { type: "immediate", dreg: 2, data: key === "pkttype" ? bytes(1) : u32(7) },
      { type: "metaSet", key, sreg: 2 },
    ] as const,
  })),
  ...(["state", "direction", "status", "mark"] as const).map((key) => ({
    title: `ct ${key}`,
    exprs: [{ type: "ct", key, dreg: 3 }] as const,
  })),
  ...(["eq", "neq", "lt", "lte", "gt", "gte"] as const).flatMap((op) =>
    [1, 2, 4, 6, 16].map((len) => ({
      title: `cmp ${op} of ${len} bytes`,
      exprs: [
        load(4, len),
        { type: "cmp", op, sreg: 4, data: new Uint8Array(len).fill(0xa5) },
      ] as const,
    })),
  ),
  ...(["eq", "neq"] as const).map((op) => ({
    title: `range ${op}`,
    exprs: [
      load(0, 2),
      { type: "range", op, sreg: 0, from: bytes(0, 80), to: bytes(1, 0) },
    ] as const,
  })),
  ...[4, 8, 16].map((len) => ({
    title: `bitwise of ${len} bytes`,
    exprs: [
      load(0, len),
      {
        type: "bitwise",
        sreg: 0,
        dreg: 4,
        len,
        mask: new Uint8Array(len).fill(0xf0),
        xor: new Uint8Array(len).fill(len === 8 ? 1 : 0),
      },
    ] as const,
  })),
  { title: "lookup", exprs: [load(0), { type: "lookup", set: "s", sreg: 0 }] },
  {
    title: "lookup inverted",
    exprs: [load(0), { type: "lookup", set: "s", sreg: 0, invert: true }],
  },
  { title: "lookup of data", exprs: [load(0), { type: "lookup", set: "m", sreg: 0, dreg: 5 }] },
  {
    title: "lookup of a verdict",
    exprs: [load(0), { type: "lookup", set: "v", sreg: 0, dreg: "verdict" }],
  },
  { title: "fib", exprs: [{ type: "fib", flags: 1 | 8, result: "oif", dreg: 0, present: true }] },
  { title: "fib name", exprs: [{ type: "fib", flags: 2, result: "oifname", dreg: 0 }] },
  { title: "fib type", exprs: [{ type: "fib", flags: 2, result: "addrtype", dreg: 0 }] },
  {
    title: "exthdr",
    exprs: [{ type: "exthdr", headerType: 44, offset: 2, len: 2, dreg: 0 }],
  },
  {
    title: "exthdr present",
    exprs: [{ type: "exthdr", headerType: 44, offset: 0, len: 1, dreg: 0, present: true }],
  },
  { title: "counter", exprs: [{ type: "counter" }], shown: /counter packets 0 bytes 0/u },
  {
    title: "limit",
    exprs: [{ type: "limit", rate: 5, unitSeconds: 1, burst: 9 }],
    shown: /limit rate 5\/second burst 9 packets/u,
  },
  {
    title: "limit with the default burst",
    exprs: [{ type: "limit", rate: 5, unitSeconds: 60, burst: 0 }],
    shown: /limit rate 5\/minute/u,
  },
  {
    title: "limit over",
    exprs: [{ type: "limit", rate: 5, unitSeconds: 3600, burst: 5, over: true }],
    shown: /limit rate over 5\/hour/u,
  },
  { title: "log", exprs: [{ type: "log", prefix: "a b: " }], shown: /log prefix "a b: "/u },
  {
    title: "log at a level",
    exprs: [{ type: "log", prefix: "x", level: 6 }],
    shown: /level info/u,
  },
  {
    title: "log to a group",
    exprs: [{ type: "log", prefix: "x", group: 3, snaplen: 64 }],
    shown: /group 3 snaplen 64/u,
  },
  { title: "log to a group, whole", exprs: [{ type: "log", prefix: "", group: 0 }] },
  {
    title: "reject with icmpx",
    exprs: [{ type: "reject", rejectType: "icmpx-unreach", code: 3 }],
    shown: /reject with icmpx admin-prohibited/u,
  },
  {
    title: "reject with icmp",
    exprs: [
      { type: "meta", key: "nfproto", dreg: 0 },
      { type: "cmp", op: "eq", sreg: 0, data: bytes(2) },
      { type: "reject", rejectType: "icmp-unreach", code: 1 },
    ],
  },
  {
    title: "reject with reset",
    exprs: [
      { type: "meta", key: "l4proto", dreg: 0 },
      { type: "cmp", op: "eq", sreg: 0, data: bytes(6) },
      { type: "reject", rejectType: "tcp-rst", code: 0 },
    ],
    shown: /reject with tcp reset/u,
  },
  ...(
    [
      { kind: "accept" },
      { kind: "drop" },
      { kind: "return" },
      { kind: "continue" },
      { kind: "jump", chain: "target" },
      { kind: "goto", chain: "target" },
    ] satisfies Verdict[]
  ).map((verdict) => ({
    title: verdict.kind,
    exprs: [{ type: "verdict", verdict }] as const,
    shown: new RegExp(verdict.kind, "u"),
  })),
];

const RAW: readonly Sample[] = [
  { title: "notrack", exprs: [{ type: "notrack" }], shown: /notrack/u },
];
/** For a protocol that has ports: nft shows the range only behind one. */
const PORTS_1000_TO_2000: readonly Expr[] = [
  { type: "meta", key: "l4proto", dreg: 0 },
  { type: "cmp", op: "eq", sreg: 0, data: bytes(6) },
  { type: "immediate", dreg: 1, data: bytes(0x03, 0xe8) },
  { type: "immediate", dreg: 2, data: bytes(0x07, 0xd0) },
];
const NAT: readonly Sample[] = [
  { title: "masq", exprs: [{ type: "masq" }], shown: /masquerade/u },
  {
    title: "masq at random",
    exprs: [{ type: "masq", fullyRandom: true }],
    shown: /masquerade fully-random/u,
  },
  {
    title: "masq with ports",
    exprs: [...PORTS_1000_TO_2000, { type: "masq", ports: { min: 1, max: 2 } }],
    shown: /masquerade to :1000-2000/u,
  },
  {
    title: "snat at random",
    exprs: [
      { type: "immediate", dreg: 0, data: bytes(1, 2, 3, 4) },
      { type: "nat", kind: "snat", family: 4, address: 0, fullyRandom: true },
    ],
    shown: /snat ip to 1\.2\.3\.4 fully-random/u,
  },
  {
    title: "snat with ports",
    exprs: [
      ...PORTS_1000_TO_2000,
      { type: "immediate", dreg: 0, data: bytes(1, 2, 3, 4) },
      { type: "nat", kind: "snat", family: 4, address: 0, ports: { min: 1, max: 2 } },
    ],
    shown: /snat ip to 1\.2\.3\.4:1000-2000/u,
  },
  {
    title: "snat by map",
    exprs: [
      { type: "meta", key: "nfproto", dreg: 0 },
      { type: "cmp", op: "eq", sreg: 0, data: bytes(10) },
      { type: "payload", base: "network", offset: 8, len: 16, dreg: 0 },
      { type: "lookup", set: "address6", sreg: 0, dreg: 0 },
      { type: "nat", kind: "snat", family: 6, address: 0 },
    ],
    shown: /snat ip6 to ip6 saddr map @address6/u,
  },
];
const DNAT: readonly Sample[] = [
  {
    title: "dnat by map",
    exprs: [
      { type: "meta", key: "nfproto", dreg: 0 },
      { type: "cmp", op: "eq", sreg: 0, data: bytes(2) },
      { type: "payload", base: "network", offset: 16, len: 4, dreg: 0 },
      { type: "lookup", set: "address4", sreg: 0, dreg: 0 },
      { type: "nat", kind: "dnat", family: 4, address: 0 },
    ],
    shown: /dnat ip to ip daddr map @address4/u,
  },
];

const chainOf = (name: string, samples: readonly Sample[], hook?: NftChain["hook"]): NftChain => ({
  name,
  ...(hook === undefined ? {} : { hook }),
  rules: samples.map(({ title, exprs }) => ({ exprs, comment: title })),
});

const SETS: readonly { readonly set: NftSet; readonly elements: readonly NftElement[] }[] = [
  {
    set: { name: "s", key: ["ipv4_addr"], comment: "a set" },
    elements: [{ key: bytes(9, 8, 7, 6) }],
  },
  {
    set: { name: "m", key: ["ipv4_addr"], data: "mark" },
    elements: [{ key: bytes(255, 1, 1, 1), data: u32(0xdeadbeef) }],
  },
  {
    set: { name: "address4", key: ["ipv4_addr"], data: "ipv4_addr" },
    elements: [{ key: bytes(192, 0, 2, 1), data: bytes(10, 65, 0, 1) }],
  },
  {
    set: { name: "address6", key: ["ipv6_addr"], data: "ipv6_addr" },
    elements: [
      { key: bytes(0x20, 1, ...new Uint8Array(14)), data: bytes(0xfd, ...new Uint8Array(15)) },
    ],
  },
  {
    set: { name: "net_address6", key: ["ipv4_addr"], data: "ipv6_addr", interval: true },
    elements: [
      {
        key: bytes(10, 0, 0, 0),
        end: bytes(11, 0, 0, 0),
        data: bytes(0xfd, ...new Uint8Array(15)),
      },
    ],
  },
  {
    set: { name: "v", key: ["ipv4_addr"], data: "verdict" },
    elements: [
      { key: bytes(1, 1, 1, 1), data: { kind: "drop" } },
      { key: bytes(1, 1, 1, 2), data: { kind: "jump", chain: "target" } },
    ],
  },
  ...(
    [
      ["ipv4_addr", 4],
      ["ipv6_addr", 16],
      ["ether_addr", 6],
      ["inet_proto", 1],
      ["inet_service", 2],
      ["ifname", 16],
      ["mark", 4],
      ["icmp_type", 1],
      ["icmpv6_type", 1],
    ] satisfies [KeyType, number][]
  ).map(([type, len]) => ({
    set: { name: `key_${type}`, key: [type] },
    elements: [1, 2, 3].map((n) => ({
      key: new Uint8Array(len).fill(0x41 + n, 0, Math.min(len, 15)),
    })),
  })),
  {
    set: {
      name: "concat",
      key: ["ipv6_addr", "inet_proto", "inet_service", "mark"],
      data: "verdict",
    },
    elements: [
      {
        key: bytes(...Array.from({ length: 16 }, (_, i) => i), 6, 0, 0, 0, 0, 80, 0, 0, 1, 0, 0, 0),
        data: { kind: "goto", chain: "target" },
      },
    ],
  },
  {
    set: { name: "nets4", key: ["ipv4_addr"], interval: true },
    elements: [
      { key: bytes(0, 0, 0, 0), end: bytes(1, 0, 0, 0) },
      { key: bytes(10, 0, 0, 0), end: bytes(10, 0, 0, 1) },
      { key: bytes(10, 0, 0, 1), end: bytes(10, 0, 1, 0) },
      { key: bytes(192, 168, 0, 0), end: bytes(192, 169, 0, 0) },
      { key: bytes(224, 0, 0, 0) },
    ],
  },
  {
    set: { name: "nets6", key: ["ipv6_addr"], interval: true },
    elements: [
      {
        key: bytes(0x20, 1, ...new Uint8Array(14)),
        end: bytes(0x20, 2, ...new Uint8Array(14)),
      },
      { key: bytes(0xff, ...new Uint8Array(15)) },
    ],
  },
  {
    set: { name: "all4", key: ["ipv4_addr"], interval: true },
    elements: [{ key: bytes(0, 0, 0, 0) }],
  },
  {
    set: { name: "ports", key: ["inet_service"], interval: true, data: "mark" },
    elements: [
      { key: bytes(0, 10), end: bytes(0, 20), data: u32(1) },
      { key: bytes(0, 20), end: bytes(0, 21), data: u32(2) },
    ],
  },
  {
    set: { name: "net_verdicts", key: ["ipv4_addr"], interval: true, data: "verdict" },
    elements: [
      { key: bytes(10, 0, 0, 0), end: bytes(11, 0, 0, 0), data: { kind: "goto", chain: "target" } },
      { key: bytes(11, 0, 0, 0), end: bytes(12, 0, 0, 0), data: { kind: "accept" } },
    ],
  },
  {
    set: { name: "net_ports", key: ["ipv4_addr", "inet_service"], interval: true },
    elements: [
      { key: bytes(10, 0, 0, 0, 0, 80, 0, 0), end: bytes(10, 255, 255, 255, 0, 90, 0, 0) },
      { key: bytes(11, 0, 0, 0, 0, 80, 0, 0) },
    ],
  },
  {
    set: { name: "proto_ports", key: ["inet_proto", "inet_service"], interval: true, data: "mark" },
    elements: [
      { key: bytes(6, 0, 0, 0, 0, 80, 0, 0), end: bytes(6, 0, 0, 0, 1, 0, 0, 0), data: u32(5) },
    ],
  },
];

function declare(table: NftTable): void {
  for (const { set, elements } of SETS) table.setSet(set, elements);
  table.setChain({ name: "target", rules: [] });
  table.setChain(chainOf("samples", SAMPLES));
  table.setChain(
    chainOf("raw", RAW, { type: "filter", hook: "prerouting", priority: -300, policy: "accept" }),
  );
  table.setChain(
    chainOf("nat", NAT, { type: "nat", hook: "postrouting", priority: 100, policy: "accept" }),
  );
  table.setChain(
    chainOf("dnat", DNAT, { type: "nat", hook: "prerouting", priority: -100, policy: "accept" }),
  );
  for (const hook of ["input", "forward", "output"] as const) {
    table.setChain(chainOf(hook, [], { type: "filter", hook, priority: 1, policy: "drop" }));
  }
}

describe("nf_tables round trip", { skip: process.getuid?.() !== 0 && "needs root" }, () => {
  before(() => enterNewNetworkNamespace());

  it("reads back what it wrote, for every expression and kind of set", async () => {
    using first = new DisposableTable();
    declare(first.table);
    await first.table.apply();
    using second = new DisposableTable();
    // Chain by chain and set by set, so that a failure names what does not come back.
    declare(second.table);
    assert.equal((await second.table.apply()).messages, 0);
  });

  it("is shown by nft with types, names and comments", async () => {
    const text = execFileSync("nft", ["list", "table", "inet", "round"], { encoding: "utf8" });
    for (const { title, shown } of [...SAMPLES, ...RAW, ...NAT, ...DNAT]) {
      const line = text.split("\n").find((each) => each.includes(`comment "${title}"`));
      assert.ok(line !== undefined, `no rule "${title}"`);
      if (shown !== undefined) assert.match(line, shown);
    }
    for (const shown of [
      "type ipv4_addr : mark",
      "type ipv4_addr : verdict",
      "192.0.2.1 : 10.65.0.1",
      "2001:: : fd00::",
      "type ipv6_addr . inet_proto . inet_service . mark : verdict",
      "type ether_addr",
      'comment "a set"',
      "0.0.0.0/8",
      "192.168.0.0/16",
      "224.0.0.0",
      "10.0.0.0/8 . 80-90",
      "type filter hook output priority filter + 1; policy drop;",
    ]) {
      assert.ok(text.includes(shown), `nft does not show ${shown}:\n${text}`);
    }
  });

  it("covers every type of expression", async () => {
    const seen = new Set(
      [...SAMPLES, ...RAW, ...NAT, ...DNAT].flatMap(({ exprs }) => exprs.map((e) => e.type)),
    );
    const all: Record<Expr["type"], true> = {
      payload: true,
      meta: true,
      metaSet: true,
      ct: true,
      cmp: true,
      range: true,
      bitwise: true,
      lookup: true,
      immediate: true,
      verdict: true,
      fib: true,
      exthdr: true,
      counter: true,
      limit: true,
      log: true,
      notrack: true,
      masq: true,
      nat: true,
      reject: true,
    };
    assert.deepEqual([...seen].sort(), Object.keys(all).sort());
  });
});

class DisposableTable {
  readonly table = openNftTable({ family: "inet", name: "round" });
  [Symbol.dispose](): void {
    this.table.close();
  }
}
