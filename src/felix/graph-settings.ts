/** What the calculation graph has to know of the agent's configuration. */
import type { GraphSettings } from "#calc";
import type { FelixValues } from "./config/params.ts";

export function graphSettings(values: FelixValues): GraphSettings {
  const { IpInIpEnabled: ipip, VXLANEnabled: vxlan, ProgramClusterRoutes: programs } = values;
  return {
    ...(ipip === undefined ? {} : { ipipEnabled: ipip }),
    ...(vxlan === undefined ? {} : { vxlanEnabled: vxlan }),
    programsIpipRoutes: programs === "Enabled" || programs === "EnabledIPIPOnly",
    programsNoEncapRoutes: programs === "Enabled" || programs === "EnabledNoEncapOnly",
    wireguardEnabled: values.WireguardEnabled || values.WireguardEnabledV6,
    routeSource: values.RouteSource === "WorkloadIPs" ? "WorkloadIPs" : "CalicoIPAM",
    workloadSourceSpoofing: values.WorkloadSourceSpoofing === "Any" ? "Any" : "Disabled",
  };
}
