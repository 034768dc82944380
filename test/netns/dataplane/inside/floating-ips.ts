/** Floating addresses on real connections: who reaches a workload by one, and as whom it is seen. */
import type { ToDataplane, WorkloadEndpoint } from "#calc";
import { defaultLinuxDataplaneConfig } from "#dataplane";
import { gnp, policyUpdate, tier } from "../../../support/nft-world.ts";
import { TcpPeer, type Contact } from "../../../support/tcp-peer.ts";
import {
  ALLOW_PROFILE,
  type AppliedDataplane,
  endpointRemove,
  endpointUpdate,
  IN_SYNC,
  makeHost,
  openApplied,
  plug,
  plugOutside,
  pod,
  policyTable,
  run,
} from "../../../support/workload-host.ts";

/** Who connects → what came of it over IPv4 and IPv6: the address that the workload saw, or why not. */
type Seen = Readonly<Record<"outside" | "neighbour" | "itself" | "host", readonly string[]>>;

export interface FloatingIpsResult {
  readonly disabled: Seen;
  readonly disabledListing: string;
  readonly enabled: Seen;
  readonly listing: string;
  readonly routes: string;
  /** From the floating address itself: not the workload's to send from. */
  readonly spoofed: readonly string[];
  /** Policy that forbids the external address, then one that forbids the internal one. */
  readonly externalDenied: readonly string[];
  readonly internalDenied: readonly string[];
  /** Another endpoint claims the same address; then the first one is gone. */
  readonly contested: readonly string[];
  readonly inherited: readonly string[];
  readonly restartWrites: number;
  readonly removedListing: string;
  readonly errors: readonly string[];
}

const [a, b] = [pod(1), pod(2)];
const EXTERNAL = ["192.0.2.50", "2001:db8:5::50"] as const;
const POLICY = gnp("egress");
const floating = (intIp: string, intIp6: string): Partial<WorkloadEndpoint> => ({
  ipv4Nat: [{ extIp: EXTERNAL[0], intIp }],
  ipv6Nat: [{ extIp: EXTERNAL[1], intIp: intIp6 }],
});
const owner = endpointUpdate(a, floating(a.ipv4, a.ipv6));
const plain = endpointUpdate(b);

makeHost();
plug(a);
plug(b);
plugOutside();
const peers = {
  a: new TcpPeer("/run/netns/pod1"),
  b: new TcpPeer("/run/netns/pod2"),
  outside: new TcpPeer("/run/netns/outside"),
  host: new TcpPeer("/proc/self/ns/net"),
};
await peers.a.listen(80);
await peers.b.listen(81);
await peers.outside.listen(80);
const errors: string[] = [];

function open(floatingIps: boolean): AppliedDataplane {
  return openApplied({ nat: { ...defaultLinuxDataplaneConfig.policy.nat, floatingIps } });
}

async function close(dataplane: AppliedDataplane): Promise<void> {
  errors.push(...dataplane.errors);
  await dataplane.close();
}

const summary = ({ outcome, seenAs }: Contact): string => seenAs.split(" ")[0] || outcome;
async function by(peer: TcpPeer, port = 80): Promise<string[]> {
  return [
    summary(await peer.contact(EXTERNAL[0], port)),
    summary(await peer.contact(EXTERNAL[1], port)),
  ];
}
async function byAll(): Promise<Seen> {
  const { outside, b: neighbour, a: itself, host } = peers;
  return {
    outside: await by(outside),
    neighbour: await by(neighbour),
    itself: await by(itself),
    host: await by(host),
  };
}

/** Egress of the neighbour: everything but these. */
function denying(nets: readonly string[]): ToDataplane[] {
  return [
    policyUpdate(POLICY, [], [{ action: "deny", dstNet: nets }, { action: "allow" }]),
    endpointUpdate(b, { tiers: [tier("default", [], [POLICY])] }),
  ];
}

const state = [ALLOW_PROFILE, owner, plain, IN_SYNC];

let dataplane = open(false);
await dataplane.send(...state);
const disabled = await byAll();
const disabledListing = policyTable();
await close(dataplane);

dataplane = open(true);
await dataplane.send(...state);
const enabled = await byAll();
const listing = policyTable();
const routes = run("ip", "route") + run("ip", "-6", "route");
await close(dataplane);

dataplane = open(true);
const { writes: restartWrites } = await dataplane.send(...state);
await dataplane.send(...denying([`${EXTERNAL[0]}/32`, `${EXTERNAL[1]}/128`]));
const externalDenied = await by(peers.b);
await dataplane.send(...denying([`${a.ipv4}/32`, `${a.ipv6}/128`]));
const internalDenied = await by(peers.b);

await dataplane.send(endpointUpdate(b, floating(b.ipv4, b.ipv6)));
const contested = await by(peers.outside);
await dataplane.send(endpointRemove(a));
const inherited = await by(peers.outside, 81);

// An internal address that is not the endpoint's own is nobody's to give.
await dataplane.send(endpointUpdate(b, floating("10.0.0.99", "2001:db8:9::99")), owner);
for (const [index, external] of EXTERNAL.entries()) {
  run("ip", "-n", "pod1", "addr", "add", `${external}/${index === 0 ? 32 : 128}`, "dev", "eth0");
}
const spoofed = [
  summary(await peers.a.contact("10.0.0.99", 80, EXTERNAL[0])),
  summary(await peers.a.contact("2001:db8:9::99", 80, EXTERNAL[1])),
];
await dataplane.send(endpointUpdate(a), plain);
const result: FloatingIpsResult = {
  disabled,
  disabledListing,
  enabled,
  listing,
  routes,
  spoofed,
  externalDenied,
  internalDenied,
  contested,
  inherited,
  restartWrites,
  removedListing: policyTable() + run("ip", "route") + run("ip", "-6", "route"),
  errors,
};
await close(dataplane);
await Promise.all(Object.values(peers).map((peer) => peer.close()));
process.stdout.write(JSON.stringify(result), () => process.exit(0));
