/**
 * Connections of workloads that leave the cluster get an address of the host: those from a pool with
 * natOutgoing to what is in no pool, in one base chain after other programs' source NAT.
 */
import { parseIp, type IpFamily } from "#ip";
import type { Expr, NftChain, NftRule } from "#netlink";
import type { NatConfig } from "./config.ts";
import {
  addressInSet,
  counter,
  deviceHasPrefix,
  deviceIs,
  familyIs,
  IPPROTO,
  protocolIs,
  rule as nftRule,
  translateSource,
} from "./exprs.ts";
import { plainBaseChains } from "./names.ts";

/** NF_IP_PRI_NAT_SRC and ten, as Felix: what kube-proxy decides comes first. */
const PRIORITY = 110;

/** Names of the sets of one family. */
export interface NatSets {
  readonly natPools: string;
  readonly pools: string;
  /** Present: not towards these. */
  readonly hosts?: string;
}

/** `setsOf`: for the families that have a pool with natOutgoing. */
export function natOutgoingChain(
  config: NatConfig,
  setsOf: ReadonlyMap<IpFamily, NatSets>,
): NftChain | undefined {
  if (setsOf.size === 0) return undefined;
  return {
    name: plainBaseChains.natOutgoing,
    hook: { type: "nat", hook: "postrouting", priority: PRIORITY, policy: "accept" },
    rules: [...setsOf].flatMap(([family, sets]) => rulesOf(config, family, sets)),
  };
}

function rulesOf(config: NatConfig, family: IpFamily, sets: NatSets): NftRule[] {
  const leaving = [
    ...addressInSet(family, "src", sets.natPools),
    ...addressInSet(family, "dst", sets.pools, true),
    ...(sets.hosts === undefined ? [] : addressInSet(family, "dst", sets.hosts, true)),
    ...interfaceMatch(config.outgoingInterface),
    counter,
  ];
  const { outgoingAddress, portRange } = config;
  // The parameter is an IPv4 address.
  const to =
    family === 4 && outgoingAddress !== undefined ? { address: parseIp(outgoingAddress) } : {};
  const rules: NftRule[] = [];
  if (portRange !== undefined) {
    for (const protocol of [IPPROTO.tcp, IPPROTO.udp]) {
      const match = [...familyIs(family), ...protocolIs(protocol), ...leaving];
      rules.push(nftRule([...match, ...translateSource({ ...to, ports: portRange })]));
    }
  }
  rules.push(nftRule([...familyIs(family), ...leaving, ...translateSource(to)]));
  return rules;
}

function interfaceMatch(filter: string | undefined): Expr[] {
  if (filter === undefined || filter === "+") return [];
  return filter.endsWith("+")
    ? deviceHasPrefix("oifname", filter.slice(0, -1))
    : deviceIs("oifname", filter);
}
