/**
 * Addresses: one at a time from a warm block, released again, and eight processes at once, on the
 * embedded store over its socket and on etcd. The floor is two bare conditional puts in a row, which
 * is what an address is made of: its handle, then its block.
 */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { drawTable, type Figure, type Suite } from "./support/figures.ts";
import { withEtcd, withMargay } from "./support/servers.ts";
import type { IpamTold } from "./ipam/ipam-driver.ts";

const DRIVER = fileURLToPath(new URL("ipam/ipam-driver.ts", import.meta.url));
const WRITERS = 8;
/** Of eight writers together. */
const TOGETHER = 2000;
const run = promisify(execFile);

interface Measured {
  readonly alone: IpamTold;
  readonly secondsTogether: number;
  readonly conflicts: number;
  readonly duplicates: number;
}

export const suite: Suite = {
  title: "IPAM: addresses from a warm block; 8 processes, 2,000 addresses",
  async run(): Promise<readonly Figure[]> {
    const dir = mkdtempSync(join(tmpdir(), "mgy-bench-ipam-"));
    try {
      const etcd = await withEtcd(dir, measure);
      const ours = await withMargay(dir, measure);
      return [...figures("embedded", ours), ...figures("etcd", etcd)];
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  },
};

async function measure(url: string): Promise<Measured> {
  const alone = await driver(url, "alone", "200");
  const each = String(TOGETHER / WRITERS);
  // Each waits for the same moment, so that start-up does not count.
  const startMs = String(Date.now() + 4000);
  const told = await Promise.all(
    Array.from({ length: WRITERS }, (_, index) => driver(url, `together-${index}`, each, startMs)),
  );
  const ips = told.flatMap(({ ips: some }) => some);
  return {
    alone,
    secondsTogether: Math.max(...told.map(({ seconds }) => seconds)),
    conflicts: told.reduce((sum, { conflicts }) => sum + conflicts, 0),
    duplicates: ips.length - new Set(ips).size,
  };
}

async function driver(url: string, ...args: readonly string[]): Promise<IpamTold> {
  const { stdout } = await run(process.execPath, [DRIVER, url, ...args], { maxBuffer: 1e8 });
  return JSON.parse(stdout) as IpamTold;
}

function figures(where: string, measured: Measured): readonly Figure[] {
  const { alone, secondsTogether, conflicts, duplicates } = measured;
  const floor = { floor: alone.floorP50, floorIs: "2 bare puts" };
  const ms = { unit: "ms", ...floor };
  return [
    { what: `${where}: assign one, warm block`, ours: alone.assignP50, target: 5, ...ms },
    { what: `${where}: assign one, p99`, ours: alone.assignP99, ...ms },
    { what: `${where}: release by handle`, ours: alone.releaseP50, ...ms },
    {
      what: `${where}: time per address, 8 writers`,
      ours: (secondsTogether * 1000) / TOGETHER,
      ...ms,
    },
    {
      what: `${where}: retries per 100 addresses, 8 writers`,
      unit: "",
      ours: (conflicts * 100) / TOGETHER,
    },
    { what: `${where}: duplicates, 8 writers`, unit: "", ours: duplicates, target: 0 },
  ];
}

if (import.meta.main) {
  const measured = await suite.run();
  const text = process.argv.includes("--json") ? JSON.stringify(measured) : drawTable(measured);
  process.stdout.write(`${text}\n`);
}
