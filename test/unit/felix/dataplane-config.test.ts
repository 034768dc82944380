import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLinuxDataplaneConfig } from "#dataplane";
import { formatIp } from "#ip";
import { resolveConfig, type RawConfig } from "../../../src/felix/config/resolve.ts";
import { linuxDataplaneConfig } from "../../../src/felix/dataplane.ts";

const of = (raw: RawConfig) =>
  linuxDataplaneConfig(resolveConfig({ "environment variable": raw }, "n").values);

test("Felix's defaults are the dataplane's defaults", () => {
  const { tunnels, ...defaults } = defaultLinuxDataplaneConfig;
  const here = { hostname: "n", mtuFile: "/var/lib/calico/mtu" };
  assert.deepEqual(of({}), { ...defaults, tunnels: { ...tunnels, ...here } });
});

test("every parameter that the dataplane takes arrives", () => {
  const { policy, ...host } = of({
    InterfacePrefix: "cali,veth",
    Ipv6Support: "false",
    DefaultEndpointToHostAction: "return",
    NftablesFilterDenyAction: "reject",
    VXLANPort: "4790",
    AllowVXLANPacketsFromWorkloads: "true",
    AllowIPIPPacketsFromWorkloads: "true",
    DisableConntrackInvalidCheck: "true",
    MetadataAddr: "169.254.169.254",
    MetadataPort: "80",
    LogPrefix: "deny %t",
    LogActionRateLimit: "10/minute",
    LogActionRateLimitBurst: "7",
    WorkloadSourceSpoofing: "any",
    FailsafeInboundHostPorts: "tcp:22,udp:10.0.0.0/8:53",
    FailsafeOutboundHostPorts: "none",
    NftablesMarkMask: "0xff00",
    FloatingIPs: "enabled",
    NATPortRange: "1000:2000",
    NATOutgoingAddress: "192.0.2.1",
    NATOutgoingExclusions: "IPPoolsAndHostIPs",
    IptablesNATOutgoingInterfaceFilter: "eth+",
    ServiceLoopPrevention: "reject",
    VXLANVNI: "77",
    VXLANMTU: "1400",
    VXLANMTUV6: "1380",
    IpInIpMtu: "1430",
    ProgramClusterRoutes: "EnabledNoEncapOnly",
    MTUIfacePattern: "^bond",
    ExternalNodesCIDRList: "192.0.2.0/24,192.0.3.1",
    DeviceRouteProtocol: "99",
    IPv4NormalRoutePriority: "1",
    IPv6NormalRoutePriority: "2",
    DeviceRouteSourceAddress: "10.0.0.1",
    DeviceRouteSourceAddressIPv6: "fd00::1",
    RemoveExternalRoutes: "false",
    IPForwarding: "Disabled",
    InterfaceExclude: "none",
    InterfaceRefreshInterval: "0",
    RouteRefreshInterval: "30",
  });
  assert.deepEqual(policy, {
    interfacePrefixes: ["cali", "veth"],
    ipv6Support: false,
    defaultEndpointToHostAction: "Return",
    dropActionOverride: "Drop",
    denyAction: "Reject",
    vxlanPort: 4790,
    allowVxlanPacketsFromWorkloads: true,
    allowIpipPacketsFromWorkloads: true,
    disableConntrackInvalidCheck: true,
    openStackSpecialCasesEnabled: true,
    openStackMetadataAddr: "169.254.169.254",
    openStackMetadataPort: 80,
    logPrefix: "deny %t",
    logActionRateLimit: { rate: 10, unitSeconds: 60, burst: 7 },
    workloadSourceSpoofing: "Any",
    markMask: 0xff00,
    nat: {
      outgoingAddress: "192.0.2.1",
      portRange: { first: 1000, last: 2000 },
      outgoingInterface: "eth+",
      excludeHosts: true,
      floatingIps: true,
    },
    serviceLoopPrevention: "Reject",
    externalNodes: ["192.0.2.0/24", "192.0.3.1/32"],
    failsafeInboundPorts: [
      { protocol: 6, port: 22 },
      { protocol: 17, port: 53, net: "10.0.0.0/8" },
    ],
    failsafeOutboundPorts: [],
  });
  const { ipv4RouteSource, ipv6RouteSource, ...rest } = host;
  assert.equal(ipv4RouteSource && formatIp(ipv4RouteSource), "10.0.0.1");
  assert.equal(ipv6RouteSource && formatIp(ipv6RouteSource), "fd00::1");
  assert.deepEqual(rest, {
    tunnels: {
      hostname: "n",
      vni: 77,
      vxlanMtu: 1400,
      vxlanMtuV6: 1380,
      ipipMtu: 1430,
      programsIpipRoutes: false,
      mtuInterfaces: /^bond/,
      mtuFile: "/var/lib/calico/mtu",
    },
    tableName: "margay",
    routeProtocol: 99,
    ipv4RoutePriority: 1,
    ipv6RoutePriority: 2,
    removeExternalRoutes: false,
    ipForwarding: false,
    interfaceExclude: [],
    interfaceRefreshMs: 0,
    routeRefreshMs: 30_000,
  });
});
