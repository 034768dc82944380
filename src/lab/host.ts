/**
 * A host: a process that holds its mount and name spaces, and the services of a node in them. Its
 * /run/calico is its own, where BIRD's sockets are, and its name is what `hostname` says.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostDir, isIpv6, netnsPath } from "./names.ts";
import type { LabProcesses } from "./processes.ts";
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

/** Variables of every `margay` command on the host. */
function hostEnvironment({ host, storeEnv, bgp }: HostOptions): Record<string, string> {
  const ipv4 = host.addresses.find((address) => !isIpv6(address));
  const ipv6 = host.addresses.find(isIpv6);
  return {
    ...storeEnv,
    NODENAME: host.name,
    CALICO_NODENAME_FILE: `${hostDir(host.name)}/nodename`,
    CALICO_NETWORKING_BACKEND: bgp ? "bird" : "none",
    NO_DEFAULT_POOLS: "true",
    IP: ipv4 ?? "none",
    IP6: ipv6 ?? "none",
    ...(host.asNumber === undefined ? {} : { AS: String(host.asNumber) }),
    FELIX_FELIXHOSTNAME: host.name,
    FELIX_HEALTHENABLED: "true",
    FELIX_HEALTHPORT: String(HEALTH_PORT),
    FELIX_LOGFILEPATH: "none",
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

/** A node's start-up, then its services. */
export async function startServices(
  processes: LabProcesses,
  options: HostOptions,
  holderPid: string,
): Promise<void> {
  const { host, bgp } = options;
  const env = hostEnvironment(options);
  const margay = (...args: readonly string[]): string[] => {
    const command = margayCommand(...args);
    return [...onHost(holderPid), "--", command.program, ...command.args];
  };
  const start = (name: string, argv: readonly string[]): void => {
    processes.start({ machine: host.name, process: name, argv, env });
  };
  await runToEnd(margay("node", "-startup"), env);
  if (bgp) await runToEnd(margay("node", "-allocate-tunnel-addrs", "--run-once"), env);
  start("felix", margay("felix", "--reexec"));
  if (!bgp) return;
  const confDir = `${hostDir(host.name)}/confd`;
  start("confd", margay("confd", "--conf-dir", confDir));
  for (const name of ["bird", "bird6"]) {
    const config = `${confDir}/config/${name}.cfg`;
    await untilThere(config);
    const flags = ["-R", "-f", "-s", `/run/calico/${name}.ctl`, "-c", config];
    start(name, [...onHost(holderPid), "--", "bird", ...flags]);
  }
}

async function runToEnd(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const [program = "", ...args] = argv;
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw systemError("lab-process", `${args.slice(-2).join(" ")}: ${said.trim()}`);
}

async function untilThere(file: string): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!existsSync(file)) {
    if (performance.now() > deadline) throw systemError("lab-timeout", `${file} is not written`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const READINESS = { port: HEALTH_PORT, path: "/readiness" } as const;

/** The v3 Node as an orchestrator would write it; its addresses come from the start-up. */
export function nodeResource({ name, labels }: LabHost): unknown {
  return { apiVersion: "projectcalico.org/v3", kind: "Node", metadata: { name, labels }, spec: {} };
}
