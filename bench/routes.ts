/**
 * Routes to workloads: the driver beside `ip -batch` and beside the kernel's own share (the same
 * messages, encoded beforehand; the dump, not decoded), in a network namespace of its own.
 */
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../test/support/sandbox.ts";
import { drawTable, type Figure, type Suite } from "./support/figures.ts";

const INSIDE = fileURLToPath(new URL("routes/inside.ts", import.meta.url));

export const suite: Suite = {
  title: "Routes over netlink",
  run: () => runInSandbox<readonly Figure[]>(INSIDE, {}),
};

if (import.meta.main) {
  const figures = await suite.run();
  const text = process.argv.includes("--json") ? JSON.stringify(figures) : drawTable(figures);
  process.stdout.write(`${text}\n`);
}
