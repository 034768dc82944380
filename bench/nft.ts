/**
 * nf_tables: the declarative table beside `nft -f -`, `ipset restore` and the bare kernel (the same
 * batch, encoded beforehand) on the same work, in a network namespace of its own.
 */
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../test/support/sandbox.ts";
import { drawTable, type Figure, type Suite } from "./support/figures.ts";

const INSIDE = fileURLToPath(new URL("nft/inside.ts", import.meta.url));

export const suite: Suite = {
  title: "nf_tables over netlink",
  run: () => runInSandbox<readonly Figure[]>(INSIDE, {}),
};

if (import.meta.main) {
  const figures = await suite.run();
  const text = process.argv.includes("--json") ? JSON.stringify(figures) : drawTable(figures);
  process.stdout.write(`${text}\n`);
}
