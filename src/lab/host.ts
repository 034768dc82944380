/**
 * A host: a process that holds its mount and name spaces, and `margay node` in them with its services. Its
 * /run/calico is its own, where BIRD's sockets are, and its name is what `hostname` says.
 */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { birdCommand } from "#confd";
import { hostDir, isIpv6, netnsPath } from "./names.ts";
import { logFileOf, logTail, type LabProcesses, type ProcessState } from "./processes.ts";
import { margayCommand } from "./sandbox.ts";
import type { LabHost } from "./spec.ts";
import { systemError } from "#std";

const HEALTH_PORT = 9099;

export interface HostOptions {
  readonly host: LabHost;
  readonly storeEnv: Readonly<Record<string, string>>;
  /** With BGP; a host that is alone needs none. */
  readonly bgp: boolean;
}

/** What `margay` needs to know on this host, beside the datastore. */
export function hostVariables(host: string): Record<string, string> {
  return {
    NODENAME: host,
    MARGAY_SERVICE_DIR: `${hostDir(host)}/service`,
    MARGAY_CONF_DIR: `${hostDir(host)}/confd`,
    MARGAY_RUN_DIR: "/run/calico",
    CALICO_NODENAME_FILE: `${hostDir(host)}/nodename`,
  };
}

function nodeEnvironment({ host, storeEnv, bgp }: HostOptions): Record<string, string> {
  const ipv4 = host.addresses.find((address) => !isIpv6(address));
  const ipv6 = host.addresses.find(isIpv6);
  return {
    ...storeEnv,
    ...hostVariables(host.name),
    CALICO_NETWORKING_BACKEND: bgp ? "bird" : "none",
    // All into the log of `node`.
    CALICO_DISABLE_FILE_LOGGING: "true",
    NO_DEFAULT_POOLS: "true",
    IP: ipv4 ?? "none",
    IP6: ipv6 ?? "none",
    ...(host.asNumber === undefined ? {} : { AS: String(host.asNumber) }),
    FELIX_HEALTHPORT: String(HEALTH_PORT),
    ...host.env,
  };
}

/** The process that keeps the host's namespaces; its id is in a file for `lab exec`. */
export async function holdHost(host: string): Promise<void> {
  const directory = hostDir(host);
  for (const part of ["run", "confd/config"])
    mkdirSync(`${directory}/${part}`, { recursive: true });
  mkdirSync("/run/calico", { recursive: true });
  const script = `mount --bind ${directory}/run /run/calico && hostname ${host} && echo held && exec sleep infinity`;
  const argv = [`--net=${netnsPath(host)}`, "--", "unshare", "-m", "-u", "sh", "-c", script];
  const holder = spawn("nsenter", argv, { stdio: ["ignore", "pipe", "inherit"] });
  holder.unref();
  const held = await new Promise<boolean>((resolve) => {
    holder.stdout.once("data", () => resolve(true));
    holder.once("exit", () => resolve(false));
    holder.once("error", () => resolve(false));
  });
  holder.stdout.destroy();
  if (!held) throw systemError("lab-sandbox", `the namespaces of ${host} could not be made`);
  writeFileSync(holderFile(host), String(holder.pid));
}

/** Where the holder's process id is, as the lab's processes see it. */
export function holderFile(host: string): string {
  return `${hostDir(host)}/holder.pid`;
}

export function readPid(file: string): string {
  return readFileSync(file, "utf8").trim();
}

/** Before a command that runs on the host. */
export function onHost(holderPid: string): string[] {
  return ["nsenter", "-t", holderPid, "-m", "-u", "-n"];
}

export const birdSocket = (host: string, family: 4 | 6): string =>
  `${hostDir(host)}/run/bird${family === 6 ? "6" : ""}.ctl`;

/** Ends the host's sessions as told, not as if it were back soon: peers drop its routes at once. */
export async function endSessions(host: string): Promise<void> {
  for (const family of [4, 6] as const) {
    // A host that was killed has said nothing; its peers wait for it as long as they were told to.
    await birdCommand(birdSocket(host, family), "disable all").catch(() => undefined);
  }
}

/** Until the services run; a start-up that fails is an error with what it said. */
export async function startNode(
  processes: LabProcesses,
  options: HostOptions,
  holderPid: string,
): Promise<void> {
  const { program, args } = margayCommand("node");
  const machine = options.host.name;
  const argv = [...onHost(holderPid), "--", program, ...args];
  const child = processes.start({ machine, process: NODE, argv, env: nodeEnvironment(options) });
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!services(machine).some((one) => one.pid !== undefined)) {
    const ended = child.exitCode !== null || child.signalCode !== null;
    if (ended || performance.now() > deadline) {
      const log = logTail(logFileOf({ machine, process: NODE }));
      throw systemError("lab-process", `margay node of ${machine} does not start:\n${log}`);
    }
    await delay(50);
  }
}

/** The host's process that the lab itself starts. */
export const NODE = "node";
const START_TIMEOUT_MS = 60_000;

/** What runsvdir runs there, by the files that runsv keeps (runsv(8)). */
export function services(host: string): ProcessState[] {
  const enabled = `${hostDir(host)}/service/enabled`;
  let names: string[];
  try {
    names = readdirSync(enabled);
  } catch {
    return [];
  }
  return names.toSorted().map((name) => {
    const pid = readNumber(`${enabled}/${name}/supervise/pid`);
    const runs = pid > 0 && isAlive(pid);
    return { machine: host, process: name, ...(runs ? { pid } : { ended: "down" }) };
  });
}

/** Those without a parent that waits for them stay as zombies, state Z (proc(5)). */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

function readNumber(file: string): number {
  try {
    return Number(readFileSync(file, "utf8").trim());
  } catch {
    return 0;
  }
}

/** As a power failure: every process in the host's network namespace but the holder, and what they start meanwhile. */
export async function killAll(host: string): Promise<void> {
  const holder = readPid(holderFile(host));
  const namespace = readlinkSync(`/proc/${holder}/ns/net`);
  for (;;) {
    const alive = readdirSync("/proc").filter(
      (entry) => /^\d+$/.test(entry) && entry !== holder && namespaceOf(entry) === namespace,
    );
    if (alive.length === 0) return;
    for (const pid of alive) tryKill(Number(pid));
    await delay(10);
  }
}

/** Undefined for a process that has ended, and for one that waits to be reaped. */
function namespaceOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}

export function tryKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

export const READINESS = { port: HEALTH_PORT, path: "/readiness" } as const;

/** The v3 Node as an orchestrator would write it; its addresses come from the start-up. */
export function nodeResource({ name, labels }: LabHost): unknown {
  return { apiVersion: "projectcalico.org/v3", kind: "Node", metadata: { name, labels }, spec: {} };
}
