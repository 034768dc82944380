/**
 * Tunnel packets may come from the cluster's hosts alone, whatever policy the host has: nobody else
 * may put packets into the tunnels, and no policy cuts the hosts off from each other.
 */
import type { IpFamily } from "#ip";
import type { Expr, NftChain, NftRule } from "#netlink";
import { denyExprs, dropExprs } from "./actions.ts";
import type { NftPolicyConfig } from "./config.ts";
import {
  accept,
  addressInSet,
  destinationIsLocal,
  familyIs,
  IPPROTO,
  portInRange,
  protocolIs,
  rule as nftRule,
  sourceIsLocal,
  type Side,
} from "./exprs.ts";
import { plainBaseChains } from "./names.ts";

/** Before all other stages of the input hook. */
const PRIORITY = -1;

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
    hook: { type: "filter", hook: "input", priority: PRIORITY, policy: "accept" },
    rules,
  };
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
  const { vxlanPort: port } = config;
  for (const [family, hosts] of vxlan) {
    const match = [
      ...familyIs(family),
      ...protocolIs(IPPROTO.udp),
      ...portInRange("dst", port, port),
    ];
    const refusal = [...destinationIsLocal(), ...dropExprs()];
    tunnels.push({ title: "VXLAN", family, match, hosts, refusal });
  }
  return tunnels;
}
