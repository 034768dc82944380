/** `margay node -shutdown`: leaves the time of the shutdown for those who ask why a node is away. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { messageOf, systemError } from "#std";
import { text, type Environment } from "./environment.ts";

function shutdownFile(env: Environment): string {
  return text(env, "CALICO_SHUTDOWN_TIMESTAMP_FILE") ?? "/var/lib/calico/shutdownTS";
}

/** Throws `cannot-write`. */
export function recordShutdown(env: Environment, now: Date): void {
  const file = shutdownFile(env);
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, now.toISOString().replace(/\.\d+Z$/, "Z"));
  } catch (error) {
    const hint = "set CALICO_SHUTDOWN_TIMESTAMP_FILE";
    throw systemError("cannot-write", `${file} cannot be written (${messageOf(error)}): ${hint}`, {
      cause: error,
    });
  }
}

/** The node is up again. */
export function forgetShutdown(env: Environment): void {
  rmSync(shutdownFile(env), { force: true });
}
