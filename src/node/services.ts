/** The services of a node, and the directory that runsvdir runs them from. */
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bug, systemError, messageOf } from "#std";
import type { Backend } from "./settings.ts";

const AVAILABLE = fileURLToPath(new URL("../../service/available", import.meta.url));

/** In the order in which people read them. */
const SERVICES: Readonly<Record<string, readonly Backend[]>> = {
  felix: ["bird", "vxlan", "none"],
  confd: ["bird"],
  bird: ["bird"],
  bird6: ["bird"],
  "monitor-addresses": ["bird", "vxlan"],
  "allocate-tunnel-addrs": ["bird", "vxlan"],
  "node-status-reporter": ["bird", "vxlan", "none"],
};

export function servicesOf(backend: Backend): readonly string[] {
  return Object.keys(SERVICES).filter((name) => SERVICES[name]?.includes(backend) === true);
}

/** Where they are enabled, below the service directory. */
export function enabledDir(serviceDir: string): string {
  return join(serviceDir, "enabled");
}

/**
 * Copies the wanted services to `enabled` and removes the others; nothing there may be running.
 * Copies, since runsv keeps its state beside the script, and several nodes may share a machine.
 * Throws `cannot-write`.
 */
export function layOut(
  serviceDir: string,
  names: readonly string[],
  { fileLogging }: { readonly fileLogging: boolean },
): void {
  const enabled = enabledDir(serviceDir);
  try {
    mkdirSync(enabled, { recursive: true });
    for (const name of readdirSync(enabled)) rmSync(join(enabled, name), { recursive: true });
    for (const name of names) {
      const from = join(AVAILABLE, name);
      if (!existsSync(from)) throw bug(`there is no service ${name}`, { AVAILABLE });
      const to = join(enabled, name);
      cpSync(from, to, {
        recursive: true,
        dereference: true,
        filter: (source) =>
          !source.endsWith("/supervise") && (fileLogging || source !== join(from, "log")),
      });
      chmodSync(to, 0o755);
    }
  } catch (error) {
    throw systemError(
      "cannot-write",
      `the services cannot be laid out in ${serviceDir} (${messageOf(error)}): choose another --service-dir`,
      { cause: error },
    );
  }
}
