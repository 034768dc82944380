/** `margay lab`: start a lab, look at it, change it, end it. */
import { Command, CommanderError, Option } from "commander";
import { inputError, MargayError, systemError } from "#std";
import { SPEAKER_PROGRAMS } from "./bgp-speakers.ts";
import { addChanges } from "./change-commands.ts";
import { addLooks } from "./look-commands.ts";
import { runInside } from "./run.ts";
import { missingForLab, runInSandbox, runningLabs, type Program } from "./sandbox.ts";
import { readLabSpec, type LabSpec } from "./spec.ts";

const EXAMPLES = `
Examples:
  margay lab up examples/three-hosts.yaml           live view, redrawn when anything changes
  margay lab up examples/one-host.yaml --once       print it, compare with what the file expects, exit 0 or 1
  margay lab ctl apply -f examples/walkthrough/1-deny-db.yaml
  margay lab exec client -- ping -c1 10.65.0.10
  margay lab cut host-c                             pull its cable; lab heal host-c
  margay lab kill host-a bird                       SIGKILL; lab kill host-a: all of it, links too
  margay lab add-host host-d rack-2
  margay lab down

A lab needs no cluster and leaves nothing behind: its network namespaces, processes and files live in
namespaces of their own, which the kernel removes with the lab's first process. It runs as root, or
as an ordinary user where the kernel allows user namespaces.`;

export async function labCommand(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = new Command("margay lab")
    .description(
      "Hosts and their workloads in network namespaces on this machine: real agents, real packets",
    )
    .addHelpText("after", EXAMPLES)
    .enablePositionalOptions()
    .exitOverride();
  const set = (code: number): void => {
    exitCode = code;
  };
  addUp(program, set);
  addLooks(program, set);
  addChanges(program);
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
      const missing = missingForLab(programsFor(spec));
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

function programsFor(spec: LabSpec): Program[] {
  const speakers = spec.routers.flatMap(({ bgp }) => (bgp === undefined ? [] : [bgp.daemon]));
  const links = [...spec.routers, ...spec.hosts, ...spec.outside].flatMap((one) => one.links);
  return [
    ...(links.some((one) => one.lossPercent > 0) ? [["nft", "nftables"] as const] : []),
    ...(spec.hosts.length > 1 || speakers.length > 0 ? [["bird", "bird2"] as const] : []),
    ...(spec.etcdMembers > 0 ? [["etcd", "etcd-server"] as const] : []),
    ...speakers.map((daemon) => SPEAKER_PROGRAMS[daemon]),
  ];
}

function complain(error: unknown): number {
  if (!(error instanceof MargayError)) throw error;
  process.stderr.write(
    `${process.stderr.isTTY ? "\r\u001b[2K" : ""}margay lab: ${error.message}\n`,
  );
  return 1;
}
