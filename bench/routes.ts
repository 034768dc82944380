/**
 * Routes to workloads: the driver beside `ip -batch` and beside the kernel's own share (the same
 * messages, encoded beforehand; the dump, not decoded), in a network namespace of its own.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { drawTable, type Figure, type Suite } from "./support/figures.ts";

const INSIDE = fileURLToPath(new URL("routes/inside.ts", import.meta.url));

export const suite: Suite = {
  title: "Routes over netlink",
  async run(): Promise<readonly Figure[]> {
    const flags = process.getuid?.() === 0 ? ["-n"] : ["-Urn"];
    const text = execFileSync("unshare", [...flags, process.execPath, INSIDE], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
    return JSON.parse(text) as Figure[];
  },
};

if (import.meta.main) {
  const figures = await suite.run();
  const text = process.argv.includes("--json") ? JSON.stringify(figures) : drawTable(figures);
  process.stdout.write(`${text}\n`);
}
