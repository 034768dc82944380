/** The addresses that a node is to have: from its settings, what is stored, and the host. */
import { bitLength, compareIps, formatIp, tryParseIpInNetwork, type Ip, type IpFamily } from "#ip";
import { logger } from "#log";
import type { Node } from "#resource";
import { inputError, unreachable } from "#std";
import {
  detect,
  findAddress,
  type HostAddress,
  type HostInterface,
  type Method,
  type Oracles,
} from "./autodetect.ts";
import type { AddressSetting } from "./settings.ts";

const log = logger("node");

export interface Host extends Oracles {
  readonly interfaces: () => readonly HostInterface[];
}

export interface NodeAddresses {
  readonly ipv4Address: string | undefined;
  readonly ipv6Address: string | undefined;
}

const NAMES = { 4: "IP", 6: "IP6" } as const;

/** Throws `no-address` when one is asked for and none is found. */
export async function nodeAddresses(
  settings: Readonly<Record<IpFamily, AddressSetting>>,
  stored: NodeAddresses,
  host: Host,
): Promise<NodeAddresses> {
  const interfaces = host.interfaces();
  return {
    ipv4Address: await address(4, settings[4], stored.ipv4Address, interfaces, host),
    ipv6Address: await address(6, settings[6], stored.ipv6Address, interfaces, host),
  };
}

async function address(
  family: IpFamily,
  setting: AddressSetting,
  stored: string | undefined,
  interfaces: readonly HostInterface[],
  host: Host,
): Promise<string | undefined> {
  switch (setting.kind) {
    case "keep":
      return kept(stored, interfaces);
    case "explicit":
      return explicit(setting, interfaces);
    case "autodetect":
      if (!setting.always && stored !== undefined) return kept(stored, interfaces);
      return await detected(family, setting.method, stored, interfaces, host);
    default:
      return unreachable(setting);
  }
}

async function detected(
  family: IpFamily,
  method: Method,
  stored: string | undefined,
  interfaces: readonly HostInterface[],
  host: Host,
): Promise<string | undefined> {
  const found = await detect(method, family, interfaces, host);
  const how = method.text;
  if (found !== undefined) {
    const text = withPrefix(found);
    if (text !== stored) {
      log.info("address detected", { address: text, interface: found.interface, method: how });
    }
    return text;
  }
  if (stored === undefined) throw nothingFound(family, how, interfaces);
  log.warn("no address is detected; the stored one stays", { family, method: how, stored });
  return kept(stored, interfaces);
}

function withPrefix({ ip, prefixLen }: HostAddress): string {
  return `${formatIp(ip)}/${prefixLen}`;
}

function explicit(
  { ip, prefixLen }: AddressSetting & { readonly kind: "explicit" },
  interfaces: readonly HostInterface[],
): string {
  const local = findAddress(interfaces, ip);
  if (local === undefined) tellMissing(formatIp(ip));
  return withPrefix({ ip, prefixLen: prefixLen ?? local?.prefixLen ?? bitLength(ip.family) });
}

function kept(
  stored: string | undefined,
  interfaces: readonly HostInterface[],
): string | undefined {
  const ip = stored === undefined ? undefined : tryParseIpInNetwork(stored)?.ip;
  if (ip !== undefined && findAddress(interfaces, ip) === undefined) tellMissing(formatIp(ip));
  return stored;
}

function tellMissing(text: string): void {
  log.warn("no interface of this host has the node's address", { address: text });
}

function nothingFound(
  family: IpFamily,
  method: string,
  interfaces: readonly HostInterface[],
): Error {
  const name = NAMES[family];
  const seen = interfaces.flatMap((one) =>
    one.addresses
      .filter(({ ip }) => ip.family === family)
      .map((each) => `${one.name}${one.up ? "" : " (down)"} ${withPrefix(each)}`),
  );
  const has = seen.length === 0 ? `the host has no IPv${family} address` : seen.join(", ");
  return inputError(
    "no-address",
    `no IPv${family} address of this host fits ${method} (${has}): set ${name} to the address, ` +
      `${name}_AUTODETECTION_METHOD to another method, or ${name}=none`,
  );
}

/** The address without its prefix length; undefined for none. */
function ipOf(text: string | undefined): Ip | undefined {
  return text === undefined ? undefined : tryParseIpInNetwork(text)?.ip;
}

export interface Conflict {
  readonly family: IpFamily;
  readonly address: string;
  readonly node: string;
}

/** Other nodes that have one of these addresses. */
export function conflicts(
  name: string,
  addresses: NodeAddresses,
  nodes: readonly Node[],
): Conflict[] {
  const found: Conflict[] = [];
  for (const { metadata, spec } of nodes) {
    if (metadata.name === name) continue;
    for (const [family, field] of [
      [4, "ipv4Address"],
      [6, "ipv6Address"],
    ] as const) {
      const [ours, theirs] = [ipOf(addresses[field]), ipOf(spec.bgp?.[field])];
      if (ours === undefined || theirs === undefined || compareIps(ours, theirs) !== 0) continue;
      found.push({ family, address: formatIp(ours), node: metadata.name });
    }
  }
  return found;
}

export function conflictError(name: string, found: readonly Conflict[]): Error {
  const what = found.map(
    ({ address: text, node, family }) =>
      `${text} (${NAMES[family]}) is the address of node ${node}`,
  );
  return inputError(
    "address-conflict",
    `node ${name} cannot start: ${what.join(", ")}. Give this host another address, delete that ` +
      `node if it is gone (margay delete node ${found[0]?.node ?? ""}), or set DISABLE_NODE_IP_CHECK=true`,
    { fields: { nodes: [...new Set(found.map(({ node }) => node))] } },
  );
}
