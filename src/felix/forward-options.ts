/** What decides about a packet beside policy, from the agent's configuration. */
import { isIPv4 } from "node:net";
import { parseIp } from "#ip";
import type { FailsafePort, ForwardOptions } from "#policy";
import type { ProtoPort } from "./config/kinds-net.ts";
import type { FelixValues } from "./config/params.ts";

export function forwardOptions(values: FelixValues): ForwardOptions {
  return {
    ipv6: values.Ipv6Support,
    endpointToHost: endpointToHost(values),
    ...(values.AllowVXLANPacketsFromWorkloads ? {} : { deniedVxlanPort: values.VXLANPort }),
    allowIpIpFromWorkloads: values.AllowIPIPPacketsFromWorkloads,
    failsafes: {
      inbound: values.FailsafeInboundHostPorts.map(failsafePort),
      outbound: values.FailsafeOutboundHostPorts.map(failsafePort),
    },
    ...(openStackActive(values) ? { openStack: openStackOptions(values) } : {}),
  };
}

/** The parameter cannot be `none`; should it be nothing all the same, the strictest holds. */
export function endpointToHost({
  DefaultEndpointToHostAction: action,
}: FelixValues): ForwardOptions["endpointToHost"] {
  if (action === "ACCEPT") return "accept";
  return action === "RETURN" ? "return" : "drop";
}

function openStackOptions(values: FelixValues): NonNullable<ForwardOptions["openStack"]> {
  const { MetadataAddr: address, MetadataPort: port } = values;
  return isIPv4(address) ? { metadata: { address: parseIp(address), port } } : {};
}

export function failsafePort({ protocol, ...rest }: ProtoPort): FailsafePort {
  return { protocol: protocol === "tcp" ? 6 : 17, ...rest };
}

/** As Felix guesses: the cluster's type says so, or a parameter only OpenStack sets is set. */
export function openStackActive(values: FelixValues): boolean {
  return (
    values.ClusterType.toLowerCase().includes("openstack") ||
    !["", "127.0.0.1"].includes(values.MetadataAddr) ||
    ![0, 8775].includes(values.MetadataPort) ||
    values.InterfacePrefix.split(",").includes("tap")
  );
}
