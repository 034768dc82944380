/** `margay confd`: BIRD's configuration from the datastore, once or kept up to date. */
import { Command, CommanderError } from "commander";
import { datastoreSettings, nodeNameFrom } from "#ctl";
import { openDatastore, type Datastore } from "#datastore";
import { configureLogging, flushLogs, logger } from "#log";
import { MargayError, messageOf } from "#std";
import { followState, readState } from "./follow.ts";
import { secretsIn } from "./secrets.ts";
import { ConfdService } from "./service.ts";
import { templateResources } from "./templates/resource.ts";

const HELP = `
Examples:
  margay confd --once --conf-dir /tmp/bgp       writes /tmp/bgp/config/bird.cfg and bird6.cfg
  NODENAME=host-a ETCD_ENDPOINTS=http://10.0.0.1:2379 margay confd
  bird -R -s /var/run/calico/bird.ctl -d -c /etc/calico/confd/config/bird.cfg

A configuration replaces the old one only if \`bird -p\` accepts it. A file with passwords has mode
0600, others 0640. Files of your own: DIR/conf.d/*.toml and DIR/templates. CALICO_ROUTER_ID=hash derives the router ID from the node's name. docs/bgp.md says
more.

Exit code: 0 written, or asked to stop; 1 an error.`;

export interface NodeFlags {
  readonly config?: string;
  readonly node?: string;
  readonly secretsDir?: string;
  readonly runDir: string;
}

interface Flags extends NodeFlags {
  readonly once?: boolean;
  readonly keepStageFile?: boolean;
  readonly confDir: string;
  readonly bird: string;
}

/** Shared by `margay confd` and `margay bgp`. */
export function withNodeFlags(program: Command): Command {
  return program
    .option("-c, --config <file>", "CalicoAPIConfig file that names the datastore")
    .option("--node <name>", "this node (default: NODENAME, else the host's name)")
    .option(
      "--secrets-dir <dir>",
      "passwords: DIR/<secret>/<key> (default: CALICO_BGP_SECRETS_DIR)",
    )
    .option("--run-dir <dir>", "where bird.ctl and bird6.ctl are", "/var/run/calico");
}

export function nodeName({ node }: NodeFlags, env: NodeJS.ProcessEnv): string {
  return nodeNameFrom(node === undefined ? env : { ...env, NODENAME: node });
}

export function modelOptions({ secretsDir }: NodeFlags, env: NodeJS.ProcessEnv) {
  const prefixes = (env["FELIX_INTERFACEPREFIX"] ?? "cali").split(",").map((one) => one.trim());
  return {
    routerId: env["CALICO_ROUTER_ID"] ?? "",
    secrets: secretsIn(secretsDir ?? env["CALICO_BGP_SECRETS_DIR"]),
    workloadPrefixes: prefixes.filter((one) => one !== ""),
  };
}

/** Resolves with the exit code. */
export async function confdCommand(argv: readonly string[]): Promise<number> {
  const program = withNodeFlags(new Command("margay confd"))
    .description("Keeps BIRD's configuration as the datastore says")
    .option("--once", "write the files and exit")
    .option("--conf-dir <dir>", "the files go into DIR/config", "/etc/calico/confd")
    .option("--keep-stage-file", "leave a copy of each accepted text beside the file")
    .option("--bird <program>", "the program that checks a configuration", "bird")
    .addHelpText("after", HELP)
    .allowExcessArguments(false)
    .exitOverride();
  try {
    program.parse(argv.map(modernFlag), { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  const flags = program.opts<Flags>();
  await configureLogging({ screen: flags.once === true ? "warn" : "info" });
  const store = await openDatastore(await datastoreSettings(flags.config), {
    owner: "margay confd",
    serve: flags.once !== true,
  });
  try {
    return await (flags.once === true ? once(store, flags) : follow(store, flags));
  } finally {
    await store.close();
    flushLogs();
  }
}

/** calico-node's spellings: `-confd-run-once`, `-confd-confdir=DIR`. */
function modernFlag(argument: string): string {
  return argument
    .replace(/^--?confd-run-once(?:=true)?$/, "--once")
    .replace(/^--?confd-keep-stage-file(?:=true)?$/, "--keep-stage-file")
    .replace(/^--?confd-confdir(?==|$)/, "--conf-dir");
}

function serviceFor(flags: Flags): ConfdService {
  return new ConfdService({
    confDir: flags.confDir,
    runDir: flags.runDir,
    bird: flags.bird,
    keepStageFile: flags.keepStageFile ?? false,
    model: modelOptions(flags, process.env),
    templates: templateResources(flags.confDir),
  });
}

async function once(store: Datastore, flags: Flags): Promise<number> {
  const state = await readState(store, nodeName(flags, process.env));
  const faults = await serviceFor(flags).render(state);
  return faults.length === 0 ? 0 : 1;
}

async function follow(store: Datastore, flags: Flags): Promise<number> {
  const log = logger("confd");
  const node = nodeName(flags, process.env);
  const abort = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => abort.abort());
  const service = serviceFor(flags);
  log.info("following the datastore", { node, confDir: flags.confDir });
  try {
    await Promise.all([
      service.run(abort.signal),
      followState({
        store,
        node,
        signal: abort.signal,
        onChange: (state) => service.changed(state),
      }),
    ]);
    return 0;
  } catch (error) {
    if (error instanceof MargayError && error.kind !== "bug") {
      log.error("stopped", { error: messageOf(error) });
      return 1;
    }
    throw error;
  } finally {
    abort.abort();
  }
}
