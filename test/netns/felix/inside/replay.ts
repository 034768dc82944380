/** An agent that records, and its recording on an empty kernel: once, kept, cut off, and Felix's own. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ip, until } from "../../../support/agent-host.ts";

interface Kernel {
  readonly ruleset: readonly string[];
  readonly routes: string;
}

export interface ReplayResult {
  readonly bare: { readonly exit: number | null; readonly tables: string };
  readonly recorded: Kernel;
  readonly replayed: Kernel;
  readonly replayExit: number | null;
  readonly cutOff: {
    readonly exit: number | null;
    readonly error: string;
    readonly tables: string;
  };
  readonly repaired: Kernel;
  readonly keptExit: number | null;
  readonly felix: { readonly exit: number | null; readonly chains: string };
  readonly log: string;
}

const MARGAY = fileURLToPath(new URL("../../../../bin/margay", import.meta.url));
const FELIX_STREAM = fileURLToPath(new URL("../../../golden/felix/host-a.bin", import.meta.url));
const RESOURCES = fileURLToPath(new URL("replay.yaml", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "margay-replay-"));
const recording = join(dir, "stream");
const env = {
  ...process.env,
  MARGAY_DATA_DIR: join(dir, "store"),
  FELIX_FELIXHOSTNAME: "host-a",
  FELIX_LOGFILEPATH: join(dir, "felix.log"),
  FELIX_LOGSEVERITYSCREEN: "none",
  FELIX_LOGPREFIX: "here",
};
/** Without what the recorded agent was told beside its datastore. */
const replayEnv = { ...env, FELIX_LOGPREFIX: "" };
const output = openSync(join(dir, "output"), "a");

const tables = (): string => execFileSync("nft", ["list", "tables"], { encoding: "utf8" });
/** Chains and sets come as they were added, and so do elements; rules keep their order. */
function kernel(): Kernel {
  const text = execFileSync("nft", ["list", "ruleset"], { encoding: "utf8" });
  const objects = text
    .replaceAll(/packets \d+ bytes \d+/g, "")
    .split(/\n\t(?=(?:chain|set|map) )/)
    .map((object) => {
      const lines = object.split(/[\n,]|elements = \{|\}/).map((line) => line.trim());
      return (object.startsWith("chain ") ? lines : lines.toSorted()).join("\n");
    });
  const routes = execFileSync("ip", ["route", "show", "proto", "80"], { encoding: "utf8" });
  return { ruleset: objects.toSorted(), routes };
}
const routed = (): boolean =>
  [...kernel().routes.matchAll(/^10\.65\.0\.\d+ dev cali0/gm)].length === 2;
function empty(): void {
  execFileSync("nft", ["flush", "ruleset"]);
  execFileSync("ip", ["route", "flush", "proto", "80"]);
}
function start(...args: readonly string[]): ChildProcess {
  return spawn(MARGAY, ["felix", ...args], { env, stdio: ["ignore", output, output] });
}
function replayOnce(file: string): { exit: number | null; error: string } {
  const { status, stderr } = spawnSync(MARGAY, ["felix", "--replay", file, "--once"], {
    env: replayEnv,
    encoding: "utf8",
  });
  return { exit: status, error: stderr };
}
async function stop(agent: ChildProcess): Promise<number | null> {
  const gone = new Promise<number | null>((resolve) => agent.once("exit", (code) => resolve(code)));
  agent.kill("SIGTERM");
  return gone;
}

// A namespace whose `lo` is down and that never had a route.
const bare = { exit: replayOnce(FELIX_STREAM).exit, tables: tables() };
execFileSync("nft", ["flush", "ruleset"]);

execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
mkdirSync("/run/netns", { recursive: true });
ip(
  [],
  [
    "link set lo up",
    "link add cali0a type veth peer name peer0a",
    "link add cali0b type veth peer name peer0b",
    ...["cali0a", "cali0b", "peer0a", "peer0b"].map((name) => `link set ${name} up`),
  ],
);
const agent = start("--record", recording);
const margay = (...args: readonly string[]): string =>
  execFileSync(MARGAY, args, { encoding: "utf8", env, stdio: ["pipe", "pipe", "inherit"] });
await until("the agent is there", () => tables().includes("inet margay"));
margay("apply", "-f", RESOURCES);
// Something that comes and goes, so that the stream is more than one state.
margay("label", "wep", "host--a-k8s-b-eth0", "role=office");
margay("label", "wep", "host--a-k8s-b-eth0", "role", "--remove");
await until("both have routes", routed);
await stop(agent);
const recorded = kernel();

empty();
const replayExit = replayOnce(recording).exit;
const replayed = kernel();

empty();
const part = join(dir, "part");
writeFileSync(part, readFileSync(recording).subarray(0, -1));
const cutOff = { ...replayOnce(part), tables: tables() };

const kept = start("--replay", recording);
await until("it is programmed again", routed);
empty();
await until("and again", routed);
const repaired = kernel();
const keptExit = await stop(kept);

empty();
const felix = {
  exit: replayOnce(FELIX_STREAM).exit,
  chains: execFileSync("nft", ["list", "table", "inet", "margay"], { encoding: "utf8" }),
};
const log =
  readFileSync(join(dir, "felix.log"), "utf8") + readFileSync(join(dir, "output"), "utf8");
const result: ReplayResult = {
  bare,
  recorded,
  replayed,
  replayExit,
  cutOff,
  repaired,
  keptExit,
  felix,
  log: log.slice(-4000),
};
rmSync(dir, { recursive: true, force: true });
process.stdout.write(JSON.stringify(result), () => process.exit(0));
