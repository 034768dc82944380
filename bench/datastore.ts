/**
 * The stores: `margay datastore` over its socket and over TCP, and in the process itself, beside a
 * real etcd on the same disk in the same run. The floor of a put is one flush of the disk.
 */
import { execFile } from "node:child_process";
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openDatastore } from "#datastore";
import { drive, type DriverResult } from "./datastore/store-driver.ts";
import { drawTable, type Figure, type Suite } from "./support/figures.ts";
import { withEtcd, withMargay } from "./support/servers.ts";

const DRIVER = fileURLToPath(new URL("datastore/store-driver.ts", import.meta.url));
const run = promisify(execFile);

export const suite: Suite = {
  title: "Datastore: embedded beside etcd (client in a process of its own, 300-byte values)",
  async run(): Promise<readonly Figure[]> {
    const dir = mkdtempSync(join(tmpdir(), "mgy-bench-ds-"));
    try {
      const flush = flushMs(dir);
      const etcd = await withEtcd(dir, driver);
      const { socket, tcp } = await withMargay(dir, async (socketUrl, tcpUrl) => ({
        socket: await driver(socketUrl),
        tcp: await driver(tcpUrl),
      }));
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

async function inProcess(dir: string): Promise<DriverResult> {
  const dataDir = join(dir, "own");
  const store = await openDatastore({ type: "embedded", embedded: { dataDir } }, { serve: true });
  try {
    return await drive(store);
  } finally {
    await store.close();
  }
}

async function driver(endpoint: string): Promise<DriverResult> {
  const { stdout } = await run(process.execPath, [DRIVER, endpoint]);
  return JSON.parse(stdout) as DriverResult;
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
