/** The measurements of `bench/nft.ts`, inside their namespace; prints figures as JSON. */
import { execFileSync, spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { openNftTable, type NftChain, type NftElement, type NftTable } from "#netlink";
import { NETLINK_NETFILTER, NetlinkSocket, NetlinkWriter, packBytes } from "#netlink";
import { NftBatch } from "../../src/netlink/nft/batch.ts";
import { DesiredSet } from "../../src/netlink/nft/desired.ts";
import { NftReader } from "../../src/netlink/nft/readback.ts";
import { encodeRule } from "../../src/netlink/nft/rule.ts";
import { capacityFor } from "../../src/netlink/nft/sets.ts";
import { median, quantile, type Figure } from "../support/figures.ts";

const BULK = 100_000;
const SETS = 2_000;
const MEMBERS = 100;
const CHAINS = 1_000;
const RULES = 10;

const figures: Figure[] = [];

const key = (n: number): Uint8Array =>
  Uint8Array.of(10, (n >>> 16) & 255, (n >>> 8) & 255, n & 255);
const text = (n: number): string => key(n).join(".");
/** Addresses as the policy compiler holds them. */
const elements = (count: number, from = 0): NftElement[] =>
  Array.from({ length: count }, (_, n) => ({ key: packBytes(key(from + n)) }));

async function milliseconds(body: () => unknown): Promise<number> {
  const start = performance.now();
  await body();
  return performance.now() - start;
}

/** Median of `rounds` runs; `undo` is not timed. */
async function repeated(
  rounds: number,
  body: (round: number) => unknown,
  undo?: (round: number) => void,
): Promise<number> {
  const samples: number[] = [];
  for (let round = 0; round < rounds; round++) {
    samples.push(await milliseconds(() => body(round)));
    undo?.(round);
  }
  return median(samples);
}

function nft(commands: string): void {
  const { status, stderr } = spawnSync("nft", ["-f", "-"], { input: commands });
  if (status !== 0) throw new Error(`nft: ${String(stderr)}`);
}

const flush = (): void => nft("flush ruleset");

async function withTable<T>(body: (table: NftTable) => T | Promise<T>): Promise<T> {
  const table = openNftTable({ family: "inet", name: "bench" });
  try {
    return await body(table);
  } finally {
    table.close();
  }
}

/** The same batch as `apply` sends, encoded before the clock starts. */
async function bareKernel(socket: NetlinkSocket, table: string): Promise<number> {
  const set = new DesiredSet({ name: "big", key: ["ipv4_addr"] });
  set.add(elements(BULK));
  const batch = new NftBatch("inet", table, new NetlinkWriter());
  batch.addTable();
  batch.addSet(set.spec, set.layout, capacityFor(set.layout, BULK), true);
  Array.from(batch.addElements("big", set.layout, set.wanted, true));
  const bytes = batch.whole(new NftReader(socket, "inet", table).generation());
  return await milliseconds(() => socket.transactBatch(bytes, batch.items.length));
}

function loadOnce(all: readonly NftElement[]): Promise<number> {
  return withTable((table) =>
    milliseconds(async () => {
      table.setSet({ name: "big", key: ["ipv4_addr"] }, all);
      await table.apply();
    }),
  );
}

/** The longest that the event loop stands still while a large set is programmed, in milliseconds. */
async function bulkStall(): Promise<void> {
  const stalls: number[] = [];
  for (let round = 0; round < 6; round++) {
    const table = openNftTable({ family: "inet", name: "bench" });
    table.setSet({ name: "big", key: ["ipv4_addr"] }, elements(BULK));
    let last = performance.now();
    let longest = 0;
    const tick = (): void => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    };
    const timer = setInterval(tick, 1);
    await table.apply();
    await sleep(3);
    tick();
    clearInterval(timer);
    stalls.push(longest);
    table.close();
    flush();
  }
  const what = "longest stall of the event loop by programming 100,000 addresses";
  figures.push({ what, unit: "ms", ours: median(stalls), target: 10 });
}

async function bulkLoad(): Promise<void> {
  const socket = NetlinkSocket.open({ protocol: NETLINK_NETFILTER, sndBuf: 1 << 26 });
  const all = elements(BULK);
  const ours: number[] = [];
  const kernel: number[] = [];
  const tool: number[] = [];
  const ipset: number[] = [];
  const list = Array.from({ length: BULK }, (_, n) => text(n)).join(",");
  const adds = Array.from({ length: BULK }, (_, n) => `add big ${text(n)}`).join("\n");
  const commands = `table inet bench { set big { type ipv4_addr; elements = { ${list} }\n }\n }`;
  const create = `create big hash:ip maxelem ${BULK * 2}\n`;
  const runs = [
    async () => ours.push(await loadOnce(all)),
    async () => kernel.push(await bareKernel(socket, "bare")),
    async () => tool.push(await milliseconds(() => nft(commands))),
    async () => {
      ipset.push(
        await milliseconds(() => execFileSync("ipset", ["restore"], { input: create + adds })),
      );
      execFileSync("ipset", ["destroy", "big"]);
    },
  ];
  for (let round = 0; round < 6; round++) {
    // In turns, since each leaves memory behind for the next.
    for (let n = 0; n < runs.length; n++) {
      await runs[(n + round) % runs.length]?.();
      flush();
    }
  }
  socket.close();
  const what = "load a set of 100,000 IPv4 addresses";
  const figure = { what, unit: "ms", ours: median(ours) };
  figures.push(
    { ...figure, floor: median(kernel), floorIs: "bare kernel, same batch", target: 120 },
    { ...figure, floor: median(tool), floorIs: "nft -f -" },
    { ...figure, floor: median(ipset), floorIs: "ipset restore" },
  );
}

async function smallDelta(): Promise<void> {
  await withTable(async (table) => {
    table.setSet({ name: "big", key: ["ipv4_addr"] }, elements(BULK));
    await table.apply();
    const one = (round: number): NftElement[] => [{ key: key(BULK + (round & 0xff)) }];
    const step = async (round: number): Promise<void> => {
      if ((round & 1) === 0) table.addElements("big", one(round >> 1));
      else table.removeElements("big", one(round >> 1));
      await table.apply();
    };
    await repeated(20_000, step);
    const ours = (await repeated(20_000, step)) * 1_000;
    const what = "add or remove one address in a set of 100,000";
    const tool = await repeated(20, (n) =>
      nft(`add element inet bench big { ${text(BULK + 500 + n)} }`),
    );
    figures.push({ what, unit: "us", ours, floor: tool * 1_000, floorIs: "nft -f -", target: 20 });
  });
  flush();
}

const ruleOf = (n: number) => ({
  exprs: [
    { type: "payload", base: "network", offset: 12, len: 4, dreg: 0 },
    { type: "cmp", op: "eq", sreg: 0, data: key(n) },
    { type: "counter" },
    { type: "verdict", verdict: { kind: "accept" } },
  ] as const,
});
const chainOf = (name: number, from: number) => ({
  name: `c${name}`,
  rules: Array.from({ length: RULES }, (_, n) => ruleOf(from + n)),
});

async function chainRewrite(): Promise<void> {
  await withTable(async (table) => {
    for (let n = 0; n < CHAINS; n++) table.setChain(chainOf(n, 0));
    await table.apply();
    const rewrite = async (round: number): Promise<void> => {
      table.setChain(chainOf(round % CHAINS, 100 + round));
      await table.apply();
    };
    await repeated(200, rewrite);
    const ours = await repeated(400, rewrite);
    const rules = (round: number): string =>
      Array.from(
        { length: RULES },
        (_, n) => `add rule inet bench c7 ip saddr ${text(n + round)} counter accept`,
      ).join("\n");
    const tool = await repeated(20, (round) => nft(`flush chain inet bench c7\n${rules(round)}`));
    const what = "rewrite a chain of 10 rules among 1,000 chains";
    figures.push({
      what,
      unit: "us",
      ours: ours * 1_000,
      floor: tool * 1_000,
      floorIs: "nft -f -",
    });
  });
  flush();
}

async function manySets(): Promise<void> {
  const build = (table: NftTable): void => {
    for (let n = 0; n < SETS; n++) {
      const range = Array.from({ length: MEMBERS }, (_, m) => ({ key: key(m), end: key(m + 1) }));
      const spaced = range.filter((_, m) => m % 2 === 0);
      table.setSet({ name: `net${n}`, key: ["ipv4_addr"], interval: true }, spaced);
      table.setChain(chainOf(n, 0));
    }
  };
  await withTable(async (table) => {
    build(table);
    const initial = await milliseconds(() => table.apply());
    figures.push({
      what: "first apply of 2,000 CIDR sets of 50 and 2,000 chains of 10 rules",
      unit: "ms",
      ours: initial,
    });
    const one = (n: number): NftElement[] => [{ key: key(1_000 + n), end: key(1_001 + n) }];
    const ours = await repeated(300, async (n) => {
      table.addElements(`net${n % SETS}`, one(2 * n));
      await table.apply();
    });
    const tool = await repeated(5, (n) => nft(`add element inet bench net${n} { 172.16.0.0/12 }`));
    const what = "add one CIDR to one of 2,000 sets";
    figures.push({
      what,
      unit: "us",
      ours: ours * 1_000,
      floor: tool * 1_000,
      floorIs: "nft -f -",
    });
  });
  await withTable(async (table) => {
    build(table);
    await table.apply();
  });
  const samples = await repeated(3, () =>
    withTable(async (table) => {
      build(table);
      if ((await table.apply()).messages !== 0) throw new Error("a restart sent something");
    }),
  );
  const tool = await repeated(3, () =>
    JSON.parse(execFileSync("nft", ["-j", "list", "ruleset"], { maxBuffer: 1 << 28 }).toString()),
  );
  const what = "start again over 2,000 sets and 2,000 chains, nothing to change";
  figures.push({ what, unit: "ms", ours: samples, floor: tool, floorIs: "nft -j list ruleset" });
  flush();
}

async function repair(): Promise<void> {
  const table = openNftTable({ family: "inet", name: "bench" });
  for (let n = 0; n < CHAINS; n++) table.setChain(chainOf(n, 0));
  table.setSet({ name: "big", key: ["ipv4_addr"] }, elements(10_000));
  await table.apply();
  const samples: number[] = [];
  for (let round = 0; round < 10; round++) {
    const repaired = new Promise<number>((resolve) => {
      table.onForeignChange(() => {
        void table.apply().then(() => resolve(performance.now()));
      });
    });
    nft("flush chain inet bench c1");
    const start = performance.now();
    samples.push((await repaired) - start);
  }
  table.close();
  const what = "another program flushes a chain (10,000 rules, 10,000 elements) → repaired";
  figures.push({ what, unit: "ms", ours: median(samples), target: 100 });
  flush();
}

/** As Felix's benchmark has it: each chain's rules look into the chain's set. */
const lookupChain = (name: number, from = 0): NftChain => ({
  name: `c${name}`,
  rules: Array.from({ length: RULES }, (_, n) => ({
    exprs: [
      { type: "payload", base: "network", offset: 12, len: 4, dreg: 0 },
      { type: "lookup", set: `s${name}`, sreg: 0 },
      { type: "payload", base: "network", offset: 16, len: 4, dreg: 0 },
      { type: "cmp", op: "eq", sreg: 0, data: key(from + n) },
      { type: "verdict", verdict: { kind: "accept" } },
    ],
  })),
});

/** All reachable, through a map as from interfaces to chains. */
const dispatch = (): NftChain => ({
  name: "forward",
  hook: { type: "filter", hook: "forward", priority: 0, policy: "accept" },
  rules: [
    {
      exprs: [
        { type: "payload", base: "network", offset: 16, len: 4, dreg: 0 },
        { type: "lookup", set: "dispatch", sreg: 0, dreg: "verdict" },
      ],
    },
  ],
});

function buildFelixTable(table: NftTable): void {
  for (let n = 0; n < SETS; n++) {
    table.setSet({ name: `s${n}`, key: ["ipv4_addr"] }, elements(MEMBERS, n * 7));
    table.setChain(lookupChain(n));
  }
  const dispatched = Array.from({ length: SETS }, (_, n): NftElement => ({
    key: key(n),
    data: { kind: "goto", chain: `c${n}` },
  }));
  table.setSet({ name: "dispatch", key: ["ipv4_addr"], data: "verdict" }, dispatched);
  table.setChain(dispatch());
}

async function felixTable(): Promise<void> {
  const size = "2,000 sets x 100, 2,000 chains x 10 that look into them";
  await withTable(async (table) => {
    buildFelixTable(table);
    const first = await milliseconds(() => table.apply());
    figures.push({ what: `first programming of ${size}`, unit: "ms", ours: first, target: 1_300 });
    const samples: number[] = [];
    for (let round = 0; round < 2_200; round++) {
      const one = [{ key: key(10_000_000 + (round >> 1)) }];
      const set = `s${(round >> 1) % SETS}`;
      const change = async (): Promise<void> => {
        if ((round & 1) === 0) table.addElements(set, one);
        else table.removeElements(set, one);
        await table.apply();
      };
      const took = (await milliseconds(change)) * 1_000;
      if (round >= 200) samples.push(took);
    }
    const tool =
      (await repeated(5, (n) => nft(`add element inet bench s${n} { 172.16.0.1 }`))) * 1_000;
    const figure = { unit: "us", floor: tool, floorIs: "nft -f -" };
    const what = "one member in or out of that table";
    figures.push(
      { ...figure, what: `${what}, p50`, ours: median(samples), target: 60 },
      { ...figure, what: `${what}, p99`, ours: quantile(samples, 0.99), target: 1_000 },
    );
    await rewriteBesideKernel(table);
  });
  await withTable(async (table) => {
    buildFelixTable(table);
    await table.apply();
  });
  // What is wanted was put together before; the apply reads all back and compares.
  const resyncs: number[] = [];
  for (let round = 0; round < 5; round++) {
    await withTable(async (table) => {
      buildFelixTable(table);
      let messages = 0;
      resyncs.push(await milliseconds(async () => ({ messages } = await table.apply())));
      if (messages !== 0) throw new Error("a resync sent something");
    });
  }
  const list = await repeated(1, () =>
    execFileSync("nft", ["-j", "list", "ruleset"], { maxBuffer: 1 << 30 }),
  );
  figures.push({
    what: "resync of that table: read back, compare, nothing to send",
    unit: "ms",
    ours: median(resyncs),
    floor: list,
    floorIs: "nft -j list ruleset",
    target: 450,
  });
  flush();
}

/** In turns: what the kernel is given beneath the table is repaired before the next round. */
async function rewriteBesideKernel(table: NftTable): Promise<void> {
  const socket = NetlinkSocket.open({ protocol: NETLINK_NETFILTER, sndBuf: 1 << 26 });
  const reader = new NftReader(socket, "inet", "bench");
  const ours: number[] = [];
  const kernel: number[] = [];
  for (let round = 0; round < 4; round++) {
    for (let n = 0; n < 60; n++) {
      const took = await milliseconds(async () => {
        table.setChain(lookupChain(n, 1_000 + round));
        await table.apply();
      });
      if (n >= 10) ours.push(took);
    }
    for (let n = 0; n < 60; n++) {
      const batch = new NftBatch("inet", "bench", new NetlinkWriter());
      batch.deleteRule(`c${n}`);
      for (const rule of lookupChain(n, 2_000 + round).rules) {
        batch.addRule(`c${n}`, encodeRule(rule), false);
      }
      const bytes = batch.whole(reader.generation(), true);
      const took = await milliseconds(() => {
        const { refusals } = socket.transactBatch(bytes, batch.items.length);
        if (refusals.length > 0) throw new Error(`refused: ${refusals[0]?.errno ?? ""}`);
      });
      if (n >= 10) kernel.push(took);
    }
    await table.apply();
  }
  socket.close();
  figures.push({
    what: "one chain of that table rewritten",
    unit: "us",
    ours: median(ours) * 1_000,
    floor: median(kernel) * 1_000,
    floorIs: "bare kernel, same messages",
    targetRatio: 1.3,
  });
}

await bulkLoad();
await bulkStall();
await smallDelta();
await felixTable();
await chainRewrite();
await manySets();
await repair();
process.stdout.write(JSON.stringify(figures));
