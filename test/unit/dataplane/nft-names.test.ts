/** Names inside the table: readable where possible, and never two things under one name. */
import assert from "node:assert/strict";
import type { ToDataplane } from "#calc";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { ipSetName, policyChain, profileChain } from "../../../src/dataplane/linux/nft/names.ts";
import {
  gnp,
  NftWorld,
  policyUpdate,
  profileUpdate,
  tier,
  wepUpdate,
} from "../../support/nft-world.ts";

describe("names in the table", () => {
  it("are the policy's own where nft can read them", () => {
    assert.equal(policyChain("ingress", gnp("web.front")), "pi-gnp/web.front");
    const np = { kind: "NetworkPolicy", namespace: "shop", name: "a_b" };
    assert.equal(policyChain("egress", np), "po-np/shop/a_b");
    assert.equal(profileChain("ingress", "kns.default"), "pri-kns.default");
    assert.equal(ipSetName("s:oztYbxgE35_-1A", 4), "s-oztYbxgE35_-1A.4");
  });

  it("differ when what they name differs, however hostile or long, and fit", () => {
    const part = fc.oneof(
      fc.constantFrom(
        "a",
        "a/b",
        "_a",
        "a_",
        "",
        "ä",
        'a"b',
        "a b",
        "x".repeat(130),
        "x".repeat(131),
      ),
      fc.string({ maxLength: 8 }),
    );
    const id = fc.record({
      kind: fc.constantFrom("GlobalNetworkPolicy", "NetworkPolicy", "gnp", "np"),
      namespace: part,
      name: part,
    });
    fc.assert(
      fc.property(id, id, part, (a, b, profile) => {
        const chains = [policyChain("ingress", a), policyChain("ingress", b)];
        const same = a.kind === b.kind && a.namespace === b.namespace && a.name === b.name;
        assert.equal(chains[0] === chains[1], same);
        for (const name of [...chains, policyChain("egress", a), profileChain("egress", profile)]) {
          assert.match(name, /^[a-z]+-[A-Za-z0-9/_.-]+$/);
          assert.ok(name.length <= 127);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("the cost of a change", () => {
  const world = new NftWorld();
  const tiers = [tier("default", [gnp("p0"), gnp("p1")], [gnp("p0")])];
  const endpoint = (i: number): ReturnType<typeof wepUpdate> =>
    wepUpdate(String(i), { ipv4Nets: [`10.65.0.${i}/32`], profileIds: ["open"], tiers });
  world.send(profileUpdate("open"));
  for (let i = 0; i < 20; i++) {
    world.send({
      case: "ipsetUpdate",
      value: { id: `s:${i}`, type: "NET", members: ["10.0.0.1/32"] },
    });
    world.send(
      policyUpdate(
        gnp(`p${i}`),
        [{ action: "allow", srcIpSetIds: [`s:${i}`] }],
        [{ action: "allow" }],
      ),
    );
  }
  for (let i = 0; i < 50; i++) world.send(endpoint(i));
  world.flush();
  const callsOf = (...messages: ToDataplane[]): Record<string, number> => {
    world.table.resetCalls();
    world.send(...messages).compiler.flush();
    return Object.fromEntries(Object.entries(world.table.calls).filter(([, count]) => count > 0));
  };

  it("an endpoint of a known class: plain elements", () => {
    assert.deepEqual(callsOf(endpoint(99)), { add: 4 });
    assert.deepEqual(callsOf(endpoint(99)), {});
  });

  it("members of an IP set: elements, whether it becomes empty or not", () => {
    const delta = (addedMembers: string[], removedMembers: string[]): ToDataplane => ({
      case: "ipsetDeltaUpdate",
      value: { id: "s:0", addedMembers, removedMembers },
    });
    assert.deepEqual(callsOf(delta(["10.0.0.2/32"], [])), { add: 1 });
    assert.deepEqual(callsOf(delta([], ["10.0.0.1/32", "10.0.0.2/32"])), { remove: 2 });
    assert.deepEqual(callsOf(delta(["10.0.0.3/32"], [])), { add: 1 });
  });

  it("a policy: its two chains; one that nobody uses: nothing", () => {
    const change = (name: string): ToDataplane =>
      policyUpdate(gnp(name), [{ action: "deny" }], [{ action: "deny" }]);
    assert.deepEqual(callsOf(change("p0")), { setChain: 2 });
    assert.deepEqual(callsOf(change("p1")), { setChain: 1 });
    assert.deepEqual(callsOf(change("p9")), {});
  });
});
