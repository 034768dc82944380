/**
 * Tunnel packets may come from the cluster's hosts alone, whatever policy the host has: nobody else
 * may put packets into the tunnels, and no policy cuts the hosts off from each other.
 *
 * Connection tracking is for what is inside them, so VXLAN is not tracked. What the host itself sends
 * into a tunnel gets the tunnel's address: to the host's own the answer would come beside the tunnel.
 */
import type { IpFamily } from "#ip";
import type { Expr, NftChain, NftRule } from "#netlink";
import { IPIP_DEVICE, VXLAN_DEVICES } from "../tunnels/names.ts";
import { denyExprs, dropExprs } from "./actions.ts";
import type { NftPolicyConfig } from "./config.ts";
import {
  accept,
  addressInSet,
  counter,
  destinationIsLocal,
  deviceIs,
  familyIs,
  IPPROTO,
  notrack,
  portInRange,
  protocolIs,
  rule as nftRule,
  sourceIsLocal,
  sourceIsOfAnotherInterface,
  translateSource,
  type Side,
} from "./exprs.ts";
import { plainBaseChains } from "./names.ts";

/** Input: before all other stages of the hook. NAT: after what leaves the cluster. */
const PRIORITY = { input: -1, untracked: -300, nat: 111 } as const;
const FIRST_FREE_PORT = 1024;
const LAST_PORT = 65_535;

/** Which tunnels are in use, and the sets of hosts at their other ends. */
export interface Tunnels {
  /** Set of IPv4 addresses. */
  readonly ipip: string | undefined;
  readonly vxlan: ReadonlyMap<IpFamily, string>;
}

/** What the policy of host endpoints lets through before it is asked. */
export interface TunnelExceptions {
  readonly input: readonly NftRule[];
  readonly output: readonly NftRule[];
}

export const NO_TUNNELS: TunnelExceptions = { input: [], output: [] };

interface Tunnel {
  readonly title: string;
  readonly family: IpFamily;
  readonly match: readonly Expr[];
  readonly hosts: string;
  /** What becomes of those from elsewhere. */
  readonly refusal: readonly Expr[];
}

export function tunnelExceptions(config: NftPolicyConfig, tunnels: Tunnels): TunnelExceptions {
  const all = listed(config, tunnels);
  return {
    input: all.map((tunnel) => allow(tunnel, "src")),
    output: all.map((tunnel) => allow(tunnel, "dst")),
  };
}

/** Drops what comes from elsewhere. */
export function tunnelChain(config: NftPolicyConfig, tunnels: Tunnels): NftChain | undefined {
  const all = listed(config, tunnels);
  if (all.length === 0) return undefined;
  const rules = all.flatMap((tunnel) => {
    const { match, refusal, title } = tunnel;
    return [
      allow(tunnel, "src"),
      nftRule([...match, ...refusal], `Drop ${title} from other hosts`),
    ];
  });
  return {
    name: plainBaseChains.tunnels,
    hook: { type: "filter", hook: "input", priority: PRIORITY.input, policy: "accept" },
    rules,
  };
}

/** Undefined where there is no VXLAN. */
export function untrackedChain(
  config: NftPolicyConfig,
  tunnels: Tunnels,
  hook: "prerouting" | "output",
): NftChain | undefined {
  if (tunnels.vxlan.size === 0) return undefined;
  // What is forwarded may be VXLAN of others.
  const own = hook === "prerouting" ? destinationIsLocal() : [];
  return {
    name: hook === "prerouting" ? plainBaseChains.tunnelsIn : plainBaseChains.tunnelsOut,
    hook: { type: "filter", hook, priority: PRIORITY.untracked, policy: "accept" },
    rules: [...tunnels.vxlan.keys()].map((family) =>
      nftRule([...vxlanMatch(config, family), ...own, counter, notrack]),
    ),
  };
}

export function tunnelNatChain(config: NftPolicyConfig, tunnels: Tunnels): NftChain | undefined {
  const devices: [IpFamily, string][] = [...tunnels.vxlan.keys()].map((family) => [
    family,
    VXLAN_DEVICES[family],
  ]);
  if (tunnels.ipip !== undefined) devices.push([4, IPIP_DEVICE]);
  if (devices.length === 0) return undefined;
  const ports = tunnels.vxlan.size === 0 ? undefined : portsBeside(config.vxlanPort);
  const rules = devices.flatMap(([family, device]) => {
    const own = [
      ...deviceIs("oifname", device),
      ...sourceIsOfAnotherInterface(),
      ...sourceIsLocal(),
      counter,
    ];
    // Answers to VXLAN's own port are not tracked, so they could not be translated back.
    const udp = [...familyIs(family), ...protocolIs(IPPROTO.udp), ...own];
    return [
      ...(ports === undefined ? [] : [nftRule([...udp, ...translateSource({ ports })])]),
      nftRule([...familyIs(family), ...own, ...translateSource({})]),
    ];
  });
  return {
    name: plainBaseChains.tunnelNat,
    hook: { type: "nat", hook: "postrouting", priority: PRIORITY.nat, policy: "accept" },
    rules,
  };
}

/** The wider side. */
function portsBeside(port: number): { readonly first: number; readonly last: number } {
  return port - FIRST_FREE_PORT > LAST_PORT - port
    ? { first: FIRST_FREE_PORT, last: port - 1 }
    : { first: Math.max(FIRST_FREE_PORT, port + 1), last: LAST_PORT };
}

function vxlanMatch({ vxlanPort: port }: NftPolicyConfig, family: IpFamily): Expr[] {
  return [...familyIs(family), ...protocolIs(IPPROTO.udp), ...portInRange("dst", port, port)];
}

function allow({ title, family, match, hosts }: Tunnel, other: Side): NftRule {
  const own = other === "src" ? destinationIsLocal() : sourceIsLocal();
  const preposition = other === "src" ? "from" : "to";
  return nftRule(
    [...match, ...addressInSet(family, other, hosts), ...own, accept],
    `${title} ${preposition} the cluster's hosts`,
  );
}

function listed(config: NftPolicyConfig, { ipip, vxlan }: Tunnels): Tunnel[] {
  const tunnels: Tunnel[] = [];
  if (ipip !== undefined) {
    const match = [...familyIs(4), ...protocolIs(IPPROTO.ipip)];
    tunnels.push({ title: "IPIP", family: 4, match, hosts: ipip, refusal: denyExprs(config) });
  }
  for (const [family, hosts] of vxlan) {
    const match = vxlanMatch(config, family);
    const refusal = [...destinationIsLocal(), ...dropExprs()];
    tunnels.push({ title: "VXLAN", family, match, hosts, refusal });
  }
  return tunnels;
}
