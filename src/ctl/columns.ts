/** The columns of `get` for each kind: narrow, wide, and by name for custom ones. */
import type { Kind, Resource, ResourceOf } from "#resource";

/** What a cell may need beside its resource. */
export interface TableContext {
  /** Of the cluster, for nodes without their own. */
  readonly asNumber: number;
  /** Why an object denies instead of what it says. */
  readonly problems: ReadonlyMap<Resource, string>;
}

/** Shown by `-o wide` where there is something to show, so that tables without are as ever. */
export const PROBLEM = "PROBLEM";

type Cell = (resource: Resource, context: TableContext) => string;

export interface Columns {
  readonly narrow: readonly string[];
  readonly wide: readonly string[];
  readonly cells: Readonly<Record<string, Cell>>;
}

function columns<K extends Kind>(
  narrow: string,
  wide: string,
  cells: Readonly<Record<string, (resource: ResourceOf<K>, context: TableContext) => string>>,
): Columns {
  return {
    narrow: narrow.split(" "),
    wide: wide.split(" "),
    cells: { ...COMMON, ...(cells as Readonly<Record<string, Cell>>) },
  };
}

const COMMON: Readonly<Record<string, Cell>> = {
  NAME: ({ metadata }) => metadata.name,
  [PROBLEM]: (resource, { problems }) => problems.get(resource) ?? "",
  NAMESPACE: ({ metadata }) => metadata.namespace ?? "",
  LABELS: ({ metadata }) =>
    Object.entries(metadata.labels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
};

const join = (texts: readonly string[] | undefined): string => (texts ?? []).join(",");
/** Go prints an absent pointer so, and scripts know it. */
const orNil = (value: number | boolean | undefined): string =>
  value === undefined ? "<nil>" : String(value);

const orDash = (value: number | boolean | undefined): string =>
  value === undefined ? "-" : String(value);

/** Lists without an end are cut where Calico's tool cuts them. */
const LONGEST_LIST = 80;
function joinShort(texts: readonly string[] | undefined): string {
  const joined = join(texts);
  return joined.length <= LONGEST_LIST ? joined : `${joined.slice(0, LONGEST_LIST - 3)}...`;
}

type AnyPolicy =
  | "NetworkPolicy"
  | "GlobalNetworkPolicy"
  | "StagedNetworkPolicy"
  | "StagedGlobalNetworkPolicy";
const policy = columns<AnyPolicy>("NAME TIER", "NAME TIER ORDER SELECTOR", {
  TIER: ({ spec }) => spec.tier,
  ORDER: ({ spec }) => orNil(spec.order),
  SELECTOR: ({ spec }) => spec.selector ?? "",
  TYPES: ({ spec }) => join(spec.types),
});
const networkSet = columns<"NetworkSet" | "GlobalNetworkSet">("NAME", "NAME NETS", {
  NETS: ({ spec }) => joinShort(spec.nets),
});
/** As kubectl prints them; a Go struct's fields help nobody. */
function labelSelectorText(selector: unknown): string {
  const { matchLabels = {}, matchExpressions = [] } = (selector ?? {}) as {
    readonly matchLabels?: Readonly<Record<string, string>>;
    readonly matchExpressions?: readonly {
      readonly key: string;
      readonly operator: string;
      readonly values?: readonly string[];
    }[];
  };
  const labels = Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`);
  const expressions = matchExpressions.map(({ key, operator, values }) => {
    if (operator === "Exists") return key;
    if (operator === "DoesNotExist") return `!${key}`;
    return `${key} ${operator === "In" ? "in" : "notin"} (${join(values)})`;
  });
  return labels.length + expressions.length === 0 ? "<all>" : join([...labels, ...expressions]);
}

const nameOnly = columns("NAME", "NAME", {});

export const COLUMNS: Readonly<Record<Kind, Columns>> = {
  BGPConfiguration: columns<"BGPConfiguration">(
    "NAME LOGSEVERITY MESHENABLED ASNUMBER",
    "NAME LOGSEVERITY MESHENABLED ASNUMBER",
    {
      LOGSEVERITY: ({ spec }) => spec.logSeverityScreen ?? "",
      MESHENABLED: ({ spec }) => orDash(spec.nodeToNodeMeshEnabled),
      ASNUMBER: ({ spec }) => orDash(spec.asNumber),
    },
  ),
  BGPFilter: nameOnly,
  BGPPeer: columns<"BGPPeer">("NAME PEERIP NODE ASN", "NAME PEERIP NODE ASN", {
    PEERIP: ({ spec }) => spec.peerIP ?? "",
    NODE: ({ spec }) => spec.node ?? spec.nodeSelector ?? "(global)",
    ASN: ({ spec }) => String(spec.asNumber ?? 0),
  }),
  CalicoNodeStatus: columns<"CalicoNodeStatus">("NAME NODE", "NAME NODE CLASSES", {
    NODE: ({ spec }) => spec.node,
    CLASSES: ({ spec }) => join(spec.classes),
  }),
  ClusterInformation: columns<"ClusterInformation">(
    "NAME CLUSTERGUID CLUSTERTYPE CALICOVERSION DATASTOREREADY",
    "NAME CLUSTERGUID CLUSTERTYPE CALICOVERSION DATASTOREREADY",
    {
      CLUSTERGUID: ({ spec }) => spec.clusterGUID ?? "",
      CLUSTERTYPE: ({ spec }) => spec.clusterType ?? "",
      CALICOVERSION: ({ spec }) => spec.calicoVersion ?? "",
      DATASTOREREADY: ({ spec }) => orNil(spec.datastoreReady),
    },
  ),
  FelixConfiguration: columns<"FelixConfiguration">("NAME", "NAME", {
    LOGSEVERITY: ({ spec }) =>
      typeof spec["logSeverityScreen"] === "string" ? spec["logSeverityScreen"] : "",
  }),
  GlobalNetworkPolicy: policy,
  GlobalNetworkSet: networkSet,
  HostEndpoint: columns<"HostEndpoint">("NAME NODE", "NAME NODE INTERFACE IPS PROFILES", {
    NODE: ({ spec }) => spec.node ?? "",
    INTERFACE: ({ spec }) => spec.interfaceName ?? "",
    IPS: ({ spec }) => join(spec.expectedIPs),
    PROFILES: ({ spec }) => join(spec.profiles),
  }),
  IPAMConfiguration: columns<"IPAMConfiguration">(
    "NAME STRICTAFFINITY AUTOALLOCATEBLOCKS",
    "NAME STRICTAFFINITY AUTOALLOCATEBLOCKS MAXBLOCKSPERHOST",
    {
      STRICTAFFINITY: ({ spec }) => String(spec["strictAffinity"]),
      AUTOALLOCATEBLOCKS: ({ spec }) => String(spec["autoAllocateBlocks"]),
      MAXBLOCKSPERHOST: ({ spec }) => String(Number(spec["maxBlocksPerHost"] ?? 0)),
    },
  ),
  IPPool: columns<"IPPool">(
    "NAME CIDR SELECTOR",
    "NAME CIDR NAT IPIPMODE VXLANMODE DISABLED DISABLEBGPEXPORT SELECTOR ASSIGNMENTMODE",
    {
      CIDR: ({ spec }) => spec.cidr,
      NAT: ({ spec }) => String(spec.natOutgoing ?? false),
      IPIPMODE: ({ spec }) => spec.ipipMode,
      VXLANMODE: ({ spec }) => spec.vxlanMode,
      DISABLED: ({ spec }) => String(spec.disabled ?? false),
      DISABLEBGPEXPORT: ({ spec }) => String(spec.disableBGPExport ?? false),
      SELECTOR: ({ spec }) => spec.nodeSelector,
      ASSIGNMENTMODE: ({ spec }) => spec.assignmentMode,
    },
  ),
  IPReservation: columns<"IPReservation">("NAME", "NAME CIDRS", {
    CIDRS: ({ spec }) => joinShort(spec.reservedCIDRs),
  }),
  KubeControllersConfiguration: nameOnly,
  NetworkPolicy: policy,
  NetworkSet: networkSet,
  Node: columns<"Node">("NAME", "NAME ASN IPV4 IPV6", {
    // In brackets: not the node's own. Without BGP there is none.
    ASN: ({ spec }, { asNumber }) =>
      spec.bgp === undefined ? "" : String(spec.bgp.asNumber ?? `(${asNumber})`),
    IPV4: ({ spec }) => spec.bgp?.ipv4Address ?? "",
    IPV6: ({ spec }) => spec.bgp?.ipv6Address ?? "",
  }),
  Profile: columns<"Profile">("NAME", "NAME LABELS", {
    LABELS: ({ spec }) =>
      Object.entries(spec.labelsToApply ?? {})
        .map(([key, value]) => `${key}=${value}`)
        .join(","),
  }),
  StagedGlobalNetworkPolicy: policy,
  StagedKubernetesNetworkPolicy: columns<"StagedKubernetesNetworkPolicy">(
    "NAME",
    "NAME PODSELECTOR",
    { PODSELECTOR: ({ spec }) => labelSelectorText(spec.podSelector) },
  ),
  StagedNetworkPolicy: policy,
  Tier: columns<"Tier">("NAME ORDER", "NAME ORDER", {
    ORDER: ({ spec }) => orNil(spec.order),
    DEFAULTACTION: ({ spec }) => spec.defaultAction,
  }),
  WorkloadEndpoint: columns<"WorkloadEndpoint">(
    "WORKLOAD NODE NETWORKS INTERFACE",
    "NAME WORKLOAD NODE NETWORKS INTERFACE PROFILES NATS",
    {
      WORKLOAD: ({ spec }) => spec.workload ?? spec.pod ?? "",
      ORCHESTRATOR: ({ spec }) => spec.orchestrator ?? "",
      NODE: ({ spec }) => spec.node ?? "",
      NETWORKS: ({ spec }) => join(spec.ipNetworks),
      INTERFACE: ({ spec }) => spec.interfaceName ?? "",
      PROFILES: ({ spec }) => join(spec.profiles),
      NATS: ({ spec }) => join(spec.ipNATs?.map((nat) => `{${nat.internalIP} ${nat.externalIP}}`)),
    },
  ),
};
