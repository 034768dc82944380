/** `margay lab up|status|exec|ctl|down`. */
import { spawn } from "node:child_process";
import { Command, CommanderError, Option } from "commander";
import { inputError, MargayError, systemError } from "#std";
import { askLab, type LabStatus } from "./control.ts";
import { drawMatrix } from "./matrix.ts";
import { runInside, STORE_DIR } from "./run.ts";
import {
  enterCommand,
  margayCommand,
  missingForLab,
  pathInLab,
  runInSandbox,
  runningLabs,
  searchPath,
  type RunningLab,
} from "./sandbox.ts";
import { readLabSpec } from "./spec.ts";
import { netnsPath } from "./topology.ts";
import { existsSync } from "node:fs";

const EXAMPLES = `
Examples:
  margay lab up examples/one-host.yaml              live matrix, redrawn when policy changes
  margay lab up examples/one-host.yaml --once       print it, compare with what the file expects, exit 0 or 1
  margay lab ctl apply -f examples/walkthrough/deny-all.yaml
  margay lab exec client -- ping -c1 10.65.0.10
  margay lab down

A lab needs no cluster and leaves nothing behind: its network namespaces, processes and files live in
namespaces of their own, which the kernel removes with the lab's first process. It runs as root, or
as an ordinary user where the kernel allows user namespaces.`;

export async function labCommand(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = new Command("margay lab")
    .description(
      "A host and its workloads in network namespaces on this machine: the real agent, real packets",
    )
    .addHelpText("after", EXAMPLES)
    .enablePositionalOptions()
    .exitOverride();
  const set = (code: number): void => {
    exitCode = code;
  };
  addUp(program, set);
  addOthers(program, set);
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  return exitCode;
}

function addUp(program: Command, set: (code: number) => void): void {
  program
    .command("up")
    .description("start a lab and show its connectivity matrix")
    .argument("<file>", "the lab file")
    .option("--once", "print the matrix, compare it with what the file expects, and exit")
    .addOption(
      new Option("-o, --output <format>", "format of --once")
        .choices(["table", "json"])
        .default("table"),
    )
    .action(async (file: string, options: { once?: boolean; output: string }) => {
      const spec = readLabSpec(file);
      const missing = missingForLab();
      if (missing.length > 0)
        throw systemError(
          "lab-unsupported",
          `this machine lacks what a lab needs:\n  ${missing.join("\n  ")}`,
        );
      if (runningLabs().some((lab) => lab.name === spec.name)) {
        throw inputError(
          "lab-exists",
          `a lab named ${spec.name} is running: end it with 'margay lab down ${spec.name}'`,
        );
      }
      const args = [file, options.once === true ? "once" : "live", options.output];
      set(await runInSandbox(spec.name, args));
    });
  program
    .command("lab-init", { hidden: true })
    .argument("<name>")
    .argument("<file>")
    .argument("<mode>")
    .argument("<output>")
    .action(async (_name: string, file: string, mode: string, output: string) => {
      const code = await runInside(readLabSpec(file), {
        once: mode === "once",
        json: output === "json",
      }).catch(complain);
      // Process 1 of its namespace: its exit ends every process inside, stuck ones too.
      process.exit(code);
    });
}

function complain(error: unknown): number {
  if (!(error instanceof MargayError)) throw error;
  process.stderr.write(
    `${process.stderr.isTTY ? "\r\u001b[2K" : ""}margay lab: ${error.message}\n`,
  );
  return 1;
}

function addOthers(program: Command, set: (code: number) => void): void {
  program
    .command("status")
    .description("what runs, and the last matrix")
    .argument("[name]", "the lab, if several run")
    .addOption(new Option("-o, --output <format>").choices(["table", "json"]).default("table"))
    .action(async (name: string | undefined, options: { output: string }) => {
      const status = (await askLab(findLab(name), { op: "status" })) as LabStatus;
      process.stdout.write(
        options.output === "json" ? `${JSON.stringify(status, null, 2)}\n` : drawStatus(status),
      );
    });
  program
    .command("exec")
    .description("run a command inside the host, a workload or an outside peer")
    .argument("<peer>", "a name of the lab file")
    .argument("<command...>", "the command, after --")
    .option("--lab <name>", "the lab, if several run")
    .passThroughOptions()
    .action(async (peer: string, command: string[], options: { lab?: string }) => {
      const lab = findLab(options.lab);
      if (!existsSync(pathInLab(lab, netnsPath(peer)))) {
        const status = (await askLab(lab, { op: "status" })) as LabStatus;
        throw inputError(
          "no-such-peer",
          `lab ${lab.name} has no ${peer}; there are: ${status.peers.map((p) => p.name).join(", ")}`,
        );
      }
      set(await enter(lab, netnsPath(peer), command));
    });
  program
    .command("ctl")
    .description("run a margay command on the lab's datastore, e.g. 'lab ctl get wep -A'")
    .argument("<command...>", "a margay command and its options")
    .option("--lab <name>", "the lab, if several run")
    .passThroughOptions()
    .action(async (command: string[], options: { lab?: string }) => {
      const margay = margayCommand(...command);
      set(await enter(findLab(options.lab), undefined, [margay.program, ...margay.args]));
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

function findLab(name: string | undefined): RunningLab {
  const labs = runningLabs().filter((lab) => name === undefined || lab.name === name);
  const [lab, second] = labs;
  if (lab === undefined) {
    throw inputError(
      "no-lab",
      `no lab${name === undefined ? "" : ` named ${name}`} runs: start one with 'margay lab up examples/one-host.yaml'`,
    );
  }
  if (second !== undefined)
    throw inputError(
      "several-labs",
      `several labs run: ${labs.map((l) => l.name).join(", ")}; name one`,
    );
  return lab;
}

function enter(
  lab: RunningLab,
  netns: string | undefined,
  words: readonly string[],
): Promise<number> {
  const command = words[0] === "--" ? words.slice(1) : words;
  const [program, ...args] = enterCommand(lab, netns, command);
  const child = spawn(program ?? "nsenter", args, {
    stdio: "inherit",
    env: { ...searchPath(), DATASTORE_TYPE: "embedded", MARGAY_DATA_DIR: STORE_DIR },
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

function drawStatus(status: LabStatus): string {
  const lines = [
    `lab ${status.name}: ${status.ready ? "ready" : "starting"}, up ${status.uptimeSeconds} s, ${status.rounds} rounds`,
    "",
    ...status.peers.map(
      (peer) =>
        `${peer.name.padEnd(16)} ${(peer.interface ?? "").padEnd(16)} ${peer.addresses.join(" ")}`,
    ),
    "",
    ...status.processes.map(
      (process) => `${process.name.padEnd(16)} process ${process.pid} (inside)`,
    ),
    "",
    status.cells.length === 0
      ? "no round yet"
      : drawMatrix(status.cells, { colour: process.stdout.isTTY }),
  ];
  return `${lines.join("\n")}\n`;
}
