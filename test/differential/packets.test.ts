/**
 * Three ways of asking give one answer: what the policy engine says, what packets do, and what packets
 * did under the real Felix (test/golden/packets). Random states by seed; MARGAY_TEST_SEED moves them.
 */
import assert from "node:assert/strict";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { formatIp } from "#ip";
import { evaluateForward, explain, parsePacket, type FlowEnd } from "#policy";
import { messagesOf, Oracle } from "../support/in-process-agent.ts";
import { goldenWorld } from "../support/packet-world.ts";
import { runInSandbox } from "../support/sandbox.ts";
import type { RawFlow } from "../support/packet-thread.ts";
import { generateSequence, generateState, packetOf } from "../support/random-policy.ts";

interface State {
  readonly resources: readonly unknown[];
  readonly flows: readonly RawFlow[];
}

const LONG = process.env["MARGAY_TEST_LONG"] !== undefined;
const FLOWS_PER_STATE = 200;
const STATES = LONG ? 400 : 14;
const SEQUENCES = LONG ? 20 : 2;
const STEPS = 12;
const TRANSITIONS = LONG ? 6 : 2;
const FLOWS_PER_STEP = 100;
/** States that one sandbox runs through; so that nothing long-lived can hide a fault. */
const STATES_PER_WORLD = 10;
const world = goldenWorld();

/** Through a file: the states are longer than an argument may be. */
async function withFile<T>(content: unknown, use: (file: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "margay-packets-"));
  try {
    const file = join(dir, "states.json");
    writeFileSync(file, JSON.stringify(content));
    return await use(file);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

interface Sending {
  /** One agent is led from state to state. */
  readonly incremental?: boolean;
  readonly neighboursKnown?: boolean;
}

function sendAll(states: readonly State[], sending: Sending): Promise<number[][]> {
  const script = fileURLToPath(new URL("inside/packets.ts", import.meta.url));
  const { incremental = false, neighboursKnown = true } = sending;
  return withFile(states, (file) =>
    runInSandbox<number[][]>(script, { file, incremental, neighboursKnown }),
  );
}

function interfaceOf(name: string): string | undefined {
  return world.pods.find((pod) => pod.name === name)?.interfaceName;
}

/** A workload without endpoint, or with another address, neither sends nor receives. */
function hasPath(oracle: Oracle, flow: RawFlow): boolean {
  const { from, to, dst } = flow;
  const src = formatIp(packetOf(flow).src);
  return [[from, src] as const, [to, dst] as const].every(([name, address]) => {
    const device = interfaceOf(name);
    return device === undefined || oracle.addresses(device).includes(address);
  });
}

function endOf(oracle: Oracle, name: string): FlowEnd {
  if (name === world.host) return { kind: "host" };
  if (name === world.outside) return oracle.outside("eth0", HOST_ADDRESSES);
  return oracle.workload(interfaceOf(name) ?? name);
}

const bare = (net: string): string => net.replace(/\/.*/, "");
const HOST_ADDRESSES = world.hostAddresses.map(bare);
/** Of the link; link-local addresses are there by themselves. */
const V6 = {
  [world.host]: ["fe80::1", ...HOST_ADDRESSES.filter((address) => address.includes(":"))],
  [world.outside]: ["fe80::2", ...world.outsideAddresses.map(bare).filter((a) => a.includes(":"))],
};

/**
 * Whether the two ends of the link found each other for IPv6 when packets were recorded. Nothing exempts neighbour discovery
 * (RFC 4861 §7.2) from the policy of host endpoints: a solicitation from any address of the asker to
 * a solicited-node address, its answer back. Undefined: it depends on which address asks, or on who
 * asked before, since both learn from a solicitation.
 */
function neighbourFound(oracle: Oracle, { from, to, dst }: RawFlow): boolean | undefined {
  if (!dst.includes(":") || ![from, to].includes(world.outside)) return true;
  const asker = to === world.outside ? world.host : world.outside;
  const other = asker === world.host ? world.outside : world.host;
  const asks = allowed(oracle, asker, other, 135);
  const answers = allowed(oracle, other, asker, 136);
  if (asks === true && answers === true) return true;
  const mayLearn = allowed(oracle, other, asker, 135) !== false;
  return (asks === false || answers === false) && !mayLearn ? false : undefined;
}

/** Undefined: from some addresses, not from others. */
function allowed(oracle: Oracle, by: string, to: string, icmpType: number): boolean | undefined {
  const targets = V6[to] ?? [];
  const verdicts = (V6[by] ?? []).flatMap((src) =>
    targets.map((target) => {
      const dst = icmpType === 135 ? solicitedNode(target) : target;
      const packet = parsePacket({ protocol: "icmpv6", icmpType, icmpCode: 0, src, dst });
      return evaluateForward(packet, endOf(oracle, by), endOf(oracle, to)).verdict;
    }),
  );
  const [first] = verdicts;
  return verdicts.every((verdict) => verdict === first) ? first === "allow" : undefined;
}

/** RFC 4291 §2.7.1: the last 24 bits of the address. */
function solicitedNode(address: string): string {
  const last = (address.split(":").at(-1) ?? "").padStart(6, "0");
  return `ff02::1:ff${last.slice(0, 2)}:${last.slice(2)}`;
}

let compared = 0;
let unsure = 0;

/** Flows on which engine and kernel differ, in words. */
function differences(
  state: State,
  arrived: ReadonlySet<number>,
  isFound: typeof neighbourFound = () => true,
): string[] {
  const oracle = new Oracle(messagesOf(state.resources));
  return state.flows.flatMap((flow) => {
    const found = isFound(oracle, flow);
    if (found === undefined) {
      unsure++;
      return [];
    }
    compared++;
    if (!hasPath(oracle, flow) || !found) {
      return arrived.has(flow.tag) ? [`${JSON.stringify(flow)}: arrived without a path`] : [];
    }
    const said = evaluateForward(packetOf(flow), endOf(oracle, flow.from), endOf(oracle, flow.to));
    if ((said.verdict === "allow") === arrived.has(flow.tag)) return [];
    const why = [...said.host.map(({ evaluation }) => evaluation), said.egress, said.ingress]
      .map((e) => (e === undefined ? "" : explain(e)))
      .join("\n");
    return [
      `${JSON.stringify(flow)}: engine says ${said.verdict} (${said.reason}), the packet ${arrived.has(flow.tag) ? "arrived" : "did not arrive"}\n${why}`,
    ];
  });
}

test(`random policies: evaluate = packets, ${STATES * FLOWS_PER_STATE} flows`, async () => {
  const base = Number(process.env["MARGAY_TEST_SEED"] ?? 1);
  let allowed = 0;
  for (let first = 0; first < STATES; first += STATES_PER_WORLD) {
    const seeds = Array.from(
      { length: Math.min(STATES_PER_WORLD, STATES - first) },
      (_, i) => base + first + i,
    );
    const states = seeds.map((seed) => generateState(seed, { flows: FLOWS_PER_STATE }));
    const results = await sendAll(states, {});
    states.forEach((state, i) => {
      const arrived = new Set(results[i]);
      allowed += arrived.size;
      assert.deepEqual(differences(state, arrived), [], `seed ${seeds[i]}`);
    });
  }
  assert.ok(allowed > STATES * 5, `only ${allowed} packets passed: the test says little`);
});

test(`one agent led from state to state: evaluate = packets, ${SEQUENCES} times ${STEPS} states`, async () => {
  const base = Number(process.env["MARGAY_TEST_SEED"] ?? 1);
  for (let seed = base; seed < base + SEQUENCES; seed++) {
    const states = generateSequence(seed, STEPS, { flows: FLOWS_PER_STEP });
    const results = await sendAll(states, { incremental: true });
    let allowed = 0;
    states.forEach((state, i) => {
      const arrived = new Set(results[i]);
      allowed += arrived.size;
      assert.deepEqual(differences(state, arrived), [], `seed ${seed}, step ${i}`);
    });
    assert.ok(allowed > STEPS * 2, `only ${allowed} packets passed: the test says little`);
  }
});

test("between two states nothing gets through that both deny", async () => {
  const base = Number(process.env["MARGAY_TEST_SEED"] ?? 1);
  const script = fileURLToPath(new URL("inside/transitions.ts", import.meta.url));
  for (let seed = base; seed < base + TRANSITIONS; seed++) {
    const states = generateSequence(seed, 2, { flows: 300 });
    const oracles = states.map(({ resources }) => new Oracle(messagesOf(resources)));
    const mayPass = (oracle: Oracle, flow: RawFlow): boolean =>
      hasPath(oracle, flow) &&
      evaluateForward(packetOf(flow), endOf(oracle, flow.from), endOf(oracle, flow.to)).verdict ===
        "allow";
    const flows = (states[0]?.flows ?? []).filter(
      (flow) => !oracles.some((oracle) => mayPass(oracle, flow)),
    );
    assert.ok(flows.length > 50, "there is something to deny");
    const arrived = await withFile(
      { states: states.map(({ resources }) => resources), flows },
      (file) => runInSandbox<number[]>(script, { file, rounds: LONG ? 20 : 8 }),
    );
    const wrong = flows.filter(({ tag }) => arrived.includes(tag));
    assert.deepEqual(wrong, [], `seed ${seed}`);
  }
});

test("recorded states: packets do what they did under Felix", async () => {
  const files = globSync("test/golden/packets/state-*.json").toSorted();
  assert.equal(files.length, 12);
  const recorded = files.map(
    (file) => JSON.parse(readFileSync(file, "utf8")) as State & { arrived: number[] },
  );
  const states = recorded.map(({ resources, flows }) => ({ resources, flows }));
  const results = await sendAll(states, { neighboursKnown: false });
  let flows = 0;
  recorded.forEach(({ arrived }, i) => {
    const theirs = new Set(arrived);
    const ours = new Set(results[i]);
    const differing =
      states[i]?.flows.filter((flow) => theirs.has(flow.tag) !== ours.has(flow.tag)) ?? [];
    flows += states[i]?.flows.length ?? 0;
    assert.deepEqual(differing, [], `${files[i]}: differs from Felix`);
    const state = states[i];
    if (state !== undefined) {
      assert.deepEqual(
        differences(state, theirs, neighbourFound),
        [],
        `${files[i]}: the engine differs from Felix`,
      );
    }
  });
  assert.ok(flows > 2500, `only ${flows} flows were compared`);
});

test("no flow of ours was left out, and of the recorded ones hardly any", (t) => {
  const ours = STATES * FLOWS_PER_STATE + SEQUENCES * STEPS * FLOWS_PER_STEP;
  assert.ok(compared > ours + 2400, `${compared} flows were compared`);
  t.diagnostic(`${compared} compared, ${unsure} recorded ones depend on neighbour discovery`);
  assert.ok(unsure <= 10, `${unsure} recorded flows depend on neighbour discovery`);
});
