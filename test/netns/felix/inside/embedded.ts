/** The agent on its own embedded store, with commands beside it: no server, nothing configured. */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ip, until } from "../../../support/agent-host.ts";

export interface EmbeddedResult {
  readonly ready: boolean;
  readonly tiers: string;
  readonly route: string;
  readonly status: string;
  readonly printed: string;
  readonly exit: number | null;
  readonly afterwards: string;
  readonly log: string;
}

const MARGAY = fileURLToPath(new URL("../../../../bin/margay", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "margay-embedded-"));
const env = {
  ...process.env,
  MARGAY_DATA_DIR: join(dir, "store"),
  FELIX_FELIXHOSTNAME: "host-a",
  FELIX_LOGFILEPATH: join(dir, "felix.log"),
  FELIX_LOGSEVERITYSCREEN: "none",
  FELIX_HEALTHENABLED: "true",
};
const margay = (args: readonly string[], input = ""): string =>
  execFileSync(MARGAY, args, { encoding: "utf8", env, input, stdio: ["pipe", "pipe", "inherit"] });

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

const output = openSync(join(dir, "output"), "a");
const felix = spawn(MARGAY, ["felix"], { env, stdio: ["ignore", output, output] });
const readiness = async (): Promise<boolean> => {
  try {
    return (await fetch("http://127.0.0.1:9099/readiness")).ok;
  } catch {
    return false;
  }
};
await until("the agent is ready on an empty store", readiness);
const tiers = margay(["get", "tiers"]);
margay(
  ["apply", "-f", "-"],
  `apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  name: host--a-k8s-pod-eth0
  namespace: default
spec:
  orchestrator: k8s
  node: host-a
  pod: pod
  endpoint: eth0
  interfaceName: cali0a
  ipNetworks: [10.65.0.9/32]
`,
);
const STATUS_KEY =
  "/calico/felix/v2/no-region/host/host-a/workload/k8s/default%2fpod/endpoint/eth0";
const socket = `unix://${join(dir, "store", "margay.sock")}`;
const etcdctl = (...args: readonly string[]): string =>
  execFileSync("etcdctl", ["--endpoints", socket, ...args], {
    encoding: "utf8",
    env: { ...process.env, ETCDCTL_API: "3" },
  });
await until("its status is in the store", () => etcdctl("get", STATUS_KEY) !== "");
const status = etcdctl("get", "--print-value-only", STATUS_KEY).trim();
const route = execFileSync("ip", ["route", "show", "10.65.0.9"], { encoding: "utf8" });
const printed = margay(["felix", "--print-config"]);
const gone = new Promise<number | null>((resolve) => felix.once("exit", (code) => resolve(code)));
felix.kill("SIGTERM");
const exit = await gone;
const afterwards = margay(["get", "wep", "-A"]);
const result: EmbeddedResult = {
  ready: true,
  tiers,
  route,
  status,
  printed,
  exit,
  afterwards,
  log:
    readFileSync(join(dir, "felix.log"), "utf8").slice(-3000) +
    readFileSync(join(dir, "output"), "utf8"),
};
rmSync(dir, { recursive: true, force: true });
process.stdout.write(JSON.stringify(result), () => process.exit(0));
