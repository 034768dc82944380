/** Felix's parameters as a dataplane: this host's kernel, or a driver that is another program. */
import { isIPv4 } from "node:net";
import {
  defaultLinuxDataplaneConfig,
  openExternalDataplane,
  openLinuxDataplane,
  type Dataplane,
  type LinuxDataplaneConfig,
  type LogRateLimit,
  type NatConfig,
  type NftPolicyConfig,
  type TunnelConfig,
} from "#dataplane";
import { parseIp } from "#ip";
import type { FelixValues } from "./config/params.ts";
import type { FelixConfig } from "./config/resolve.ts";
import { endpointToHost, failsafePort, openStackActive } from "./forward-options.ts";

/** Linux's RTPROT_BOOT (`uapi/linux/rtnetlink.h`): anybody's; Felix's default for its routes. */
const RTPROT_BOOT = 3;
/** Where Calico's CNI plugin looks. */
const MTU_FILE = "/var/lib/calico/mtu";
const NO_INTERFACE = /(?!)/;
const HOST_ACTIONS = { accept: "Accept", return: "Return", drop: "Drop" } as const;
const UNIT_SECONDS: Readonly<Record<string, number>> = {
  second: 1,
  minute: 60,
  hour: 3600,
  day: 86_400,
};

export interface DataplaneLife {
  /** An external driver is gone, or is not to be understood: the agent cannot go on. */
  readonly onLost: (error: unknown) => void;
  /** Aborted when the agent ends. */
  readonly ending: AbortSignal;
}

/** Opens the kernel's sockets, or starts the driver; rejects without the privilege, or the program. */
export async function makeDataplane(
  { values }: FelixConfig,
  life: DataplaneLife,
): Promise<Dataplane> {
  if (values.UseInternalDataplaneDriver) return openLinuxDataplane(linuxDataplaneConfig(values));
  return openExternalDataplane({ driver: values.DataplaneDriver, ...life });
}

export function linuxDataplaneConfig(values: FelixValues): LinuxDataplaneConfig {
  const v4Source = values.DeviceRouteSourceAddress;
  const v6Source = values.DeviceRouteSourceAddressIPv6;
  const protocol = values.DeviceRouteProtocol;
  return {
    policy: policyConfig(values),
    tunnels: tunnelConfig(values),
    tableName: defaultLinuxDataplaneConfig.tableName,
    routeProtocol: protocol === RTPROT_BOOT ? defaultLinuxDataplaneConfig.routeProtocol : protocol,
    ipv4RoutePriority: values.IPv4NormalRoutePriority,
    ipv6RoutePriority: values.IPv6NormalRoutePriority,
    ...(v4Source === "" ? {} : { ipv4RouteSource: parseIp(v4Source) }),
    ...(v6Source === "" ? {} : { ipv6RouteSource: parseIp(v6Source) }),
    removeExternalRoutes: values.RemoveExternalRoutes,
    ipForwarding: values.IPForwarding === "Enabled",
    interfaceExclude: values.InterfaceExclude,
    interfaceRefreshMs: values.InterfaceRefreshInterval,
    routeRefreshMs: values.RouteRefreshInterval,
  };
}

function tunnelConfig(values: FelixValues): TunnelConfig {
  const { ProgramClusterRoutes: programs } = values;
  return {
    hostname: values.FelixHostname,
    vni: values.VXLANVNI,
    vxlanMtu: values.VXLANMTU,
    vxlanMtuV6: values.VXLANMTUV6,
    ipipMtu: values.IpInIpMtu,
    programsIpipRoutes: programs === "Enabled" || programs === "EnabledIPIPOnly",
    mtuInterfaces: values.MTUIfacePattern ?? NO_INTERFACE,
    mtuFile: MTU_FILE,
  };
}

function policyConfig(values: FelixValues): NftPolicyConfig {
  const rateLimit = logRateLimit(values);
  const openStack = openStackActive(values);
  return {
    interfacePrefixes: values.InterfacePrefix.split(","),
    ipv6Support: values.Ipv6Support,
    defaultEndpointToHostAction: HOST_ACTIONS[endpointToHost(values)],
    dropActionOverride: "Drop",
    denyAction: values.NftablesFilterDenyAction === "REJECT" ? "Reject" : "Drop",
    vxlanPort: values.VXLANPort,
    allowVxlanPacketsFromWorkloads: values.AllowVXLANPacketsFromWorkloads,
    allowIpipPacketsFromWorkloads: values.AllowIPIPPacketsFromWorkloads,
    disableConntrackInvalidCheck: values.DisableConntrackInvalidCheck,
    openStackSpecialCasesEnabled: openStack,
    ...(openStack && isIPv4(values.MetadataAddr)
      ? { openStackMetadataAddr: values.MetadataAddr }
      : {}),
    openStackMetadataPort: values.MetadataPort,
    logPrefix: values.LogPrefix,
    ...(rateLimit === undefined ? {} : { logActionRateLimit: rateLimit }),
    workloadSourceSpoofing: values.WorkloadSourceSpoofing === "Any" ? "Any" : "Disabled",
    markMask: values.NftablesMarkMask,
    nat: natConfig(values),
    serviceLoopPrevention:
      values.ServiceLoopPrevention === "" ? "Disabled" : values.ServiceLoopPrevention,
    externalNodes: values.ExternalNodesCIDRList,
    failsafeInboundPorts: values.FailsafeInboundHostPorts.map(failsafePort),
    failsafeOutboundPorts: values.FailsafeOutboundHostPorts.map(failsafePort),
  };
}

function natConfig(values: FelixValues): NatConfig {
  const {
    NATOutgoingAddress: outgoingAddress,
    NATPortRange: portRange,
    IptablesNATOutgoingInterfaceFilter: outgoingInterface,
  } = values;
  return {
    ...(outgoingAddress === "" ? {} : { outgoingAddress }),
    ...(portRange === undefined ? {} : { portRange }),
    ...(outgoingInterface === "" ? {} : { outgoingInterface }),
    excludeHosts: values.NATOutgoingExclusions === "IPPoolsAndHostIPs",
    floatingIps: values.FloatingIPs === "Enabled",
  };
}

function logRateLimit(values: FelixValues): LogRateLimit | undefined {
  const [rate, unit = ""] = values.LogActionRateLimit.split("/");
  const unitSeconds = UNIT_SECONDS[unit];
  if (unitSeconds === undefined) return undefined;
  return { rate: Number(rate), unitSeconds, burst: values.LogActionRateLimitBurst };
}
