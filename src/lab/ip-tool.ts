/** `ip`, many lines in one process. */
import { execFileSync } from "node:child_process";
import { messageOf, systemError } from "#std";

/** `netns` is a name; absent = the lab's own. */
export function ipBatch(netns: string | undefined, lines: readonly string[]): void {
  if (lines.length === 0) return;
  const flags = netns === undefined ? [] : ["-n", netns];
  runTool("ip", [...flags, "-batch", "-"], `${lines.join("\n")}\n`);
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
