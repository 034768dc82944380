/** The agent as a process with a driver as another one: the stream, the way back, and every end. */
import assert from "node:assert/strict";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const MARGAY = fileURLToPath(new URL("../../../bin/margay", import.meta.url));
const PRINT_DRIVER = fileURLToPath(
  new URL("../../../examples/driver/print-driver", import.meta.url),
);
const LIMIT_MS = 15_000;

const RESOURCES = `apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: { name: offices, labels: { role: office } }
spec: { nets: [192.0.2.0/24] }
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: { name: default.web }
spec:
  tier: default
  order: 10
  selector: app == 'web'
  ingress: [{ action: Allow, protocol: TCP, source: { selector: role == 'office' }, destination: { ports: [80] } }]
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: { name: base }
spec: { egress: [{ action: Allow }] }
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: { name: host-a-eth0, labels: { host: a } }
spec: { node: host-a, interfaceName: eth0, expectedIPs: [10.0.0.1] }
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: { name: host--a-k8s-pod-eth0, namespace: default, labels: { app: web } }
spec:
  orchestrator: k8s
  node: host-a
  pod: pod
  endpoint: eth0
  interfaceName: cali0a
  ipNetworks: [10.65.0.9/32]
  profiles: [base]
`;

interface Printed {
  readonly sequenceNumber: number;
  readonly kind: string;
  readonly value: {
    readonly id?: { readonly name?: string } | string;
    readonly policy?: { readonly inboundRules?: readonly { readonly srcIpSetIds?: string[] }[] };
    readonly endpoint?: {
      readonly profileIds?: readonly string[];
      readonly tiers?: readonly { readonly ingressPolicies?: readonly { name: string }[] }[];
    };
  };
}

class Host {
  readonly dir = mkdtempSync(join(tmpdir(), "margay-driver-"));
  readonly env: NodeJS.ProcessEnv;
  readonly agent: ChildProcess;
  readonly exit: Promise<number | null>;
  #out = "";
  log = "";

  constructor(t: TestContext, driver: string | ((dir: string) => string)) {
    this.env = {
      ...process.env,
      MARGAY_DATA_DIR: join(this.dir, "store"),
      FELIX_FELIXHOSTNAME: "host-a",
      FELIX_LOGFILEPATH: "none",
      FELIX_USEINTERNALDATAPLANEDRIVER: "false",
      FELIX_DATAPLANEDRIVER: typeof driver === "string" ? driver : driver(this.dir),
      FELIX_ENDPOINTREPORTINGDELAYSECS: "0.05",
      FELIX_ENDPOINTSTATUSPATHPREFIX: "none",
    };
    this.agent = spawn(MARGAY, ["felix"], { env: this.env, stdio: ["ignore", "pipe", "pipe"] });
    this.agent.stdout?.on("data", (chunk: Buffer) => (this.#out += chunk.toString()));
    this.agent.stderr?.on("data", (chunk: Buffer) => (this.log += chunk.toString()));
    this.exit = new Promise((resolve) => this.agent.once("exit", resolve));
    t.after(async () => {
      this.agent.kill("SIGKILL");
      await this.exit;
      if (this.driverPid !== 0) {
        try {
          process.kill(this.driverPid, "SIGKILL");
        } catch {
          // It is gone.
        }
      }
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  get driverPid(): number {
    const line = this.log.split("\n").find((text) => text.includes("dataplane driver started"));
    return line === undefined ? 0 : (JSON.parse(line) as { pid: number }).pid;
  }

  /** What the driver has printed so far. */
  get printed(): Printed[] {
    return this.#out
      .split("\n")
      .slice(0, -1)
      .map((line) => {
        const [number, kind, ...rest] = line.split(" ");
        return {
          sequenceNumber: Number(number),
          kind: kind ?? "",
          value: JSON.parse(rest.join(" ")) as Printed["value"],
        };
      });
  }

  margay(args: readonly string[], input = ""): string {
    return execFileSync(MARGAY, args, { encoding: "utf8", env: this.env, input });
  }

  stored(prefix: string): Record<string, string> {
    const socket = `unix://${join(this.dir, "store", "margay.sock")}`;
    const text = execFileSync("etcdctl", ["--endpoints", socket, "get", "--prefix", prefix], {
      encoding: "utf8",
      env: { ...process.env, ETCDCTL_API: "3" },
    });
    const lines = text.trimEnd().split("\n");
    return Object.fromEntries(
      lines.flatMap((key, index) => (index % 2 === 0 ? [[key, lines[index + 1] ?? ""]] : [])),
    );
  }

  async until(what: string, done: () => boolean): Promise<void> {
    const deadline = performance.now() + LIMIT_MS;
    while (!done()) {
      assert.ok(performance.now() < deadline, `not in time: ${what}\n${this.log}\n${this.#out}`);
      await delay(50);
    }
  }
}

/** A driver made of shell. */
const shell =
  (script: string) =>
  (dir: string): string => {
    const path = join(dir, "driver");
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return path;
  };

/** IP sets before the policies that use them; policies and profiles before endpoints that do. */
function assertOrder(messages: readonly Printed[]): void {
  const there = new Set<string>();
  const need = (what: string, by: string): void => assert.ok(there.has(what), `${what} for ${by}`);
  for (const [index, { sequenceNumber, kind, value }] of messages.entries()) {
    assert.equal(sequenceNumber, index);
    const name = typeof value.id === "string" ? value.id : (value.id?.name ?? "");
    if (kind === "ipsetUpdate") there.add(`set ${name}`);
    else if (kind === "ipsetRemove") there.delete(`set ${name}`);
    else if (kind === "activeProfileUpdate") there.add(`profile ${name}`);
    else if (kind === "activeProfileRemove") there.delete(`profile ${name}`);
    else if (kind === "activePolicyRemove") there.delete(`policy ${name}`);
    else if (kind === "activePolicyUpdate") {
      there.add(`policy ${name}`);
      for (const { srcIpSetIds = [] } of value.policy?.inboundRules ?? [])
        for (const id of srcIpSetIds) need(`set ${id}`, name);
    } else if (kind === "workloadEndpointUpdate") {
      for (const profile of value.endpoint?.profileIds ?? []) need(`profile ${profile}`, kind);
      for (const { ingressPolicies = [] } of value.endpoint?.tiers ?? [])
        for (const policy of ingressPolicies) need(`policy ${policy.name}`, kind);
    }
  }
}

const WORKLOAD_STATUS =
  "/calico/felix/v2/no-region/host/host-a/workload/k8s/default%2fpod/endpoint/eth0";
const HOST_STATUS = "/calico/felix/v1/host/host-a/endpoint/host-a-eth0";
const OWN_STATUS = "/calico/felix/v2/no-region/host/host-a/status";

test("the stream in the sequencer's order, status back into the datastore, death of the driver", async (t) => {
  const host = new Host(t, PRINT_DRIVER);
  const has = (kind: string) => () => host.printed.some((message) => message.kind === kind);
  await host.until("in sync", has("inSync"));
  assert.equal(host.printed[0]?.kind, "configUpdate");
  host.margay(["apply", "-f", "-"], RESOURCES);
  await host.until("the workload is told", () =>
    host.printed.some(({ value }) => (value.endpoint?.tiers?.length ?? 0) > 0),
  );
  await host.until("the statuses are stored", () => {
    const all = host.stored("/calico/felix/");
    return [WORKLOAD_STATUS, HOST_STATUS].every((key) => all[key] === '{"status":"up"}');
  });
  const own = JSON.parse(host.stored(OWN_STATUS)[OWN_STATUS] ?? "{}") as Record<string, unknown>;
  assert.equal(own["first_update"], true, "the driver's report of itself");
  host.margay(["delete", "-f", "-"], RESOURCES);
  await host.until("all of it is taken back", () =>
    ["workloadEndpointRemove", "activePolicyRemove", "activeProfileRemove", "ipsetRemove"].every(
      (kind) => has(kind)(),
    ),
  );
  await host.until("the statuses are gone", () => {
    const all = host.stored("/calico/felix/");
    return all[WORKLOAD_STATUS] === undefined && all[HOST_STATUS] === undefined;
  });
  assertOrder(host.printed);
  process.kill(host.driverPid, "SIGKILL");
  assert.equal(await host.exit, 1, host.log);
  assert.match(host.log, /dataplane driver \S+print-driver ended: killed by SIGKILL/);
});

test("a recording is replayed to a driver, once", () => {
  const recording = fileURLToPath(new URL("../../golden/felix/host-a.bin", import.meta.url));
  const printed = execFileSync(MARGAY, ["felix", "--replay", recording, "--once"], {
    encoding: "utf8",
    env: {
      ...process.env,
      FELIX_LOGFILEPATH: "none",
      FELIX_LOGSEVERITYSCREEN: "none",
      FELIX_USEINTERNALDATAPLANEDRIVER: "false",
      FELIX_DATAPLANEDRIVER: PRINT_DRIVER,
    },
  });
  const lines = printed.trimEnd().split("\n");
  assert.equal(lines.length, 32);
  assert.match(lines[0] ?? "", /^0 configUpdate \{/);
  assert.equal(lines.at(-1), "31 inSync {}");
});

test("asked to stop, the agent gives its driver 4 s, also one that reads nothing", async (t) => {
  const host = new Host(t, shell("trap '' TERM; while :; do sleep 1; done"));
  await host.until("the driver runs", () => host.driverPid !== 0);
  const { driverPid } = host;
  host.agent.kill("SIGTERM");
  const began = performance.now();
  assert.equal(await host.exit, 0, host.log);
  const seconds = (performance.now() - began) / 1000;
  assert.ok(seconds > 3.5 && seconds < 8, `${seconds} s`);
  assert.throws(() => process.kill(driverPid, 0), /ESRCH/);
});

test("what a driver says and nobody knows is named once, and the agent goes on", async (t) => {
  // Field 11 of FromDataplane, twice; then the status `odd` of host endpoint `e`.
  const unknown = "\\002\\0\\0\\0\\0\\0\\0\\0\\132\\0";
  const odd = "\\016\\0\\0\\0\\0\\0\\0\\0\\042\\014\\012\\003\\022\\001e\\022\\005\\012\\003odd";
  const host = new Host(
    t,
    shell(`printf '${unknown}${unknown}${odd}' >&4; exec cat /dev/fd/3 >/dev/null`),
  );
  await host.until("both are named", () =>
    /unknown":"endpoint status","value":"odd"/.test(host.log),
  );
  assert.equal(host.log.match(/"unknown":"message","value":"field 11"/g)?.length, 1, host.log);
  await delay(300);
  assert.equal(host.agent.exitCode, null, host.log);
  host.agent.kill("SIGTERM");
  assert.equal(await host.exit, 0, host.log);
});

const ENDS: readonly {
  readonly name: string;
  readonly driver: (dir: string) => string;
  readonly says: RegExp;
}[] = [
  { name: "exits", driver: shell("exit 3"), says: /ended: exit code 3/ },
  {
    name: "is not there",
    driver: (dir) => join(dir, "none"),
    says: /cannot start \S+none: .*ENOENT/,
  },
  {
    name: "sends text",
    driver: shell("echo 'hello, agent' >&4; cat <&3 >/dev/null"),
    says: /sent what cannot be read: the frame at byte 0 is announced with \d+ bytes/,
  },
  {
    name: "sends a frame that is no message",
    driver: shell("printf '\\002\\0\\0\\0\\0\\0\\0\\0\\062\\177' >&4; cat <&3 >/dev/null"),
    says: /sent what cannot be read: .*not a protobuf message: 127 bytes are announced/,
  },
  {
    name: "closes the way back",
    driver: shell("exec 4>&-; cat <&3 >/dev/null"),
    says: /has closed its descriptor 4/,
  },
];

for (const { name, driver, says } of ENDS) {
  test(`a driver that ${name} ends the agent, with the reason`, async (t) => {
    const host = new Host(t, driver);
    assert.equal(await host.exit, 1, host.log);
    assert.match(host.log, says);
  });
}
