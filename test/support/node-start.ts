/** A real etcd and `margay node` beside it, for scripts that run in a sandbox. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export const MARGAY = fileURLToPath(new URL("../../bin/margay", import.meta.url));
const V3 = "/calico/resources/v3/projectcalico.org";

export interface Run {
  readonly status: number | null;
  readonly log: string;
}

/** Nothing of the caller's environment that a node would read. */
function nodeEnvironment(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const { PATH = "", HOME = "/root" } = process.env;
  return { PATH: `${PATH}:/usr/sbin:/sbin`, HOME, ...more };
}

export interface Running {
  readonly log: () => string;
  /** Asks it to stop; resolves when it has. */
  readonly stop: () => Promise<Run>;
  readonly ended: Promise<Run>;
}

/** `margay node …`; the log is what it says on standard error. */
export function spawnNode(args: readonly string[], env: Readonly<Record<string, string>>): Running {
  const child = spawn(MARGAY, ["node", ...args], {
    env: nodeEnvironment(env),
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
  const ended = once(child, "close").then(([status]): Run => ({ status: status as number, log }));
  const stop = async (): Promise<Run> => {
    child.kill("SIGTERM");
    return await ended;
  };
  return { log: () => log, stop, ended };
}

/** The same, to its end. */
export async function runNode(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Run> {
  return await spawnNode(args, env).ended;
}

/** What etcdctl prints as the value of an object; "" when there is none. */
export function etcdctlGet(endpoint: string, plural: string, name: string): string {
  const key = `${V3}/${plural}/${name}`;
  return execFileSync("etcdctl", ["--endpoints", endpoint, "get", "--print-value-only", key], {
    encoding: "utf8",
    env: { ...process.env, ETCDCTL_API: "3" },
  }).trim();
}
