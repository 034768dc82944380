/** From messages to what becomes of packets: tiers, profiles, stages, spoofing, failing closed. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { PolicyId } from "#policy";
import { systemError } from "#std";
import {
  runForward,
  runHook,
  runInput,
  type RunResult,
  type TestPacket,
} from "../../support/nft-interpreter.ts";
import {
  gnp,
  hostEndpointUpdate,
  ipSetUpdate,
  NftWorld,
  policyRemove,
  policyUpdate,
  profileUpdate,
  tier,
  wepId,
  wepRemove,
  wepUpdate,
} from "../../support/nft-world.ts";

const TO_A: TestPacket = {
  src: "10.9.9.9",
  dst: "10.65.0.1",
  protocol: 6,
  sport: 40000,
  dport: 80,
  iifname: "eth0",
  oifname: "calia",
};
const FROM_A: TestPacket = {
  ...TO_A,
  src: "10.65.0.1",
  dst: "10.9.9.9",
  iifname: "calia",
  oifname: "eth0",
};
const A = { ipv4Nets: ["10.65.0.1/32"], ipv6Nets: ["fd65::1/128"], profileIds: ["open"] };
const port = (
  first: number,
): { protocol: { name: string }; dstPorts: { first: number; last: number }[] } => ({
  protocol: { name: "tcp" },
  dstPorts: [{ first, last: first }],
});
const staged: PolicyId = { kind: "StagedGlobalNetworkPolicy", namespace: "", name: "s" };

function verdictAt(world: NftWorld, dport: number): RunResult["verdict"] {
  const result = runForward(world.table, { ...TO_A, dport });
  assert.equal(result.mark, 0, "no mark leaves the table");
  return result.verdict;
}

describe("tiers", () => {
  it("decide in order; what a tier does not decide is dropped at its end", () => {
    const world = new NftWorld().send(
      profileUpdate("open"),
      policyUpdate(gnp("p"), [{ action: "allow", ...port(80) }]),
      policyUpdate(gnp("q"), [{ action: "allow", ...port(81) }]),
      wepUpdate("a", { ...A, tiers: [tier("t", [gnp("p"), gnp("q")])] }),
    );
    world.flush();
    assert.deepEqual(
      [80, 81, 82].map((dport) => verdictAt(world, dport)),
      ["accept", "accept", "drop"],
    );
    const dropped = runForward(world.table, { ...TO_A, dport: 82 });
    assert.equal(dropped.hits.at(-1), "End of tier t. Drop if no policies passed packet");
  });

  it("go on to the next on Pass, past the other policies of theirs", () => {
    const world = new NftWorld().send(
      profileUpdate("open"),
      policyUpdate(gnp("pass"), [{ action: "next-tier", ...port(80) }]),
      policyUpdate(gnp("deny"), [{ action: "deny" }]),
      policyUpdate(gnp("deny81"), [{ action: "deny", ...port(81) }]),
      policyUpdate(gnp("all"), [{ action: "allow" }]),
      wepUpdate("a", {
        ...A,
        tiers: [tier("one", [gnp("pass"), gnp("deny")]), tier("two", [gnp("deny81"), gnp("all")])],
      }),
    );
    world.flush();
    assert.deepEqual(
      [80, 82].map((dport) => verdictAt(world, dport)),
      ["accept", "drop"],
    );
    const foreign = runForward(world.table, { ...TO_A, dport: 82, mark: 0xffffffff });
    assert.equal(foreign.verdict, "drop", "somebody else's mark is not a Pass");
    const passed = runForward(world.table, { ...TO_A, mark: 0x1234 });
    assert.equal(passed.mark, 0x1234, "other bits stay");
  });

  it("pass by default if they say so, and when all their policies are staged", () => {
    const world = new NftWorld().send(
      profileUpdate("open", [{ action: "allow", ...port(80) }]),
      policyUpdate(gnp("p"), [{ action: "deny", ...port(81) }]),
      policyUpdate(staged, [{ action: "deny" }]),
      wepUpdate("a", { ...A, tiers: [tier("s", [staged]), tier("t", [gnp("p")], [], "Pass")] }),
    );
    world.flush();
    assert.deepEqual(
      [80, 81, 82].map((dport) => verdictAt(world, dport)),
      ["accept", "drop", "drop"],
    );
    assert.ok(
      ![...world.table.chains.keys()].some((name) => name.includes("sgnp")),
      "staged: no chain",
    );
  });

  it("apply only to the direction that has policies", () => {
    const world = new NftWorld({}, { maxIdentities: -1 }).send(
      profileUpdate("open"),
      policyUpdate(gnp("p"), [{ action: "deny" }], [{ action: "deny" }]),
      wepUpdate("a", { ...A, tiers: [tier("t", [gnp("p")], [])] }),
    );
    world.flush();
    assert.equal(verdictAt(world, 80), "drop");
    assert.equal(runForward(world.table, FROM_A).verdict, "accept");
    assert.ok(world.table.chains.has("pi-gnp/p") && !world.table.chains.has("po-gnp/p"));
  });
});

describe("profiles", () => {
  it("are asked in order; none matching drops; Pass in one goes on to the next", () => {
    const world = new NftWorld().send(
      profileUpdate("one", [
        { action: "next-tier", ...port(80) },
        { action: "deny", ...port(80) },
      ]),
      profileUpdate("two", [{ action: "allow", ...port(80) }]),
      wepUpdate("a", { ...A, profileIds: ["one", "two"] }),
    );
    world.flush();
    assert.deepEqual(
      [80, 81].map((dport) => verdictAt(world, dport)),
      ["accept", "drop"],
    );
  });

  it("drop in their place while they are not known, and that is told", () => {
    const world = new NftWorld().send(wepUpdate("a", A));
    assert.deepEqual(world.flush(), [wepId("a")]);
    assert.equal(verdictAt(world, 80), "drop");
    assert.equal(world.compiler.problemOf(wepId("a")), "Profile open is not known");
    world.send(profileUpdate("open"));
    assert.deepEqual(world.flush(), [wepId("a")]);
    assert.equal(verdictAt(world, 80), "accept");
    assert.equal(world.compiler.problemOf(wepId("a")), undefined);
  });
});

describe("log", () => {
  it("logs once and goes on, whatever alternatives hold", () => {
    const world = new NftWorld({ logPrefix: "%t %k %n %p" }).send(
      ipSetUpdate("s:x", ["10.9.9.9/32", "10.9.0.0/16"]),
      profileUpdate("open"),
      policyUpdate(gnp("p"), [
        { action: "log", srcIpSetIds: ["s:x"] },
        { action: "log", ...port(1) },
        { action: "allow" },
      ]),
      wepUpdate("a", { ...A, tiers: [tier("t", [gnp("p")])] }),
    );
    world.flush();
    const result = runForward(world.table, TO_A);
    assert.deepEqual(result.logs, ["default gnp p p: "]);
    assert.equal(result.verdict, "accept");
  });
});

describe("host endpoints", () => {
  it("keep their chains apart, whatever they are called", () => {
    const eth0 = hostEndpointUpdate("eth0", { name: "eth0", tiers: [tier("t", [gnp("passes")])] });
    const world = new NftWorld().send(
      policyUpdate(gnp("passes"), [{ action: "next-tier", ...port(8080) }, { action: "deny" }]),
      policyUpdate(gnp("allows"), [{ action: "allow" }]),
      eth0,
      hostEndpointUpdate("eth0-tier0", { name: "eth1", tiers: [tier("t", [gnp("allows")])] }),
    );
    const verdicts = (): string[] => {
      world.flush();
      const packet = { ...TO_A, dst: "10.0.0.1", dport: 5432, oifname: undefined };
      return ["eth0", "eth1"].map(
        (iifname) => runInput(world.table, { ...packet, iifname } as unknown as TestPacket).verdict,
      );
    };
    assert.deepEqual(verdicts(), ["drop", "accept"]);
    world.send(eth0);
    assert.deepEqual(verdicts(), ["drop", "accept"]);
    world.send({ case: "hostEndpointRemove", value: { id: { endpointId: "eth0-tier0" } } });
    world.flush();
    world.table.applyNow();
  });
});

describe("established flows and conntrack", () => {
  const world = new NftWorld().send(
    profileUpdate("none", [{ action: "deny" }]),
    wepUpdate("a", { ...A, profileIds: ["none"] }),
  );
  world.flush();

  it("pass without policy, but not through an unknown interface", () => {
    for (const ctState of ["established", "related"] as const) {
      assert.equal(runForward(world.table, { ...TO_A, ctState }).verdict, "accept");
      assert.equal(
        runForward(world.table, { ...TO_A, ctState, oifname: "cali-x" }).verdict,
        "drop",
      );
    }
  });

  it("drop what conntrack calls invalid, unless told not to", () => {
    const open = (disableConntrackInvalidCheck: boolean): RunResult["verdict"] => {
      const other = new NftWorld({ disableConntrackInvalidCheck });
      other.send(profileUpdate("open"), wepUpdate("a", A)).flush();
      return runForward(other.table, { ...TO_A, ctState: "invalid" }).verdict;
    };
    assert.deepEqual([open(false), open(true)], ["drop", "accept"]);
  });

  it("do not touch interfaces that are no workload's", () => {
    for (const ctState of ["new", "established", "invalid"] as const) {
      assert.equal(
        runForward(world.table, { ...TO_A, oifname: "eth1", ctState }).verdict,
        "accept",
      );
    }
  });
});

describe("traffic to the host", () => {
  const toHost: TestPacket = {
    ...FROM_A,
    dst: "10.0.0.1",
    oifname: undefined,
  } as unknown as TestPacket;
  const world = (action: "Drop" | "Return" | "Accept", openStack = false): NftWorld => {
    const it = new NftWorld({
      defaultEndpointToHostAction: action,
      openStackSpecialCasesEnabled: openStack,
      openStackMetadataAddr: "169.254.169.254",
    });
    it.send(
      profileUpdate("web", [], [{ action: "allow", ...port(80) }]),
      wepUpdate("a", { ...A, profileIds: ["web"] }),
    ).flush();
    return it;
  };

  it("needs egress policy and the endpoint-to-host action", () => {
    for (const [action, expected] of [
      ["Drop", "drop"],
      ["Return", "accept"],
      ["Accept", "accept"],
    ] as const) {
      assert.equal(runInput(world(action).table, toHost).verdict, expected);
      assert.equal(runInput(world(action).table, { ...toHost, dport: 81 }).verdict, "drop");
    }
  });

  it("lets answers to the host through, and neighbour discovery", () => {
    const { table } = world("Drop");
    const answer = { ...toHost, ctState: "established" } as const;
    assert.equal(runInput(table, answer).verdict, "accept");
    const unknown = { ...answer, iifname: "cali-x", src: "fe80::1", dst: "fe80::2" };
    assert.equal(runInput(table, unknown).verdict, "drop");
    const nd = { ...toHost, src: "fe80::1", dst: "ff02::1:ff00:1", protocol: 58 };
    const verdictOf = (icmpType: number): string =>
      runInput(table, { ...nd, icmpType, ctState: "untracked" }).verdict;
    const allowed = [130, 131, 132, 133, 135, 136];
    for (let type = 128; type < 145; type++) {
      assert.equal(verdictOf(type), allowed.includes(type) ? "accept" : "drop", `type ${type}`);
    }
    const dad = { ...nd, src: "::", icmpType: 135, ctState: "untracked" } as const;
    assert.equal(runInput(table, dad).verdict, "accept");
  });

  it("has OpenStack's exceptions only on request", () => {
    const dhcp = { ...toHost, src: "0.0.0.0", dst: "10.0.0.1", protocol: 17, sport: 68, dport: 67 };
    const dhcp6 = {
      ...toHost,
      src: "fe80::1",
      dst: "ff02::1:2",
      protocol: 17,
      sport: 546,
      dport: 547,
    };
    const dns = { ...toHost, protocol: 17, dport: 53 };
    const metadata = { ...toHost, dst: "169.254.169.254", dport: 8775 };
    for (const packet of [dhcp, dhcp6, dns, metadata]) {
      assert.equal(runInput(world("Drop").table, packet).verdict, "drop");
      assert.equal(runInput(world("Drop", true).table, packet).verdict, "accept");
    }
  });

  it("from the host to a workload is not policed", () => {
    const out = { ...TO_A, dst: "10.65.0.1" };
    assert.equal(runHook(world("Drop").table, "output", out).verdict, "accept");
  });
});

describe("tunnels out of workloads", () => {
  it("are dropped unless allowed", () => {
    const vxlan = { ...FROM_A, protocol: 17, dport: 4789 };
    const ipip = { ...FROM_A, protocol: 4 };
    for (const allow of [false, true]) {
      const world = new NftWorld({
        allowVxlanPacketsFromWorkloads: allow,
        allowIpipPacketsFromWorkloads: allow,
      });
      world.send(profileUpdate("open"), wepUpdate("a", A)).flush();
      for (const packet of [vxlan, ipip]) {
        assert.equal(runForward(world.table, packet).verdict, allow ? "accept" : "drop");
      }
      assert.equal(runForward(world.table, { ...vxlan, dport: 4788 }).verdict, "accept");
    }
  });
});

describe("sources", () => {
  const world = new NftWorld({ workloadSourceSpoofing: "Any" }).send(
    profileUpdate("open"),
    wepUpdate("a", A),
    wepUpdate("m", { ...A, ipv4Nets: ["10.65.0.2/32"], mac: "0a:00:00:00:00:01" }),
    wepUpdate("s", {
      ...A,
      ipv4Nets: ["10.65.0.3/32"],
      allowSpoofedSourcePrefixes: ["10.7.0.0/16", "fd07::/16"],
    }),
    wepUpdate("t", { ...A, ipv4Nets: ["10.65.0.4/30"], allowSpoofedSourcePrefixes: ["0.0.0.0/0"] }),
  );
  world.flush();
  const from = (iifname: string, src: string, more: Partial<TestPacket> = {}): string => {
    const dst = src.includes(":") ? "fd09::9" : "10.9.9.9";
    return runForward(world.table, { ...FROM_A, iifname, src, dst, ...more }).verdict;
  };

  it("must be the interface's own", () => {
    assert.equal(from("calia", "10.65.0.1"), "accept");
    assert.equal(from("calia", "fd65::1"), "accept");
    assert.equal(from("calia", "10.65.0.2"), "drop");
    assert.equal(from("calia", "fd65::2"), "drop");
    assert.equal(from("calia", "10.65.0.2", { ctState: "established" }), "drop");
    assert.equal(from("calix", "10.65.0.1"), "drop");
    assert.equal(from("eth0", "1.2.3.4"), "accept");
  });

  it("may be a prefix that the endpoint may spoof, when that is enabled", () => {
    assert.equal(from("calis", "10.65.0.3"), "accept");
    assert.equal(from("calis", "10.7.1.1"), "accept");
    assert.equal(from("calis", "fd07::1"), "accept");
    assert.equal(from("calis", "10.8.0.1"), "drop");
    assert.equal(from("calia", "10.7.1.1"), "drop");
    assert.equal(from("calit", "1.1.1.1"), "accept");
    assert.equal(from("calit", "fd99::1"), "drop");
    const strict = new NftWorld().send(
      profileUpdate("open"),
      wepUpdate("s", { ...A, allowSpoofedSourcePrefixes: ["10.7.0.0/16"] }),
    );
    strict.flush();
    const packet = { ...FROM_A, iifname: "calis", src: "10.7.1.1" };
    assert.equal(runForward(strict.table, packet).verdict, "drop");
  });

  it("must have the declared MAC, if one is", () => {
    assert.equal(from("calim", "10.65.0.2", { sourceMac: "0a:00:00:00:00:01" }), "accept");
    assert.equal(from("calim", "10.65.0.2", { sourceMac: "0a:00:00:00:00:02" }), "drop");
    assert.equal(from("calim", "10.65.0.2"), "drop", "no link header: nothing to show");
    assert.equal(from("calia", "10.65.0.1", { sourceMac: "0a:00:00:00:00:02" }), "accept");
  });

  it("must have the MAC as soon, and only as long, as it is declared", () => {
    const changing = new NftWorld().send(profileUpdate("open"), wepUpdate("a", A));
    const verdicts = (): string[] =>
      [FROM_A, { ...FROM_A, src: "fd65::1", dst: "fd09::9" }].flatMap((packet) =>
        ["0a:00:00:00:00:01", "0a:00:00:00:00:02"].map((sourceMac) => {
          changing.flush();
          return runForward(changing.table, { ...packet, sourceMac }).verdict;
        }),
      );
    assert.deepEqual(verdicts(), ["accept", "accept", "accept", "accept"]);
    changing.send(wepUpdate("a", { ...A, mac: "0a:00:00:00:00:01" }));
    assert.deepEqual(verdicts(), ["accept", "drop", "accept", "drop"]);
    changing.send(wepUpdate("a", { ...A, mac: "0a:00:00:00:00:02" }));
    assert.deepEqual(verdicts(), ["drop", "accept", "drop", "accept"]);
    changing.send(wepUpdate("a", A));
    assert.deepEqual(verdicts(), ["accept", "accept", "accept", "accept"]);
  });

  it("may be unspecified only on the link", () => {
    const hook = (dst: string, src = "0.0.0.0"): string =>
      runHook(world.table, "prerouting", { ...FROM_A, src, dst, protocol: 17 }).verdict;
    assert.equal(hook("255.255.255.255"), "accept");
    assert.equal(hook("224.0.0.22"), "accept");
    assert.equal(hook("224.0.1.1"), "drop");
    assert.equal(hook("10.9.9.9"), "drop");
    assert.equal(hook("ff02::16", "::"), "drop", "not ICMPv6");
    assert.equal(hook("ff02::16", "fe80::1"), "accept");
  });
});

describe("endpoints", () => {
  it("are dropped while inactive, unknown or removed", () => {
    const world = new NftWorld().send(profileUpdate("open"), wepUpdate("a", A));
    world.flush();
    assert.equal(verdictAt(world, 80), "accept");
    world.send(wepUpdate("a", { ...A, state: "inactive" })).flush();
    assert.equal(verdictAt(world, 80), "drop");
    assert.equal(world.compiler.problemOf(wepId("a")), undefined);
    world.send(wepUpdate("a", A)).flush();
    assert.equal(verdictAt(world, 80), "accept");
    world.send(wepRemove("a")).flush();
    assert.equal(verdictAt(world, 80), "drop");
  });

  it("with one interface: the lowest identity has it, the other says so and takes over", () => {
    const world = new NftWorld().send(
      profileUpdate("open"),
      wepUpdate("b", { ...A, name: "calia", ipv4Nets: ["10.65.0.9/32"] }),
    );
    world.flush();
    const b = { ...FROM_A, src: "10.65.0.9" };
    assert.equal(runForward(world.table, b).verdict, "accept");
    world.send(wepUpdate("a", A));
    assert.deepEqual(world.flush(), [wepId("b")]);
    assert.match(
      world.compiler.problemOf(wepId("b")) ?? "",
      /calia belongs to endpoint k8s\/default\/a/,
    );
    assert.equal(runForward(world.table, b).verdict, "drop");
    assert.equal(runForward(world.table, FROM_A).verdict, "accept");
    world.send(wepRemove("a"));
    assert.deepEqual(world.flush(), [wepId("b")]);
    assert.equal(world.compiler.problemOf(wepId("b")), undefined);
    assert.equal(runForward(world.table, b).verdict, "accept");
  });

  it("whose interface or addresses are unusable are told, and get nothing", () => {
    const world = new NftWorld().send(
      profileUpdate("open"),
      wepUpdate("a", { ...A, name: "eth7" }),
      wepUpdate("b", { ...A, name: "cali/../x" }),
      wepUpdate("c", { ...A, ipv4Nets: ["10.65.0.300/32"] }),
      wepUpdate("d", { ...A, mac: "zz" }),
    );
    world.flush();
    assert.match(world.compiler.problemOf(wepId("a")) ?? "", /does not begin with cali/);
    assert.match(world.compiler.problemOf(wepId("b")) ?? "", /not an interface name/);
    assert.match(world.compiler.problemOf(wepId("c")) ?? "", /not an address/);
    assert.match(world.compiler.problemOf(wepId("d")) ?? "", /not a MAC/);
    const d = { ...FROM_A, iifname: "calid", sourceMac: "0a:00:00:00:00:01" };
    assert.equal(runForward(world.table, d).verdict, "drop");
  });
});

describe("what cannot be enforced", () => {
  it("drops in its place: unsupported, unknown or unreadable", () => {
    const world = new NftWorld().send(
      profileUpdate("open"),
      ipSetUpdate("s:bad", ["10.0.0.1/32", "nonsense"]),
      policyUpdate(gnp("new"), [{ action: "allow" }], [], {
        unsupported: ["spec.ingress[0].http"],
      }),
      policyUpdate(gnp("set"), [{ action: "allow", notSrcIpSetIds: ["s:bad"] }]),
      policyUpdate(gnp("gone"), [{ action: "allow", notSrcIpSetIds: ["s:missing"] }]),
      policyUpdate(gnp("proto"), [{ action: "allow", notProtocol: { name: "quic" } }]),
      policyUpdate(gnp("net"), [{ action: "allow", srcNet: ["10.0.0.0/33"] }]),
      policyUpdate(gnp("fine"), [{ action: "allow" }]),
    );
    const cases = [
      ["new", /cannot be enforced: spec\.ingress\[0\]\.http/],
      ["set", /s:bad is not known/],
      ["gone", /s:missing is not known/],
      ["proto", /quic is not known/],
      ["net", /33 is not a CIDR/],
      ["never-sent", /GlobalNetworkPolicy never-sent is not known/],
    ] as const;
    for (const [name, problem] of cases) {
      world.send(wepUpdate("a", { ...A, tiers: [tier("t", [gnp(name), gnp("fine")])] })).flush();
      assert.equal(verdictAt(world, 80), "drop", name);
      assert.match(world.compiler.problemOf(wepId("a")) ?? "", problem);
      assert.equal(runForward(world.table, FROM_A).verdict, "accept", "the other direction works");
    }
    world.send(ipSetUpdate("s:missing", []));
    world.send(wepUpdate("a", { ...A, tiers: [tier("t", [gnp("gone")])] })).flush();
    assert.equal(verdictAt(world, 80), "accept");
    assert.equal(world.compiler.problemOf(wepId("a")), undefined);
    world.send(policyRemove(gnp("gone")), wepUpdate("a", { ...A })).flush();
    assert.equal(verdictAt(world, 80), "accept");
  });

  it("a rule longer than the kernel takes drops in its own place", () => {
    const ids = Array.from({ length: 60 }, (_, i) => `n:${i}`);
    const tcp = { protocol: { name: "tcp" } };
    const long = { action: "allow", ...tcp, notDstNamedPortIpSetIds: ids } as const;
    const wide = { ...tcp, srcNamedPortIpSetIds: ids, dstNamedPortIpSetIds: ids };
    const world = new NftWorld().send(
      profileUpdate("open"),
      ...ids.map((id) => ipSetUpdate(id, [], "IP_AND_PORT")),
      policyUpdate(gnp("long"), [long]),
      policyUpdate(gnp("wide"), [{ action: "next-tier", ...wide }]),
      policyUpdate(gnp("chained"), [{ action: "allow", ...wide }, { action: "allow" }]),
    );
    for (const [name, problem] of [
      ["long", /too many conditions/],
      ["wide", /too many alternatives/],
    ] as const) {
      world.send(wepUpdate("a", { ...A, tiers: [tier("t", [gnp(name)])] })).flush();
      assert.match(world.compiler.problemOf(wepId("a")) ?? "", problem);
      assert.equal(verdictAt(world, 80), "drop");
    }
    world.send(wepUpdate("a", { ...A, tiers: [tier("t", [gnp("chained")])] })).flush();
    assert.equal(verdictAt(world, 80), "accept");
  });

  it("a policy that the kernel refuses drops until it is another, and holds nothing back", () => {
    const refused = (object: string, errno = "EINVAL"): Error =>
      systemError("netlink-refused", "refused", { fields: { object, errno } });
    const world = new NftWorld({}, { maxIdentities: -1 }).send(
      profileUpdate("open"),
      policyUpdate(gnp("p"), [{ action: "allow" }]),
      wepUpdate("a", { ...A, tiers: [tier("t", [gnp("p")])] }),
    );
    world.flush();
    for (const error of [
      refused("pi-gnp/other"),
      refused("to-workload"),
      refused("pi-gnp/p", "ENOMEM"),
      new Error("else"),
    ]) {
      assert.equal(world.compiler.isolate(error), false);
    }
    assert.equal(world.compiler.isolate(refused("pi-gnp/p")), true);
    world.flush();
    assert.equal(verdictAt(world, 80), "drop");
    assert.match(world.compiler.problemOf(wepId("a")) ?? "", /GlobalNetworkPolicy p: refused/);
    assert.equal(world.compiler.unenforcedPolicies, 1);
    assert.equal(world.compiler.isolate(refused("pi-gnp/p")), false, "it drops already");
    world.send(policyUpdate(gnp("p"), [{ action: "allow", ...port(80) }])).flush();
    assert.equal(verdictAt(world, 80), "accept");
    assert.equal(world.compiler.problemOf(wepId("a")), undefined);
  });
});

describe("drop actions", () => {
  it("follow the configuration for what policy decides, never for strangers", () => {
    const verdicts = {
      Drop: "drop",
      Accept: "accept",
      LogAndDrop: "drop",
      LogAndAccept: "accept",
    } as const;
    for (const dropActionOverride of Object.keys(verdicts) as (keyof typeof verdicts)[]) {
      const world = new NftWorld({ dropActionOverride });
      world.send(profileUpdate("none", []), wepUpdate("a", { ...A, profileIds: ["none"] })).flush();
      const result = runForward(world.table, TO_A);
      assert.equal(result.verdict, verdicts[dropActionOverride]);
      assert.equal(result.logs.length, dropActionOverride.startsWith("Log") ? 1 : 0);
      assert.equal(runForward(world.table, { ...TO_A, oifname: "calix" }).verdict, "drop");
      assert.equal(runForward(world.table, { ...FROM_A, src: "10.65.0.7" }).verdict, "drop");
    }
    const rejecting = new NftWorld({ denyAction: "Reject" });
    rejecting
      .send(profileUpdate("none", []), wepUpdate("a", { ...A, profileIds: ["none"] }))
      .flush();
    assert.equal(verdictAt(rejecting, 80), "reject");
  });
});

describe("IPv6", () => {
  const policy = [
    ipSetUpdate("s:x", ["10.9.9.9/32", "fd00::/64", "fd01::1/128"]),
    policyUpdate(gnp("p"), [{ action: "allow", srcIpSetIds: ["s:x"] }]),
    profileUpdate("open"),
  ];
  const tiers = [tier("t", [gnp("p")])];
  const six = { ...TO_A, src: "fd00::1", dst: "fd65::1" };
  const setsOf = (world: NftWorld): string[] =>
    [...world.table.sets.keys()].filter((name) => name.startsWith("s-"));

  it("is dropped, and has no sets, without Ipv6Support", () => {
    const world = new NftWorld({ ipv6Support: false });
    world.send(...policy, wepUpdate("a", { ...A, tiers })).flush();
    assert.equal(verdictAt(world, 80), "accept");
    assert.equal(runForward(world.table, six).verdict, "drop");
    assert.deepEqual(setsOf(world), ["s-x.4"]);
  });

  it("of the host is policed without Ipv6Support too, and workloads' dropped", () => {
    const world = new NftWorld({ ipv6Support: false });
    const deny = policyUpdate(gnp("d"), [
      { action: "deny", srcIpSetIds: ["s:x"] },
      { action: "allow" },
    ]);
    const hep = hostEndpointUpdate("eth0", { name: "eth0", tiers: [tier("t", [gnp("d")])] });
    world.send(...policy, deny, hep, wepUpdate("a", { ...A, tiers })).flush();
    const toHost = (src: string): string =>
      runInput(world.table, { ...six, src, dst: "fd00::9", iifname: "eth0" }).verdict;
    assert.equal(toHost("fd00::1"), "drop");
    assert.equal(toHost("fd77::1"), "accept");
    assert.equal(runForward(world.table, six).verdict, "drop");
    const fromA = { ...FROM_A, src: "fd65::1", dst: "fd77::1" };
    assert.equal(runForward(world.table, fromA).verdict, "drop");
    assert.equal(runInput(world.table, { ...fromA, src: "fe80::1" }).verdict, "drop");
  });

  it("has rules and sets while some workload has an IPv6 address", () => {
    const world = new NftWorld();
    world.send(...policy, wepUpdate("a", { ...A, ipv6Nets: [], tiers })).flush();
    const before = world.table.dump();
    assert.equal(verdictAt(world, 80), "accept");
    assert.equal(runForward(world.table, six).verdict, "drop");
    assert.deepEqual(setsOf(world), ["s-x.4"]);
    world.send(wepUpdate("a", { ...A, tiers })).flush();
    assert.equal(runForward(world.table, six).verdict, "accept");
    assert.equal(runForward(world.table, { ...six, src: "fd01::1" }).verdict, "accept");
    assert.equal(runForward(world.table, { ...six, src: "fd01::2" }).verdict, "drop");
    assert.deepEqual(setsOf(world).sort(), ["s-x.4", "s-x.6", "s-x.6n"]);
    world.send(wepUpdate("a", { ...A, ipv6Nets: [], tiers })).flush();
    assert.equal(world.table.dump(), before);
  });

  it("has them always where workloads may reach their host by link-local addresses", () => {
    const world = new NftWorld({ defaultEndpointToHostAction: "Accept" });
    world.send(...policy, wepUpdate("a", { ...A, ipv6Nets: [], tiers })).flush();
    const local = { ...FROM_A, src: "fe80::1", dst: "fe80::2" };
    assert.equal(runInput(world.table, local).verdict, "accept");
  });
});
