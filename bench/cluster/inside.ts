/**
 * The lab of `examples/three-hosts.yaml` with two more pools, run inside fresh namespaces. Prints JSON:
 * how soon a new workload on one host is reached from another, and what the hosts cost while idle.
 */
import { readdirSync, readFileSync, readlinkSync, statSync, writeSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { withAddresses } from "../../src/lab/addresses.ts";
import { memberName, netnsPath } from "../../src/lab/names.ts";
import { endpoint } from "../../src/lab/resources.ts";
import { parseLabSpec, type LabWorkload } from "../../src/lab/spec.ts";
import { privateRun, startWorld } from "../../src/lab/start.ts";
import { addWorkloadWires } from "../../src/lab/workload-wires.ts";
import { World } from "../../src/lab/world.ts";
import { storedObject, type Given } from "../../test/support/bgp.ts";
import { nowNs, Probe } from "../../test/support/probe.ts";

export interface ClusterResult {
  /** Milliseconds each. */
  readonly bgpWarm: readonly number[];
  readonly bgpNewBlock: readonly number[];
  readonly vxlan: readonly number[];
  /** The write itself, which three members of etcd agree on: part of all of these. */
  readonly write: readonly number[];
  /** Of one processor, in per cent. */
  readonly idleHosts: number;
  readonly idleEtcd: number;
}

const EXAMPLE = new URL("../../examples/three-hosts.yaml", import.meta.url);
const MORE_POOLS = `
- apiVersion: projectcalico.org/v3
  kind: IPPool
  metadata: {name: plain}
  spec: {cidr: 10.66.0.0/16, nodeSelector: all()}
- apiVersion: projectcalico.org/v3
  kind: IPPool
  metadata: {name: plain-singles}
  spec: {cidr: 10.67.0.0/16, blockSize: 32, nodeSelector: all()}
expect:`;
const IDLE_MS = 10_000;
const SETTLE_MS = 10_000;
/** `USER_HZ` (proc(5)): what utime and stime count in. */
const TICKS_PER_SECOND = 100;

interface Place {
  readonly host: string;
  /** The first two bytes of its addresses. */
  readonly network: string;
}

const { rounds } = JSON.parse(process.argv[2] ?? "{}") as { readonly rounds: number };
privateRun();
const text = readFileSync(EXAMPLE, "utf8").replace(/^expect:/m, MORE_POOLS.trim());
const world = new World(parseLabSpec(text, "three-hosts.yaml"));
await startWorld(world, () => {});
let count = 0;
const writes: number[] = [];

/** The first of each place waits for sessions, blocks and agents; it is not counted. */
async function measure(place: Place): Promise<number[]> {
  const samples: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const took = await reachMs(place);
    if (round > 0) samples.push(took);
  }
  return samples;
}

/** Of a new workload: from the write of its endpoint to the first packet from host-a's workload. */
async function reachMs({ host, network }: Place): Promise<number> {
  count += 1;
  const address = `${network}.200.${count}`;
  const workload: LabWorkload = {
    name: `new-${count}`,
    host,
    addresses: [address],
    namespace: "shop",
    labels: {},
    profiles: ["kns.shop"],
    pools: [],
    listen: [],
  };
  addWorkloadWires([workload]);
  const probe = new Probe({
    sendFrom: netnsPath("web"),
    receiveIn: netnsPath(workload.name),
    source: world.workloads.find((one) => one.name === "web")?.addresses[0] ?? "",
    target: address,
    port: 7777,
    intervalMs: 0.5,
  });
  try {
    await delay(300);
    probe.send(true);
    await delay(100);
    await withAddresses(world.store, world.spec, workload);
    const { kind, metadata, spec } = endpoint(workload);
    const object = { kind, ...metadata, spec } as Given;
    const [path, value] = storedObject(object);
    const writtenAt = nowNs();
    await world.store.put(path, value);
    writes.push(Number(nowNs() - writtenAt) / 1e6);
    await world.until(() => Promise.resolve(probe.received > 0), `${workload.name} is not reached`);
    return Number(probe.firstAtNs - writtenAt) / 1e6;
  } finally {
    await probe.close();
  }
}

/** Of all processes in the network namespaces of these names. */
function cpuTicks(names: readonly string[]): number {
  const wanted = new Set(names.map((name) => `net:[${statSync(netnsPath(name)).ino}]`));
  let sum = 0;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      if (!wanted.has(readlinkSync(`/proc/${entry}/ns/net`))) continue;
      // proc(5): fields 14 and 15, counted from after the name in brackets, which is field 2.
      const fields = readFileSync(`/proc/${entry}/stat`, "utf8")
        .replace(/^.*\) /s, "")
        .split(" ");
      sum += Number(fields[11]) + Number(fields[12]);
    } catch {
      // It ended meanwhile.
    }
  }
  return sum;
}

async function idle(): Promise<{ readonly idleHosts: number; readonly idleEtcd: number }> {
  await delay(SETTLE_MS);
  const hosts = world.hosts.map((host) => host.name);
  const members = Array.from({ length: world.spec.etcdMembers }, (_, index) => memberName(index));
  const before = [cpuTicks(hosts), cpuTicks(members)];
  await delay(IDLE_MS);
  const [idleHosts = 0, idleEtcd = 0] = [cpuTicks(hosts), cpuTicks(members)].map(
    (ticks, index) => ((ticks - (before[index] ?? 0)) / TICKS_PER_SECOND / (IDLE_MS / 1000)) * 100,
  );
  return { idleHosts, idleEtcd };
}

const result: ClusterResult = {
  bgpWarm: await measure({ host: "host-b", network: "10.66" }),
  bgpNewBlock: await measure({ host: "host-b", network: "10.67" }),
  vxlan: await measure({ host: "host-c", network: "10.65" }),
  write: writes,
  ...(await idle()),
};
writeSync(1, JSON.stringify(result));
// Process 1 of its namespace: nothing that was started outlives it.
process.exit();
