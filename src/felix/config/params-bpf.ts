/** Parameters of Calico's eBPF dataplane, which Margay does not have: read, checked, not used. */
import { bool, int, oneOf, param, regexp, seconds, text } from "./kinds.ts";
import { cidrList, ifaceFilterList, keyValues, portRange } from "./kinds-net.ts";

const enabled = oneOf("Enabled", "Disabled");
const interfaces = "^((en|wl|ww|sl|ib)[Popsx].*|(eth|wlan|wwan|bond).*)";
const timeouts =
  "CreationGracePeriod=10s,TCPSynSent=20s,TCPEstablished=1h,TCPFinsSeen=Auto,TCPResetSeen=40s,UDPTimeout=60s,GenericTimeout=10m,ICMPTimeout=5s";

export const BPF_PARAMS = {
  BPFEnabled: param(
    bool,
    "false",
    "",
    "The eBPF dataplane. Set to true, Margay says so and goes on with nf_tables.",
  ),
  BPFDisableUnprivileged: param(bool, "true", "", "No eBPF for ordinary users."),
  BPFJITHardening: param(oneOf("Auto", "Strict"), "Auto", "non-zero", "JIT hardening."),
  BPFLogLevel: param(
    oneOf("off", "info", "debug"),
    "off",
    "non-zero",
    "Log level of the programs.",
  ),
  BPFConntrackLogLevel: param(
    oneOf("off", "debug"),
    "off",
    "non-zero",
    "Log level of connection tracking.",
  ),
  BPFConntrackCleanupMode: param(
    oneOf("Auto", "Userspace", "BPFProgram"),
    "Auto",
    "",
    "Who expires connections.",
  ),
  BPFConntrackTimeouts: param(keyValues, timeouts, "", "Timeouts of connections."),
  BPFLogFilters: param(keyValues, "", "", "What the programs log."),
  BPFCTLBLogFilter: param(oneOf("all"), "", "", "What the connect-time balancer logs."),
  BPFDataIfacePattern: param(regexp, interfaces, "", "Interfaces that get programs."),
  BPFL3IfacePattern: param(regexp, "", "", "Interfaces without Ethernet headers."),
  BPFConnectTimeLoadBalancingEnabled: param(bool, "", "", "Connect-time balancing (old form)."),
  BPFConnectTimeLoadBalancing: param(
    oneOf("TCP", "Enabled", "Disabled"),
    "TCP",
    "non-zero",
    "Connect-time balancing.",
  ),
  BPFHostNetworkedNATWithoutCTLB: param(
    enabled,
    "Enabled",
    "non-zero",
    "NAT of the host's own connections.",
  ),
  BPFExternalServiceMode: param(
    oneOf("tunnel", "dsr"),
    "tunnel",
    "non-zero",
    "Way back of service packets.",
  ),
  BPFDSROptoutCIDRs: param(cidrList, "", "", "Clients without direct return."),
  BPFKubeProxyIptablesCleanupEnabled: param(bool, "true", "", "Remove kube-proxy's rules."),
  BPFKubeProxyMinSyncPeriod: param(seconds, "1", "", "Least time between syncs of services."),
  BPFKubeProxyHealthzPort: param(int(0, 65_535), "10256", "", "Port of the service health check."),
  BPFExtToServiceConnmark: param(int(), "0", "", "Connection mark of outside clients."),
  BPFPSNATPorts: param(portRange, "20000:29999", "", "Ports for source NAT collisions."),
  BPFMapSizeNATFrontend: param(int(), "65536", "non-zero", "Map size."),
  BPFMapSizeNATBackend: param(int(), "262144", "non-zero", "Map size."),
  BPFMapSizeNATAffinity: param(int(), "65536", "non-zero", "Map size."),
  BPFMapSizeRoute: param(int(), "262144", "non-zero", "Map size."),
  BPFMapSizeConntrack: param(int(), "512000", "non-zero", "Map size."),
  BPFMapSizePerCPUConntrack: param(int(), "0", "", "Map size."),
  BPFMapSizeConntrackScaling: param(
    oneOf("Disabled", "DoubleIfFull"),
    "DoubleIfFull",
    "non-zero",
    "What happens when the map is full.",
  ),
  BPFMapSizeConntrackCleanupQueue: param(int(), "100000", "non-zero", "Map size."),
  BPFMapSizeIPSets: param(int(), "1048576", "non-zero", "Map size."),
  BPFMapSizeIfState: param(int(), "1000", "non-zero", "Map size."),
  BPFHostConntrackBypass: param(bool, "false", "", "No kernel conntrack for workloads."),
  BPFEnforceRPF: param(
    oneOf("Disabled", "Strict", "Loose"),
    "Loose",
    "non-zero",
    "Reverse path filter.",
  ),
  BPFPolicyDebugEnabled: param(bool, "true", "", "Keep text of policy programs."),
  BPFForceTrackPacketsFromIfaces: param(
    ifaceFilterList,
    "docker+",
    "",
    "Interfaces whose packets go through conntrack.",
  ),
  BPFDisableGROForIfaces: param(regexp, "", "", "Interfaces without GRO."),
  BPFExcludeCIDRsFromNAT: param(cidrList, "", "", "Service addresses left alone."),
  BPFRedirectToPeer: param(
    oneOf("Disabled", "Enabled", "L2Only"),
    "Enabled",
    "non-zero",
    "Short cut into workloads.",
  ),
  BPFAttachType: param(oneOf("TCX", "TC"), "TCX", "non-zero", "Kind of hook."),
  BPFExportBufferSizeMB: param(int(), "1", "non-zero", "Buffer of events."),
  BPFProfiling: param(enabled, "Disabled", "non-zero", "Profiling of the programs."),
  BPFMaglevMaxEndpointsPerService: param(int(1, 3000), "100", "", "Size of Maglev tables."),
  BPFMaglevMaxServices: param(int(1, 3000), "100", "", "Number of Maglev services."),
  DebugBPFCgroupV2: param(text, "", "local", "cgroup of the connect-time balancer."),
} as const;
