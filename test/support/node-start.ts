/** A real etcd and `margay node` beside it, for scripts that run in a sandbox. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const MARGAY = fileURLToPath(new URL("../../bin/margay", import.meta.url));
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

/** `margay node …`; the log is what it says on standard error. */
export async function runNode(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Run> {
  const child = spawn(MARGAY, ["node", ...args], {
    env: nodeEnvironment(env),
    stdio: ["ignore", "ignore", "pipe"],
    timeout: 30_000,
  });
  let log = "";
  child.stderr.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
  const [status] = (await once(child, "close")) as [number | null];
  return { status, log };
}

/** What etcdctl prints as the value of an object; "" when there is none. */
export function etcdctlGet(endpoint: string, plural: string, name: string): string {
  const key = `${V3}/${plural}/${name}`;
  return execFileSync("etcdctl", ["--endpoints", endpoint, "get", "--print-value-only", key], {
    encoding: "utf8",
    env: { ...process.env, ETCDCTL_API: "3" },
  }).trim();
}
