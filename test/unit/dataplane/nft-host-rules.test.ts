/** Sets and chains beside policy: what is in the table depends on the last state alone. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { ToDataplane } from "#calc";
import { formatCidr, OverlapSuppressor, parseCidr } from "#ip";
import type { NftElement } from "#netlink";
import { cidrElement } from "../../../src/dataplane/linux/nft/literal-sets.ts";
import { NetSet } from "../../../src/dataplane/linux/nft/net-set.ts";
import { MemoryNftTable } from "../../support/nft-memory-table.ts";
import { NftWorld, wepRemove, wepUpdate } from "../../support/nft-world.ts";

const CIDRS = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8"];
const text = ({ key, end }: NftElement): string =>
  `${Buffer.from(key as Uint8Array).toString("hex")}-${end === undefined ? "" : Buffer.from(end).toString("hex")}`;

describe("CIDRs of many owners", () => {
  it("are the outermost of all that some owner names, however they came", () => {
    const step = fc.record({
      owner: fc.constantFrom("a", "b", "c"),
      cidrs: fc.uniqueArray(fc.constantFrom(...CIDRS)),
      flush: fc.boolean(),
      wanted: fc.constantFrom([], [4], [4, 6]) as fc.Arbitrary<(4 | 6)[]>,
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const table = new MemoryNftTable();
        const nets = new NetSet("ip-pools");
        const byOwner = new Map<string, readonly string[]>();
        for (const { owner, cidrs, flush, wanted } of steps) {
          byOwner.set(owner, cidrs);
          nets.set(owner, cidrs.map(parseCidr));
          if (flush) nets.flush(table, wanted);
        }
        nets.flush(table, [4, 6]);
        table.applyNow();
        for (const family of [4, 6] as const) {
          const cover = new OverlapSuppressor();
          for (const cidr of [...byOwner.values()].flat().map(parseCidr)) {
            if (cidr.family === family) cover.add(cidr);
          }
          const elements = [...(table.sets.get(`ip-pools${family}`)?.elements.values() ?? [])];
          const wanted = cover.published();
          assert.deepEqual(elements.map(text).sort(), wanted.map(cidrElement).map(text).sort());
          assert.equal(nets.hasAny(family), wanted.length > 0, wanted.map(formatCidr).join());
        }
      }),
    );
  });
});

describe("rules beside policy", () => {
  const pool = (masquerade: boolean): ToDataplane => ({
    case: "ipamPoolUpdate",
    value: {
      id: "10.65.0.0-16",
      pool: {
        cidr: "10.65.0.0/16",
        masquerade,
        ipipMode: "Never",
        vxlanMode: "Never",
        allowedUses: ["Workload"],
      },
    },
  });
  const nat = { excludeHosts: true, floatingIps: true };
  const floating = wepUpdate("a", {
    ipv4Nets: ["10.65.0.1/32"],
    ipv4Nat: [{ extIp: "192.0.2.1", intIp: "10.65.0.1" }],
  });
  const names = (world: NftWorld): string[] =>
    [...world.table.chains.keys(), ...world.table.sets.keys()].sort();

  it("come with what they are for, and go with it", () => {
    const world = new NftWorld({ nat });
    world.flush();
    const before = names(world);
    world.send(pool(true), floating);
    world.flush();
    const after = new Set(names(world));
    for (const name of before) after.delete(name);
    const plain = [...after].filter((name) => !/-wl-/.test(name));
    assert.deepEqual(plain.sort(), [
      "all-hosts4",
      "floating-hairpin4",
      "floating-ips4",
      "ip-pools4",
      "nat-pools4",
      "output-floating-ips",
      "postrouting-floating-ips",
      "postrouting-nat-outgoing",
      "prerouting-floating-ips",
    ]);
    world.send(pool(false), wepRemove("a"));
    world.flush();
    assert.deepEqual(names(world), before);
  });

  it("leave the table alone when nothing of theirs changed", () => {
    const world = new NftWorld({ nat }).send(pool(true), floating);
    world.flush();
    const { calls } = world.table;
    const written = { ...calls };
    world.send(wepUpdate("b", { ipv4Nets: ["10.65.0.2/32"], state: "inactive" }));
    world.flush();
    assert.deepEqual(calls, written);
  });
});
