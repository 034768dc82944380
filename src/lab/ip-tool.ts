/** `ip`, many lines in one process. */
import { execFileSync } from "node:child_process";
import { messageOf, systemError } from "#std";

/** `-6 ` before a line asks for IPv6. `netns` is a name; absent = the lab's own. */
export function ipBatch(netns: string | undefined, lines: readonly string[]): void {
  // `ip -batch` takes no per-line family flag, so IPv6 lines go through `ip -6` of their own.
  for (const [family, wanted] of [
    ["", lines.filter((line) => !line.startsWith("-6 "))],
    ["-6", lines.filter((line) => line.startsWith("-6 ")).map((line) => line.slice(3))],
  ] as const) {
    if (wanted.length === 0) continue;
    const flags = [
      ...(family === "" ? [] : [family]),
      ...(netns === undefined ? [] : ["-n", netns]),
    ];
    runTool("ip", [...flags, "-batch", "-"], `${wanted.join("\n")}\n`);
  }
}

export function runTool(program: string, args: readonly string[], input?: string): string {
  try {
    return execFileSync(program, args, {
      input: input ?? "",
      stdio: ["pipe", "pipe", "pipe"],
      encoding: "utf8",
    });
  } catch (error) {
    const detail = (error as { stderr?: string }).stderr?.trim() ?? messageOf(error);
    throw systemError("lab-topology", `${program} ${args.join(" ")}: ${detail}\n${input ?? ""}`, {
      cause: error,
    });
  }
}
