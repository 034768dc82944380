/**
 * Fresh user (if not root), network, mount and process namespaces for a script of ours. Whatever it
 * makes there goes with its first process, however that ends.
 */
import { spawn } from "node:child_process";

/** Variables that let what the script says on standard error through at once, beside its end in an error. */
const LOUD = ["MARGAY_TEST_VERBOSE", "MARGAY_BENCH_VERBOSE"];

/** What agents leave for others on the host's disk stays in the sandbox. */
const PRIVATE_STATE =
  '[ -d /var/lib/calico ] || mkdir -p /var/lib/calico; mount -t tmpfs tmpfs /var/lib/calico; exec "$@"';

/**
 * Starts a script with one JSON argument; resolves with the JSON that it prints. Rejects with the
 * end of its standard error when it fails or does not end in time.
 */
export function runInSandbox<T>(
  script: string,
  argument: unknown,
  timeoutMs = 600_000,
): Promise<T> {
  const user = process.geteuid?.() === 0 ? [] : ["-Ur"];
  const argv = [
    ...user,
    "-n",
    "-m",
    "-p",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "sh",
    "-c",
    PRIVATE_STATE,
    "sh",
    process.execPath,
    // As bin/margay does.
    "--disable-warning=ExperimentalWarning",
    "--max-semi-space-size=4",
    script,
    JSON.stringify(argument),
  ];
  const child = spawn("unshare", argv, { stdio: ["ignore", "pipe", "pipe"] });
  const loud = LOUD.some((name) => process.env[name] !== undefined);
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
    if (loud) process.stderr.write(chunk);
  });
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      if (code === 0) resolve(JSON.parse(out) as T);
      else reject(new Error(`${script}: exit code ${code ?? "?"}\n${err.slice(-6000)}`));
    });
  });
}
