/** Plugs two pods into the network namespace that it is started in, and programs it as the agent does. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { defaultLinuxDataplaneConfig, openLinuxDataplane } from "#dataplane";
import { messagesOf, program } from "../../test/support/in-process-agent.ts";
import { plug, pod, type Pod } from "../../test/support/workload-host.ts";
import { resourcesOf } from "./resources.ts";

export interface BenchHost {
  /** Of its network namespace. */
  readonly name: string;
  /** In place of policies: what nft loads. */
  readonly rules: { readonly policies: number } | { readonly nft: string };
}

/** Their namespaces have other names on each host; their addresses and interfaces are the same. */
export function podsOf({ name }: BenchHost): readonly [client: Pod, server: Pod] {
  const of = (number: number): Pod => ({ ...pod(number), name: `${name}-pod${number}` });
  return [of(1), of(2)];
}

/** In a process of its own, as one moves into a network namespace with all of its threads. */
export function makeHost(host: BenchHost): void {
  const script = [...process.execArgv, fileURLToPath(import.meta.url), JSON.stringify(host)];
  execFileSync("ip", ["netns", "add", host.name]);
  // Not `ip netns exec`: the namespaces of the pods are to be seen from here.
  const argv = [`--net=/run/netns/${host.name}`, process.execPath, ...script];
  execFileSync("nsenter", argv, { stdio: ["ignore", "ignore", "inherit"] });
}

async function setUp(host: BenchHost): Promise<void> {
  execFileSync("ip", ["link", "set", "lo", "up"]);
  execFileSync("sysctl", ["-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv4.ip_forward=1"]);
  const pods = podsOf(host);
  for (const each of pods) plug(each);
  const dataplane = openLinuxDataplane(defaultLinuxDataplaneConfig);
  // The routes and sysctls of workloads are wanted without policy, too.
  const policies = "policies" in host.rules ? host.rules.policies : 1;
  await program(dataplane, messagesOf(resourcesOf(policies, pods)));
  await dataplane.close();
  if ("nft" in host.rules) {
    execFileSync("nft", ["-f", "-"], { input: `flush ruleset\n${host.rules.nft}` });
  }
}

if (import.meta.main) {
  await setUp(JSON.parse(process.argv[2] ?? "") as BenchHost);
  // The dataplane's timers do not matter any more.
  process.exit(0);
}
