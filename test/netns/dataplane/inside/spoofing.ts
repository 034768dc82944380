/** Sources that a workload may send from, and those that it may not, with real packets. */
import { PacketThread } from "../../../support/packet-thread.ts";
import {
  ALLOW_PROFILE,
  endpointUpdate,
  IN_SYNC,
  makeHost,
  openApplied,
  plug,
  plugOutside,
  pod,
  UPLINK,
} from "../../../support/workload-host.ts";

export interface SpoofingResult {
  /** Sources of what arrived outside. */
  readonly allowed: readonly string[];
  readonly disabled: readonly string[];
  readonly errors: readonly string[];
}

const client = pod(1);
const SOURCES = [client.ipv4, client.ipv6, "10.7.1.1", "fd07::1", "10.8.1.1", "fd08::1"];

makeHost();
plug(client);
plugOutside();
const inside = new PacketThread("/run/netns/pod1");
const outside = new PacketThread("/run/netns/outside");
await Promise.all([inside.ready(), outside.ready()]);
const errors: string[] = [];
let tag = 0;

async function arrived(workloadSourceSpoofing: "Any" | "Disabled"): Promise<string[]> {
  const dataplane = openApplied({ workloadSourceSpoofing });
  const allowSpoofedSourcePrefixes = ["10.7.0.0/16", "fd07::/16"];
  await dataplane.send(
    ALLOW_PROFILE,
    endpointUpdate(client, { allowSpoofedSourcePrefixes }),
    IN_SYNC,
  );
  const byTag = new Map<number, string>();
  for (const src of SOURCES) {
    byTag.set(++tag, src);
    const dst = src.includes(":") ? UPLINK.outside.ipv6 : UPLINK.outside.ipv4;
    const ports = { sport: 40_000 + tag, dport: 7000 };
    await inside.send(
      [{ proto: "udp", ...ports, src, dst, tag, from: "pod1", to: "outside" }],
      () => src,
    );
  }
  const tags = new Set(await outside.collect(60));
  errors.push(...dataplane.errors);
  await dataplane.close();
  return [...byTag].flatMap(([each, src]) => (tags.has(each) ? src : []));
}

const result: SpoofingResult = {
  allowed: await arrived("Any"),
  disabled: await arrived("Disabled"),
  errors,
};
await Promise.all([inside.close(), outside.close()]);
process.stdout.write(JSON.stringify(result), () => process.exit(0));
