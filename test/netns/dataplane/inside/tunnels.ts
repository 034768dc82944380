/** Tunnel packets from hosts of the cluster and from others, with and without policy of the host. */
import type { ToDataplane } from "#calc";
import { PacketThread, type RawFlow } from "../../../support/packet-thread.ts";
import {
  type AppliedDataplane,
  IN_SYNC,
  makeHost,
  openApplied,
  plugOutside,
  policyTable,
  run,
  UPLINK,
} from "../../../support/workload-host.ts";
import { hostEndpointUpdate } from "../../../support/nft-world.ts";

/** What arrives: `vxlan4 host`, `ipip other`, …; and what gets out, `to …`. */
type Arrived = readonly string[];

export interface TunnelsResult {
  readonly off: Arrived;
  readonly on: Arrived;
  readonly onIpipOnly: Arrived;
  readonly external: Arrived;
  /** Under a host endpoint that lets nothing in or out; and the same without tunnels. */
  readonly policed: Arrived;
  readonly policedOff: Arrived;
  readonly restartWrites: number;
  readonly listing: string;
  readonly emptied: string;
  readonly errors: readonly string[];
}

const HOSTS = ["10.0.0.99", "2001:db8:9::99"] as const;
const OTHERS = ["10.0.0.98", "2001:db8:9::98"] as const;
const ELSEWHERE = ["198.51.100.7", "2001:db8:7::7"] as const;
const VXLAN = 4789;

makeHost();
plugOutside([...OTHERS, ...ELSEWHERE].map((each) => `${each}/${each.includes(":") ? 128 : 32}`));
const outside = new PacketThread("/run/netns/outside");
const host = new PacketThread(undefined);
await Promise.all([outside.ready(), host.ready()]);
const errors: string[] = [];
let tag = 1;

interface Probe {
  readonly title: string;
  readonly sender: PacketThread;
  readonly receiver: PacketThread;
  readonly flow: Omit<RawFlow, "tag" | "from" | "to">;
}

function probes(): Probe[] {
  const all: Probe[] = [];
  for (const [name, addresses] of Object.entries({ host: HOSTS, other: OTHERS, far: ELSEWHERE })) {
    for (const [index, far] of addresses.entries()) {
      const near = index === 0 ? UPLINK.host.ipv4 : UPLINK.host.ipv6;
      const family = index === 0 ? 4 : 6;
      const vxlan = { proto: "udp", sport: 40_000 + tag, dport: VXLAN } as const;
      const plain = { proto: "udp", sport: 40_000 + tag, dport: 7000 } as const;
      const incoming = { sender: outside, receiver: host };
      const outgoing = { sender: host, receiver: outside };
      const there = { src: far, dst: near };
      const back = { src: near, dst: far };
      all.push({ title: `vxlan${family} ${name}`, ...incoming, flow: { ...vxlan, ...there } });
      all.push({ title: `udp${family} ${name}`, ...incoming, flow: { ...plain, ...there } });
      all.push({ title: `to vxlan${family} ${name}`, ...outgoing, flow: { ...vxlan, ...back } });
      if (family === 6) continue;
      all.push({ title: `ipip ${name}`, ...incoming, flow: { proto: "ipip", ...there } });
      all.push({ title: `to ipip ${name}`, ...outgoing, flow: { proto: "ipip", ...back } });
    }
  }
  return all;
}

async function arrived(): Promise<Arrived> {
  run("conntrack", "-F");
  const byTag = new Map<number, string>();
  const unnamed = { from: "", to: "" };
  for (const { title, sender, flow } of probes()) {
    byTag.set(++tag, title);
    await sender.send([{ ...flow, ...unnamed, tag }], () => flow.src ?? "");
  }
  const tags = new Set([...(await host.collect(40)), ...(await outside.collect(40))]);
  return [...byTag].flatMap(([each, title]) => (tags.has(each) ? title : [])).sort();
}

const encapsulation = (ipip: boolean, vxlan: boolean): ToDataplane => ({
  case: "encapsulation",
  value: {
    ipipEnabled: ipip,
    vxlanEnabled: vxlan,
    vxlanEnabledV6: vxlan,
    noEncapEnabled: false,
  },
});
const peers: ToDataplane[] = [
  {
    case: "hostMetadataUpdate",
    value: {
      hostname: "peer",
      ipv4Addr: `${HOSTS[0]}/24`,
      ipv6Addr: HOSTS[1],
      asnumber: "",
      labels: {},
    },
  },
  {
    case: "vtepUpdate",
    value: {
      node: "peer",
      mac: "",
      ipv4Addr: "10.65.9.9",
      parentDeviceIp: HOSTS[0],
      macV6: "",
      ipv6Addr: "",
      parentDeviceIpv6: HOSTS[1],
    },
  },
];
const closed = hostEndpointUpdate("uplink", { name: "eth0" });

async function close(dataplane: AppliedDataplane): Promise<void> {
  errors.push(...dataplane.errors);
  await dataplane.close();
}

// What resolves neighbours must not be policed away later.
run("ip", "-n", "outside", "-6", "addr", "add", `${OTHERS[1]}/64`, "dev", "eth0", "nodad");
await arrived();
let dataplane = openApplied();
await dataplane.send(encapsulation(false, false), ...peers, IN_SYNC);
const off = await arrived();
await dataplane.send(encapsulation(true, true));
const on = await arrived();
const listing = policyTable();
await close(dataplane);
dataplane = openApplied();
const { writes } = await dataplane.send(encapsulation(true, true), ...peers, IN_SYNC);
await dataplane.send(encapsulation(true, false));
const onIpipOnly = await arrived();
await dataplane.send(closed, encapsulation(true, true));
const policed = await arrived();
await dataplane.send(encapsulation(false, false));
const policedOff = await arrived();
const emptied = policyTable();
await close(dataplane);
dataplane = openApplied({ externalNodes: ["10.0.0.98/32"] });
await dataplane.send(encapsulation(true, true), ...peers, IN_SYNC);
const result: TunnelsResult = {
  off,
  on,
  onIpipOnly,
  external: await arrived(),
  policed,
  policedOff,
  restartWrites: writes,
  listing,
  emptied,
  errors,
};
await close(dataplane);
await Promise.all([outside.close(), host.close()]);
process.stdout.write(JSON.stringify(result), () => process.exit(0));
