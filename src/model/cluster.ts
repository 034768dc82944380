/** Nodes, pools, IPAM blocks, settings and cluster information → model. */
import { canonicalIp, formatCidr, parseCidr, tryParseIp, tryParseIpInNetwork, formatIp } from "#ip";
import type {
  BgpConfiguration,
  ClusterInformation,
  FelixConfiguration,
  IPPool,
  Node,
} from "#resource";
import { inputError } from "#std";
import { listOf, recordOf } from "./raw.ts";
import type {
  ModelBgpConfig,
  ModelClusterInformation,
  ModelFelixConfig,
  ModelIpamBlock,
  ModelIpPool,
  ModelNode,
} from "./types.ts";

export function modelNode(resource: Node): ModelNode {
  const { spec, metadata } = resource;
  const bgpIpv4 = addressWithLength(spec.bgp?.ipv4Address);
  const bgpIpv6 = addressWithLength(spec.bgp?.ipv6Address);
  const addresses = (spec.addresses ?? []).filter(({ address }) => address !== "");
  // Felix looks elsewhere only for a node that has no address in BGP at all.
  const fallback = (family: 4 | 6): string => {
    if (bgpIpv4 !== "" || bgpIpv6 !== "") return "";
    for (const type of ["InternalIP", "ExternalIP"]) {
      for (const one of addresses) {
        const ip = tryParseIpInNetwork(one.address)?.ip ?? tryParseIp(one.address);
        if (one.type === type && ip?.family === family) return one.address;
      }
    }
    return "";
  };
  return {
    labels: metadata.labels ?? {},
    bgpIpv4,
    bgpIpv6,
    asNumber: spec.bgp?.asNumber === undefined ? "" : String(spec.bgp.asNumber),
    hostIpv4: bgpIpv4 === "" ? fallback(4) : bgpIpv4,
    hostIpv6: bgpIpv6 === "" ? fallback(6) : bgpIpv6,
    ipv4IpipTunnelAddr: address(spec.bgp?.ipv4IPIPTunnelAddr),
    ipv4VxlanTunnelAddr: address(spec.ipv4VXLANTunnelAddr),
    ipv6VxlanTunnelAddr: address(spec.ipv6VXLANTunnelAddr),
    vxlanTunnelMac: spec.vxlanTunnelMACAddr ?? "",
    vxlanTunnelMacV6: spec.vxlanTunnelMACAddrV6 ?? "",
    otherAddresses: addresses.flatMap(({ address: text }) => {
      const ip = tryParseIpInNetwork(text)?.ip ?? tryParseIp(text);
      return ip === undefined ? [] : [formatIp(ip)];
    }),
    ...wireguardOf(resource),
  };
}

function wireguardOf({ spec, status }: Node): Pick<ModelNode, "wireguard"> {
  const wireguard = {
    publicKey: status?.wireguardPublicKey ?? "",
    publicKeyV6: status?.wireguardPublicKeyV6 ?? "",
    interfaceIpv4: address(spec.wireguard?.interfaceIPv4Address),
    interfaceIpv6: address(spec.wireguard?.interfaceIPv6Address),
  };
  return Object.values(wireguard).some((value) => value !== "") ? { wireguard } : {};
}

/** Canonical address, length kept; "" when absent. */
function addressWithLength(text: string | undefined): string {
  if (text === undefined || text === "") return "";
  const parsed = tryParseIpInNetwork(text);
  return parsed ? `${formatIp(parsed.ip)}/${parsed.cidr.prefixLen}` : canonicalIp(text);
}

function address(text: string | undefined): string {
  return text === undefined || text === "" ? "" : canonicalIp(text);
}

export function modelIpPool(resource: IPPool): ModelIpPool {
  const { spec } = resource;
  return {
    cidr: formatCidr(parseCidr(spec.cidr)),
    ipipMode: spec.ipipMode,
    vxlanMode: spec.vxlanMode,
    natOutgoing: spec.natOutgoing ?? false,
    disabled: spec.disabled ?? false,
    allowedUses: spec.allowedUses,
  };
}

export function modelBgpConfig({ spec }: BgpConfiguration): ModelBgpConfig {
  const cidrs = (blocks: readonly { readonly cidr?: string }[] = []): readonly string[] =>
    blocks.flatMap(({ cidr = "" }) => (cidr === "" ? [] : [cidr]));
  return {
    serviceClusterCidrs: cidrs(spec.serviceClusterIPs),
    serviceExternalCidrs: cidrs(spec.serviceExternalIPs),
    serviceLoadBalancerCidrs: cidrs(spec.serviceLoadBalancerIPs),
    localWorkloadPeeringIpv4: spec.localWorkloadPeeringIPV4 ?? "",
    localWorkloadPeeringIpv6: spec.localWorkloadPeeringIPV6 ?? "",
  };
}

export function modelClusterInformation(resource: ClusterInformation): ModelClusterInformation {
  const { spec } = resource;
  return {
    ready: spec.datastoreReady ?? false,
    clusterGuid: spec.clusterGUID ?? "",
    clusterType: spec.clusterType ?? "",
    calicoVersion: spec.calicoVersion ?? "",
  };
}

/** Parameters whose v3 name is not their own name with a small first letter. */
const RENAMED: Readonly<Record<string, string>> = {
  ipipEnabled: "IpInIpEnabled",
  ipipMTU: "IpInIpMtu",
};

export function modelFelixConfig(resource: FelixConfiguration): ModelFelixConfig {
  const params: Record<string, string> = {};
  for (const [field, value] of Object.entries(resource.spec)) {
    if (field === "nodeSelector" || value === undefined || value === null) continue;
    const name = RENAMED[field] ?? field.charAt(0).toUpperCase() + field.slice(1);
    params[name] = rawText(field, value);
  }
  const { nodeSelector } = resource.spec;
  return {
    creationTimestamp: resource.metadata.creationTimestamp ?? "",
    nodeSelector: typeof nodeSelector === "string" ? nodeSelector : "",
    params,
  };
}

/** How the value would stand in a configuration file. */
function rawText(field: string, value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (Array.isArray(value)) {
    if (value.length === 0) return "none";
    return value.map((one) => listItem(field, one)).join(",");
  }
  return Object.entries(value as Record<string, unknown>)
    .map(([key, one]) => `${key}=${String(one)}`)
    .join(",");
}

function listItem(field: string, item: unknown): string {
  if (typeof item !== "object" || item === null) return String(item);
  const fields = item as Readonly<Record<string, unknown>>;
  if ("min" in fields && "max" in fields)
    return `${String(fields["min"])}-${String(fields["max"])}`;
  if ("port" in fields) {
    const net = typeof fields["net"] === "string" ? `:${fields["net"]}` : "";
    const protocol = typeof fields["protocol"] === "string" ? fields["protocol"] : "";
    return `${protocol === "" ? "tcp" : protocol.toLowerCase()}${net}:${String(fields["port"])}`;
  }
  if ("name" in fields) return `${String(fields["name"])}=${String(fields["timeout"])}`;
  throw inputError("bad-parameter", `${field} has a value of an unknown shape`, {
    fields: { field },
  });
}

/**
 * The raw JSON of an IPAM block; no schema has seen it. `null` when the block is given up. Throws an
 * input error when it is no block, or another than `cidr`.
 */
export function modelIpamBlock(text: string, cidr: string): ModelIpamBlock | null {
  const block = recordOf(JSON.parse(text));
  const own = typeof block["cidr"] === "string" ? formatCidr(parseCidr(block["cidr"])) : "";
  if (own !== cidr) {
    throw inputError("bad-block", "the IPAM block's cidr is not that of its key", {
      fields: { cidr: block["cidr"], key: cidr },
    });
  }
  if (block["deleted"] === true) return null;
  const attributes = listOf(block["attributes"]);
  const allocations = listOf(block["allocations"]).flatMap((attribute, ordinal) => {
    if (typeof attribute !== "number") return [];
    const node = recordOf(recordOf(attributes[attribute])["secondary"])["node"];
    return [{ ordinal, node: typeof node === "string" ? node : "" }];
  });
  const affinity = block["affinity"];
  return { cidr, affinity: typeof affinity === "string" ? affinity : "", allocations };
}
