/** Outgoing NAT by pools and settings, on real connections: as whom does the outside see a workload? */
import type { ToDataplane } from "#calc";
import { defaultLinuxDataplaneConfig, type NatConfig } from "#dataplane";
import { TcpPeer } from "../../../support/tcp-peer.ts";
import {
  ALLOW_PROFILE,
  type AppliedDataplane,
  endpointUpdate,
  IN_SYNC,
  makeHost,
  openApplied,
  plug,
  plugOutside,
  pod,
  policyTable,
  run,
  UPLINK,
  within,
} from "../../../support/workload-host.ts";

/** Source addresses that the outside saw, IPv4 and IPv6. */
type Seen = readonly string[];

export interface NatOutgoingResult {
  readonly chainBefore: boolean;
  readonly withoutPool: Seen;
  readonly outside: Seen;
  readonly otherPool: Seen;
  /** The pool's set is there, and holds what is not inside another pool. */
  readonly listing: string;
  readonly restartWrites: number;
  readonly repairedMs: number;
  readonly repaired: Seen;
  readonly switchedOff: Seen;
  readonly chainAfter: boolean;
  readonly ports: readonly number[];
  readonly otherAddress: Seen;
  readonly otherInterface: Seen;
  readonly sameInterface: Seen;
  readonly toHost: Seen;
  readonly toHostForgotten: Seen;
  readonly errors: readonly string[];
}

const OTHER = { ipv4: "10.66.0.9", ipv6: "fd66::9" };
const SECOND_ADDRESS = "10.0.0.12";
const client = pod(1);
const pool = (cidr: string, masquerade: boolean, allowedUses = ["Workload"]): ToDataplane => ({
  case: "ipamPoolUpdate",
  value: {
    id: cidr.replace("/", "-"),
    pool: { cidr, masquerade, ipipMode: "Never", vxlanMode: "Never", allowedUses },
  },
});
const pools = (masquerade: boolean): ToDataplane[] => [
  pool("10.65.0.0/24", masquerade),
  pool("fd65::/64", masquerade),
  pool("10.66.0.0/16", false),
  // Inside another one: an interval set takes no overlap.
  pool("10.66.0.0/24", false),
  pool("fd66::/64", false),
  // Addresses of services are no workloads' network.
  pool("10.0.0.0/24", false, ["LoadBalancer"]),
];
const host = (hostname: string, ipv4Addr: string, ipv6Addr: string): ToDataplane => ({
  case: "hostMetadataUpdate",
  value: { hostname, ipv4Addr, ipv6Addr, asnumber: "", labels: {} },
});

makeHost();
plug(client);
plugOutside([`${OTHER.ipv4}/32`, `${OTHER.ipv6}/128`]);
run("ip", "addr", "add", `${SECOND_ADDRESS}/24`, "dev", "eth0");
const peer = new TcpPeer("/run/netns/pod1");
const outside = new TcpPeer("/run/netns/outside");
await outside.listen(80);
const errors: string[] = [];

function open(nat: Partial<NatConfig> = {}): AppliedDataplane {
  return openApplied({ nat: { ...defaultLinuxDataplaneConfig.policy.nat, ...nat } });
}

async function seen({ ipv4, ipv6 }: { ipv4: string; ipv6: string }): Promise<string[]> {
  const contacts = [await peer.contact(ipv4, 80), await peer.contact(ipv6, 80)];
  return contacts.map(({ outcome, seenAs }) => seenAs.split(" ")[0] || outcome);
}

async function close(dataplane: AppliedDataplane): Promise<void> {
  errors.push(...dataplane.errors);
  await dataplane.close();
}

/** With other settings, what a fresh agent makes of the same state. */
async function reopened<T>(nat: Partial<NatConfig>, act: (it: AppliedDataplane) => Promise<T>) {
  const it = open(nat);
  await it.send(ALLOW_PROFILE, endpointUpdate(client), ...pools(true), IN_SYNC);
  const result = await act(it);
  await close(it);
  return result;
}

const hasChain = (): boolean => /type nat|ip-pools|nat-pools/.test(policyTable());

let dataplane = open();
await dataplane.send(ALLOW_PROFILE, endpointUpdate(client), ...pools(false), IN_SYNC);
const chainBefore = hasChain();
const withoutPool = await seen(UPLINK.outside);
await dataplane.send(...pools(true));
const whole = policyTable();
const natted = await seen(UPLINK.outside);
const otherPool = await seen(OTHER);
await close(dataplane);

dataplane = open();
const restart = await dataplane.send(
  ALLOW_PROFILE,
  endpointUpdate(client),
  ...pools(true),
  IN_SYNC,
);
const times: number[] = [];
for (const chain of [
  "postrouting-nat-outgoing",
  "forward-to-workload",
  "postrouting-nat-outgoing",
]) {
  run("nft", "flush", "chain", "inet", "margay", chain);
  times.push(await within(10_000, `${chain} is whole`, () => policyTable() === whole));
}
const repaired = await seen(UPLINK.outside);
await dataplane.send(...pools(false));
const switchedOff = await seen(UPLINK.outside);
const chainAfter = hasChain();
await close(dataplane);

const portRange = { first: 20_000, last: 20_009 };
const ports = await reopened({ portRange }, async () => {
  const all: number[] = [];
  for (let n = 0; n < 5; n++) {
    for (const address of Object.values(UPLINK.outside)) {
      // Of ten ports one may be another connection's of just before (TIME_WAIT): TCP needs a second then.
      const { seenAs } = await peer.contact(address, 80, undefined, 5000);
      all.push(Number(seenAs.split(" ")[1]));
    }
  }
  return all;
});
const result: NatOutgoingResult = {
  chainBefore,
  withoutPool,
  outside: natted,
  otherPool,
  listing: whole,
  restartWrites: restart.writes,
  repairedMs: Math.min(...times),
  repaired,
  switchedOff,
  chainAfter,
  ports,
  otherAddress: await reopened({ outgoingAddress: SECOND_ADDRESS, portRange }, () =>
    seen(UPLINK.outside),
  ),
  otherInterface: await reopened({ outgoingInterface: "eth1" }, () => seen(UPLINK.outside)),
  sameInterface: await reopened({ outgoingInterface: "et+" }, () => seen(UPLINK.outside)),
  ...(await reopened({ excludeHosts: true }, async (it) => {
    const { ipv4, ipv6 } = UPLINK.outside;
    await it.send(host("other", `${ipv4}/24`, ipv6), host("again", ipv4, ""));
    const toHost = await seen(UPLINK.outside);
    await it.send({ case: "hostMetadataRemove", value: { hostname: "other" } });
    return { toHost, toHostForgotten: await seen(UPLINK.outside) };
  })),
  errors,
};
await Promise.all([peer.close(), outside.close()]);
process.stdout.write(JSON.stringify(result), () => process.exit(0));
