/** The measurements of `bench/connect.ts`, inside their namespace; prints figures as JSON. */
import { execFileSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { defaultLinuxDataplaneConfig, openLinuxDataplane } from "#dataplane";
import { GraphFeed, program } from "../../test/support/in-process-agent.ts";
import { makeHost, plug, pod } from "../../test/support/workload-host.ts";
import { median, type Figure } from "../support/figures.ts";
import { PORT, resourcesOf } from "./resources.ts";
import { Traffic } from "./traffic.ts";

const ROUNDS = 5;
const WINDOW_MS = 600;
/** Policies; undefined: no rules at all. */
const RULESETS = [undefined, 10, 100] as const;

const [client, server] = [pod(1), pod(2)];
makeHost();
for (const each of [client, server]) plug(each);
execFileSync("sysctl", ["-qw", "net.ipv4.ip_forward=1"]);

const feed = new GraphFeed();
const dataplane = openLinuxDataplane(defaultLinuxDataplaneConfig);

async function use(policies: number | undefined): Promise<void> {
  const messages = feed.next(resourcesOf(policies ?? 1, [client, server]));
  await program(dataplane, messages);
  // The routes and sysctls stay; what the dataplane misses it puts back in the next round.
  if (policies === undefined) execFileSync("nft", ["flush", "ruleset"]);
}

/** Packets that came in through the server's interface. */
function arrived(): number {
  const file = "/sys/class/net/eth0/statistics/rx_packets";
  const argv = ["netns", "exec", server.name, "cat", file];
  return Number(execFileSync("ip", argv).toString());
}

const to = { address: server.ipv4, port: PORT };
const last = availableParallelism() - 1;
const peer = new Traffic("tcp-server", { ...to, netns: server.name, cpu: last });
const tcp = new Traffic("tcp-client", { ...to, netns: client.name, cpu: last });
const udp = new Traffic("udp-sender", { ...to, netns: client.name, cpu: 0 });
await Promise.all([peer, tcp, udp].map((each) => each.ready()));

const samples = RULESETS.map(() => ({ crr: [] as number[], udp: [] as number[] }));
for (let round = 0; round < ROUNDS; round++) {
  for (const [index, policies] of RULESETS.entries()) {
    await use(policies);
    samples[index]?.crr.push(await tcp.rate(WINDOW_MS));
    const before = arrived();
    const rate = await udp.rate(WINDOW_MS);
    if (arrived() - before < (rate * WINDOW_MS) / 2_000) throw new Error("UDP does not arrive");
    samples[index]?.udp.push(rate);
  }
}

const [none, ...ruled] = samples.map((each) => ({ crr: median(each.crr), udp: median(each.udp) }));
const figures: Figure[] = [];
for (const [index, { crr, udp: packets }] of ruled.entries()) {
  const what = `${RULESETS[index + 1]} policies x 10 rules on each of 1,000 pods`;
  const beside = { floorIs: "no rules", atLeast: true } as const;
  figures.push(
    {
      ...beside,
      what: `TCP connect, request, close: ${what}`,
      unit: "/s",
      ours: crr,
      floor: none?.crr ?? Number.NaN,
      targetRatio: 0.86,
    },
    {
      ...beside,
      what: `UDP, each packet a new flow: ${what}`,
      unit: "kpps",
      ours: packets / 1_000,
      floor: (none?.udp ?? Number.NaN) / 1_000,
    },
  );
}
await dataplane.close();
process.stdout.write(JSON.stringify(figures), () => process.exit(0));
