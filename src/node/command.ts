/** `margay node`: what a node does, under the names that the calico-node binary has for it. */
import { Command, CommanderError, Option } from "commander";
import { datastoreSettings, Client } from "#ctl";
import { openDatastore } from "#datastore";
import { configureLogging, flushLogs, logLevelOf, logger } from "#log";
import { parseDuration } from "#resource";
import { didYouMean, MargayError, messageOf } from "#std";
import { directoryOption } from "./directories.ts";
import { MODES, PROBES, runServices, type Flags, type Mode, type Probe } from "./modes.ts";
import { nodeSettings } from "./settings.ts";
import { recordShutdown } from "./shutdown.ts";

const HELP = `
Examples:
  sudo NODENAME=host-a ETCD_ENDPOINTS=http://10.0.0.1:2379 margay node
  sudo NODENAME=host-a IP=autodetect ETCD_ENDPOINTS=http://10.0.0.1:2379 margay node -startup
  NODENAME=host-a margay node -allocate-tunnel-addrs --run-once

  margay node -felix-ready -bird-ready
  margay node status            BGP sessions
  margay node checksystem       what the kernel lacks, and what needs it
  margay node diags             an archive for whoever is to help, without secrets

Without a flag: -startup, then the services under runsvdir, until SIGTERM stops them all.
-startup finds the node's name and addresses and writes the Node, default pools and settings. One
dash or two, as you like. docs/node.md lists the variables.

Exit code: 0 done, 1 an error; -startup fails when another node has the address, and names it.`;

/** What people ask of a node; each has options of its own. */
const COMMANDS: Readonly<
  Record<string, () => Promise<(argv: readonly string[]) => Promise<number>>>
> = {
  status: async () => (await import("./status-command.ts")).statusCommand,
  checksystem: async () => (await import("./checksystem.ts")).checkSystemCommand,
  diags: async () => (await import("./diags.ts")).diagsCommand,
};

/** Flags of calico-node that are commands of their own here; what else is given is for those. */
const PROGRAMS: typeof COMMANDS = {
  "--felix": async () => (await import("#felix")).felixCommand,
  "--confd": async () => (await import("#confd")).confdCommand,
};

/** Resolves with the exit code. */
export async function nodeCommand(argv: readonly string[]): Promise<number> {
  const [first = "", ...rest] = argv;
  const asked = Object.hasOwn(COMMANDS, first) ? COMMANDS[first] : undefined;
  if (asked !== undefined) return await (await asked())(rest);
  const at = argv.findIndex((argument) => Object.hasOwn(PROGRAMS, withTwoDashes(argument)));
  const program = PROGRAMS[withTwoDashes(argv[at] ?? "")];
  if (program !== undefined) return await (await program())(argv.toSpliced(at, 1));
  if (/^[a-z]/.test(first)) return noSuchCommand(first);
  return await runByFlag(argv);
}

function noSuchCommand(name: string): number {
  const flags = [...Object.keys(MODES), ...PROBES, "shutdown", "felix", "confd"];
  const meant = didYouMean(name, [...Object.keys(COMMANDS), ...flags]);
  const guess = flags.includes(meant ?? "") ? `-${meant}` : meant;
  let hint = guess === undefined ? "" : `; did you mean margay node ${guess}?`;
  // calicoctl's word for it.
  if (name === "run") hint = ": margay node, without a word after it, starts the node";
  process.stderr.write(
    `margay node: no command ${JSON.stringify(name)}${hint}\n` +
      `There are ${Object.keys(COMMANDS).join(", ")}; margay node --help lists the flags.\n`,
  );
  return 1;
}

function programOf(): Command {
  const program = new Command("margay node")
    .description("Starts this node, and runs and checks its services")
    .option("-c, --config <file>", "CalicoAPIConfig file that names the datastore")
    .addOption(directoryOption("service"))
    .addOption(directoryOption("run"))
    .addOption(directoryOption("conf"))
    .addOption(directoryOption("log"))
    .option("--run-once", "with -allocate-tunnel-addrs: once, and exit")
    .option("--shutdown", "write down that this node is shut down, and exit")
    .addOption(
      new Option(
        "--threshold-time <duration>",
        "how long every peer of a new node must be there",
      ).default("30s"),
    )
    .addHelpText("after", HELP)
    .allowExcessArguments(false)
    .exitOverride();
  for (const [name, { summary }] of Object.entries(MODES)) program.option(`--${name}`, summary);
  for (const name of PROBES) program.option(`--${name}`, `exit 0 or 1: ${WHAT[name]}`);
  return program;
}

const WHAT: Readonly<Record<Probe, string>> = {
  "felix-live": "whether felix works",
  "felix-ready": "whether felix has programmed all at least once",
  "bird-live": "whether confd and the BIRD of IPv4 run",
  "bird-ready": "whether IPv4 peers are there",
  "bird6-live": "whether confd and the BIRD of IPv6 run",
  "bird6-ready": "whether IPv6 peers are there",
};

async function runByFlag(argv: readonly string[]): Promise<number> {
  const program = programOf();
  try {
    program.parse(argv.flatMap(twoDashes), { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  const flags = program.opts<Flags & Readonly<Record<string, unknown>>>();
  const isSet = (name: string): boolean => flags[camelCase(name)] === true;
  const probes = PROBES.filter(isSet);
  if (probes.length > 0) return await runProbes(probes, flags);
  if (isSet("shutdown")) {
    recordShutdown(process.env, new Date());
    return 0;
  }
  const wanted = Object.keys(MODES).filter(isSet);
  const [name, second] = wanted;
  if (second !== undefined) {
    process.stderr.write(`margay node: -${name ?? ""} and -${second} are two things to do\n`);
    return 1;
  }
  const mode = name === undefined ? runServices : await MODES[name]?.load();
  return await runMode(mode ?? runServices, flags, name === undefined);
}

async function runProbes(probes: readonly Probe[], flags: Flags): Promise<number> {
  const { probe } = await import("./health.ts");
  const { nodenameFile } = nodeSettings(process.env);
  const threshold = parseDuration(flags.thresholdTime);
  if (threshold === undefined) {
    process.stderr.write(
      `margay node: --threshold-time ${flags.thresholdTime}: expected 30s, 1m\n`,
    );
    return 1;
  }
  const faults = await probe(probes, {
    env: process.env,
    serviceDir: flags.serviceDir,
    runDir: flags.runDir,
    nodenameFile,
    thresholdMs: Number(threshold / 1_000_000n),
    nowMs: Date.now(),
  });
  process.stdout.write(faults.map((fault) => `${fault}\n`).join(""));
  return faults.length === 0 ? 0 : 1;
}

/** calico-node's spellings: `-startup`, `-felix-live=true`, `-threshold-time=1m`. Single letters stay. */
function twoDashes(argument: string): string[] {
  if (/^--?allocate-tunnel-addrs-run-once$/.test(argument)) {
    return ["--allocate-tunnel-addrs", "--run-once"];
  }
  const [, flag, value] = /^--?([a-z][a-z0-9-]+)=(true|false)$/.exec(argument) ?? [];
  if (flag !== undefined) return value === "true" ? [`--${flag}`] : [];
  return [withTwoDashes(argument)];
}

function withTwoDashes(argument: string): string {
  return /^-[a-z][a-z0-9-]+(?:=.*)?$/.test(argument) ? `-${argument}` : argument;
}

function camelCase(name: string): string {
  return name.replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}

async function runMode(mode: Mode, flags: Flags, serve: boolean): Promise<number> {
  const settings = nodeSettings(process.env);
  const level = logLevelOf(process.env["CALICO_STARTUP_LOGLEVEL"] ?? "info") ?? "info";
  await configureLogging({ screen: level });
  const datastore = await datastoreSettings(flags.config);
  const store = await openDatastore(datastore, { owner: "margay node", serve });
  const abort = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => abort.abort());
  try {
    const client = new Client(store);
    await mode({ client, datastore, settings, flags, signal: abort.signal });
    return 0;
  } catch (error) {
    if (!(error instanceof MargayError) || error.kind === "bug") throw error;
    logger("node").error(messageOf(error), { code: error.code });
    return 1;
  } finally {
    await store.close();
    flushLogs();
  }
}
