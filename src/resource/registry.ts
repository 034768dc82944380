/**
 * The kinds: their names in every spelling, scope, place in the store and schema. One entry each;
 * whatever needs to know a kind asks here.
 */
import { didYouMean, escapeName, unescapeName } from "#std";
import type { NameRule } from "./metadata.ts";
import { object, type ObjectSpec } from "./schema.ts";
import type { Kind } from "./types.ts";
import { bgpConfigurationSpec, bgpFilterSpec, bgpPeerSpec } from "./kinds/bgp.ts";
import {
  clusterInformationSpec,
  kubeControllersSpec,
  nodeStatusReportSpec,
} from "./kinds/cluster.ts";
import {
  hostEndpointSpec,
  networkSetSpec,
  nodeSpec,
  nodeStatus,
  workloadEndpointSpec,
} from "./kinds/endpoints.ts";
import { felixConfigurationSpec } from "./kinds/felix.ts";
import {
  globalNetworkPolicySpec,
  networkPolicySpec,
  profileSpec,
  stagedGlobalNetworkPolicySpec,
  stagedKubernetesNetworkPolicySpec,
  stagedNetworkPolicySpec,
  tierSpec,
} from "./kinds/policy.ts";
import { ipamConfigurationSpec, ipPoolSpec, ipReservationSpec } from "./kinds/pool.ts";

export interface KindInfo {
  readonly kind: Kind;
  /** Lower case, as in paths and on the command line. */
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly nameRule: NameRule;
  /** The only names that objects of this kind may have. */
  readonly fixedNames?: readonly string[];
  /** Belongs to a tier and carries its label. */
  readonly tiered: boolean;
  readonly spec: ObjectSpec;
  /** Stored as `"status":{}` at least. */
  readonly status?: ObjectSpec;
  readonly summary: string;
}

const STORE_PREFIX = "/calico/resources/v3/projectcalico.org";
const noStatus = object([]);

type Options = Partial<Omit<KindInfo, "kind" | "plural" | "shortNames" | "spec" | "summary">>;

function kind(
  name: Kind,
  plural: string,
  shortNames: string,
  spec: ObjectSpec,
  summary: string,
  options: Options = {},
): KindInfo {
  return {
    kind: name,
    plural,
    shortNames: shortNames === "" ? [] : shortNames.split(" "),
    namespaced: false,
    nameRule: "subdomain",
    tiered: false,
    spec,
    summary,
    ...options,
  };
}

const networkPolicyOptions = {
  namespaced: true,
  nameRule: "network-policy",
  tiered: true,
} as const;
const globalPolicyOptions = { nameRule: "global-policy", tiered: true } as const;

export const KINDS: readonly KindInfo[] = [
  kind(
    "BGPConfiguration",
    "bgpconfigurations",
    "bgpconfig bgpconfigs",
    bgpConfigurationSpec,
    "how the cluster speaks BGP",
  ),
  kind(
    "BGPFilter",
    "bgpfilters",
    "bgpf bgpfs bf bfs",
    bgpFilterSpec,
    "which routes peers get and give",
  ),
  kind("BGPPeer", "bgppeers", "bgpp bgpps bp bps", bgpPeerSpec, "a BGP session"),
  kind(
    "CalicoNodeStatus",
    "caliconodestatuses",
    "nodestatus nodestatuses",
    nodeStatusReportSpec,
    "a node's report on itself",
    { status: noStatus },
  ),
  kind(
    "ClusterInformation",
    "clusterinformations",
    "clusterinfo clusterinfos",
    clusterInformationSpec,
    "identity and readiness of the cluster",
    { fixedNames: ["default"] },
  ),
  kind(
    "FelixConfiguration",
    "felixconfigurations",
    "felixconfig felixconfigs",
    felixConfigurationSpec,
    "settings of the node agent",
  ),
  kind(
    "GlobalNetworkPolicy",
    "globalnetworkpolicies",
    "gnp gnps",
    globalNetworkPolicySpec,
    "policy for endpoints of every namespace, and hosts",
    globalPolicyOptions,
  ),
  kind(
    "GlobalNetworkSet",
    "globalnetworksets",
    "gns",
    networkSetSpec,
    "labelled addresses, for policy of every namespace",
  ),
  kind(
    "HostEndpoint",
    "hostendpoints",
    "hep heps",
    hostEndpointSpec,
    "an interface of a host that policy protects",
  ),
  kind(
    "IPAMConfiguration",
    "ipamconfigurations",
    "ipamconfig ipamconfigs",
    ipamConfigurationSpec,
    "how addresses are assigned",
    { fixedNames: ["default"] },
  ),
  kind(
    "IPPool",
    "ippools",
    "ipp ipps pool pools",
    ipPoolSpec,
    "a block that workloads get addresses from",
  ),
  kind(
    "IPReservation",
    "ipreservations",
    "reservation reservations",
    ipReservationSpec,
    "addresses that are never assigned",
  ),
  kind(
    "KubeControllersConfiguration",
    "kubecontrollersconfigurations",
    "kubecontrollersconfig kubecontrollersconfigs kcc kccs",
    kubeControllersSpec,
    "settings of the controllers",
    { fixedNames: ["default"], status: noStatus },
  ),
  kind(
    "NetworkPolicy",
    "networkpolicies",
    "np nps netpol policy policies pol pols",
    networkPolicySpec,
    "policy for endpoints of one namespace",
    networkPolicyOptions,
  ),
  kind(
    "NetworkSet",
    "networksets",
    "netset netsets",
    networkSetSpec,
    "labelled addresses, for policy of one namespace",
    { namespaced: true },
  ),
  kind("Node", "nodes", "no nos", nodeSpec, "a host", { status: nodeStatus }),
  kind("Profile", "profiles", "pro pros", profileSpec, "rules and labels that endpoints share"),
  kind(
    "StagedGlobalNetworkPolicy",
    "stagedglobalnetworkpolicies",
    "sgnp sgnps stagedglobalpolicy stagedglobalpolicies",
    stagedGlobalNetworkPolicySpec,
    "a global policy to try",
    globalPolicyOptions,
  ),
  kind(
    "StagedKubernetesNetworkPolicy",
    "stagedkubernetesnetworkpolicies",
    "sknp sknps stagedkubernetespolicy stagedkubernetespolicies skpol skpols",
    stagedKubernetesNetworkPolicySpec,
    "a Kubernetes policy to try",
    { namespaced: true },
  ),
  kind(
    "StagedNetworkPolicy",
    "stagednetworkpolicies",
    "snp snps stagedpolicy stagedpolicies spol spols",
    stagedNetworkPolicySpec,
    "a policy to try",
    networkPolicyOptions,
  ),
  kind("Tier", "tiers", "", tierSpec, "an ordered group of policies", {
    nameRule: "tier",
    status: noStatus,
  }),
  kind(
    "WorkloadEndpoint",
    "workloadendpoints",
    "wep weps",
    workloadEndpointSpec,
    "a workload's interface",
    { namespaced: true },
  ),
];

const byKind = new Map<string, KindInfo>(KINDS.map((info) => [info.kind, info]));
const byPlural = new Map<string, KindInfo>(KINDS.map((info) => [info.plural, info]));
const byAlias = new Map<string, KindInfo>();
for (const info of KINDS) {
  for (const alias of [info.kind.toLowerCase(), info.plural, ...info.shortNames]) {
    byAlias.set(alias, info);
  }
}

/** By the exact `kind` of a manifest. */
export function kindInfo(name: string): KindInfo | undefined {
  return byKind.get(name);
}

/** By any name that a command line may use: kind, plural or short name, in any case. */
export function kindByAlias(alias: string): KindInfo | undefined {
  const folded = alias.toLowerCase();
  return byAlias.get(folded) ?? byAlias.get(folded.replaceAll("-", ""));
}

/** Of Calico's API and no objects of commands, there as here: what to ask instead. */
const NOT_OF_COMMANDS: readonly (readonly [RegExp, string])[] = [
  [/^(?:blockaffinit(?:y|ies)|affinit(?:y|ies)|ipamblocks?)$/, "margay ipam show --show-blocks"],
  [/^ipamhandles?$/, "margay ipam explain ADDRESS"],
  [/^livemigrations?$/, "they are the orchestrator's, which writes them to the datastore"],
];

export function kindElsewhere(name: string): string | undefined {
  const folded = name.toLowerCase().replaceAll("-", "");
  return NOT_OF_COMMANDS.find(([pattern]) => pattern.test(folded))?.[1];
}

/** The likely kind meant by a misspelt name. */
export function guessKind(name: string): string | undefined {
  const guess = didYouMean(name.toLowerCase(), byAlias.keys());
  return guess === undefined ? undefined : byAlias.get(guess)?.kind;
}

/** `/calico/resources/v3/projectcalico.org/<plural>/[<namespace>/]<name>`. */
export function resourcePath(kindName: Kind, name: string, namespace?: string): string {
  const info = byKind.get(kindName);
  const scope = info?.namespaced === true ? `${escapeName(namespace ?? "")}/` : "";
  return `${kindPrefix(kindName)}${scope}${escapeName(name)}`;
}

/** Prefix of every object of the kind, or of those in one namespace; ends in `/`. */
export function kindPrefix(kindName: Kind, namespace?: string): string {
  const info = byKind.get(kindName);
  const scope = namespace === undefined ? "" : `${escapeName(namespace)}/`;
  return `${STORE_PREFIX}/${info?.plural ?? ""}/${scope}`;
}

export interface ResourceId {
  readonly kind: Kind;
  readonly name: string;
  readonly namespace?: string;
}

/** Inverse of `resourcePath`; undefined for keys of other things and kinds that are not known. */
export function parseResourcePath(path: string): ResourceId | undefined {
  if (!path.startsWith(`${STORE_PREFIX}/`)) return undefined;
  const [plural = "", ...rest] = path.slice(STORE_PREFIX.length + 1).split("/");
  const info = byPlural.get(plural);
  if (info === undefined || rest.length !== (info.namespaced ? 2 : 1)) return undefined;
  const [first = "", second = ""] = rest.map(unescapeName);
  if (first === "" || (info.namespaced && second === "")) return undefined;
  return info.namespaced
    ? { kind: info.kind, namespace: first, name: second }
    : { kind: info.kind, name: first };
}
