/** Log rules and the kernel's log, which only the first network namespace of a machine writes. */
import { execFileSync, spawnSync } from "node:child_process";
import { gnp, policyUpdate, tier } from "../../support/nft-world.ts";
import {
  ALLOW_PROFILE,
  endpointUpdate,
  IN_SYNC,
  makeHost,
  openApplied,
  plug,
  plugOutside,
  pod,
} from "../../support/workload-host.ts";

export interface LogResult {
  /** The lines of the kernel's log, without time, by what was sent. */
  readonly byRule: readonly string[];
  /** Four packets, where the Log rule may write two lines, and each drop is logged too. */
  readonly limited: readonly string[];
  readonly errors: readonly string[];
}

const [client, server] = [pod(1), pod(2)];
const POLICY = gnp("watch");
execFileSync("modprobe", ["nf_log_syslog"]);
makeHost();
plug(client);
plug(server);
plugOutside();

/** What the kernel's log says of packets of the client to these addresses. */
function logged(count: number, addresses: readonly string[]): string[] {
  execFileSync("dmesg", ["-C"]);
  for (const address of addresses) {
    const ping = ["ping", "-n", "-c", String(count), "-i", "0.2", "-W", "1", address];
    spawnSync("ip", ["netns", "exec", client.name, ...ping]);
  }
  return execFileSync("dmesg", ["-t"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.includes("OUT=cali"));
}

async function under(
  config: Parameters<typeof openApplied>[0],
  count: number,
  ...addresses: readonly string[]
): Promise<string[]> {
  const dataplane = openApplied(config);
  const tiers = [tier("security", [POLICY])];
  const rules = [{ action: "log" }, { action: "allow", ipVersion: 6 }] as const;
  await dataplane.send(
    ALLOW_PROFILE,
    policyUpdate(POLICY, rules),
    endpointUpdate(client),
    endpointUpdate(server, { tiers }),
    IN_SYNC,
  );
  const lines = logged(count, addresses);
  errors.push(...dataplane.errors);
  await dataplane.close();
  return lines;
}

const errors: string[] = [];
const logActionRateLimit = { rate: 1, unitSeconds: 3600, burst: 2 };
const result: LogResult = {
  byRule: await under({ logPrefix: "%t/%k/%n" }, 1, server.ipv4, server.ipv6),
  limited: await under({ logActionRateLimit, dropActionOverride: "LogAndDrop" }, 4, server.ipv4),
  errors,
};
process.stdout.write(JSON.stringify(result), () => process.exit(0));
