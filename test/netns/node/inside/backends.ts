/** `margay node` of one host on its embedded store, without BGP; and for policy alone. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "../../../support/agent-host.ts";
import { MARGAY } from "../../../support/node-start.ts";
import { isSupervised, readService } from "../../../../src/node/runit.ts";

export interface BackendsResult {
  readonly vxlan: Node;
  readonly policyOnly: Node;
  /** Of the first, after felix was killed: the store has its owner elsewhere. */
  readonly withoutFelix: string;
  /** `service/available` as it is, under runsvdir alone, after a start-up by hand. */
  readonly byHand: { readonly bird: string; readonly states: readonly string[] };
}

interface Node {
  readonly services: readonly string[];
  readonly node: string;
  readonly logDirectory: boolean;
  readonly exit: number | null;
  readonly log: string;
}

execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
mkdirSync("/run/netns", { recursive: true });
for (const command of [
  "link set lo up",
  "link add eth0 type bridge",
  "link set eth0 up",
  "addr add 10.0.0.11/24 dev eth0",
]) {
  execFileSync("ip", command.split(" "));
}

const dir = mkdtempSync(join(tmpdir(), "margay-backends-"));
const env = {
  ...process.env,
  MARGAY_DATA_DIR: join(dir, "store"),
  NODENAME: "host-a",
  CALICO_IPV4POOL_VXLAN: "Always",
  MARGAY_RUN_DIR: join(dir, "run"),
  MARGAY_CONF_DIR: join(dir, "conf"),
};
const margay = (...args: readonly string[]): string =>
  execFileSync(MARGAY, args, { encoding: "utf8", env });

async function isReady(): Promise<boolean> {
  const answer = await fetch("http://127.0.0.1:9099/readiness").catch(() => undefined);
  return answer?.ok === true;
}

async function run(
  name: string,
  more: Readonly<Record<string, string>>,
  meanwhile: (enabled: string, child: ChildProcess) => Promise<void>,
): Promise<Node> {
  const home = join(dir, name);
  mkdirSync(home);
  const output = openSync(join(home, "output"), "a");
  const directories = {
    MARGAY_SERVICE_DIR: join(home, "service"),
    MARGAY_LOG_DIR: join(home, "log"),
  };
  const child = spawn(MARGAY, ["node"], {
    env: { ...env, ...directories, ...more },
    stdio: ["ignore", output, output],
  });
  const log = (): string => readFileSync(join(home, "output"), "utf8");
  await until("felix is ready", isReady).catch((error: unknown) => {
    throw new Error(log(), { cause: error });
  });
  const enabled = join(home, "service/enabled");
  await meanwhile(enabled, child);
  const services = readdirSync(enabled).toSorted();
  const node = margay("get", "node", "host-a", "-o", "json");
  child.kill("SIGTERM");
  const [exit] = (await once(child, "exit")) as [number | null];
  return { services, node, logDirectory: existsSync(join(home, "log")), exit, log: log() };
}

let withoutFelix = "";
const policyOnly = await run("none", { CALICO_NETWORKING_BACKEND: "none" }, async () => undefined);
const backend = { CALICO_NETWORKING_BACKEND: "vxlan", CALICO_DISABLE_FILE_LOGGING: "true" };
const vxlan = await run("vxlan", backend, async (enabled) => {
  const felix = readService(enabled, "felix").pid ?? 0;
  process.kill(felix, "SIGKILL");
  withoutFelix = margay("get", "tiers");
  await until("felix is back", () => ![0, felix].includes(readService(enabled, "felix").pid ?? 0));
});
/** Nothing but Debian's runsvdir and what is in the repository, on a store of its own. */
async function byHand(): Promise<BackendsResult["byHand"]> {
  const home = join(dir, "by-hand");
  const services = join(home, "available");
  cpSync(join(MARGAY, "../../service"), home, { recursive: true, verbatimSymlinks: true });
  const more = { MARGAY, MARGAY_LOG_DIR: join(home, "log"), MARGAY_DATA_DIR: join(home, "store") };
  const store = spawn(MARGAY, ["datastore"], { env: { ...env, ...more }, stdio: "ignore" });
  // Who comes first to an embedded store is its owner.
  await until("the store answers", () => existsSync(join(home, "store/margay.sock")));
  execFileSync(MARGAY, ["node", "-startup"], {
    env: { ...env, ...more, WAIT_FOR_DATASTORE: "true" },
    stdio: "ignore",
  });
  const runsvdir = spawn("runsvdir", ["-P", services], {
    env: { ...env, ...more, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
    stdio: "ignore",
  });
  const ask = (): string => {
    try {
      const socket = join(dir, "run/bird.ctl");
      return execFileSync("birdc", ["-s", socket, "show", "status"], { encoding: "utf8" });
    } catch {
      return "";
    }
  };
  await until("felix is ready", isReady);
  await until("BIRD is up", () => ask().includes("Daemon is up and running"));
  const bird = ask();
  const states = readdirSync(services)
    .toSorted()
    .map((name) => `${name} ${readService(services, name).state}`);
  runsvdir.kill("SIGHUP");
  await once(runsvdir, "exit");
  await until("all have stopped", () =>
    readdirSync(services).every((name) => !isSupervised(join(services, name))),
  );
  store.kill("SIGTERM");
  await once(store, "exit");
  return { bird, states };
}

const result: BackendsResult = { vxlan, policyOnly, withoutFelix, byHand: await byHand() };
process.stdout.write(JSON.stringify(result));
