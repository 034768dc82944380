/**
 * The process dies at every write, before it and after it. Then others go on, the dead host comes
 * back, no address is held twice, and what a crash left is named by `audit` or gone.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Datastore } from "#datastore";
import { formatIp, parseCidr } from "#ip";
import { audit, hostOwner, readSnapshot, type Ipam } from "#ipam";
import { systemError } from "#std";
import { IpamWorld } from "../../support/ipam-world.ts";

/** Dead from the given write on; `after` lets that write happen and only its answer be lost. */
function dyingStore(
  store: Datastore,
  write: number,
  after: boolean,
): Datastore & { died: boolean } {
  let writes = 0;
  const dead = () => systemError("unavailable", "dead");
  const wrapped = {
    died: false,
    get: async (key: string) => {
      if (wrapped.died) throw dead();
      return await store.get(key);
    },
    list: async (prefix: string) => {
      if (wrapped.died) throw dead();
      return await store.list(prefix);
    },
    put: async (...args: Parameters<Datastore["put"]>) => await change(() => store.put(...args)),
    delete: async (...args: Parameters<Datastore["delete"]>) =>
      await change(() => store.delete(...args)),
    watch: (...args: Parameters<Datastore["watch"]>) => store.watch(...args),
    close: async () => {},
  };
  async function change<T>(run: () => Promise<T>): Promise<T> {
    if (wrapped.died) throw dead();
    if (++writes < write) return await run();
    wrapped.died = true;
    if (after) await run();
    throw dead();
  }
  return wrapped;
}

interface Scenario {
  readonly prepare?: (ipam: Ipam) => Promise<unknown>;
  readonly run: (ipam: Ipam) => Promise<unknown>;
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "first assignment": { run: (ipam) => ipam.autoAssign({ host: "a", ipv4: 2, handle: "ha" }) },
  "assignment from two blocks, and borrowed": {
    prepare: (ipam) => ipam.autoAssign({ host: "b", ipv4: 1, handle: "hb" }),
    run: (ipam) => ipam.autoAssign({ host: "a", ipv4: 14, handle: "ha" }),
  },
  "a certain address": {
    run: (ipam) =>
      ipam.assignIp(parseCidr("10.0.0.5/32"), { host: "a", handle: "ha", attributes: {} }),
  },
  "release by handle": {
    prepare: (ipam) => ipam.autoAssign({ host: "a", ipv4: 6, handle: "ha" }),
    run: (ipam) => ipam.releaseByHandle("ha"),
  },
  "removal of a host": {
    prepare: (ipam) => ipam.autoAssign({ host: "a", ipv4: 6, handle: "ha" }),
    run: (ipam) => ipam.removeHost("a"),
  },
  "taking over an empty block": {
    prepare: async (ipam) => {
      for (const at of [0, 4, 8, 12]) {
        await ipam.claimAffinity(parseCidr(`10.0.0.${at}/30`), hostOwner("b"));
      }
    },
    run: (ipam) => ipam.autoAssign({ host: "a", ipv4: 1, handle: "ha" }),
  },
};

/** Faults that a crash may leave: over-counted handles, unfinished claims, what was allocated then. */
const NAMED = new Set([
  "leaked",
  "handle-unused",
  "handle-miscounts",
  "affinity-unfinished",
  "affinity-without-block",
]);

for (const [name, { prepare, run }] of Object.entries(SCENARIOS)) {
  test(`${name}: dies at every write`, async () => {
    let deaths = 0;
    for (const after of [false, true]) {
      for (let write = 1; ; write++) {
        const world = new IpamWorld();
        await world.pool("p", "10.0.0.0/28", { blockSize: 30 });
        for (const host of ["a", "b", "c"]) await world.node(host);
        await prepare?.(world.ipam());
        world.nowMs += 120_000;
        const dying = dyingStore(world.store, write, after);
        const fate = await run(world.ipam(dying)).then(
          () => "done",
          () => "failed",
        );
        if (!dying.died) break;
        assert.equal(fate, "failed", `${name}, write ${write}`);
        deaths++;
        await goesOn(world, `${name}, write ${write}${after ? " done" : ""}`);
      }
    }
    assert.ok(deaths >= 6, `${deaths} deaths`);
  });
}

async function goesOn(world: IpamWorld, where: string): Promise<void> {
  const after = audit(await readSnapshot(world.store));
  const strange = after.problems.filter(({ kind }) => !NAMED.has(kind));
  assert.deepEqual(strange, [], where);

  // Others, and the host that came back, take all that is left: nothing is lost, nothing is twice.
  const before = after.allocations.map(({ ip }) => formatIp(ip));
  const ipam = world.ipam();
  const got: string[] = [...before];
  for (const host of ["c", "a", "b"]) {
    const { ipv4 } = await ipam.autoAssign({ host, ipv4: 16, handle: `after-${host}` });
    got.push(...ipv4.assigned.map(({ ip }) => formatIp(ip)));
  }
  assert.equal(new Set(got).size, got.length, `${where}: an address twice: ${got.join(" ")}`);
  assert.equal(got.length, 16, `${where}: ${16 - got.length} addresses lost`);

  // The runtime retries its DEL by handle, and the hosts leave: then the books are empty.
  for (const id of ["ha", "hb", "after-a", "after-b", "after-c"]) await ipam.releaseByHandle(id);
  for (const host of ["a", "b", "c"]) await ipam.removeHost(host);
  assert.deepEqual(await world.dump(), {}, where);
}
