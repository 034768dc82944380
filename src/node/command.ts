/** `margay node`: what a node does, under the names that the calico-node binary has for it. */
import { join } from "node:path";
import { Command, CommanderError, Option } from "commander";
import { datastoreSettings, Client } from "#ctl";
import { openDatastore, type DatastoreSettings } from "#datastore";
import { configureLogging, flushLogs, logLevelOf, logger } from "#log";
import { MargayError, messageOf } from "#std";
import { hostInterfaces, sourceTowards } from "./host.ts";
import type { Directories } from "./run.ts";
import { nodeSettings, type NodeSettings } from "./settings.ts";

const HELP = `
Examples:
  sudo NODENAME=host-a ETCD_ENDPOINTS=http://10.0.0.1:2379 margay node
  sudo NODENAME=host-a IP=autodetect ETCD_ENDPOINTS=http://10.0.0.1:2379 margay node -startup
  NODENAME=host-a margay node -allocate-tunnel-addrs --run-once

  margay node status            BGP sessions
  margay node checksystem       what the kernel lacks, and what needs it
  margay node diags             an archive for whoever is to help, without secrets

Without a flag: -startup, then the services under runsvdir, until SIGTERM stops them all.
-startup finds the node's name and addresses and writes the Node, default pools and settings. One
dash or two, as you like. docs/node.md lists the variables.

Exit code: 0 done, 1 an error; -startup fails when another node has the address, and names it.`;

interface World {
  readonly client: Client;
  readonly datastore: DatastoreSettings;
  readonly settings: NodeSettings;
  readonly flags: Flags;
  /** Aborted when this process is asked to stop. */
  readonly signal: AbortSignal;
}

/** What this process is to do; the datastore is open. */
type Mode = (world: World) => Promise<void>;

const HOST = { interfaces: hostInterfaces, sourceTowards };

const runServices: Mode = async ({ flags, ...world }) => {
  const { runNode } = await import("./run.ts");
  await runNode({ ...world, host: HOST, directories: flags, environment: process.env });
};

const MODES: Readonly<
  Record<string, { readonly summary: string; readonly load: () => Promise<Mode> }>
> = {
  startup: {
    summary: "find this node's name and addresses, write what the cluster needs, and exit",
    load: async () => {
      const { startUp } = await import("./startup.ts");
      return async ({ client, settings }) => {
        await startUp(client, settings, HOST);
      };
    },
  },
  "allocate-tunnel-addrs": {
    summary: "keep the addresses of this node's tunnels as the pools say",
    load: async () => {
      const { allocateOnce, keepTunnelAddresses } = await import("./tunnel-service.ts");
      return async ({ client, settings, flags, signal }) => {
        if (flags.runOnce === true) await allocateOnce(client, settings.name);
        else await keepTunnelAddresses(client, settings.name, signal);
      };
    },
  },
  "status-reporter": {
    summary: "fill the CalicoNodeStatus objects of this node",
    load: async () => {
      const { reportNodeStatus } = await import("./status-reporter.ts");
      return async ({ client, settings, flags: { runDir }, signal }) => {
        await reportNodeStatus({
          client,
          node: settings.name,
          sockets: { v4: join(runDir, "bird.ctl"), v6: join(runDir, "bird6.ctl") },
          now: () => new Date(),
          signal,
        });
      };
    },
  },
};

interface Flags extends Directories {
  readonly config?: string;
  readonly runOnce?: boolean;
}

/** What people ask of a node; each has options of its own. */
const COMMANDS: Readonly<
  Record<string, () => Promise<(argv: readonly string[]) => Promise<number>>>
> = {
  status: async () => (await import("./status-command.ts")).statusCommand,
  checksystem: async () => (await import("./checksystem.ts")).checkSystemCommand,
  diags: async () => (await import("./diags.ts")).diagsCommand,
};

/** Resolves with the exit code. */
export async function nodeCommand(argv: readonly string[]): Promise<number> {
  const [first = "", ...rest] = argv;
  const asked = Object.hasOwn(COMMANDS, first) ? COMMANDS[first] : undefined;
  return asked === undefined ? await runByFlag(argv) : await (await asked())(rest);
}

function programOf(): Command {
  const program = new Command("margay node")
    .description("Starts this node, and runs and checks its services")
    .option("-c, --config <file>", "CalicoAPIConfig file that names the datastore")
    .addOption(
      new Option("--service-dir <dir>", "the services run in DIR/enabled")
        .env("MARGAY_SERVICE_DIR")
        .default("/run/margay/service"),
    )
    .addOption(
      new Option("--run-dir <dir>", "BIRD's sockets")
        .env("MARGAY_RUN_DIR")
        .default("/var/run/calico"),
    )
    .addOption(
      new Option("--conf-dir <dir>", "BIRD's configuration, in DIR/config")
        .env("MARGAY_CONF_DIR")
        .default("/etc/calico/confd"),
    )
    .addOption(
      new Option("--log-dir <dir>", "logs of the services, in DIR/SERVICE")
        .env("MARGAY_LOG_DIR")
        .default("/var/log/calico"),
    )
    .option("--run-once", "with -allocate-tunnel-addrs: once, and exit")
    .addHelpText("after", HELP)
    .allowExcessArguments(false)
    .exitOverride();
  for (const [name, { summary }] of Object.entries(MODES)) program.option(`--${name}`, summary);
  return program;
}

async function runByFlag(argv: readonly string[]): Promise<number> {
  const program = programOf();
  try {
    program.parse(argv.flatMap(twoDashes), { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  const flags = program.opts<Flags & Readonly<Record<string, unknown>>>();
  const wanted = Object.keys(MODES).filter((name) => flags[camelCase(name)] === true);
  const [name, second] = wanted;
  if (second !== undefined) {
    process.stderr.write(`margay node: -${name ?? ""} and -${second} are two things to do\n`);
    return 1;
  }
  const mode = name === undefined ? runServices : await MODES[name]?.load();
  return await runMode(mode ?? runServices, flags, name === undefined);
}

/** calico-node's spellings: `-startup`, `-allocate-tunnel-addrs-run-once`. Single letters stay. */
function twoDashes(argument: string): string[] {
  if (/^--?allocate-tunnel-addrs-run-once$/.test(argument)) {
    return ["--allocate-tunnel-addrs", "--run-once"];
  }
  return [withTwoDashes(argument)];
}

function withTwoDashes(argument: string): string {
  return /^-[a-z][a-z0-9-]+$/.test(argument) ? `-${argument}` : argument;
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
