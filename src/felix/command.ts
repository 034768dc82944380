/** `margay felix`: reads the local configuration, then prints it or runs the agent. */
import { hostname } from "node:os";
import { Command, CommanderError, Option } from "commander";
import {
  configFromEnvironment,
  configFromFile,
  DEFAULT_CONFIG_FILE,
} from "./config/local-sources.ts";
import type { PrintFormat } from "./config/print.ts";
import { resolveConfig, type RawSources } from "./config/resolve.ts";

const EXAMPLES = `
Examples:
  sudo margay felix                                this host, configured in the embedded store
  sudo FELIX_ETCDENDPOINTS=http://127.0.0.1:2379 margay felix
  margay felix --print-config | grep -v default    what is set, and by whom
  sudo FELIX_USEINTERNALDATAPLANEDRIVER=false FELIX_DATAPLANEDRIVER=/opt/driver margay felix
  sudo margay felix --replay host.stream --once    the kernel as another agent recorded it

Settings come from, in ascending order of precedence: defaults, FelixConfiguration default, one with
a nodeSelector, FelixConfiguration node.<name>, the configuration file, FELIX_<NAME> in the
environment. The datastore: DATASTORE_TYPE=etcdv3|embedded, ETCD_ENDPOINTS, ETCD_CA_CERT_FILE,
ETCD_CERT_FILE, ETCD_KEY_FILE, or Felix's own FELIX_ETCDENDPOINTS and the like.

An external driver reads the stream of Felix's protobuf messages on descriptor 3 and reports on
descriptor 4; when it ends, so does the agent. --record writes the same stream to a file, anew at
each start. --replay programs the kernel (or a driver) from such a file, without a datastore: the
file is checked as a whole first, and its settings count as those of a datastore would.

Exit codes: 0 asked to stop, 129 a setting changed that needs a restart (the supervisor starts it
again), 1 an error. The kernel keeps what was programmed in each case.`;

interface Options {
  readonly configFile?: string;
  readonly printConfig?: boolean;
  readonly reexec?: boolean;
  readonly record?: string;
  readonly replay?: string;
  readonly once?: boolean;
  readonly output: PrintFormat;
}

/** Resolves with the exit code. */
export async function felixCommand(argv: readonly string[]): Promise<number> {
  const program = new Command("margay felix")
    .description("The node agent: keeps the kernel's policy and routes as the datastore says")
    .option("-c, --config-file <path>", `ini file of settings (default: ${DEFAULT_CONFIG_FILE})`)
    .option(
      "--reexec",
      "when a restart is wanted, start again in place (same process id) instead of exiting 129",
    )
    .addOption(
      new Option("--record <file>", "also write what the dataplane is told to a file").conflicts(
        "replay",
      ),
    )
    .option("--replay <file>", "program a recorded stream instead of what a datastore says")
    .option("--once", "with --replay: exit when it is programmed (0), or is not after 10 s (1)")
    .option("--print-config", "print every setting, its value and its source, and exit")
    .addOption(
      new Option("-o, --output <format>", "format of --print-config")
        .choices(["table", "json", "yaml"])
        .default("table"),
    )
    .addHelpText("after", EXAMPLES)
    .allowExcessArguments(false)
    .exitOverride();
  try {
    program.parse([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  const options = program.opts<Options>();
  if (options.once === true && options.replay === undefined) {
    process.stderr.write("error: option '--once' goes with '--replay <file>'\n");
    return 1;
  }
  const local = localSources(options.configFile, process.env);
  if (options.printConfig === true) {
    const { printableConfig } = await import("./print-command.ts");
    process.stdout.write(await printableConfig(local, defaultHostname(), options.output));
    return 0;
  }
  if (options.replay !== undefined) {
    const { replay } = await import("./replay.ts");
    const once = options.once === true;
    return replay({ local, hostnameDefault: defaultHostname(), file: options.replay, once });
  }
  const { EXIT_RESTART, runAgent } = await import("./run.ts");
  const code = await runAgent({
    local,
    hostnameDefault: defaultHostname(),
    environment: process.env,
    ...(options.record === undefined ? {} : { recordFile: options.record }),
  });
  if (code === EXIT_RESTART && options.reexec === true) startAgain();
  return code;
}

/**
 * Replaces this process with a new one of the same command (execve(2)); open files are closed. A
 * Node.js that cannot do it leaves it to the supervisor after all.
 */
function startAgain(): void {
  const argv = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  process.execve?.(process.execPath, argv, process.env);
}

/** Fails at once on local settings the agent must not start with. */
function localSources(configFile: string | undefined, environment: NodeJS.ProcessEnv): RawSources {
  const local: RawSources = {
    "environment variable": configFromEnvironment(environment),
    "config file": configFromFile(configFile ?? DEFAULT_CONFIG_FILE, configFile !== undefined),
  };
  resolveConfig(local, defaultHostname());
  return local;
}

function defaultHostname(): string {
  return hostname().trim().toLowerCase();
}
