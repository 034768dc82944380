/** The agent that owns the embedded store is killed and started again while commands write to it. */
import { execFile, execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ip, until } from "../../support/agent-host.ts";

export interface EmbeddedKillResult {
  readonly acknowledged: number;
  readonly refused: number;
  /** Acknowledged writes that the store does not have. */
  readonly lost: readonly string[];
  /** The last write is in the kernel. */
  readonly enforced: boolean;
  readonly log: string;
}

const { times } = JSON.parse(process.argv[2] ?? "{}") as { times: number };
const MARGAY = fileURLToPath(new URL("../../../bin/margay", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "margay-fault-embedded-"));
const env = {
  ...process.env,
  MARGAY_DATA_DIR: join(dir, "store"),
  FELIX_FELIXHOSTNAME: "host-a",
  FELIX_LOGFILEPATH: "none",
  FELIX_HEALTHENABLED: "true",
};
execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
mkdirSync("/run/netns", { recursive: true });
ip(
  [],
  [
    "link set lo up",
    "link add cali0a type veth peer name peer0a",
    "link set cali0a up",
    "link set peer0a up",
  ],
);

let felix = start();
await until("the agent is ready", ready);
await apply(
  resource("WorkloadEndpoint", "{name: host--a-k8s-pod-eth0, namespace: default}", [
    "{orchestrator: k8s, node: host-a, pod: pod, endpoint: eth0, interfaceName: cali0a,",
    " ipNetworks: [10.65.0.9/32]}",
  ]),
);

// One command after the other writes a set of its own, while the agent dies and comes back.
const acknowledged: string[] = [];
let refused = 0;
const stop = new AbortController();
const writer = (async (): Promise<void> => {
  for (let i = 0; !stop.signal.aborted; i++) {
    try {
      await apply(
        resource("GlobalNetworkSet", `{name: set-${i}}`, [`{nets: [10.1.0.${i % 250}]}`]),
      );
      acknowledged.push(`set-${i}`);
    } catch {
      refused++;
    }
  }
})();
for (let i = 0; i < times; i++) {
  await delay(150 + ((i * 137) % 400));
  await kill(felix);
  await delay((i % 3) * 100);
  felix = start();
  await until("the agent is ready again", ready);
}
stop.abort();
await writer;
await apply(
  resource("GlobalNetworkPolicy", "{name: last}", [
    "{selector: all(), types: [Ingress], ingress: [{action: Allow, protocol: TCP,",
    " destination: {ports: [4321]}}]}",
  ]),
);
let enforced = true;
await until("the last write is in the kernel", () =>
  execFileSync("nft", ["list", "table", "inet", "margay"], { encoding: "utf8" }).includes("4321"),
).catch(() => {
  enforced = false;
});
const names = new Set(
  execFileSync(MARGAY, ["get", "globalnetworksets"], { encoding: "utf8", env })
    .split("\n")
    .map((line) => line.split(/\s/)[0]),
);
await kill(felix);
const result: EmbeddedKillResult = {
  acknowledged: acknowledged.length,
  refused,
  lost: acknowledged.filter((name) => !names.has(name)),
  enforced,
  log: readFileSync(join(dir, "log"), "utf8").slice(-3000),
};
rmSync(dir, { recursive: true, force: true });
process.stdout.write(JSON.stringify(result), () => process.exit(0));

function start(): ChildProcess {
  const log = openSync(join(dir, "log"), "a");
  return spawn(MARGAY, ["felix"], { env, stdio: ["ignore", log, log] });
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

async function ready(): Promise<boolean> {
  try {
    return (await fetch("http://127.0.0.1:9099/readiness")).ok;
  } catch {
    return false;
  }
}

function resource(kind: string, metadata: string, spec: readonly string[]): string {
  return `apiVersion: projectcalico.org/v3\nkind: ${kind}\nmetadata: ${metadata}\nspec: ${spec.join("")}\n`;
}

/** Rejects when the command fails: nothing was acknowledged then. */
function apply(yaml: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = { env, timeout: 20_000 };
    const child = execFile(MARGAY, ["apply", "-f", "-"], options, (error) =>
      error === null ? resolve() : reject(error),
    );
    child.stdin?.end(yaml);
  });
}
