/** Service addresses without a service, and Reject as the answer of policy: what a caller notices. */
import { execFileSync } from "node:child_process";
import type { NftPolicyConfig } from "#dataplane";
import { hostEndpointUpdate, gnp, policyUpdate, tier } from "../../../support/nft-world.ts";
import { TcpPeer, type Outcome } from "../../../support/tcp-peer.ts";
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
} from "../../../support/workload-host.ts";

/** Over IPv4 and IPv6. */
type Outcomes = readonly Outcome[];

export interface ServiceLoopResult {
  readonly unknown: Outcomes;
  readonly dropped: Outcomes;
  readonly besides: Outcomes;
  readonly rejected: Outcomes;
  readonly disabled: Outcomes;
  readonly listing: string;
  readonly emptied: string;
  readonly policyDrops: Outcomes;
  readonly policyRejects: Outcomes;
  readonly udpDrops: Outcomes;
  readonly udpRejects: Outcomes;
  /** The same by a host endpoint of the uplink: to the host, from it, from it to a translated address. */
  readonly hostDrops: readonly Outcomes[];
  readonly hostRejects: readonly Outcomes[];
  readonly translated: Outcomes;
  readonly errors: readonly string[];
}

const SERVICE = ["10.96.0.1", "fd96::1"] as const;
const BESIDES = ["10.97.0.1", "fd97::1"] as const;
const [client, server] = [pod(1), pod(2)];
/** Somebody else's NAT leads them to the outside: only after routing is it sure where they leave. */
const TRANSLATED = ["192.0.2.99", "2001:db8:5::99"] as const;
const OTHERS_NAT = `table inet other {
  chain output {
    type nat hook output priority -100
    ip daddr ${TRANSLATED[0]} dnat ip to 10.0.0.99
    ip6 daddr ${TRANSLATED[1]} dnat ip6 to 2001:db8:9::99
  }
}`;
const POLICY = gnp("nothing");

makeHost();
plug(client);
plug(server);
plugOutside(
  [...SERVICE, ...BESIDES].map((address) => `${address}/${address.includes(":") ? 128 : 32}`),
);
const peer = new TcpPeer("/run/netns/pod1");
const target = new TcpPeer("/run/netns/pod2");
const outside = new TcpPeer("/run/netns/outside");
const host = new TcpPeer("/proc/self/ns/net");
for (const listener of [target, outside, host]) await listener.listen(80);
execFileSync("nft", ["-f", "-"], { input: OTHERS_NAT });
const errors: string[] = [];

async function to(addresses: readonly string[], from = peer): Promise<Outcomes> {
  const outcomes: Outcome[] = [];
  for (const address of addresses) outcomes.push(await from.connect(address, 80));
  return outcomes;
}

const services = (cluster: readonly string[], external: readonly string[] = []) => ({
  case: "globalBgpConfigUpdate" as const,
  value: {
    serviceClusterCidrs: cluster,
    serviceExternalCidrs: external,
    serviceLoadbalancerCidrs: [],
    localWorkloadPeeringIpV4: "",
    localWorkloadPeeringIpV6: "",
  },
});
const SERVICES = services(["10.96.0.0/16", "10.96.0.0/24"], ["fd96::/64"]);

async function under<T>(
  config: Partial<NftPolicyConfig>,
  act: (dataplane: AppliedDataplane) => Promise<T>,
): Promise<T> {
  const dataplane = openApplied(config);
  await dataplane.send(ALLOW_PROFILE, endpointUpdate(client), endpointUpdate(server), IN_SYNC);
  const result = await act(dataplane);
  errors.push(...dataplane.errors);
  await dataplane.close();
  return result;
}

/** A policy that lets nothing in, nor out, on the server and on the uplink. */
async function forbidden(dataplane: AppliedDataplane): Promise<readonly Outcomes[]> {
  const denial = { action: "deny", protocol: { name: "tcp" } } as const;
  await dataplane.send(
    policyUpdate(POLICY, [denial], [denial]),
    endpointUpdate(server, { tiers: [tier("default", [POLICY])] }),
    hostEndpointUpdate("uplink", { name: "eth0", tiers: [tier("default", [POLICY], [POLICY])] }),
  );
  return [
    await to([server.ipv4, server.ipv6]),
    await to(["10.0.0.11", "2001:db8:9::11"], outside),
    await to(["10.0.0.99", "2001:db8:9::99"], host),
    await to(TRANSLATED, host),
  ];
}

const loop = await under({}, async (dataplane) => {
  const unknown = await to(SERVICE);
  await dataplane.send(SERVICES);
  const dropped = await to(SERVICE);
  const besides = await to(BESIDES);
  const listing = policyTable();
  await dataplane.send(services([]));
  return { unknown, dropped, besides, listing, emptied: policyTable() };
});
const rejected = await under({ serviceLoopPrevention: "Reject" }, async (dataplane) => {
  await dataplane.send(SERVICES);
  return to(SERVICE);
});
const disabled = await under({ serviceLoopPrevention: "Disabled" }, async (dataplane) => {
  await dataplane.send(SERVICES);
  return to(SERVICE);
});
const answers = async (dataplane: AppliedDataplane) => ({
  tcp: await forbidden(dataplane),
  udp: [await peer.datagram(server.ipv4, 80), await peer.datagram(server.ipv6, 80)],
});
const open = await to(TRANSLATED, host);
const dropping = await under({}, answers);
const rejecting = await under({ denyAction: "Reject" }, answers);
const [policyDrops = [], ...hostDrops] = dropping.tcp;
const [policyRejects = [], ...hostRejects] = rejecting.tcp;
const result: ServiceLoopResult = {
  ...loop,
  rejected,
  disabled,
  policyDrops,
  policyRejects,
  udpDrops: dropping.udp,
  udpRejects: rejecting.udp,
  hostDrops,
  hostRejects,
  translated: open,
  errors,
};
await Promise.all([peer, target, outside, host].map((each) => each.close()));
process.stdout.write(JSON.stringify(result), () => process.exit(0));
