/**
 * The stores: `margay datastore` over its socket and over TCP, and in the process itself, beside a
 * real etcd on the same disk in the same run. The floor of a put is one flush of the disk.
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { EtcdClient, EtcdDatastore, openDatastore } from "#datastore";
import { drive, type DriverResult } from "./datastore/store-driver.ts";
import { drawTable, type Figure, type Suite } from "./support/figures.ts";

const DRIVER = fileURLToPath(new URL("datastore/store-driver.ts", import.meta.url));
const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const run = promisify(execFile);

export const suite: Suite = {
  title: "Datastore: embedded beside etcd (client in a process of its own, 300-byte values)",
  async run(): Promise<readonly Figure[]> {
    const dir = mkdtempSync(join(tmpdir(), "mgy-bench-ds-"));
    try {
      const flush = flushMs(dir);
      const etcd = await besideEtcd(dir);
      const [socket, tcp] = await besideOurs(dir);
      const own = await inProcess(dir);
      return figures({ flush, etcd, socket, tcp, own });
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  },
};

/** The disk's share of a put: 4 KiB written and flushed, median. */
function flushMs(dir: string): number {
  const fd = openSync(join(dir, "flush"), "w");
  const times: number[] = [];
  for (let i = 0; i < 200; i++) {
    const begin = performance.now();
    writeSync(fd, Buffer.alloc(4096));
    fdatasyncSync(fd);
    times.push(performance.now() - begin);
  }
  closeSync(fd);
  return times.toSorted((a, b) => a - b)[100] ?? Number.NaN;
}

async function besideEtcd(dir: string): Promise<DriverResult> {
  const [client, peer] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${client}`;
  const peerUrl = `http://127.0.0.1:${peer}`;
  return await withServer(
    "etcd",
    [
      "--data-dir",
      join(dir, "etcd"),
      "--log-level",
      "error",
      "--logger",
      "zap",
      "--listen-client-urls",
      url,
      "--advertise-client-urls",
      url,
      "--listen-peer-urls",
      peerUrl,
      "--initial-advertise-peer-urls",
      peerUrl,
      "--initial-cluster",
      `default=${peerUrl}`,
    ],
    url,
    () => driver(url),
  );
}

async function besideOurs(dir: string): Promise<readonly [DriverResult, DriverResult]> {
  const data = join(dir, "margay");
  const url = `http://127.0.0.1:${await freePort()}`;
  const args = [MAIN, "datastore", "--data-dir", data, "--listen-client-urls", url];
  return await withServer(process.execPath, args, url, async () => {
    const socket = await driver(`unix://${join(data, "margay.sock")}`);
    return [socket, await driver(url)] as const;
  });
}

async function inProcess(dir: string): Promise<DriverResult> {
  const dataDir = join(dir, "own");
  const store = await openDatastore({ type: "embedded", embedded: { dataDir } }, { serve: true });
  try {
    return await drive(store);
  } finally {
    await store.close();
  }
}

async function withServer<T>(
  program: string,
  args: readonly string[],
  url: string,
  use: () => Promise<T>,
): Promise<T> {
  const child = spawn(program, args, { stdio: "ignore" });
  const gone = once(child, "exit");
  try {
    await answers(url);
    return await use();
  } finally {
    child.kill("SIGTERM");
    await gone;
  }
}

async function answers(url: string): Promise<void> {
  const store = new EtcdDatastore(new EtcdClient({ endpoints: [url] }));
  try {
    for (let i = 0; ; i++) {
      try {
        await store.get("/warm");
        return;
      } catch (error) {
        if (i > 200) throw error;
      }
      await sleep(50);
    }
  } finally {
    await store.close();
  }
}

async function driver(endpoint: string): Promise<DriverResult> {
  const { stdout } = await run(process.execPath, [DRIVER, endpoint]);
  return JSON.parse(stdout) as DriverResult;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

interface Measured {
  readonly flush: number;
  readonly etcd: DriverResult;
  readonly socket: DriverResult;
  readonly tcp: DriverResult;
  readonly own: DriverResult;
}

function figures({ flush, etcd, socket, tcp, own }: Measured): Figure[] {
  const floorIs = "etcd";
  const row = (
    what: string,
    of: DriverResult,
    name: keyof DriverResult,
    target?: number,
  ): Figure => ({
    what,
    unit: "ms",
    ours: of[name],
    floor: etcd[name],
    floorIs,
    ...(target === undefined ? {} : { target }),
  });
  const perPut = (what: string, of: DriverResult): Figure => ({
    what,
    unit: "us",
    ours: 1e6 / of.putsPerSecond,
    floor: 1e6 / etcd.putsPerSecond,
    floorIs,
  });
  return [
    row("put → watch event, unix socket", socket, "watchP50", 5),
    row("put → watch event, unix socket, p99", socket, "watchP99"),
    row("put → watch event, TCP", tcp, "watchP50", 5),
    row("put → watch event, in process", own, "watchP50", 5),
    row("put, unix socket", socket, "putP50"),
    row("put, unix socket, p99", socket, "putP99"),
    { what: "put, in process", unit: "ms", ours: own.putP50, floor: flush, floorIs: "disk flush" },
    row("get, unix socket", socket, "getP50"),
    row("list of 5,000 keys, unix socket", socket, "listMs"),
    row("list of 5,000 keys, in process", own, "listMs"),
    perPut("time per put, 64 writers, unix socket", socket),
    perPut("time per put, 64 writers, TCP", tcp),
    perPut("time per put, 64 writers, in process", own),
  ];
}

if (import.meta.main) {
  const measured = await suite.run();
  const text = process.argv.includes("--json") ? JSON.stringify(measured) : drawTable(measured);
  process.stdout.write(`${text}\n`);
}
