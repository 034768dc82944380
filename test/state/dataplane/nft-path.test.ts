/**
 * The table depends on the last state alone: random histories of messages, flushed at random
 * points, end in the same bytes as the final state told once. Each flush on the way is checked as
 * the kernel would check it.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { ToDataplane } from "#calc";
import { hashOfContent } from "../../../src/dataplane/linux/nft/class-ids.ts";
import type { CompilerOptions } from "../../../src/dataplane/linux/nft/compiler.ts";
import {
  hostEndpointUpdate,
  gnp,
  ipSetDelta,
  ipSetUpdate,
  NftWorld,
  policyRemove,
  policyUpdate,
  profileUpdate,
  tier,
  wepRemove,
  wepUpdate,
  type TestRule,
} from "../../support/nft-world.ts";

const MEMBERS = [
  "10.0.0.1/32",
  "10.0.0.0/8",
  "10.0.0.0/16",
  "10.1.0.0/16",
  "0.0.0.0/0",
  "fd00::1/128",
  "fd00::/16",
  "fd00::/8",
  "::/0",
];
const PORT_MEMBERS = ["10.0.0.1,tcp:80", "fd00::1,udp:53"];
const SET_IDS = ["s:a", "s:b"];
/** Of single addresses, so that rules that name them can be flat. */
const HOSTS = ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32", "fd00::1/128", "fd00::2/128"];
const HOST_SET_IDS = ["s:h", "s:i", "s:j"];

const someOf = <T>(values: readonly T[]): fc.Arbitrary<T[]> => fc.subarray([...values]);
const names = fc.constantFrom("a", "b", "c");
/** The second reads like a part of the first. */
const hostNames = fc.constantFrom("a", "a-tier0", "b", "c");

const rule: fc.Arbitrary<TestRule> = fc.record(
  {
    action: fc.constantFrom("allow", "deny", "next-tier", "log"),
    srcIpSetIds: someOf(SET_IDS),
    notDstIpSetIds: someOf(SET_IDS),
    dstNamedPortIpSetIds: someOf(["n:a"]),
    srcNet: someOf(MEMBERS),
    dstPorts: someOf([
      { first: 80, last: 90 },
      { first: 85, last: 95 },
      { first: 443, last: 443 },
    ]),
  },
  { requiredKeys: ["action"] },
);

/** Such as need no chain. */
const flatRule: fc.Arbitrary<TestRule> = fc
  .tuple(
    fc.constantFrom<TestRule["action"]>("allow", "allow", "deny"),
    fc.constantFrom(undefined, ...HOST_SET_IDS, "s:a"),
    fc.constantFrom(undefined, "tcp", "udp"),
    someOf([
      { first: 80, last: 81 },
      { first: 443, last: 443 },
    ]),
  )
  .map(([action, peer, name, dstPorts]) => ({
    action,
    ...(peer === undefined ? {} : { srcIpSetIds: [peer] }),
    ...(name === undefined ? {} : { protocol: { name }, dstPorts }),
  }));

/** A step of a history, and how it changes the final state. */
type Step =
  | { readonly op: "set"; readonly key: string; readonly message: ToDataplane }
  | { readonly op: "delete"; readonly key: string; readonly message: ToDataplane }
  | { readonly op: "delta"; readonly id: string; readonly add: string[]; readonly remove: string[] }
  | { readonly op: "flush" };

const tiers = fc.array(
  fc
    .tuple(names, someOf(["a", "b", "c"]), someOf(["a", "b", "c"]), fc.constantFrom("Deny", "Pass"))
    .map(([name, ingress, egress, action]) =>
      tier(name, ingress.map(gnp), egress.map(gnp), action as "Deny"),
    ),
  { maxLength: 2 },
);

const endpoint = fc.record({
  name: fc.constantFrom("cali1", "cali2", "cali3", "cali4", "eth0"),
  state: fc.constantFrom("active", "active", "active", "inactive"),
  mac: fc.constantFrom("", "0a:00:00:00:00:01"),
  ipv4Nets: someOf(["10.65.0.1/32", "10.65.0.2/32"]),
  ipv6Nets: someOf(["fd65::1/128"]),
  allowSpoofedSourcePrefixes: someOf(["10.7.0.0/16", "10.8.0.0/16", "fd07::/16"]),
  profileIds: someOf(["a", "b"]),
  tiers,
});

const hostEndpoint = fc.record({
  name: fc.constantFrom("eth0", "eth1", "*"),
  profileIds: someOf(["a", "b"]),
  tiers,
  forwardTiers: tiers,
});

const set = (key: string, message: ToDataplane): Step => ({ op: "set", key, message });
const deleted = (key: string, message: ToDataplane): Step => ({ op: "delete", key, message });
const delta = (id: string, add: string[], remove: string[]): Step => ({
  op: "delta",
  id,
  add,
  remove: remove.filter((member) => !add.includes(member)),
});

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(fc.constantFrom("a", "b", "c", "d", "e"), endpoint)
      .map(([name, wep]) => set(`wep ${name}`, wepUpdate(name, wep))),
  },
  names.map((name) => deleted(`wep ${name}`, wepRemove(name))),
  {
    weight: 2,
    arbitrary: fc
      .tuple(hostNames, hostEndpoint)
      .map(([name, hep]) => set(`hep ${name}`, hostEndpointUpdate(name, hep))),
  },
  hostNames.map((name) =>
    deleted(`hep ${name}`, { case: "hostEndpointRemove", value: { id: { endpointId: name } } }),
  ),
  {
    weight: 3,
    arbitrary: fc
      .tuple(names, fc.array(rule, { maxLength: 3 }), fc.array(rule, { maxLength: 2 }))
      .map(([name, inbound, outbound]) =>
        set(`policy ${name}`, policyUpdate(gnp(name), inbound, outbound)),
      ),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        names,
        fc.oneof(
          fc.array(flatRule, { maxLength: 4 }),
          fc
            .array(fc.oneof(rule, flatRule), { maxLength: 4 })
            .map((list) => list.map((each) => ({ ...each, action: "allow" as const }))),
        ),
      )
      .map(([name, rules]) => set(`policy ${name}`, policyUpdate(gnp(name), rules, rules))),
  },
  names.map((name) => deleted(`policy ${name}`, policyRemove(gnp(name)))),
  fc
    .tuple(names, fc.array(rule, { maxLength: 2 }))
    .map(([name, rules]) => set(`profile ${name}`, profileUpdate(name, rules))),
  names.map((name) =>
    deleted(`profile ${name}`, { case: "activeProfileRemove", value: { id: { name } } }),
  ),
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom(...SET_IDS), someOf(MEMBERS))
      .map(([id, members]) => set(`set ${id}`, ipSetUpdate(id, members))),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom(...HOST_SET_IDS), someOf(HOSTS))
      .map(([id, members]) => set(`set ${id}`, ipSetUpdate(id, members))),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.constantFrom(...HOST_SET_IDS), someOf([...HOSTS, "10.0.0.0/8"]), someOf(HOSTS))
      .map(([id, add, remove]) => delta(id, add, remove)),
  },
  someOf(PORT_MEMBERS).map((members) => set("set n:a", ipSetUpdate("n:a", members, "IP_AND_PORT"))),
  fc
    .constantFrom(...SET_IDS, ...HOST_SET_IDS, "n:a")
    .map((id) => deleted(`set ${id}`, { case: "ipsetRemove", value: { id } })),
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.constantFrom(...SET_IDS), someOf(MEMBERS), someOf(MEMBERS))
      .map(([id, add, remove]) => delta(id, add, remove)),
  },
  someOf(PORT_MEMBERS).map((add) => delta("n:a", add, PORT_MEMBERS)),
  { weight: 4, arbitrary: fc.constant({ op: "flush" as const }) },
);

const RUNS_FACTOR = process.env["MARGAY_TEST_LONG"] === "1" ? 10 : 1;

const CONFIG = { workloadSourceSpoofing: "Any" } as const;
type DenyAction = "Drop" | "Reject";

/** Many contents to one number, so that numbering has to cope. */
const colliding = (content: string): number =>
  content.includes("\0") ? hashOfContent(content) : (hashOfContent(content) % 3) + 1;

function play(
  history: readonly Step[],
  options: CompilerOptions,
  denyAction: DenyAction,
): { world: NftWorld; final: Map<string, ToDataplane> } {
  const world = new NftWorld({ ...CONFIG, denyAction }, options);
  const final = new Map<string, ToDataplane>();
  for (const step of history) {
    if (step.op === "flush") world.flush();
    else if (step.op === "delta") applyDelta(world, final, step);
    else {
      world.send(step.message);
      if (step.op === "set") final.set(step.key, step.message);
      else final.delete(step.key);
    }
  }
  world.flush();
  return { world, final };
}

/** As the sequencer: deltas only for sets that are there, adding what is not in, removing what is. */
function applyDelta(
  world: NftWorld,
  final: Map<string, ToDataplane>,
  { id, add, remove }: Step & { op: "delta" },
): void {
  const before = final.get(`set ${id}`);
  if (before?.case !== "ipsetUpdate") return;
  const members = new Set(before.value.members);
  const added = add.filter((member) => !members.has(member));
  const removed = remove.filter((member) => members.has(member));
  world.send(ipSetDelta(id, added, removed));
  for (const member of removed) members.delete(member);
  for (const member of added) members.add(member);
  final.set(`set ${id}`, ipSetUpdate(id, [...members], before.value.type));
}

function check(
  history: readonly Step[],
  options: CompilerOptions = {},
  denyAction: DenyAction = "Drop",
): void {
  const { world, final } = play(history, options, denyAction);
  const once = new NftWorld({ ...CONFIG, denyAction }, options);
  // In another order than it came, all at once.
  for (const key of [...final.keys()].sort().reverse()) {
    const message = final.get(key);
    if (message) once.send(message);
  }
  once.flush();
  assert.equal(world.table.dump(), once.table.dump());
  for (const name of ["a", "b", "c", "d", "e"]) {
    const id = { orchestratorId: "k8s", workloadId: `default/${name}`, endpointId: "eth0" };
    assert.equal(world.compiler.problemOf(id), once.compiler.problemOf(id));
  }
  world.table.resetCalls();
  world.flush();
  assert.deepEqual(
    Object.values(world.table.calls).filter(Boolean),
    [],
    "nothing new, nothing pushed",
  );
}

describe("the table", () => {
  it("depends on the final state, not on the path", () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 60, size: "max" }), (history) => check(history)),
      { numRuns: RUNS_FACTOR * 400 },
    );
  });

  it("also where the choice between chains and maps is forced, or on the edge", () => {
    fc.assert(
      fc.property(
        fc.array(steps, { maxLength: 60, size: "max" }),
        fc.constantFrom(-1, 1, 2, Infinity),
        (history, maxIdentities) => check(history, { maxIdentities }),
      ),
      { numRuns: RUNS_FACTOR * 300 },
    );
  });

  it("also where policy rejects, and is there once more for the hook that cannot", () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 60, size: "max" }), (history) =>
        check(history, {}, "Reject"),
      ),
      { numRuns: RUNS_FACTOR * 200 },
    );
  });

  it("also when numbers of classes and identities collide", () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 60, size: "max" }), (history) =>
        check(history, { hash: colliding }),
      ),
      { numRuns: RUNS_FACTOR * 300 },
    );
  });
});
