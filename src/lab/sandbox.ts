/**
 * Where a lab lives: its own user (if not root), network, mount and process namespaces. Everything
 * that the lab makes (network namespaces, processes, files on a private tmpfs) belongs to them, so
 * the kernel removes all of it when the lab's first process ends, however it ends.
 *
 *   margay lab up ── unshare ── margay lab init (process 1 inside)
 *        └── lifeline pipe: its end tells the inside that the outside died
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { systemError, unreachable } from "#std";

const MAIN = fileURLToPath(new URL("../../bin/main.mjs", import.meta.url));
/** How a lab's first process is told from others in /proc. */
const MARK = "lab-init";

export function margayCommand(...args: readonly string[]): {
  readonly program: string;
  readonly args: string[];
} {
  return {
    program: process.execPath,
    args: ["--disable-warning=ExperimentalWarning", MAIN, ...args],
  };
}

export type Program = readonly [name: string, debianPackage: string];

const PROGRAMS: readonly Program[] = [
  ["unshare", "util-linux"],
  ["nsenter", "util-linux"],
  ["ip", "iproute2"],
  ["mount", "mount"],
  ["runsvdir", "runit"],
];

/** Says what this machine lacks for a lab, and for these programs beside; empty when all is there. */
export function missingForLab(more: readonly Program[]): readonly string[] {
  const missing: string[] = [];
  for (const [program, debianPackage] of [...PROGRAMS, ...more]) {
    if (spawnSync("which", [program], { env: searchPath() }).status !== 0)
      missing.push(`${program} (Debian package ${debianPackage})`);
  }
  if (missing.length > 0) return missing;
  const attempt = spawnSync("unshare", [...unshareFlags(), "true"], { encoding: "utf8" });
  if (attempt.status !== 0) missing.push(whyNoNamespaces(attempt.stderr.trim()));
  return missing;
}

function whyNoNamespaces(detail: string): string {
  if (isRoot())
    return `namespaces (unshare says: ${detail}; inside a container the lab needs CAP_SYS_ADMIN)`;
  const off: string[] = [];
  for (const [file, bad, remedy] of [
    [
      "/proc/sys/kernel/unprivileged_userns_clone",
      "0",
      "sysctl kernel.unprivileged_userns_clone=1",
    ],
    ["/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"],
    [
      "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
      "1",
      "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ],
  ] as const) {
    try {
      if (readFileSync(file, "utf8").trim() === bad) off.push(remedy);
    } catch {
      // The kernel has no such switch.
    }
  }
  const remedy = off.length > 0 ? `as root: ${off.join("; ")}` : "run the lab as root";
  return `user namespaces for an ordinary user (unshare says: ${detail}); ${remedy}`;
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/** An ordinary user's PATH often lacks sbin, where `ip` lives; and commands in the lab may call `margay`. */
export function searchPath(): NodeJS.ProcessEnv {
  const more = ["/usr/local/sbin", "/usr/sbin", "/sbin", dirname(MAIN)];
  return { ...process.env, PATH: [process.env["PATH"] ?? "", ...more].join(":") };
}

function unshareFlags(): string[] {
  return [...(isRoot() ? [] : ["-Ur"]), "-n", "-m", "-p", "--fork", "--kill-child", "--mount-proc"];
}

/** Starts `margay lab init` in fresh namespaces and forwards termination; resolves with its exit code. */
export async function runInSandbox(name: string, args: readonly string[]): Promise<number> {
  const inner = margayCommand("lab", MARK, name, ...args);
  const child = spawn("unshare", [...unshareFlags(), inner.program, ...inner.args], {
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    env: searchPath(),
  });
  const forward = (signal: NodeJS.Signals): void => signalInside(child, signal);
  // A terminal sends Ctrl-C to the whole group; the inside handles it, we only wait.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", forward);
  process.on("SIGHUP", forward);
  return new Promise((resolve, reject) => {
    child.once("error", (error) =>
      reject(systemError("lab-sandbox", `unshare: ${error.message}`, { cause: error })),
    );
    child.once("exit", (code, signal) => resolve(code ?? (signal === "SIGKILL" ? 137 : 1)));
  });
}

/** `unshare` itself ignores SIGTERM while it waits, so the signal goes to its child. */
function signalInside(child: ChildProcess, signal: NodeJS.Signals): void {
  for (const pid of childrenOf(child.pid ?? 0)) process.kill(pid, signal);
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .split(" ")
      .filter(Boolean)
      .map(Number);
  } catch {
    return [];
  }
}

export interface RunningLab {
  readonly name: string;
  /** Process id of the lab's first process, seen from here. */
  readonly pid: number;
}

/** Labs that run on this machine and that this user may enter. */
export function runningLabs(): RunningLab[] {
  const labs: RunningLab[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const argv = readFileSync(`/proc/${entry}/cmdline`, "utf8").split("\0");
      const at = argv.indexOf(MARK);
      // The unshare process carries the same words, and for a moment each child that the lab starts.
      if (at < 0 || argv[at - 1] !== "lab" || !isFirstInside(entry)) continue;
      const name = argv[at + 1];
      if (name !== undefined) labs.push({ name, pid: Number(entry) });
    } catch {
      // The process ended while we looked.
    }
  }
  return labs;
}

/** Process 1 of a process namespace below ours (proc_pid_status(5), NSpid). */
function isFirstInside(pid: string): boolean {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const ids = /^NSpid:\s*(.*)$/m.exec(status)?.[1]?.split(/\s+/) ?? [];
  return ids.length > 1 && ids.at(-1) === "1";
}

/** A path inside the lab, reachable from here. */
export function pathInLab(lab: RunningLab, path: string): string {
  return `/proc/${lab.pid}/root${path}`;
}

/** Where a command runs: the lab's own namespaces, those of a peer, or those of a host. */
export type Place =
  | { readonly kind: "lab" }
  | { readonly kind: "peer"; readonly netns: string }
  | { readonly kind: "host"; readonly enter: readonly string[] };

/** The command that enters the lab's namespaces, for `lab exec`. */
export function enterCommand(lab: RunningLab, place: Place, command: readonly string[]): string[] {
  const user = isRoot() ? [] : ["-U", "--preserve-credentials"];
  const here = `--wdns=${process.cwd()}`;
  const net = place.kind === "lab" ? ["-n"] : [];
  const outer = ["nsenter", "-t", String(lab.pid), ...user, ...net, "-m", "-p", here, "--"];
  switch (place.kind) {
    case "lab":
      return [...outer, ...command];
    case "peer":
      return [...outer, "nsenter", `--net=${place.netns}`, "--", ...command];
    case "host":
      return [...outer, ...place.enter, here, "--", ...command];
    default:
      return unreachable(place);
  }
}
