/** Names inside the table: readable where possible, and never two things under one name. */
import assert from "node:assert/strict";
import type { ToDataplane } from "#calc";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { ipSetName, policyChain, profileChain } from "../../../src/dataplane/linux/nft/names.ts";
import {
  gnp,
  ipSetDelta,
  ipSetUpdate,
  NftWorld,
  policyUpdate,
  profileUpdate,
  tier,
  wepUpdate,
  type TestRule,
} from "../../support/nft-world.ts";

const TCP = { name: "tcp" };

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

describe("the cost of a change, with policies as chains", () => {
  const world = new NftWorld({}, { maxIdentities: -1 });
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
      policyUpdate(gnp(name), [{ action: "allow" }], [{ action: "allow", protocol: TCP }]);
    assert.deepEqual(callsOf(change("p0")), { setChain: 2, removeSet: 1 });
    assert.deepEqual(callsOf(change("p1")), { setChain: 1, removeSet: 1 });
    assert.deepEqual(callsOf(change("p9")), {});
  });
});

describe("the cost of a change, with policies as elements", () => {
  const world = new NftWorld();
  const tiers = [tier("default", [gnp("web"), gnp("db")], [gnp("web")])];
  const rule = (set: string, port: number): TestRule => ({
    action: "allow",
    srcIpSetIds: [set],
    protocol: TCP,
    dstPorts: [{ first: port, last: port }],
  });
  const callsOf = (...messages: ToDataplane[]): Record<string, number> => {
    world.table.resetCalls();
    world.send(...messages).compiler.flush();
    return Object.fromEntries(Object.entries(world.table.calls).filter(([, count]) => count > 0));
  };
  world.send(
    profileUpdate("open"),
    ...["s:web", "s:db", "s:both"].map((id) => ipSetUpdate(id, [])),
    policyUpdate(gnp("web"), [rule("s:web", 80), rule("s:both", 80)], [{ action: "allow" }]),
    policyUpdate(gnp("db"), [rule("s:db", 5432), rule("s:both", 5432)]),
    wepUpdate("a", { ipv4Nets: ["10.65.0.1/32"], profileIds: ["open"], tiers }),
    ipSetDelta("s:web", ["10.0.0.1/32", "10.0.0.2/32"]),
    ipSetDelta("s:both", ["10.0.0.1/32", "10.0.0.2/32"]),
    ipSetDelta("s:db", ["10.0.0.3/32"]),
  );
  world.flush();

  it("no set and no chain of their own", () => {
    assert.deepEqual(
      [...world.table.sets.keys()].filter((name) => name.startsWith("s-")),
      [],
    );
    assert.deepEqual(
      [...world.table.chains.keys()].filter((name) => name.includes("gnp")),
      [],
    );
  });

  it("an address that gets a known identity: one element, however many sets it joins", () => {
    const joins = (...ids: string[]): ToDataplane[] =>
      ids.map((id) => ipSetDelta(id, ["10.0.0.9/32"]));
    assert.deepEqual(callsOf(...joins("s:web", "s:both")), { add: 1 });
    const moves = [
      ...["s:web", "s:both"].map((id) => ipSetDelta(id, [], ["10.0.0.9/32"])),
      ...joins("s:db"),
    ];
    assert.deepEqual(callsOf(...moves), { remove: 1, add: 1 });
    assert.deepEqual(callsOf(ipSetDelta("s:db", [], ["10.0.0.9/32"])), { remove: 1 });
  });

  it("a new identity: its rules too, each once", () => {
    assert.deepEqual(callsOf(ipSetDelta("s:db", ["10.0.0.2/32"])), { remove: 1, add: 3 });
    assert.deepEqual(callsOf(ipSetDelta("s:db", [], ["10.0.0.2/32"])), { remove: 3, add: 1 });
  });

  it("a rule more or less: an element for each identity, and no rule of the kernel", () => {
    const before = [rule("s:web", 80), rule("s:both", 80)];
    const changed = policyUpdate(gnp("web"), [...before, rule("s:db", 81)], [{ action: "allow" }]);
    assert.deepEqual(callsOf(changed), { setChain: 1, add: 1 });
    assert.deepEqual(callsOf(policyUpdate(gnp("web"), before, [{ action: "allow" }])), {
      setChain: 1,
      remove: 1,
    });
  });
});
