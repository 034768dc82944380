/** The measurements of `bench/tunnels.ts`, inside their namespaces. Prints JSON. */
import { setTimeout as delay } from "node:timers/promises";
import { ClusterHosts } from "../../test/support/cluster-hosts.ts";
import { block, endpointOf, type Host } from "../../test/support/cluster-objects.ts";
import { nowNs, Probe } from "../../test/support/probe.ts";
import { median } from "../support/figures.ts";

export interface TunnelTimes {
  readonly blockMs: number;
  readonly endpointMs: number;
}

/** Each probe's own: a thread that ends leaves its socket to the process. */
let port = 7777;
const { rounds } = JSON.parse(process.argv[2] ?? "{}") as { rounds: number };
const cluster = await ClusterHosts.start(3);
const [from, to] = [cluster.host(1), cluster.host(3)];
for (const host of [from, to]) cluster.startAgent(host);
await cluster.until("the hosts reach each other", () => cluster.reaches(from, to, 4));

/** From before the write to the first packet. */
async function measure(address: string, write: () => Promise<void>): Promise<number> {
  cluster.ip(`-n ${to.pod.netns} addr add ${address}/32 dev eth0`);
  const probe = new Probe({
    sendFrom: `/run/netns/${from.pod.netns}`,
    receiveIn: `/run/netns/${to.pod.netns}`,
    source: from.pod.ipv4,
    target: address,
    port: port++,
    intervalMs: 0.2,
  });
  probe.send(true);
  await until(() => probe.sent > 10);
  await delay(50);
  if (probe.received > 0) throw new Error(`${address} is reached already`);
  const started = nowNs();
  await write();
  await until(() => probe.received > 0);
  const ms = Number(probe.firstAtNs - started) / 1e6;
  await probe.close();
  return ms;
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`timed out\n${cluster.logs}`);
    await delay(1);
  }
}

const putEndpoint = (host: Host, ...more: readonly string[]): Promise<void> =>
  cluster.put(endpointOf(host, more));

const known: number[] = [];
const fresh: number[] = [];
for (let round = 0; round < rounds; round++) {
  const inKnown = `10.65.3.${10 + round}`;
  known.push(await measure(inKnown, () => putEndpoint(to, inKnown)));
  const inNew = `10.65.${100 + round}.1`;
  await putEndpoint(to, inNew);
  const newBlock = block(`10.65.${100 + round}.0/26`, to.name);
  fresh.push(await measure(inNew, () => cluster.putRaw(...newBlock)));
  await putEndpoint(to);
}
const times: TunnelTimes = { blockMs: median(fresh), endpointMs: median(known) };
await cluster.close();
process.stdout.write(JSON.stringify(times), () => process.exit(0));
