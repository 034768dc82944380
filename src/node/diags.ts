/**
 * `margay node diags`: what somebody who is to help must see, in one archive. Secrets stay here: what
 * is known to be one is taken out of every text, whichever file it got into.
 */
import { execFile } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Command, CommanderError } from "commander";
import { nodeNameFrom } from "#ctl";
import { messageOf } from "#std";
import { directoryOption, type Directories } from "./directories.ts";
import { readServices, serviceTable } from "./service-table.ts";

const run = promisify(execFile);
const MARGAY = fileURLToPath(new URL("../../bin/margay", import.meta.url));
const COMMAND_TIMEOUT_MS = 15_000;
const MAX_OUTPUT = 64 * 1024 * 1024;
/** Of each log, its end. */
const MAX_LOG_BYTES = 4 * 1024 * 1024;
/** Shorter ones would take out what is no secret. */
const SHORTEST_SECRET = 4;

/** File in the archive → command line. */
const COMMANDS: Readonly<Record<string, string>> = {
  "system/uname": "uname -a",
  "system/uptime": "uptime",
  "system/memory": "free -m",
  "system/disks": "df -h",
  "system/processes": "ps -eo pid,ppid,etime,rss,args",
  "system/sockets": "ss -tunap",
  "system/sysctl": "sysctl -a",
  "network/links": "ip -d -s link",
  "network/addresses": "ip address",
  "network/routes-4": "ip -4 route show table all",
  "network/routes-6": "ip -6 route show table all",
  "network/rules-4": "ip -4 rule",
  "network/rules-6": "ip -6 rule",
  "network/neighbours": "ip neighbour",
  "network/forwarding": "bridge fdb",
  "network/ruleset": "nft list ruleset",
  "network/iptables": "iptables-save",
  "margay/version": `${MARGAY} version`,
  "margay/felix-config": `${MARGAY} felix --print-config`,
  "margay/checksystem": `${MARGAY} node checksystem`,
  "margay/nodes": `${MARGAY} get nodes -o yaml`,
  "margay/pools": `${MARGAY} get ippools -o yaml`,
  "margay/all-nodes": `${MARGAY} node status --all-nodes`,
  "margay/health": `${MARGAY} node -felix-live -felix-ready -bird-live -bird-ready`,
  "margay/cluster": `${MARGAY} get clusterinformation -o yaml`,
  "margay/felixconfigurations": `${MARGAY} get felixconfigurations -o yaml`,
  "margay/bgpconfigurations": `${MARGAY} get bgpconfigurations -o yaml`,
  "margay/bgppeers": `${MARGAY} get bgppeers -o yaml`,
  "margay/bgpfilters": `${MARGAY} get bgpfilters -o yaml`,
  "margay/bgp": `${MARGAY} bgp show`,
  "margay/ipam": `${MARGAY} ipam show --show-blocks`,
};

const BIRD_COMMANDS = ["show status", "show protocols all", "show route all"];

interface Flags extends Directories {
  readonly output?: string;
}

/** Resolves with the exit code. */
export async function diagsCommand(argv: readonly string[]): Promise<number> {
  const command = new Command("margay node diags")
    .description("Gathers what is needed to find a fault into one archive, without secrets")
    .option("--output <file>", "the archive; default margay-diags-NODE-TIME.tar.gz here")
    .addOption(directoryOption("run"))
    .addOption(directoryOption("conf"))
    .addOption(directoryOption("log"))
    .addOption(directoryOption("service"))
    .addHelpText(
      "after",
      "\nWhat cannot be had is named in its file. Exit code: 0 written, 1 an error.",
    )
    .allowExcessArguments(false)
    .exitOverride();
  try {
    command.parse([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  const path = await writeDiags(command.opts<Flags>());
  process.stdout.write(`${path}\n`);
  return 0;
}

async function writeDiags(flags: Flags): Promise<string> {
  const time = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
  const name = `margay-diags-${nodeNameFrom(process.env)}-${time}`;
  const path = resolve(flags.output ?? `${name}.tar.gz`);
  const parent = mkdtempSync(join(tmpdir(), "margay-diags-"));
  const previous = process.umask(0o077);
  try {
    const hide = hider(flags);
    const write = (file: string, text: string): void => {
      const target = join(parent, name, file);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, hide(text));
    };
    write("environment", environment());
    write("margay/services", serviceTable(readServices(flags.serviceDir), Date.now()));
    for (const [file, line] of Object.entries(COMMANDS)) {
      write(file, await outputOf(line.split(" ")));
      process.stderr.write(".");
    }
    for (const family of ["bird", "bird6"]) {
      for (const asked of BIRD_COMMANDS) {
        const line = ["birdc", "-s", join(flags.runDir, `${family}.ctl`), ...asked.split(" ")];
        write(`bird/${family}/${asked.replaceAll(" ", "-")}`, await outputOf(line));
      }
    }
    for (const [file, text] of filesIn(join(flags.confDir, "config"), "bird/config")) {
      write(file, text);
    }
    for (const [file, text] of filesIn(flags.logDir, "logs")) write(file, text);
    process.stderr.write("\n");
    await run("tar", ["-C", parent, "-czf", path, name]);
    return path;
  } finally {
    process.umask(previous);
    rmSync(parent, { recursive: true, force: true });
  }
}

async function outputOf([program = "", ...args]: readonly string[]): Promise<string> {
  try {
    const { stdout, stderr } = await run(program, args, {
      timeout: COMMAND_TIMEOUT_MS,
      maxBuffer: MAX_OUTPUT,
    });
    return stdout + stderr;
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    return `${stdout}${stderr}\n# failed: ${messageOf(error)}\n`;
  }
}

/** Variables of ours, Calico's and etcd's. */
function environment(): string {
  return Object.entries(process.env)
    .filter(([name]) =>
      /^(?:FELIX|CALICO|ETCD|MARGAY|BGP|IP6?_|NODENAME|CLUSTER|DATASTORE|KUBE)/.test(name),
    )
    .map(([name, value]) => `${name}=${value}\n`)
    .toSorted()
    .join("");
}

/** Path in the archive and the end of each file. */
function* filesIn(directory: string, as: string): Generator<readonly [string, string]> {
  let names: string[];
  try {
    names = readdirSync(directory, { recursive: true, encoding: "utf8" });
  } catch (error) {
    yield [`${as}/none`, `${messageOf(error)}\n`];
    return;
  }
  for (const name of names) {
    const path = join(directory, name);
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) continue;
    yield [`${as}/${name}`, readFileSync(path).subarray(-MAX_LOG_BYTES).toString()];
  }
}

/**
 * Takes secrets out: the values of variables and parameters that hold one, and the passwords in BIRD's
 * configuration, wherever they stand; and private keys by their form.
 */
function hider({ confDir }: Flags): (text: string) => string {
  const secrets = new Set<string>();
  for (const [name, value = ""] of Object.entries(process.env)) {
    if (/PASSW|SECRET|TOKEN/i.test(name)) secrets.add(value);
  }
  for (const [, text] of filesIn(join(confDir, "config"), "")) {
    for (const [, password = ""] of text.matchAll(/password "([^"]*)"/g)) secrets.add(password);
  }
  const known = [...secrets]
    .filter((secret) => secret.length >= SHORTEST_SECRET)
    .toSorted((a, b) => b.length - a.length);
  return (text) => {
    let clean = text
      .replaceAll(/password "[^"]*"/g, 'password "***"')
      // `password: x`, `"password":"x y"`, `TOKEN=x`.
      .replaceAll(
        /((?:passw(?:or)?d|secret|token)\w*["']?[^\S\n]*[=:][^\S\n]*)("(?:[^"\n\\]|\\.)*"|'[^'\n]*'|[^\s,}]+)/gi,
        "$1***",
      )
      // `--password x`, `user:x@host`.
      .replaceAll(/(--?\w*(?:passw(?:or)?d|secret|token)\w*[^\S\n]+)(?!-)\S+/gi, "$1***")
      .replaceAll(/(:\/\/[^\s/:@]*:)[^\s/@]+@/g, "$1***@")
      .replaceAll(
        /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g,
        "***",
      );
    for (const secret of known) clean = clean.replaceAll(secret, "***");
    return clean;
  };
}
