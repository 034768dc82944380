/** One suite for the table over the kernel and for the fake: what holds for one holds for both. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import {
  enterNewNetworkNamespace,
  errnoOf,
  FakeNftKernel,
  FakeNftTable,
  openNftTable,
  type NftTable,
} from "#netlink";
import { MargayError } from "#std";
import {
  accept,
  addresses,
  chain,
  forward,
  ifname,
  jump,
  lookup,
  mark,
  range,
} from "../../support/nft-samples.ts";

/** What another program sees of a table: rules by comment, sets by number of elements. */
interface Observed {
  readonly chains: Record<string, string[]>;
  readonly sets: Record<string, number>;
}

interface World {
  open(): NftTable;
  observe(): Observed;
  /** Another program deletes all rules of a chain. */
  foreignFlush(chain: string): void;
  dispose(): void;
}

interface NftJson {
  readonly nftables: {
    chain?: { name: string };
    rule?: { chain: string; comment?: string };
    set?: { name: string; elem?: unknown[] };
    map?: { name: string; elem?: unknown[] };
  }[];
}

let tables = 0;

function kernelWorld(): World {
  const name = `contract${tables++}`;
  const nft = (...args: string[]): string => execFileSync("nft", args, { encoding: "utf8" });
  return {
    open: () => openNftTable({ family: "inet", name }),
    observe() {
      const seen: Observed = { chains: {}, sets: {} };
      if (!nft("list", "tables").split("\n").includes(`table inet ${name}`)) return seen;
      const { nftables } = JSON.parse(nft("-j", "list", "table", "inet", name)) as NftJson;
      for (const item of nftables) {
        const set = item.set ?? item.map;
        if (item.chain !== undefined) seen.chains[item.chain.name] = [];
        if (item.rule !== undefined) seen.chains[item.rule.chain]?.push(item.rule.comment ?? "");
        if (set !== undefined) seen.sets[set.name] = set.elem?.length ?? 0;
      }
      return seen;
    },
    foreignFlush: (chain) => void nft("flush", "chain", "inet", name, chain),
    dispose() {},
  };
}

function fakeWorld(): World {
  const kernel = new FakeNftKernel();
  return {
    open: () => new FakeNftTable(kernel),
    observe: () => ({
      chains: Object.fromEntries(
        [...kernel.chains].map(([name, { rules }]) => [name, rules.map((r) => r.comment ?? "")]),
      ),
      sets: Object.fromEntries([...kernel.sets].map(([name, s]) => [name, s.elements.size])),
    }),
    foreignFlush(name) {
      const old = kernel.chains.get(name);
      if (old !== undefined) kernel.chains.set(name, { ...old, rules: [] });
      kernel.changed();
    },
    dispose() {},
  };
}

const canUnshare = process.getuid?.() === 0;

for (const [name, make] of [
  ["kernel", kernelWorld],
  ["fake", fakeWorld],
] as const) {
  describe(
    `nft table: ${name}`,
    { skip: name === "kernel" && !canUnshare ? "needs root" : false },
    () => suite(make, name === "kernel"),
  );
}

function suite(make: () => World, real: boolean): void {
  let world: World;
  let table: NftTable;
  if (real) before(() => enterNewNetworkNamespace());
  const fresh = (): void => {
    world = make();
    table = world.open();
  };
  const done = (): void => {
    table.close();
    world.dispose();
  };
  const test = (title: string, body: () => void | Promise<void>): void => {
    it(title, async () => {
      fresh();
      try {
        await body();
      } finally {
        done();
      }
    });
  };
  /** Sets, a verdict map, chains that use them. */
  const build = (to: NftTable): void => {
    to.setSet({ name: "peers", key: ["ipv4_addr"] }, addresses("10.0.0.1", "200.0.0.2"));
    to.setSet({ name: "nets", key: ["ipv4_addr"], interval: true }, [
      range("10.0.0.0", "11.0.0.0"),
      range("11.0.0.0", "12.0.0.0"),
      range("240.0.0.0"),
    ]);
    to.setSet({ name: "ports", key: ["ifname"], data: "verdict" }, [
      { key: ifname("cali1"), data: { kind: "goto", chain: "allow" } },
    ]);
    to.setChain(chain("allow", lookup("p1", "peers"), lookup("p2", "nets"), accept("p3")));
    to.setChain(forward(jump("f1", "allow")));
  };
  const built: Observed = {
    chains: { allow: ["p1", "p2", "p3"], forward: ["f1"] },
    sets: { peers: 2, nets: 3, ports: 1 },
  };

  test("applies once and then has nothing to say", async () => {
    assert.equal(table.dirty, true);
    build(table);
    assert.ok((await table.apply()).messages > 0);
    assert.equal(table.dirty, false);
    assert.deepEqual(world.observe(), built);
    assert.equal((await table.apply()).messages, 0);
    build(table);
    assert.equal(table.dirty, false);
    assert.equal((await table.apply()).messages, 0);
  });

  test("a new process with the same wishes sends nothing", async () => {
    build(table);
    const { generation } = await table.apply();
    const again = world.open();
    build(again);
    assert.deepEqual(await again.apply(), { messages: 0, generation });
    assert.equal(again.dirty, false);
    again.close();
  });

  test("a new process with other wishes sends the difference and removes the rest", async () => {
    build(table);
    await table.apply();
    const again = world.open();
    again.setSet({ name: "peers", key: ["ipv4_addr"] }, addresses("10.0.0.1", "10.0.0.9"));
    again.setChain(forward(lookup("other", "peers")));
    await again.apply();
    assert.deepEqual(world.observe(), { chains: { forward: ["other"] }, sets: { peers: 2 } });
    again.close();
  });

  test("elements come and go, and a change that is taken back is none", async () => {
    build(table);
    await table.apply();
    table.addElements("peers", addresses("10.0.0.5"));
    table.removeElements("peers", addresses("10.0.0.1", "9.9.9.9"));
    table.addElements("nets", [range("20.0.0.0", "20.0.1.0"), range("20.0.1.0", "20.0.2.0")]);
    table.removeElements("nets", [range("11.0.0.0", "12.0.0.0"), range("240.0.0.0")]);
    assert.equal(table.dirty, true);
    assert.ok((await table.apply()).messages > 0);
    assert.deepEqual(world.observe().sets, { peers: 2, nets: 3, ports: 1 });
    table.addElements("peers", addresses("10.0.0.7"));
    assert.equal(table.dirty, true);
    table.removeElements("peers", addresses("10.0.0.7"));
    assert.equal(table.dirty, false);
    assert.equal((await table.apply()).messages, 0);
    await restartIsSilent();
  });

  test("setSet replaces the membership by difference", async () => {
    build(table);
    await table.apply();
    table.setSet(
      { name: "peers", key: ["ipv4_addr"] },
      addresses("10.0.0.1", "1.1.1.1", "2.2.2.2"),
    );
    await table.apply();
    assert.equal(world.observe().sets["peers"], 3);
    table.setSet(
      { name: "peers", key: ["ipv4_addr"] },
      addresses("1.1.1.1", "2.2.2.2", "10.0.0.1"),
    );
    assert.equal(table.dirty, false);
  });

  test("a map's data change", async () => {
    table.setSet({ name: "class", key: ["ifname"], data: "mark" }, [
      { key: ifname("a"), data: mark(1) },
      { key: ifname("b"), data: mark(2) },
    ]);
    await table.apply();
    table.addElements("class", [{ key: ifname("a"), data: mark(1) }]);
    assert.equal(table.dirty, false);
    table.addElements("class", [{ key: ifname("a"), data: mark(7) }]);
    assert.ok((await table.apply()).messages > 0);
    assert.equal(world.observe().sets["class"], 2);
    const again = world.open();
    again.setSet({ name: "class", key: ["ifname"], data: "mark" }, [
      { key: ifname("a"), data: mark(7) },
      { key: ifname("b"), data: mark(2) },
    ]);
    assert.equal((await again.apply()).messages, 0);
    again.close();
  });

  test("a chain is rewritten where it differs", async () => {
    const names = async (...list: string[]): Promise<void> => {
      table.setChain(chain("c", ...list.map((name) => accept(name))));
      await table.apply();
      assert.deepEqual(world.observe().chains["c"], list);
      assert.equal(table.dirty, false);
    };
    await names("a", "b", "c", "d");
    await names("a", "x", "c", "d");
    await names("a", "c", "d");
    await names("z", "a", "c", "y1", "y2", "d");
    await names("z", "a", "c", "y1", "y2", "d", "e");
    await names("z");
    await names();
    await names("q", "q", "q");
    await names("q", "q");
  });

  test("chains and sets are removed together with what used them", async () => {
    build(table);
    await table.apply();
    table.setChain(forward());
    table.removeSet("ports");
    table.removeChain("allow");
    table.removeSet("peers");
    table.removeSet("nets");
    await table.apply();
    assert.deepEqual(world.observe(), { chains: { forward: [] }, sets: {} });
    table.removeChain("forward");
    table.removeChain("never");
    await table.apply();
    assert.deepEqual(world.observe(), { chains: {}, sets: {} });
  });

  test("a set that was removed comes back by difference", async () => {
    build(table);
    await table.apply();
    table.removeSet("peers");
    table.setSet({ name: "peers", key: ["ipv4_addr"] }, addresses("10.0.0.1", "200.0.0.2"));
    assert.equal((await table.apply()).messages, 0);
  });

  test("a set in use changes its type", async () => {
    build(table);
    await table.apply();
    table.setSet({ name: "peers", key: ["ipv4_addr"], interval: true }, [
      range("10.0.0.0", "10.0.0.2"),
    ]);
    await table.apply();
    assert.deepEqual(world.observe(), { ...built, sets: { ...built.sets, peers: 1 } });
    assert.equal((await table.apply()).messages, 0);
  });

  test("a base chain changes policy and hook", async () => {
    table.setChain(forward(accept("a")));
    await table.apply();
    const hook = { type: "filter", hook: "forward", priority: 0, policy: "drop" } as const;
    table.setChain({ name: "forward", hook, rules: [accept("a")] });
    assert.equal((await table.apply()).messages, 1);
    table.setChain({ name: "forward", hook: { ...hook, hook: "input" }, rules: [accept("a")] });
    await table.apply();
    assert.deepEqual(world.observe().chains, { forward: ["a"] });
    assert.equal((await table.apply()).messages, 0);
  });

  test("a refused change leaves the kernel as it was and can be mended", async () => {
    build(table);
    await table.apply();
    const refusedWith = async (...errnos: string[]): Promise<void> => {
      await assert.rejects(
        () => table.apply(),
        (error) =>
          error instanceof MargayError &&
          error.kind === "system" &&
          error.retryable &&
          errnos.includes(errnoOf(error) ?? ""),
      );
      assert.deepEqual(world.observe(), built);
      assert.equal(table.dirty, true);
    };
    table.addElements("peers", addresses("10.0.0.5"));
    table.setChain(forward(jump("f1", "nowhere")));
    await refusedWith("ENOENT");
    table.setChain(forward(jump("f1", "allow")));
    table.setChain(chain("allow", jump("loop", "allow")));
    await refusedWith("ELOOP", "EMLINK");
    table.setChain(chain("allow", lookup("p1", "missing")));
    await refusedWith("ENOENT");
    build(table);
    table.removeSet("nets");
    await refusedWith("EBUSY");
    build(table);
    table.addElements("peers", addresses("10.0.0.5"));
    await table.apply();
    assert.deepEqual(world.observe(), { ...built, sets: { ...built.sets, peers: 3 } });
    assert.equal(table.repairs, 0);
  });

  test("what others change is told at once and repaired", async () => {
    build(table);
    await table.apply();
    const told = new Promise<void>((resolve) => table.onForeignChange(resolve));
    world.foreignFlush("allow");
    await told;
    assert.equal(table.dirty, true);
    assert.ok((await table.apply()).messages > 0);
    assert.deepEqual(world.observe(), built);
    assert.equal(table.repairs, 1);
    assert.equal((await table.apply()).messages, 0);
  });

  test("apply notices what others changed without being told", async () => {
    build(table);
    await table.apply();
    world.foreignFlush("allow");
    table.addElements("peers", addresses("10.0.0.5"));
    await table.apply();
    assert.deepEqual(world.observe(), { ...built, sets: { ...built.sets, peers: 3 } });
    assert.equal(table.repairs, 1);
  });

  test("nonsense is refused before it reaches the kernel", async () => {
    table.setSet({ name: "peers", key: ["ipv4_addr"] }, []);
    const isInput = (error: unknown): boolean =>
      error instanceof MargayError && error.kind === "input";
    assert.throws(() => table.addElements("peers", [{ key: Uint8Array.of(1) }]), isInput);
    assert.throws(() => table.addElements("none", addresses("1.1.1.1")), isInput);
    assert.throws(() => table.addElements("peers", [range("1.0.0.0", "2.0.0.0")]), isInput);
  });

  async function restartIsSilent(): Promise<void> {
    const again = world.open();
    again.setSet({ name: "peers", key: ["ipv4_addr"] }, addresses("10.0.0.5", "200.0.0.2"));
    again.setSet({ name: "nets", key: ["ipv4_addr"], interval: true }, [
      range("10.0.0.0", "11.0.0.0"),
      range("20.0.0.0", "20.0.1.0"),
      range("20.0.1.0", "20.0.2.0"),
    ]);
    again.setSet({ name: "ports", key: ["ifname"], data: "verdict" }, [
      { key: ifname("cali1"), data: { kind: "goto", chain: "allow" } },
    ]);
    again.setChain(chain("allow", lookup("p1", "peers"), lookup("p2", "nets"), accept("p3")));
    again.setChain(forward(jump("f1", "allow")));
    assert.equal((await again.apply()).messages, 0);
    again.close();
  }

  after(() => assert.ok(tables > 0 || !real));
}
