/**
 * Names inside the table. They depend on what they name alone, so every agent and every restart
 * gives the same ones. Kernel limit 255 bytes (NFT_NAME_MAXLEN); ours stay within 127.
 */
import type { IpFamily } from "#ip";
import type { PolicyId } from "#policy";
import { base64Url, hex, sha256, utf8Bytes } from "#std";

/** `ingress` is traffic to the workload. */
export type Direction = "ingress" | "egress";

const MAX_NAME_LEN = 127;

/** nft's grammar takes these in an identifier that begins with a letter. */
const PLAIN = /^[A-Za-z0-9.-][A-Za-z0-9._-]*(\/[A-Za-z0-9.-][A-Za-z0-9._-]*)*$/;

/** As in Calico's chain names. */
const KIND_SHORT: Readonly<Record<string, string>> = {
  GlobalNetworkPolicy: "gnp",
  NetworkPolicy: "np",
  KubernetesNetworkPolicy: "knp",
  KubernetesClusterNetworkPolicy: "kcnp",
  StagedGlobalNetworkPolicy: "sgnp",
  StagedNetworkPolicy: "snp",
  StagedKubernetesNetworkPolicy: "sknp",
};

export const baseChains = {
  antiSpoofing: "prerouting-from-workload",
  inputPolicy: "input-from-workload",
  inputAction: "input-to-host",
  forwardFrom: "forward-from-workload",
  forwardTo: "forward-to-workload",
} as const;

/** Base chains of host endpoints; each is there while some host endpoint has policy for it. */
export const hostBaseChains = {
  "untracked-in": "prerouting-host-untracked",
  "untracked-out": "output-host-untracked",
  "pre-dnat": "prerouting-host-pre-dnat",
  "forward-in": "forward-from-host-endpoint",
  "forward-out": "forward-to-host-endpoint",
  input: "input-host-endpoint",
  output: "output-host-endpoint",
  "output-dnat": "postrouting-host-endpoint",
} as const;

/** Base chains that are not policy; each is there while there is something for it to do. */
export const plainBaseChains = {
  natOutgoing: "postrouting-nat-outgoing",
  floatingIn: "prerouting-floating-ips",
  floatingLocal: "output-floating-ips",
  floatingHairpin: "postrouting-floating-ips",
  serviceLoop: "forward-service-loop",
  tunnels: "input-tunnels",
  tunnelsIn: "prerouting-tunnels",
  tunnelsOut: "output-tunnels",
  tunnelNat: "postrouting-tunnels",
} as const;

/** Chains and sets of ports that stay open. */
export const failsafes = {
  in: "failsafe-in",
  "in-untracked": "failsafe-in-untracked",
  out: "failsafe-out",
  "out-untracked": "failsafe-out-untracked",
} as const;

export const chains = {
  source: "workload-source",
  otherSource: "workload-source-other",
  toHost: "workload-to-host",
  toHostAction: "workload-to-host-action",
  fromWorkload: "from-workload",
  toWorkload: "to-workload",
  reject: "reject-packet",
} as const;

export const sets = {
  /** Interfaces of active endpoints. */
  known: "workload-interfaces",
  /** ifname → class of the egress policy. */
  from: "from-class",
  /** ifname → class of the ingress policy. */
  to: "to-class",
  fromChain: "from-class-chain",
  toChain: "to-class-chain",
  /** Interface and address of endpoints that declare no MAC. */
  source4: "workload-source4",
  source6: "workload-source6",
  /** Interface, address and MAC of those that do. */
  sourceMac4: "workload-source-mac4",
  sourceMac6: "workload-source-mac6",
  mac: "workload-mac",
  macDeclared: "workload-mac-declared",
  /** ifname → list of further source prefixes. */
  spoof: "spoof-class",
  spoofChain: "spoof-class-chain",
  portProtocols: "port-protocols",
  /** Address → identity. */
  identity4: "identity4",
  identity6: "identity6",
  /** class . segment . identity [. protocol [. port]] */
  peerPort: "peer-port",
  peerProtocol: "peer-protocol",
  peer: "peer",
} as const;

/** Sets of one family that are not policy. */
export type NetSetName =
  | "ip-pools"
  | "nat-pools"
  | "all-hosts"
  | "vxlan-hosts"
  | "service-nets"
  | FloatingMapName;
/** External address → internal; internal twice (a workload calls itself) → external. */
type FloatingMapName = "floating-ips" | "floating-hairpin";

export function familySet(name: NetSetName, family: IpFamily): string {
  return `${name}${family}`;
}

export function kindShort(kind: string): string {
  return KIND_SHORT[kind] ?? kind.toLowerCase();
}

export function policyTitle(id: PolicyId): string {
  return id.namespace === "" ? `${id.kind} ${id.name}` : `${id.kind} ${id.namespace}/${id.name}`;
}

export function policyKey(id: PolicyId): string {
  return `${id.kind}\0${id.namespace}\0${id.name}`;
}

export function policyChain(direction: Direction, id: PolicyId, variant = ""): string {
  // A kind that is not Calico's could look like another's short name.
  const kind = KIND_SHORT[id.kind] ?? `/${id.kind}`;
  const parts = id.namespace === "" ? [kind, id.name] : [kind, id.namespace, id.name];
  return limited(`${variant}${direction === "ingress" ? "pi-" : "po-"}`, policyKey(id), parts);
}

export function profileChain(direction: Direction, name: string, variant = ""): string {
  return limited(`${variant}${direction === "ingress" ? "pri-" : "pro-"}`, name, [name]);
}

/** A rule's own chain, for alternatives that do not fit into one list of rules. */
export function ruleChain(chain: string, label: string): string {
  return `r${label}-${chain}`;
}

export function classChain(direction: Direction, id: number): string {
  return `${direction === "ingress" ? "to" : "from"}-wl-${id.toString(16).padStart(8, "0")}`;
}

/** No name of a resource has a slash, so that no endpoint's own chain is called like this. */
export function tierChain(chain: string, index: number): string {
  return `${chain}/tier${index}`;
}

/** Map of interfaces to the chains of their host endpoints in one stage. */
export function hostMap(stage: string): string {
  return `host-${stage}`;
}

/** A host endpoint's chain in one stage. */
export function hostChain(stage: string, id: string): string {
  return limited(`host-${stage}-`, id, [id]);
}

export function spoofChain(id: number): string {
  return `spoof-${id.toString(16).padStart(8, "0")}`;
}

/** Set of an IP set's single addresses, or of its `address . protocol . port` members. */
export function ipSetName(id: string, family: IpFamily): string {
  const plain = /^[a-z]+:[A-Za-z0-9_-]{1,100}$/.test(id) ? id.replace(":", "-") : `x-${digest(id)}`;
  return `${plain}.${family}`;
}

/** Set of an IP set's CIDRs. */
export function ipSetNetsName(id: string, family: IpFamily): string {
  return `${ipSetName(id, family)}n`;
}

/** Sets of literal CIDRs and ports, shared by all rules that list the same ones. */
export function literalSetName(kind: "nets4" | "nets6" | "ports", content: string): string {
  return `${kind}-${digest(content)}`;
}

/**
 * `prefix` and the parts joined by `/`. What nft could not parse, or is too long, becomes `_`, a
 * digest and the readable rest; a plain name never begins with `_`, so the two cannot meet.
 */
function limited(prefix: string, raw: string, parts: readonly string[]): string {
  const plain = parts.join("/");
  const oneSegmentEach = parts.every((part) => !part.includes("/"));
  if (
    oneSegmentEach &&
    PLAIN.test(plain) &&
    prefix.length + utf8Bytes(plain).length <= MAX_NAME_LEN
  ) {
    return prefix + plain;
  }
  const readable = plain.replace(/[^A-Za-z0-9./-]/g, "_");
  return `${prefix}_${hex(sha256(raw)).slice(0, 20)}_${readable}`.slice(0, MAX_NAME_LEN);
}

function digest(content: string): string {
  return base64Url(sha256(content)).slice(0, 22);
}
