/** The host scenario, run inside fresh namespaces: this network namespace is the host. Prints JSON. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { openDatastore, type Datastore } from "#datastore";
import { NETLINK_NETFILTER, NetlinkSocket } from "#netlink";
import { sets } from "../../src/dataplane/linux/nft/names.ts";
import { staticSets } from "../../src/dataplane/linux/nft/static-chains.ts";
import { NftBatch } from "../../src/netlink/nft/batch.ts";
import { NftReader } from "../../src/netlink/nft/readback.ts";
import { layoutOf } from "../../src/netlink/nft/sets.ts";
import { median } from "../support/figures.ts";
import {
  allObjects,
  HOST,
  policy,
  policyKey,
  PORT,
  source,
  SOURCE,
  target,
  TARGET,
  type HostSize,
} from "./data.ts";
import { nowNs, Probe } from "../../test/support/probe.ts";

export type { HostSize } from "./data.ts";

export interface HostResult {
  readonly startMs: number;
  readonly endpointMs: number;
  readonly allowMs: number;
  readonly leakMs: number;
  readonly policyMs: number;
  readonly rssMb: number;
  readonly idleCpuSeconds: number;
  readonly lost: number;
  /** The kernel's part of a policy change, without any of ours. */
  readonly kernelElementMs: number;
}

/** The agent's table. */
const TABLE = "margay";
const ETCD = "http://127.0.0.1:23790";
const MARGAY = fileURLToPath(new URL("../../bin/margay", import.meta.url));
const verbose = process.env["MARGAY_BENCH_VERBOSE"] !== undefined;

const size = JSON.parse(process.argv[2] ?? "{}") as HostSize;
const dir = mkdtempSync(join(tmpdir(), "margay-bench-"));
try {
  const result = await scenario();
  writeSync(1, JSON.stringify(result));
  process.exitCode = 0;
} catch (error) {
  writeSync(2, inspect(error));
  process.exitCode = 1;
} finally {
  rmSync(dir, { recursive: true, force: true });
  // Process 1 of its namespace: nothing that was started outlives it.
  process.exit();
}

async function scenario(): Promise<HostResult> {
  buildHost();
  const etcd = spawn(
    "etcd",
    [
      "--data-dir",
      join(dir, "etcd"),
      "--listen-client-urls",
      ETCD,
      "--advertise-client-urls",
      ETCD,
      "--listen-peer-urls",
      "http://127.0.0.1:23800",
    ],
    { stdio: "ignore" },
  );
  const store = await connect();
  note("writing objects");
  await writeAll(store, allObjects(size));
  const probe = new Probe({
    sendFrom: "/run/netns/mgy-out",
    receiveIn: "/run/netns/mgy-pods",
    source: SOURCE.address,
    target: TARGET.address,
    port: PORT,
    intervalMs: 0.05,
  });
  const write = async ([key, value]: [string, unknown]): Promise<void> => {
    await store.put(key, JSON.stringify(value));
  };
  await write(target());
  await write(source("probe"));

  note("starting the agent");
  probe.send(true);
  const started = nowNs();
  let felix = startFelix();
  await arrived(probe);
  const startMs = since(started, probe.firstAtNs);
  await settle(2000);

  note("endpoint added");
  const endpointMs = await rounds(async () => {
    await store.delete(target()[0]);
    await quiet(probe);
    return toFirst(probe, () => write(target()));
  });
  note("label change");
  const leaks: number[] = [];
  const allowMs = await rounds(async () => {
    leaks.push(await toLast(probe, () => write(source("none"))));
    return toFirst(probe, () => write(source("probe")));
  });
  note("policy change");
  const groups = Math.max(1, Math.floor(size.local / 10));
  const policyMs = await rounds(async () => {
    await toLast(probe, () => write([policyKey(0), policy(0, groups, false)]));
    return toFirst(probe, () => write([policyKey(0), policy(0, groups, true)]));
  });
  probe.send(false);

  note("idle");
  await settle(5000);
  const before = cpuSeconds(felix);
  await settle(10_000);
  const idleCpuSeconds = cpuSeconds(felix) - before;
  const rssMb = rss(felix);

  note("kill -9 under traffic");
  probe.setInterval(1);
  let lost = 0;
  for (let i = 0; i < 2; i++) {
    await settle(500);
    probe.reset();
    probe.send(true);
    await settle(300);
    felix.kill("SIGKILL");
    await settle(200);
    felix = startFelix();
    await settle(4000);
    probe.send(false);
    await settle(300);
    lost += probe.sent - probe.received;
    note(`  ${probe.sent} sent, ${probe.received} received`);
  }
  await probe.close();
  await store.close();
  const ended = new Promise((resolve) => felix.once("exit", resolve));
  felix.kill("SIGTERM");
  etcd.kill("SIGTERM");
  await ended;
  note("the kernel alone");
  const kernelElementMs = await kernelElement();
  return {
    startMs,
    endpointMs,
    allowMs,
    leakMs: median(leaks),
    policyMs,
    rssMb,
    idleCpuSeconds,
    lost,
    kernelElementMs,
  };
}

/**
 * What the kernel takes for one more element beside those that the agent has left behind. After pauses
 * like those of the other rounds, so with cold caches.
 */
async function kernelElement(): Promise<number> {
  const socket = NetlinkSocket.open({ protocol: NETLINK_NETFILTER });
  const reader = new NftReader(socket, "inet", TABLE);
  const { set } = staticSets().find((each) => each.set.name === sets.peerPort) ?? {};
  if (set === undefined) throw new Error(`no set ${sets.peerPort}`);
  const layout = layoutOf(set);
  const samples: number[] = [];
  for (let i = 0; i < size.rounds; i++) {
    await settle(90);
    const batch = new NftBatch("inet", TABLE);
    const key = String.fromCharCode(i + 1).repeat(layout.keyLen);
    Array.from(batch.addElements(set.name, layout, [[key, ""]], false));
    const bytes = batch.whole(reader.generation());
    const at = nowNs();
    const { refusals } = socket.transactBatch(bytes, batch.items.length);
    samples.push(since(at, nowNs()));
    if (refusals.length > 0) throw new Error(`refused: ${JSON.stringify(refusals)}`);
  }
  socket.close();
  note(`  ${samples.map((ms) => ms.toFixed(3)).join(" ")}`);
  return median(samples);
}

/** `host` = this namespace; `mgy-pods` holds the workloads' ends; `mgy-out` is where remote endpoints live. */
function buildHost(): void {
  execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
  mkdirSync("/run/netns");
  const ip = (args: string[], lines: string[] = []): void => {
    execFileSync("ip", args, { input: lines.map((line) => `${line}\n`).join("") });
  };
  ip(["netns", "add", "mgy-pods"]);
  ip(["netns", "add", "mgy-out"]);
  execFileSync("sysctl", [
    "-qw",
    "net.ipv4.ip_forward=1",
    "net.netfilter.nf_conntrack_udp_timeout=1",
  ]);
  const locals = Array.from({ length: size.local }, (_, i) => `cali${String(i).padStart(8, "0")}`);
  ip(
    ["-batch", "-"],
    [
      "link set lo up",
      "link add eth0 type veth peer name eth0 netns mgy-out",
      "addr add 10.0.0.11/24 dev eth0",
      "link set eth0 up",
      ...[TARGET.interface, ...locals].flatMap((name, i) => [
        `link add ${name} address ee:ee:ee:ee:ee:ee type veth peer name eth${i} netns mgy-pods`,
        `link set ${name} up`,
      ]),
    ],
  );
  ip(
    ["-n", "mgy-out", "-batch", "-"],
    [
      "link set eth0 up",
      "addr add 10.0.0.12/24 dev eth0",
      `addr add ${SOURCE.address}/32 dev eth0`,
      "route add 10.65.0.0/16 via 10.0.0.11",
    ],
  );
  ip(["route", "add", "10.66.0.0/16", "via", "10.0.0.12"]);
  ip(
    ["-n", "mgy-pods", "-batch", "-"],
    [
      "link set eth0 up",
      `addr add ${TARGET.address}/32 dev eth0`,
      "route add 169.254.1.1 dev eth0 scope link",
      "route add default via 169.254.1.1 dev eth0",
      ...locals.map((_, i) => `link set eth${i + 1} up`),
    ],
  );
}

async function connect(): Promise<Datastore> {
  for (let attempt = 0; ; attempt++) {
    try {
      const store = await openDatastore({ type: "etcdv3", etcd: { endpoints: [ETCD] } });
      await store.get("/");
      return store;
    } catch (error) {
      if (attempt > 100) throw error;
      await settle(100);
    }
  }
}

async function writeAll(store: Datastore, objects: readonly [string, unknown][]): Promise<void> {
  for (let i = 0; i < objects.length; i += 200) {
    await Promise.all(
      objects.slice(i, i + 200).map(([key, value]) => store.put(key, JSON.stringify(value))),
    );
  }
}

function startFelix(): ChildProcess {
  const log = verbose ? 2 : openSync(join(dir, "felix.log"), "a");
  return spawn(MARGAY, ["felix"], {
    stdio: ["ignore", log, log],
    env: {
      ...process.env,
      DATASTORE_TYPE: "etcdv3",
      ETCD_ENDPOINTS: ETCD,
      FELIX_FELIXHOSTNAME: HOST,
      FELIX_LOGFILEPATH: "none",
      FELIX_LOGSEVERITYSCREEN: "Warning",
    },
  });
}

async function rounds(one: () => Promise<number>): Promise<number> {
  const samples: number[] = [];
  for (let i = 0; i < size.rounds; i++) samples.push(await one());
  note(`  ${samples.map((ms) => ms.toFixed(1)).join(" ")}`);
  return median(samples);
}

/** Milliseconds from the change to the first packet received after it. */
async function toFirst(probe: Probe, change: () => Promise<void>): Promise<number> {
  await settle(30);
  probe.reset();
  const at = nowNs();
  await change();
  await arrived(probe);
  return since(at, probe.firstAtNs);
}

/** Milliseconds from the change to the last packet received. */
async function toLast(probe: Probe, change: () => Promise<void>): Promise<number> {
  await settle(30);
  const at = nowNs();
  await change();
  await quiet(probe);
  return Math.max(0, since(at, probe.lastAtNs));
}

async function arrived(probe: Probe): Promise<void> {
  for (let i = 0; probe.received === 0; i++) {
    if (i > 30_000)
      throw new Error(
        `no packet arrived; agent's log:\n${verbose ? "" : readFileSync(join(dir, "felix.log"), "utf8").slice(-3000)}`,
      );
    await settle(2);
  }
}

/** Until nothing has arrived for 60 ms. */
async function quiet(probe: Probe): Promise<void> {
  const deadline = nowNs() + 20_000_000_000n;
  while (nowNs() - probe.lastAtNs < 60_000_000n) {
    if (nowNs() > deadline) throw new Error("packets go on passing");
    await settle(5);
  }
}

function since(from: bigint, to: bigint): number {
  return Number(to - from) / 1e6;
}

function cpuSeconds(child: ChildProcess): number {
  const fields =
    readFileSync(`/proc/${child.pid ?? 0}/stat`, "utf8")
      .split(") ")[1]
      ?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function rss(child: ChildProcess): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid ?? 0}/status`, "utf8"));
  return Number(line?.[1] ?? 0) / 1024;
}

function settle(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

function note(text: string): void {
  if (verbose) process.stderr.write(`${text}\n`);
}
