/** `margay ipam`: the command line, the datastore, and the exit code. */
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { Ipam } from "#ipam";
import { MargayError, messageOf } from "#std";
import type { Client } from "../client.ts";
import type { CtlIo } from "../run.ts";
import {
  assignCommand,
  configureCommand,
  explainCommand,
  type AssignOptions,
  type ConfigureOptions,
} from "./assign.ts";
import { checkCommand, type CheckOptions } from "./check.ts";
import type { IpamCommandContext } from "./context.ts";
import { releaseCommand, type ReleaseOptions } from "./release.ts";
import { showCommand, type ShowOptions } from "./show.ts";
import { splitCommand, type SplitOptions } from "./split.ts";

const HELP = `
Examples:
  margay ipam show --show-blocks              how full pools and blocks are
  margay ipam explain 10.65.0.17              who has it, since when and why; or why nobody does
  margay ipam check                           leaks, duplicates, books that contradict
  margay ipam check -o report.json && margay ipam release --from-report=report.json --force
  margay ipam assign --node=host-a --ipv4=1 --ipv6=1 --handle=my-router
  margay ipam configure --strictaffinity=true --max-blocks-per-host=4 --cooldown=30
  margay ipam split 2 --cidr=10.65.0.0/16     with the datastore locked

Exit code: 0, or 1 for an error. check exits 0 whatever it finds, as Calico's; with --exit-code, 1
when it finds a problem.
`;

type Run = (
  run: (context: IpamCommandContext) => Promise<number>,
  config?: string,
) => Promise<void>;

/** Resolves with the exit code. */
export async function runIpam(argv: readonly string[], io: CtlIo): Promise<number> {
  let code = 0;
  const program = programFor(async (run, config) => {
    code = await withClient(io, config, run);
  });
  for (const command of [program, ...program.commands]) {
    command
      .exitOverride()
      .showHelpAfterError("\nmargay ipam --help shows examples")
      .configureOutput({
        writeOut: (text) => io.stdout.write(text),
        writeErr: (text) => io.stderr.write(text),
      });
  }
  try {
    await program.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 1;
    if (!(error instanceof MargayError) || error.kind === "bug") throw error;
    io.stderr.write(`${messageOf(error)}\n`);
    return 1;
  }
}

async function withClient(
  io: CtlIo,
  config: string | undefined,
  run: (context: IpamCommandContext) => Promise<number>,
): Promise<number> {
  const client: Client = await io.connect(config);
  try {
    const out = (text: string): void => void io.stdout.write(text);
    return await run({ client, ipam: new Ipam(client.store), nowMs: Date.now(), out });
  } finally {
    await client.store.close();
  }
}

type Config = { readonly config?: string };

function programFor(run: Run): Command {
  const program = new Command("margay ipam").description("Addresses: who has which, and why");
  program.addHelpText("after", HELP);
  const sub = (usage: string, description: string): Command =>
    program
      .command(usage)
      .description(description)
      .option("-c, --config <file>", "CalicoAPIConfig file that names the datastore")
      .addOption(new Option("--allow-version-mismatch").hideHelp());
  addQuestions(sub, run);
  addChanges(sub, run);
  return program;
}

const output = () =>
  new Option("-o, --output <format>", "text or json").choices(["text", "json"]).default("text");

function addQuestions(sub: (usage: string, description: string) => Command, run: Run): void {
  sub("show", "How full pools and blocks are; one address; what is borrowed; the settings")
    .option("--show-blocks", "each pool's blocks too")
    .option("--ip <address>", "who holds it")
    .option("--show-borrowed", "addresses from blocks of other nodes")
    .option("--show-configuration", "the settings")
    .addOption(output())
    .action(async (options: ShowOptions & Config) => {
      await run((context) => showCommand(context, options), options.config);
    });
  sub("check", "Leaks, duplicates, and books that contradict each other")
    .option("--show-all-ips", "every allocation too")
    .option("--show-problem-ips", "every problem, however many")
    .option("-o, --output <file>", "write a report for ipam release; json: print it instead")
    .option("--exit-code", "exit with 1 when there is a problem")
    .addOption(new Option("--kubeconfig <file>").hideHelp())
    .action(async (options: CheckOptions & Config) => {
      await run((context) => checkCommand(context, options), options.config);
    });
  sub("explain <address>", "Who has the address, since when and why; or why nobody does")
    .addOption(output())
    .action(async (address: string, options: { output: string } & Config) => {
      await run((context) => explainCommand(context, address, options), options.config);
    });
}

function addChanges(sub: (usage: string, description: string) => Command, run: Run): void {
  const collect = (value: string, before: readonly string[] = []): string[] => [...before, value];
  sub("release", "Take an address back, or what reports of ipam check name as leaked")
    .option("--ip <address>", "the address; endpoints that have it are not told")
    .option("--from-report <file>", "repeatable: only what all of them name", collect)
    .option("--force", "also when the datastore is not locked")
    .action(async (options: ReleaseOptions & Config) => {
      await run((context) => releaseCommand(context, options), options.config);
    });
  sub("split <number>", "Divide a pool into 2, 4, 8, … equal ones")
    .option("--cidr <cidr>", "the pool's CIDR")
    .option("--name <name>", "the pool's name")
    .action(async (number: string, options: SplitOptions & Config) => {
      await run((context) => splitCommand(context, number, options), options.config);
    });
  sub("configure", "Change how addresses are given out")
    .allowExcessArguments()
    .option("--strictaffinity <true|false>", "nodes do not borrow from each other's blocks")
    .option("--auto-allocate-blocks <true|false>", "nodes claim blocks by themselves")
    .option("--max-blocks-per-host <number>", "0 for the built-in limit of 20")
    .option("--cooldown <seconds>", "how long a released address rests, at most 1200")
    .addOption(
      new Option(
        "--kubevirt-ip-persistence <mode>",
        "virtual machines keep their addresses",
      ).choices(["Enabled", "Disabled"]),
    )
    .action(async (options: ConfigureOptions & Config) => {
      await run((context) => configureCommand(context, options), options.config);
    });
  addAssign(sub("assign", "Give out addresses: all that are asked for, or none"), run);
}

function addAssign(command: Command, run: Run): void {
  const collect = (value: string, before: readonly string[] = []): string[] => [...before, value];
  const count = (text: string): number => {
    if (/^\d{1,4}$/.test(text)) return Number(text);
    throw new InvalidArgumentError("expected a number from 0 to 9999");
  };
  command
    .requiredOption("--node <name>", "the node whose blocks they come from")
    .option("--ipv4 <number>", "how many (default: 1, or 0 with --ipv6)", count)
    .option("--ipv6 <number>", "how many", count)
    .option("--ip <address>", "this one and no other")
    .option("--handle <id>", "under which they can be released")
    .option("--pool <name>", "a pool's name or CIDR, whatever it selects; repeatable", collect)
    .option("--pod <name>", "noted with the address")
    .option("-n, --namespace <name>", "noted with the address")
    .addOption(
      new Option("--use <use>").choices(["Workload", "Tunnel", "LoadBalancer"]).default("Workload"),
    )
    .addOption(output())
    .action(async (options: AssignOptions & Config) => {
      await run((context) => assignCommand(context, options), options.config);
    });
}
