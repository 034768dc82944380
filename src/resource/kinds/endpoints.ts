/** Nodes, host endpoints, workload endpoints, network sets. */
import { tryParseCidrOrIp, tryParseIp, cidrContainsIp, isHostCidr } from "#ip";
import type { Context } from "../context.ts";
import { protocolHasPorts } from "../scalars.ts";
import {
  field,
  formatted,
  int,
  list,
  neededInManifest,
  newlyFormatted,
  object,
  protocol,
  text,
  type Fields,
  type NumberSpec,
  type ObjectRule,
  type ObjectSpec,
  type TypeSpec,
} from "../schema.ts";
import type { WorkloadEndpointSpec } from "../types.ts";

export const asNumber: NumberSpec = { kind: "int", min: 0, max: 4294967295, asNumber: true };

const portProtocolRule: ObjectRule = {
  id: "port-protocol",
  reads: ["protocol"],
  check: (value, context) => {
    const given = value["protocol"] as number | string | undefined;
    if (given === undefined || protocolHasPorts(given)) return;
    context.report("port-protocol", {
      message: `protocol ${given} has no ports`,
      value: given,
      allowed: "TCP, UDP or SCTP",
      at: ["protocol"],
    });
  },
};

const name = newlyFormatted("name");
const endpointPortName = newlyFormatted("endpoint-port-name", "port-name");

const hostEndpointPort = object(
  [
    field("name", endpointPortName, "the name that policies use", { required: true }),
    field("protocol", protocol, "TCP, UDP or SCTP", { required: true }),
    field("port", int(1, 65535), "the port number", { required: true }),
  ],
  [portProtocolRule],
);

export const hostEndpointSpec: ObjectSpec = object(
  [
    field("node", name, "the node that the interface is on", { required: true }),
    field("interfaceName", formatted("interface-or-star"), "the interface; * for every interface"),
    field(
      "expectedIPs",
      list(formatted("ip")),
      "addresses of the interface; finds it when it has no name",
    ),
    field("profiles", list(name), "profiles, in order"),
    field("ports", list(hostEndpointPort), "named ports"),
  ],
  [
    {
      id: "hep-interface-or-ips",
      reads: ["interfaceName", "expectedIPs"],
      check: (value, context) => {
        if (value["interfaceName"] !== undefined || value["expectedIPs"] !== undefined) return;
        context.report("hep-interface-or-ips", {
          message: "neither interfaceName nor expectedIPs is given",
          allowed: "at least one of them",
          hint: 'interfaceName: "*" protects every interface',
          at: ["interfaceName"],
        });
      },
    },
  ],
);

const workloadPort = object(
  [
    field("name", endpointPortName, "the name that policies use", {
      zero: "always",
      default: "",
    }),
    field("protocol", protocol, "TCP, UDP or SCTP", { required: true }),
    field("port", int(1, 65535), "the port number", { required: true }),
    field("hostPort", int(0, 65535), "the host's port that leads here; 0 for none", {
      zero: "keep",
      default: 0,
    }),
    field("hostIP", formatted("ip"), "the host's address that leads here", {
      zero: "keep",
      default: "",
    }),
  ],
  [
    portProtocolRule,
    {
      id: "wep-port",
      reads: ["name", "hostPort"],
      check: (value, context) => {
        if (value["name"] !== "" || value["hostPort"] !== 0) return;
        context.report("wep-port", {
          message: "the port has neither a name nor a hostPort",
          allowed: "at least one of them",
          at: ["name"],
        });
      },
    },
  ],
);

const nat = object(
  [
    field("internalIP", formatted("ip"), "the endpoint's address", { required: true }),
    field("externalIP", formatted("ip"), "the address that the world uses", { required: true }),
  ],
  [
    {
      id: "wep-nat",
      reads: ["internalIP", "externalIP"],
      manifestsOnly: true,
      check: ({ internalIP, externalIP }, context) => {
        const [inside, outside] = [internalIP, externalIP].map((one) => tryParseIp(String(one)));
        if (inside === undefined || outside === undefined || inside.family === outside.family)
          return;
        context.report("wep-nat", {
          message: `${String(externalIP)} is IPv${outside.family}, internalIP is IPv${inside.family}`,
          value: externalIP,
          allowed: `an IPv${inside.family} address`,
          at: ["externalIP"],
        });
      },
    },
  ],
);

const qosNames = [
  "ingressBandwidth",
  "egressBandwidth",
  "ingressBurst",
  "egressBurst",
  "ingressPeakrate",
  "egressPeakrate",
  "ingressMinburst",
  "egressMinburst",
  "ingressPacketRate",
  "egressPacketRate",
  "ingressPacketBurst",
  "egressPacketBurst",
  "ingressMaxConnections",
  "egressMaxConnections",
] as const;
const qosControls = object([
  ...qosNames.map((name) => field(name, int(0), "a limit; bits, packets or connections")),
  field("dscp", { kind: "any" }, "differentiated services code point of packets that leave"),
]);

export const workloadEndpointSpec: ObjectSpec = object(
  [
    field("orchestrator", name, "who runs the workload: k8s, cni, libnetwork, …"),
    field("workload", name, "the workload's name, for orchestrators without pods"),
    field("node", name, "the node that the workload runs on"),
    field("containerID", newlyFormatted("container-id"), "the container, for orchestrator cni"),
    field("pod", name, "the pod, for orchestrator k8s"),
    field("endpoint", name, "the workload's interface, usually eth0"),
    field("serviceAccountName", name, "the workload's service account"),
    field("ipNetworks", list(formatted("cidr-or-ip")), "the workload's addresses, /32 or /128"),
    field("ipNATs", list(nat), "addresses that are translated to the workload's"),
    field("ipv4Gateway", formatted("ipv4"), "the workload's IPv4 gateway"),
    field("ipv6Gateway", formatted("ipv6"), "the workload's IPv6 gateway"),
    field("profiles", list(name), "profiles, in order"),
    field("interfaceName", formatted("interface-name"), "the interface on the host's side"),
    field("mac", formatted("mac"), "the MAC address on the workload's side"),
    field("ports", list(workloadPort), "named ports and host ports"),
    field(
      "allowSpoofedSourcePrefixes",
      list(formatted("cidr-or-ip")),
      "source addresses that the workload may use beside its own",
    ),
    field("qosControls", qosControls, "limits of bandwidth, packets and connections"),
  ],
  [
    neededInManifest("interfaceName"),
    { id: "wep-network", reads: ["ipNetworks"], check: checkHostNetworks },
    { id: "wep-nat", reads: ["ipNetworks", "ipNATs"], check: checkNats },
  ],
);

function checkHostNetworks(value: Fields, context: Context): void {
  const { ipNetworks = [] } = value as WorkloadEndpointSpec;
  for (const [index, net] of ipNetworks.entries()) {
    const cidr = tryParseCidrOrIp(net);
    if (cidr === undefined || isHostCidr(cidr)) continue;
    const length = cidr.family === 4 ? 32 : 128;
    context.report("wep-network", {
      message: `${net} is more than one address`,
      value: net,
      allowed: `/${length}`,
      hint: `did you mean ${net.replace(/\/.*/, "")}/${length}?`,
      at: ["ipNetworks", index],
    });
  }
}

function checkNats(value: Fields, context: Context): void {
  const { ipNetworks = [], ipNATs = [] } = value as WorkloadEndpointSpec;
  const blocks = ipNetworks.map((net) => tryParseCidrOrIp(net));
  for (const [index, one] of ipNATs.entries()) {
    const ip = tryParseIp(one.internalIP);
    if (ip === undefined || blocks.some((block) => block && cidrContainsIp(block, ip))) continue;
    context.report("wep-nat", {
      message: `${one.internalIP} is no address of this endpoint`,
      value: one.internalIP,
      allowed: ipNetworks.length === 0 ? "ipNetworks, and one of them" : ipNetworks.join(", "),
      at: ["ipNATs", index, "internalIP"],
    });
  }
}

const addressType: TypeSpec = {
  kind: "string",
  oneOf: ["CalicoNodeIP", "InternalIP", "ExternalIP"],
  manifestsOnly: true,
};
export const nodeBgp = object([
  field("asNumber", asNumber, "the node's AS number; the cluster's when absent", { zero: "keep" }),
  field(
    "ipv4Address",
    newlyFormatted("interface-cidr4", "interface-cidr"),
    "the node's IPv4 address with prefix length",
  ),
  field(
    "ipv6Address",
    newlyFormatted("interface-cidr6", "interface-cidr"),
    "the node's IPv6 address with prefix length",
  ),
  field("ipv4IPIPTunnelAddr", formatted("ipv4"), "address of the IPIP tunnel interface"),
  field(
    "routeReflectorClusterID",
    formatted("ipv4"),
    "makes the node a route reflector of this cluster",
  ),
]);

export const nodeSpec: ObjectSpec = object(
  [
    field("bgp", nodeBgp, "how the node routes", { zero: "keep" }),
    field("ipv4VXLANTunnelAddr", formatted("ipv4"), "address of the IPv4 VXLAN interface"),
    field("vxlanTunnelMACAddr", formatted("mac"), "MAC address of the IPv4 VXLAN interface"),
    field("ipv6VXLANTunnelAddr", formatted("ipv6"), "address of the IPv6 VXLAN interface"),
    field("vxlanTunnelMACAddrV6", formatted("mac"), "MAC address of the IPv6 VXLAN interface"),
    field(
      "orchRefs",
      list(
        object([
          field("nodeName", text, "the node's name there"),
          field("orchestrator", text, "k8s, …", { required: true }),
        ]),
      ),
      "names of the node in orchestrators",
    ),
    field(
      "wireguard",
      object([
        field("interfaceIPv4Address", formatted("ipv4"), "address of the IPv4 WireGuard interface"),
        field("interfaceIPv6Address", formatted("ipv6"), "address of the IPv6 WireGuard interface"),
      ]),
      "WireGuard addresses",
      { zero: "keep" },
    ),
    field(
      "addresses",
      list(
        object([
          field("address", formatted("interface-cidr"), "an address of the node", {
            required: true,
          }),
          field("type", addressType, "CalicoNodeIP, InternalIP or ExternalIP"),
        ]),
      ),
      "all addresses of the node",
    ),
    field(
      "interfaces",
      list(
        object([
          field("name", text, "an interface of the node"),
          field("addresses", list(text), "its addresses"),
        ]),
      ),
      "interfaces of the node with their addresses",
    ),
  ],
  [
    {
      id: "node-bgp-empty",
      reads: ["bgp"],
      check: (value, context) => {
        const bgp = value["bgp"];
        if (bgp === undefined || Object.keys(bgp as Fields).length > 0) return;
        context.report("node-bgp-empty", {
          message: "bgp has no field",
          hint: "remove it, or add ipv4Address",
          at: ["bgp"],
        });
      },
    },
  ],
);

export const nodeStatus: ObjectSpec = object([
  field("wireguardPublicKey", text, "public key of the IPv4 WireGuard interface"),
  field("wireguardPublicKeyV6", text, "public key of the IPv6 WireGuard interface"),
  field("podCIDRs", list(text), "blocks that an orchestrator gave to the node"),
]);

export const networkSetSpec: ObjectSpec = object([
  field("nets", list(formatted("cidr-or-ip")), "addresses and CIDR blocks"),
]);

/** Segments are joined by `-`, so a `-` inside one is doubled. */
function escapeSegment(segment: string): string {
  return segment.replaceAll("-", "--");
}

/** Facts on names: what the endpoint's fields make of it, or the field that is missing. */
export function workloadEndpointName(
  spec: WorkloadEndpointSpec,
): { readonly name: string } | { readonly missing: string } {
  const { orchestrator = "", node = "", endpoint = "" } = spec;
  if (node === "") return { missing: "node" };
  if (orchestrator === "") return { missing: "orchestrator" };
  if (endpoint === "") return { missing: "endpoint" };
  const [middle, field_] = segmentOf(spec, orchestrator);
  if (middle === undefined || middle === "") return { missing: field_ };
  const segments = [node, orchestrator, middle, endpoint].map(escapeSegment);
  return { name: segments.join("-") };
}

function segmentOf(spec: WorkloadEndpointSpec, orchestrator: string): [string | undefined, string] {
  switch (orchestrator) {
    case "k8s":
      return [spec.pod, "pod"];
    case "cni":
      return [spec.containerID, "containerID"];
    case "libnetwork":
      return ["libnetwork", "workload"];
    default:
      return [spec.workload, "workload"];
  }
}
