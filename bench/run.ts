/**
 * `make bench`: every figure beside its floor, or beside the real tool on the same work, in the same
 * run; what counts is the ratio. Prints a table per suite and, at the end, all of it as JSON.
 *
 *   node bench/run.ts [suite…] [--json FILE]
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { drawTable, type Figure, type Suite } from "./support/figures.ts";

const SUITES: Readonly<Record<string, () => Promise<{ suite: Suite }>>> = {
  calc: () => import("./calc.ts"),
  nft: () => import("./nft.ts"),
  routes: () => import("./routes.ts"),
  datastore: () => import("./datastore.ts"),
  host: () => import("./host.ts"),
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

const all: Record<string, readonly Figure[]> = {};
for (const [name, load] of Object.entries(SUITES)) {
  if (positionals.length > 0 && !positionals.includes(name)) continue;
  const { suite } = await load();
  process.stdout.write(`\n${suite.title}\n`);
  const figures = await suite.run();
  all[name] = figures;
  process.stdout.write(`${drawTable(figures)}\n`);
}
const json = JSON.stringify(all, null, 2);
if (values.json === undefined) process.stdout.write(`\n${json}\n`);
else writeFileSync(values.json, `${json}\n`);
