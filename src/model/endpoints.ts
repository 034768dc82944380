/** Endpoints and network sets of the v3 API → model. */
import { canonicalIp, formatCidr, parseCidrOrIp, parseIp } from "#ip";
import type {
  GlobalNetworkSet,
  HostEndpoint,
  NamedPort,
  NetworkSet,
  WorkloadEndpoint,
} from "#resource";
import { inputError } from "#std";
import {
  NAMESPACE_LABEL,
  NAMESPACE_PREFIX,
  SERVICE_ACCOUNT_LABEL,
  SERVICE_ACCOUNT_PREFIX,
} from "./selectors.ts";
import { modelProtocol } from "./rules.ts";
import type {
  EndpointPort,
  ModelHostEndpoint,
  ModelNetworkSet,
  ModelWorkloadEndpoint,
  WorkloadEndpointKey,
} from "./types.ts";

const PROTOCOL_OF_NUMBER: Readonly<Record<number, string>> = { 6: "tcp", 17: "udp", 132: "sctp" };

/**
 * `<node>-<orchestrator>-<workload>-<endpoint>`, where `-` inside a part is doubled; undefined
 * when the name has not four parts.
 */
export function workloadEndpointKey(
  namespace: string,
  name: string,
): WorkloadEndpointKey | undefined {
  const parts = name.split(/(?<!-)-(?!-)/).map((part) => part.replaceAll("--", "-"));
  const [hostname = "", orchestratorId = "", workload = "", endpointId = ""] = parts;
  if (parts.length !== 4) return undefined;
  return {
    kind: "WorkloadEndpoint",
    hostname,
    orchestratorId,
    workloadId: `${namespace}/${workload}`,
    endpointId,
  };
}

/** `null` when the endpoint has no address yet. Without an interface there is nothing to protect. */
export function modelWorkloadEndpoint(resource: WorkloadEndpoint): ModelWorkloadEndpoint | null {
  const { spec, metadata } = resource;
  if ((spec.interfaceName ?? "") === "") {
    throw inputError("no-interface", "the workload endpoint has no interfaceName");
  }
  const nets = byFamily((spec.ipNetworks ?? []).map(blockText));
  if (nets.v4.length + nets.v6.length === 0) return null;
  const nats = (spec.ipNATs ?? []).map(({ internalIP, externalIP }) => ({
    intIp: canonicalIp(internalIP),
    extIp: canonicalIp(externalIP),
  }));
  const ofFamily = (family: 4 | 6): typeof nats =>
    nats.filter(({ intIp }) => parseIp(intIp).family === family);
  return {
    state: "active",
    name: spec.interfaceName ?? "",
    mac: spec.mac ?? "",
    profileIds: spec.profiles ?? [],
    ipv4Nets: nets.v4,
    ipv6Nets: nets.v6,
    ipv4Nat: ofFamily(4),
    ipv6Nat: ofFamily(6),
    labels: workloadLabels(resource),
    ports: modelPorts(spec.ports),
    allowSpoofedSourcePrefixes: (spec.allowSpoofedSourcePrefixes ?? []).map(blockText),
    annotations: metadata.annotations ?? {},
  };
}

/**
 * Labels that only a profile may give are left out: they would let a workload pose as one of another
 * namespace. The namespace and the service account's name become labels, whatever the labels say.
 */
function workloadLabels({ metadata, spec }: WorkloadEndpoint): Readonly<Record<string, string>> {
  const labels = metadata.labels ?? {};
  const forged = (name: string): boolean =>
    name.startsWith(NAMESPACE_PREFIX) || name.startsWith(SERVICE_ACCOUNT_PREFIX);
  const own = Object.keys(labels).some(forged)
    ? Object.fromEntries(Object.entries(labels).filter(([name]) => !forged(name)))
    : labels;
  const { namespace } = metadata;
  const account = spec.serviceAccountName ?? "";
  return {
    ...own,
    ...(namespace === undefined ? {} : { [NAMESPACE_LABEL]: namespace }),
    ...(account === "" ? {} : { [SERVICE_ACCOUNT_LABEL]: account }),
  };
}

export function modelHostEndpoint(resource: HostEndpoint): ModelHostEndpoint {
  const { spec, metadata } = resource;
  const expected = byFamily((spec.expectedIPs ?? []).map(canonicalIp));
  return {
    name: spec.interfaceName ?? "",
    expectedIpv4Addrs: expected.v4,
    expectedIpv6Addrs: expected.v6,
    profileIds: spec.profiles ?? [],
    labels: metadata.labels ?? {},
    ports: modelPorts(spec.ports),
  };
}

export function modelNetworkSet(resource: NetworkSet | GlobalNetworkSet): ModelNetworkSet {
  const { metadata, spec } = resource;
  const { namespace } = metadata;
  const labels = metadata.labels ?? {};
  return {
    labels: namespace === undefined ? labels : { ...labels, [NAMESPACE_LABEL]: namespace },
    nets: (spec.nets ?? []).map(blockText),
    profileIds: namespace === undefined ? [] : [`kns.${namespace}`],
  };
}

/** Ports without a name cannot be meant by any rule. */
function modelPorts(ports: readonly NamedPort[] | undefined): readonly EndpointPort[] {
  return (ports ?? [])
    .filter(({ name }) => (name ?? "") !== "")
    .map(({ name, protocol, port }) => ({ name, port, protocol: protocolName(protocol) }));
}

function protocolName(protocol: NamedPort["protocol"]): string {
  const parsed = modelProtocol(protocol);
  if (parsed === undefined) return "tcp";
  return "name" in parsed ? parsed.name : (PROTOCOL_OF_NUMBER[parsed.number] ?? `${parsed.number}`);
}

function blockText(text: string): string {
  return formatCidr(parseCidrOrIp(text));
}

function byFamily(texts: readonly string[]): {
  readonly v4: readonly string[];
  readonly v6: readonly string[];
} {
  return {
    v4: texts.filter((text) => !text.includes(":")),
    v6: texts.filter((text) => text.includes(":")),
  };
}
