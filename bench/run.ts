/**
 * `make bench`: every figure beside its floor, or beside the real tool on the same work, in the same
 * run; what counts is the ratio. Prints a table per suite and, at the end, all of it as JSON.
 *
 *   node bench/run.ts [suite…] [--json FILE]
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { drawTable, type Figure, type Suite } from "./support/figures.ts";

const SUITES: Readonly<Record<string, () => Promise<{ suite: Suite }>>> = {
  calc: () => import("./calc.ts"),
  nft: () => import("./nft.ts"),
  routes: () => import("./routes.ts"),
  tunnels: () => import("./tunnels.ts"),
  connect: () => import("./connect.ts"),
  stream: () => import("./stream.ts"),
  bgp: () => import("./bgp.ts"),
  datastore: () => import("./datastore.ts"),
  ipam: () => import("./ipam.ts"),
  host: () => import("./host.ts"),
  cluster: () => import("./cluster.ts"),
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "string" } },
});
const unknown = positionals.filter((name) => !(name in SUITES));
if (unknown.length > 0) {
  process.stderr.write(
    `no such suite: ${unknown.join(", ")}; there are: ${Object.keys(SUITES).join(" ")}\n`,
  );
  process.exit(2);
}

const wanted = Object.keys(SUITES).filter(
  (name) => positionals.length === 0 || positionals.includes(name),
);
const all = wanted.length === 1 ? await runHere(wanted[0] ?? "") : runApart(wanted);
const json = JSON.stringify(all, null, 2);
if (values.json === undefined) process.stdout.write(`\n${json}\n`);
else writeFileSync(values.json, `${json}\n`);

async function runHere(name: string): Promise<Record<string, readonly Figure[]>> {
  const load = SUITES[name];
  if (load === undefined) return {};
  const { suite } = await load();
  process.stdout.write(`\n${suite.title}\n`);
  const figures = await suite.run();
  process.stdout.write(`${drawTable(figures)}\n`);
  return { [name]: figures };
}

/** A process each: the heap that one suite leaves behind would slow the next. */
function runApart(names: readonly string[]): Record<string, readonly Figure[]> {
  const dir = mkdtempSync(join(tmpdir(), "margay-bench-"));
  try {
    const parts = names.map((name) => {
      const file = join(dir, `${name}.json`);
      const argv = [...process.execArgv, fileURLToPath(import.meta.url), name, "--json", file];
      const { status } = spawnSync(process.execPath, argv, { stdio: "inherit" });
      if (status !== 0) throw new Error(`the suite ${name} failed`);
      return JSON.parse(readFileSync(file, "utf8")) as Record<string, readonly Figure[]>;
    });
    return Object.assign({}, ...parts) as Record<string, readonly Figure[]>;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
