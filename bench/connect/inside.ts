/** The measurements of `bench/connect.ts`, inside their namespace; prints figures as JSON. */
import { execFileSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { makeHost as makeSandbox } from "../../test/support/workload-host.ts";
import { median, type Figure } from "../support/figures.ts";
import { makeHost, podsOf, type BenchHost } from "./host.ts";
import { PORT } from "./resources.ts";
import { Traffic } from "./traffic.ts";

/** The machine's speed changes from second to second: short windows in turn give all the same. */
const ROUNDS = 60;
const WINDOW_MS = 100;

/** The least that a host with policy asks of a packet: whether it belongs to a connection. */
const CONNTRACK = `table inet floor {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
  }
}`;

const NO_RULES: BenchHost = { name: "no-rules", rules: { nft: "" } };
const HOSTS: readonly (BenchHost & { readonly what: string; readonly targetRatio?: number })[] = [
  { name: "conntrack", rules: { nft: CONNTRACK }, what: "one rule that accepts by conntrack" },
  ...[10, 100].map((policies) => ({
    name: `policies-${policies}`,
    rules: { policies },
    what: `${policies} policies x 10 rules on each of 1,000 pods`,
    targetRatio: 0.86,
  })),
];

interface Bench {
  readonly tcp: Traffic;
  readonly udp: Traffic;
  /** Packets that came in through the server's interface. */
  readonly arrived: () => number;
  readonly tcpRates: number[];
  readonly udpRates: number[];
}

async function makeBench(host: BenchHost): Promise<Bench> {
  makeHost(host);
  const [client, server] = podsOf(host);
  const to = { address: server.ipv4, port: PORT };
  const last = availableParallelism() - 1;
  const peer = new Traffic("tcp-server", { ...to, netns: server.name, cpu: last });
  const tcp = new Traffic("tcp-client", { ...to, netns: client.name, cpu: last });
  const udp = new Traffic("udp-sender", { ...to, netns: client.name, cpu: 0 });
  await Promise.all([peer, tcp, udp].map((each) => each.ready()));
  const file = "/sys/class/net/eth0/statistics/rx_packets";
  const argv = ["netns", "exec", server.name, "cat", file];
  const arrived = (): number => Number(execFileSync("ip", argv).toString());
  return { tcp, udp, arrived, tcpRates: [], udpRates: [] };
}

makeSandbox();
const none = await makeBench(NO_RULES);
const ruled: Bench[] = [];
for (const host of HOSTS) ruled.push(await makeBench(host));
const benches = [none, ...ruled];
for (let round = 0; round < ROUNDS; round++) {
  for (const { tcp, tcpRates } of benches) tcpRates.push(await tcp.rate(WINDOW_MS));
}
for (let round = 0; round < ROUNDS; round++) {
  for (const { udp, udpRates, arrived } of benches) {
    const before = arrived();
    const rate = await udp.rate(WINDOW_MS);
    if (arrived() - before < (rate * WINDOW_MS) / 2_000) throw new Error("UDP does not arrive");
    udpRates.push(rate);
  }
}

const figures = HOSTS.flatMap(({ what, targetRatio }, index): Figure[] => {
  const { tcpRates, udpRates } = ruled[index] as Bench;
  const beside = { floorIs: "no rules", atLeast: true } as const;
  const target = targetRatio === undefined ? {} : { targetRatio };
  return [
    {
      ...beside,
      ...target,
      what: `TCP connect, request, close: ${what}`,
      unit: "/s",
      ours: median(tcpRates),
      floor: median(none.tcpRates),
    },
    {
      ...beside,
      what: `UDP, each packet a new flow: ${what}`,
      unit: "kpps",
      ours: median(udpRates) / 1_000,
      floor: median(none.udpRates) / 1_000,
    },
  ];
});
process.stdout.write(JSON.stringify(figures), () => process.exit(0));
