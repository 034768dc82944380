/** `margay lab status|exec|ctl|down`. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { Option, type Command } from "commander";
import { inputError, systemError } from "#std";
import { askLab, type LabStatus } from "./control.ts";
import { holderFile, hostVariables, onHost } from "./host.ts";
import { netnsPath } from "./names.ts";
import { findLab } from "./running.ts";
import {
  enterCommand,
  margayCommand,
  pathInLab,
  searchPath,
  type Place,
  type RunningLab,
} from "./sandbox.ts";
import { drawStatus } from "./view.ts";

export function addLooks(program: Command, set: (code: number) => void): void {
  program
    .command("status")
    .description("what runs: topology, sessions, routes and the last matrix")
    .argument("[name]", "the lab, if several run")
    .addOption(new Option("-o, --output <format>").choices(["table", "json"]).default("table"))
    .action(async (name: string | undefined, options: { output: string }) => {
      const status = await statusOf(findLab(name));
      process.stdout.write(
        options.output === "json" ? `${JSON.stringify(status, null, 2)}\n` : statusText(status),
      );
    });
  program
    .command("exec")
    .description("run a command inside a host, a router, a workload or an outside peer")
    .argument("<peer>", "a name of the lab file")
    .argument("<command...>", "the command, after --")
    .option("--lab <name>", "the lab, if several run")
    .passThroughOptions()
    .action(async (peer: string, command: string[], options: { lab?: string }) => {
      const lab = findLab(options.lab);
      const { environment } = await statusOf(lab);
      if (!existsSync(pathInLab(lab, netnsPath(peer)))) throw await noSuchPeer(lab, peer);
      const holder = pathInLab(lab, holderFile(peer));
      const isHost = existsSync(holder);
      const place: Place = isHost
        ? { kind: "host", enter: onHost(readFileSync(holder, "utf8")) }
        : { kind: "peer", netns: netnsPath(peer) };
      set(
        await enter(
          lab,
          place,
          command,
          isHost ? { ...environment, ...hostVariables(peer) } : environment,
        ),
      );
    });
  program
    .command("ctl")
    .description("run a margay command on the lab's datastore, e.g. 'lab ctl get wep -A'")
    .argument("<command...>", "a margay command and its options")
    .option("--lab <name>", "the lab, if several run")
    .passThroughOptions()
    .action(async (command: string[], options: { lab?: string }) => {
      const lab = findLab(options.lab);
      const { environment } = await statusOf(lab);
      const margay = margayCommand(...command);
      const words = [margay.program, ...margay.args];
      set(await enter(lab, { kind: "lab" }, words, environment));
    });
  program
    .command("down")
    .description("end a lab")
    .argument("[name]", "the lab, if several run")
    .action(async (name: string | undefined) => {
      const lab = findLab(name);
      await askLab(lab, { op: "stop" });
      const deadline = performance.now() + 10_000;
      while (existsSync(`/proc/${lab.pid}`) && performance.now() < deadline)
        await new Promise((resolve) => setTimeout(resolve, 20));
      if (existsSync(`/proc/${lab.pid}`)) process.kill(lab.pid, "SIGKILL");
    });
}

async function statusOf(lab: RunningLab): Promise<LabStatus> {
  return (await askLab(lab, { op: "status" })) as LabStatus;
}

async function noSuchPeer(lab: RunningLab, peer: string): Promise<Error> {
  const { peers } = await statusOf(lab);
  const names = peers.map((one) => one.name).join(", ");
  return inputError("no-such-peer", `lab ${lab.name} has no ${peer}; there are: ${names}`);
}

function enter(
  lab: RunningLab,
  place: Place,
  words: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<number> {
  const command = words[0] === "--" ? words.slice(1) : words;
  const [program, ...args] = enterCommand(lab, place, command);
  const child = spawn(program ?? "nsenter", args, {
    stdio: "inherit",
    env: { ...searchPath(), ...environment },
  });
  // The command inside decides what Ctrl-C means.
  process.on("SIGINT", () => {});
  return new Promise((resolve, reject) => {
    child.once("error", (error) =>
      reject(systemError("lab-enter", error.message, { cause: error })),
    );
    child.once("exit", (code) => resolve(code ?? 1));
  });
}

function statusText(status: LabStatus): string {
  const lines = [
    `lab ${status.name}: ${status.ready ? "ready" : "starting"}, up ${status.uptimeSeconds} s, ${status.rounds} rounds`,
    "",
    ...status.peers.map(
      (peer) =>
        `${peer.name.padEnd(16)} ${(peer.interface ?? "").padEnd(16)} ${peer.addresses.join(" ")}`,
    ),
    "",
    ...status.processes.map(({ machine, process: name, pid, ended }) => {
      const state = pid === undefined ? `ended: ${ended ?? "?"}` : `process ${pid} (inside)`;
      return `${machine.padEnd(16)} ${name.padEnd(16)} ${state}`;
    }),
    "",
    drawStatus(status, process.stdout.isTTY),
  ];
  return `${lines.join("\n")}\n`;
}
