/**
 * FelixConfiguration: every parameter by its camelCase name, in struct order. What each does is
 * said once, in the agent's own table of parameters; here is only what may be stored.
 */
import {
  any,
  bool,
  duration,
  field,
  formatted,
  int,
  list,
  newlyFormatted,
  object,
  oneOf,
  oneOfAnyCase,
  port,
  longSelector,
  text,
  textMap,
  type Fields,
  type FieldSpec,
  type ObjectSpec,
  type TypeSpec,
} from "../schema.ts";
import type { Context } from "../context.ts";
import type { V3Port } from "../types.ts";
import { logSeverity } from "./bgp.ts";

const number = int();
const ipv4 = newlyFormatted("ipv4");
const portNumber = int(0, 65535);
const enabled = oneOf("Enabled", "Disabled");
const allowAction = oneOfAnyCase("Accept", "Return");
const denyAction = oneOfAnyCase("Drop", "Reject");
const regexp = formatted("regexp");
const interfaceName = formatted("interface-name");
const keyValues = formatted("key-values");
const blocks = list(formatted("cidr-or-ip"));

const tableRange = object(
  [
    field("min", number, "first table", { zero: "always", default: 0 }),
    field("max", number, "last table", { zero: "always", default: 0 }),
  ],
  [
    { id: "range-order", reads: ["min", "max"], check: checkRange },
    { id: "route-tables", reads: ["min", "max"], manifestsOnly: true, check: checkTables },
  ],
);
const oldTableRange = object(tableRange.fields, [
  ...(tableRange.rules ?? []),
  { id: "route-tables", reads: ["min", "max"], manifestsOnly: true, check: checkOldTables },
]);
const protoPort = object([
  field("protocol", oneOfAnyCase("TCP", "UDP", "SCTP"), "tcp, udp or sctp", {
    zero: "keep",
    default: "",
  }),
  field("port", portNumber, "the port", { required: true, zero: "keep" }),
  field("net", formatted("cidr-or-ip"), "the peers' block; every address when absent"),
]);
const healthTimeout = object(
  [
    field("name", text, "the component", { required: true }),
    field("timeout", duration, "its time limit", { required: true }),
  ],
  [
    {
      id: "health-timeout",
      reads: ["name", "timeout"],
      manifestsOnly: true,
      check: checkHealthTimeout,
    },
  ],
);
/** What `routeTableRanges` may name together. */
const MOST_TABLES = 0xffff;

interface TableRange {
  readonly min: number;
  readonly max: number;
}

function checkRange(value: Fields, context: Context): void {
  const { min, max } = value as unknown as TableRange;
  if (min <= max) return;
  context.report("range-order", {
    message: `the range begins at ${min} and ends at ${max}`,
    hint: "swap them",
    at: ["max"],
  });
}

/** Table 0 is the kernel's own; numbers have 32 bits. */
function checkTables({ min, max }: Fields, context: Context): void {
  for (const [name, value] of [
    ["min", Number(min)],
    ["max", Number(max)],
  ] as const) {
    if (value >= 1 && value <= 0xffffffff) continue;
    context.report("route-tables", {
      message: `${value} is no table for routes`,
      value,
      allowed: "1–4294967295",
      at: [name],
    });
    return;
  }
}

function checkTableCount(ranges: readonly TableRange[], context: Context): void {
  const tables = ranges.reduce((sum, { min, max }) => sum + max - min + 1, 0);
  if (tables <= MOST_TABLES) return;
  context.report("route-tables", {
    message: `${tables} tables are too many`,
    allowed: `${MOST_TABLES} in all`,
    at: ["routeTableRanges"],
  });
}

function checkHealthTimeout({ name, timeout }: Fields, context: Context): void {
  if (!/^[a-zA-Z0-9_ -]+$/.test(String(name))) {
    context.report("health-timeout", {
      message: `${JSON.stringify(name)} is not the name of a component`,
      value: name,
      allowed: "letters, digits, _ - and blanks, such as CalculationGraph",
      at: ["name"],
    });
  }
  if (!String(timeout).startsWith("-")) return;
  context.report("health-timeout", {
    message: `a time limit of ${String(timeout)}`,
    value: timeout,
    allowed: "0s or more",
    at: ["timeout"],
  });
}

function checkOldTables({ max }: Fields, context: Context): void {
  if (Number(max) <= 250) return;
  context.report("route-tables", {
    message: `${Number(max)} is beyond this field's tables`,
    value: max,
    allowed: "1–250",
    hint: "use routeTableRanges",
    at: ["max"],
  });
}

const conntrackTimeouts = object(
  [
    "creationGracePeriod",
    "tcpSynSent",
    "tcpEstablished",
    "tcpFinsSeen",
    "tcpResetSeen",
    "udpTimeout",
    "genericTimeout",
    "icmpTimeout",
  ].map((name) => field(name, newlyFormatted("duration-or-auto"), phrase(name), { zero: "keep" })),
);

/** Names in groups of one type, cut at blanks; order is the order of the struct. */
const TABLE: readonly (readonly [TypeSpec, string])[] = [
  [longSelector, "nodeSelector"],
  [bool, "useInternalDataplaneDriver"],
  [text, "dataplaneDriver"],
  [duration, "dataplaneWatchdogTimeout"],
  [bool, "ipv6Support"],
  [
    duration,
    "routeRefreshInterval interfaceRefreshInterval iptablesRefreshInterval iptablesPostWriteCheckInterval",
  ],
  [text, "iptablesLockFilePath"],
  [duration, "iptablesLockTimeout iptablesLockProbeInterval"],
  [keyValues, "featureDetectOverride featureGates"],
  [duration, "ipsetsRefreshInterval"],
  [number, "maxIpsetSize"],
  [oneOfAnyCase("Auto", "Legacy", "NFT"), "iptablesBackend"],
  [duration, "xdpRefreshInterval netlinkTimeout"],
  [text, "metadataAddr"],
  [portNumber, "metadataPort"],
  [newlyFormatted("dns-label"), "openstackRegion"],
  [text, "interfacePrefix interfaceExclude"],
  [oneOfAnyCase("Insert", "Append"), "chainInsertMode"],
  [oneOfAnyCase("Drop", "Accept", "Return"), "defaultEndpointToHostAction"],
  [allowAction, "iptablesFilterAllowAction iptablesMangleAllowAction"],
  [denyAction, "iptablesFilterDenyAction"],
  [text, "logPrefix logActionRateLimit"],
  [number, "logActionRateLimitBurst"],
  [text, "logFilePath"],
  [logSeverity, "logSeverityFile logSeverityScreen logSeveritySys"],
  [regexp, "logDebugFilenameRegex"],
  [bool, "ipipEnabled"],
  [number, "ipipMTU"],
  [bool, "vxlanEnabled"],
  [number, "vxlanMTU vxlanMTUV6"],
  [portNumber, "vxlanPort"],
  [number, "vxlanVNI"],
  [bool, "allowVXLANPacketsFromWorkloads allowIPIPPacketsFromWorkloads"],
  [duration, "reportingInterval reportingTTL"],
  [bool, "endpointReportingEnabled"],
  [duration, "endpointReportingDelay"],
  [text, "endpointStatusPathPrefix"],
  [number, "iptablesMarkMask"],
  [bool, "disableConntrackInvalidCheck healthEnabled"],
  [text, "healthHost"],
  [portNumber, "healthPort"],
  [list(healthTimeout), "healthTimeoutOverrides"],
  [bool, "prometheusMetricsEnabled"],
  [newlyFormatted("listen-host"), "prometheusMetricsHost"],
  [portNumber, "prometheusMetricsPort"],
  [
    bool,
    "prometheusGoMetricsEnabled prometheusProcessMetricsEnabled prometheusWireGuardMetricsEnabled",
  ],
  [
    text,
    "prometheusMetricsCAFile prometheusMetricsCertFile prometheusMetricsKeyFile prometheusMetricsClientAuth",
  ],
  [list(protoPort), "failsafeInboundHostPorts failsafeOutboundHostPorts"],
  [list(port, { maxItems: 7 }), "kubeNodePortRanges"],
  [text, "policySyncPathPrefix"],
  [bool, "usageReportingEnabled"],
  [duration, "usageReportingInitialDelay usageReportingInterval"],
  [port, "natPortRange"],
  [ipv4, "natOutgoingAddress"],
  [oneOf("IPPoolsOnly", "IPPoolsAndHostIPs"), "natOutgoingExclusions"],
  [ipv4, "deviceRouteSourceAddress"],
  [newlyFormatted("ipv6"), "deviceRouteSourceAddressIPv6"],
  [number, "deviceRouteProtocol"],
  [bool, "removeExternalRoutes"],
  [
    number,
    "ipv4NormalRoutePriority ipv4ElevatedRoutePriority ipv6NormalRoutePriority ipv6ElevatedRoutePriority",
  ],
  [duration, "liveMigrationRouteConvergenceTime"],
  [enabled, "ipForwarding"],
  [oneOf("Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly", "Enabled"), "programClusterRoutes"],
  [list(newlyFormatted("cidr4-or-ip4", "cidr-or-ip")), "externalNodesList"],
  [text, "debugMemoryProfilePath debugCPUProfilePath"],
  [bool, "debugDisableLogDropping"],
  [
    duration,
    "debugSimulateCalcGraphHangAfter debugSimulateDataplaneHangAfter debugSimulateDataplaneApplyDelay debugPanicAfter",
  ],
  [bool, "debugSimulateDataRace"],
  [text, "debugHost"],
  [portNumber, "debugPort"],
  [newlyFormatted("interface-filter"), "iptablesNATOutgoingInterfaceFilter"],
  [bool, "sidecarAccelerationEnabled xdpEnabled genericXDPEnabled"],
  [oneOf("Auto", "Enabled", "Disabled"), "nftablesMode"],
  [enabled, "nftablesFlowTableOffload"],
  [duration, "nftablesRefreshInterval"],
  [allowAction, "nftablesFilterAllowAction nftablesMangleAllowAction"],
  [denyAction, "nftablesFilterDenyAction"],
  [number, "nftablesMarkMask"],
  [bool, "bpfEnabled bpfDisableUnprivileged"],
  [oneOf("Auto", "Strict"), "bpfJITHardening"],
  [oneOfAnyCase("Off", "Info", "Debug"), "bpfLogLevel"],
  [oneOfAnyCase("Off", "Debug"), "bpfConntrackLogLevel"],
  [oneOf("Auto", "Userspace", "BPFProgram"), "bpfConntrackCleanupMode"],
  [conntrackTimeouts, "bpfConntrackTimeouts"],
  [textMap, "bpfLogFilters"],
  [text, "bpfCTLBLogFilter"],
  [regexp, "bpfDataIfacePattern bpfL3IfacePattern"],
  [bool, "bpfConnectTimeLoadBalancingEnabled"],
  [oneOf("TCP", "Enabled", "Disabled"), "bpfConnectTimeLoadBalancing"],
  [enabled, "bpfHostNetworkedNATWithoutCTLB"],
  [oneOfAnyCase("Tunnel", "DSR"), "bpfExternalServiceMode"],
  [blocks, "bpfDSROptoutCIDRs"],
  [int(0, 4294967295), "bpfExtToServiceConnmark"],
  [bool, "bpfKubeProxyIptablesCleanupEnabled"],
  [duration, "bpfKubeProxyMinSyncPeriod"],
  [portNumber, "bpfKubeProxyHealthzPort"],
  [bool, "bpfKubeProxyEndpointSlicesEnabled"],
  [port, "bpfPSNATPorts"],
  [
    number,
    "bpfMapSizeNATFrontend bpfMapSizeNATBackend bpfMapSizeNATAffinity bpfMapSizeRoute bpfMapSizeConntrack bpfMapSizePerCPUConntrack",
  ],
  [oneOfAnyCase("Disabled", "DoubleIfFull"), "bpfMapSizeConntrackScaling"],
  [number, "bpfMapSizeConntrackCleanupQueue bpfMapSizeIPSets bpfMapSizeIfState"],
  [bool, "bpfHostConntrackBypass"],
  [oneOfAnyCase("Disabled", "Strict", "Loose"), "bpfEnforceRPF"],
  [bool, "bpfPolicyDebugEnabled"],
  [list(text), "bpfForceTrackPacketsFromIfaces"],
  [regexp, "bpfDisableGROForIfaces"],
  [blocks, "bpfExcludeCIDRsFromNAT"],
  [oneOfAnyCase("Disabled", "L2Only", "Enabled"), "bpfRedirectToPeer"],
  [oneOfAnyCase("TCX", "TC"), "bpfAttachType"],
  [number, "bpfExportBufferSizeMB"],
  [int(1, 3000), "bpfMaglevMaxEndpointsPerService bpfMaglevMaxServices"],
  [enabled, "bpfProfiling"],
  [oneOfAnyCase("WorkloadIPs", "CalicoIPAM"), "routeSource"],
  [list(tableRange), "routeTableRanges"],
  [oldTableRange, "routeTableRange"],
  [bool, "routeSyncDisabled wireguardEnabled wireguardEnabledV6 wireguardThreadingEnabled"],
  [int(1, 65535), "wireguardListeningPort wireguardListeningPortV6"],
  [int(1, 32765), "wireguardRoutingRulePriority"],
  [interfaceName, "wireguardInterfaceName wireguardInterfaceNameV6"],
  [number, "wireguardMTU wireguardMTUV6"],
  [bool, "wireguardHostEncryptionEnabled"],
  [duration, "wireguardKeepAlive"],
  [oneOf("DoNothing", "Enable", "Disable"), "awsSrcDstCheck"],
  [oneOfAnyCase("Drop", "Reject", "Disabled"), "serviceLoopPrevention"],
  [oneOfAnyCase("Disabled", "Any"), "workloadSourceSpoofing"],
  [regexp, "mtuIfacePattern"],
  [bool, "requireMTUFile"],
  [enabled, "floatingIPs windowsManageFirewallRules"],
  [int(-1), "goGCThreshold goMemoryLimitMB goMaxProcs"],
  [duration, "flowLogsFlushInterval"],
  [bool, "flowLogsCollectorDebugTrace"],
  [text, "flowLogsGoldmaneServer"],
  [enabled, "flowLogsLocalReporter"],
  [oneOf("None", "Continuous"), "flowLogsPolicyEvaluationMode"],
  [text, "cgroupV2Path"],
  [enabled, "istioAmbientMode"],
  [any, "istioDSCPMark localSubnetL2Reachability"],
];

/** What Calico writes out when the field is not given. */
const DEFAULTS: Readonly<Record<string, string>> = {
  nftablesMode: "Auto",
  nftablesFlowTableOffload: "Disabled",
  bpfLogLevel: "",
  bpfConnectTimeLoadBalancing: "TCP",
  bpfHostNetworkedNATWithoutCTLB: "Enabled",
  floatingIPs: "Disabled",
};

export const FELIX_FIELDS: readonly FieldSpec[] = TABLE.flatMap(([type, names]) =>
  names.split(" ").map((name) =>
    field(name, type, phrase(name), {
      // Texts without pointer are dropped when empty; all else is a pointer in the struct.
      ...(type.kind === "string" && !(name in DEFAULTS) ? {} : { zero: "keep" as const }),
      ...(name in DEFAULTS ? { default: DEFAULTS[name] } : {}),
    }),
  ),
);

export const felixConfigurationSpec: ObjectSpec = object(FELIX_FIELDS, [
  {
    id: "route-tables",
    reads: ["routeTableRange", "routeTableRanges"],
    manifestsOnly: true,
    check: (value, context) => {
      if (value["routeTableRanges"] === undefined) return;
      checkTableCount(value["routeTableRanges"] as readonly TableRange[], context);
      if (value["routeTableRange"] === undefined) return;
      context.report("route-tables", {
        message: "routeTableRange and routeTableRanges are both given",
        hint: "remove routeTableRange",
        at: ["routeTableRange"],
      });
    },
  },
  {
    id: "node-ports",
    reads: ["kubeNodePortRanges"],
    manifestsOnly: true,
    check: ({ kubeNodePortRanges = [] }, context) => {
      for (const [index, one] of (kubeNodePortRanges as readonly V3Port[]).entries()) {
        if (typeof one === "number" || /^\d+:\d+$/.test(one)) continue;
        context.report("node-ports", {
          message: `${JSON.stringify(one)} is the name of a port`,
          value: one,
          allowed: "numbers and ranges",
          at: ["kubeNodePortRanges", index],
        });
      }
    },
  },
]);

/** `iptablesRefreshInterval` → `iptables refresh interval`. */
function phrase(name: string): string {
  return name.replaceAll(/(?<=[a-z0-9])(?=[A-Z])/g, " ").toLowerCase();
}
