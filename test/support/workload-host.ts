/**
 * A host and its workloads for tests of the dataplane: this process's network namespace is the host,
 * so run it with `runInSandbox`; namespaces and interfaces go away with the process.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { FromDataplane, ToDataplane, WorkloadEndpoint } from "#calc";
import {
  defaultLinuxDataplaneConfig,
  openLinuxDataplane,
  type ApplyResult,
  type Dataplane,
  type NftPolicyConfig,
} from "#dataplane";

export interface Pod {
  readonly name: string;
  readonly interfaceName: string;
  readonly mac: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export function pod(number: number): Pod {
  return {
    name: `pod${number}`,
    interfaceName: `cali0000000000${number}`,
    mac: `0a:00:00:00:00:0${number}`,
    ipv4: `10.65.0.${number}`,
    ipv6: `fd65::${number}`,
  };
}

/** A host without any route of its own. */
export function makeHost(): void {
  execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
  mkdirSync("/run/netns", { recursive: true });
  // Duplicate address detection would hold IPv6 up for a second.
  run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0");
  run("ip", "link", "set", "lo", "up");
}

/** Addresses of the host and of what is beyond it, on one link. */
export const UPLINK = {
  host: { ipv4: "10.0.0.11", ipv6: "2001:db8:9::11" },
  outside: { ipv4: "10.0.0.99", ipv6: "2001:db8:9::99" },
} as const;

/** A network beyond the host, in namespace `outside`: what has no other way goes there and back. */
export function plugOutside(moreAddresses: readonly string[] = []): void {
  const { host, outside } = UPLINK;
  const inside = (...args: string[]): string => run("ip", "-n", "outside", ...args);
  run("ip", "netns", "add", "outside");
  run("ip", "netns", "exec", "outside", "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0");
  run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", "outside");
  run("ip", "link", "set", "eth0", "up");
  inside("link", "set", "lo", "up");
  inside("link", "set", "eth0", "up");
  run("ip", "addr", "add", `${host.ipv4}/24`, "dev", "eth0");
  run("ip", "addr", "add", `${host.ipv6}/64`, "dev", "eth0", "nodad");
  inside("addr", "add", `${outside.ipv4}/24`, "dev", "eth0");
  inside("addr", "add", `${outside.ipv6}/64`, "dev", "eth0", "nodad");
  for (const address of moreAddresses) inside("addr", "add", address, "dev", "lo");
  run("ip", "route", "add", "default", "via", outside.ipv4);
  run("ip", "-6", "route", "add", "default", "via", outside.ipv6);
  inside("route", "add", "default", "via", host.ipv4);
  inside("-6", "route", "add", "default", "via", host.ipv6);
}

export function plug({ name, interfaceName, mac, ipv4, ipv6 }: Pod): void {
  const inside = (...args: string[]): string => run("ip", "-n", name, ...args);
  run("ip", "netns", "add", name);
  run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0");
  const veth = ["type", "veth", "peer", "name", "eth0", "address", mac, "netns", name];
  run("ip", "link", "add", interfaceName, "address", "ee:ee:ee:ee:ee:ee", ...veth);
  run("ip", "link", "set", interfaceName, "up");
  inside("link", "set", "lo", "up");
  inside("link", "set", "eth0", "up");
  inside("addr", "add", `${ipv4}/32`, "dev", "eth0");
  inside("addr", "add", `${ipv6}/128`, "dev", "eth0", "nodad");
  inside("route", "add", "169.254.1.1", "dev", "eth0", "scope", "link");
  inside("route", "add", "default", "via", "169.254.1.1", "dev", "eth0");
  inside("-6", "route", "add", "default", "via", "fe80::ecee:eeff:feee:eeee", "dev", "eth0");
}

export function unplug({ name, interfaceName }: Pod): void {
  run("ip", "link", "del", interfaceName);
  run("ip", "netns", "del", name);
}

export function workloadId(podName: string) {
  return { orchestratorId: "k8s", workloadId: `default/${podName}`, endpointId: "eth0" };
}

export function endpointUpdate(
  { name, interfaceName, mac, ipv4, ipv6 }: Pod,
  overrides: Partial<WorkloadEndpoint> = {},
): ToDataplane {
  const endpoint: WorkloadEndpoint = {
    state: "active",
    name: interfaceName,
    mac,
    profileIds: ["allow"],
    ipv4Nets: [`${ipv4}/32`],
    ipv6Nets: [`${ipv6}/128`],
    tiers: [],
    ipv4Nat: [],
    ipv6Nat: [],
    allowSpoofedSourcePrefixes: [],
    annotations: {},
    ...overrides,
  };
  return { case: "workloadEndpointUpdate", value: { id: workloadId(name), endpoint } };
}

export function endpointRemove({ name }: Pod): ToDataplane {
  return { case: "workloadEndpointRemove", value: { id: workloadId(name) } };
}

export const ALLOW_PROFILE: ToDataplane = {
  case: "activeProfileUpdate",
  value: {
    id: { name: "allow" },
    profile: {
      inboundRules: [{ action: "allow", ruleId: "in" }],
      outboundRules: [{ action: "allow", ruleId: "out" }],
    },
  },
};

export const IN_SYNC: ToDataplane = { case: "inSync", value: {} };

/** Applies whenever the dataplane asks for it, as the agent does. */
export class AppliedDataplane {
  readonly statuses = new Map<string, string>();
  readonly results: ApplyResult[] = [];
  readonly #dataplane: Dataplane;
  #running: Promise<void> | undefined;
  #again = false;
  #retry: NodeJS.Timeout | undefined;

  constructor(dataplane: Dataplane) {
    this.#dataplane = dataplane;
    dataplane.onWanted(() => this.#kick());
    dataplane.onStatus((message: FromDataplane) => {
      if (message.case === "workloadEndpointStatusUpdate") {
        this.statuses.set(message.value.id.workloadId, message.value.status);
      } else if (message.case === "workloadEndpointStatusRemove") {
        this.statuses.delete(message.value.id.workloadId);
      }
    });
  }

  /** Of all rounds. */
  get errors(): string[] {
    return this.results.flatMap(({ errors }) => errors.map(String));
  }

  /** Sends and waits until it is applied; the result of the last round. */
  async send(...messages: readonly ToDataplane[]): Promise<ApplyResult> {
    for (const message of messages) this.#dataplane.onMessage(message);
    this.#kick();
    await this.#running;
    const last = this.results.at(-1);
    if (last === undefined) throw new Error("nothing was applied");
    return last;
  }

  #kick(): void {
    this.#again = true;
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      clearTimeout(this.#retry);
      const result = await this.#dataplane.apply();
      this.results.push(result);
      if (!result.complete) {
        this.#retry = setTimeout(() => this.#kick(), result.retryAfterMs ?? 1000);
      }
    }
    this.#running = undefined;
  }

  async close(): Promise<void> {
    clearTimeout(this.#retry);
    await this.#running;
    await this.#dataplane.close();
  }
}

/** On this host's kernel, with these settings of the policy table. */
export function openApplied(policy: Partial<NftPolicyConfig> = {}): AppliedDataplane {
  const { policy: defaults, ...config } = defaultLinuxDataplaneConfig;
  return new AppliedDataplane(
    openLinuxDataplane({ ...config, policy: { ...defaults, ...policy } }),
  );
}

/** The policy table without what counts. */
export function policyTable(): string {
  return run("nft", "-s", "list", "table", "inet", "margay");
}

/** Milliseconds until it holds. */
export async function within(limitMs: number, what: string, holds: () => boolean): Promise<number> {
  const started = performance.now();
  while (!holds()) {
    if (performance.now() - started > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await delay(1);
  }
  return performance.now() - started;
}

export function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Runs `act` and returns what `monitor` (a command) printed meanwhile. */
export async function watched(
  command: string,
  args: readonly string[],
  act: () => Promise<void>,
): Promise<string> {
  const { spawn } = await import("node:child_process");
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  const ended = new Promise((resolve) => {
    child.once("close", resolve);
  });
  await delay(150);
  await act();
  await delay(100);
  child.kill("SIGKILL");
  await ended;
  return text;
}
