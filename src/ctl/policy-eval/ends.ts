/** Who is meant by `--from` and `--to`: a workload, a node, or an address outside the cluster. */
import type { WorkloadEndpointId } from "#calc";
import {
  canonicalIp,
  cidrContainsIp,
  parseCidrOrIp,
  parseIp,
  tryParseIp,
  type IpFamily,
} from "#ip";
import { workloadEndpointKey } from "#model";
import { kindByAlias, type Resource, type ResourceOf } from "#resource";
import { didYouMean, inputError } from "#std";

export type End =
  | {
      readonly kind: "workload";
      readonly name: string;
      readonly node: string;
      readonly id: WorkloadEndpointId;
      readonly addresses: readonly string[];
      /** The floating address by which it was named, and the one behind it. */
      readonly floating?: { readonly external: string; readonly internal: string };
    }
  | {
      readonly kind: "host";
      readonly name: string;
      readonly node: string;
      readonly addresses: readonly string[];
    }
  | { readonly kind: "outside"; readonly name: string; readonly addresses: readonly string[] };

type Workload = ResourceOf<"WorkloadEndpoint">;

/**
 * `ns/pod`, `ns/endpoint-name`, either without its namespace where that is clear, `node/NAME`, or
 * an address. Throws `no-such-end`, `ambiguous-end`.
 */
export function findEnd(text: string, resources: readonly Resource[]): End {
  if (tryParseIp(text) !== undefined) return endOfAddress(canonicalIp(text), resources);
  const [scope = "", name = ""] = text.split("/");
  if (name !== "" && kindByAlias(scope)?.kind === "Node") {
    const node = nodesOf(resources).find(({ metadata }) => metadata.name === name);
    if (node !== undefined) return hostEnd(node);
  }
  const workloads = workloadsOf(resources);
  const found = workloads.filter((one) => namesOf(one).includes(text));
  const bare = text.includes("/")
    ? []
    : workloads.filter((one) => namesOf(one).some((full) => full.endsWith(`/${text}`)));
  return only(text, found.length > 0 ? found : bare, workloads);
}

/** Addresses of the family. Throws `no-address`. */
export function addressOf(end: End, family: IpFamily): string {
  const found = end.addresses.find((one) => parseIp(one).family === family);
  if (found !== undefined) return found;
  const has = end.addresses.length === 0 ? "none" : end.addresses.join(", ");
  throw inputError("no-address", `${end.name} has no IPv${family} address (it has ${has})`);
}

/** IPv4 where both ends have it. Throws `no-address` when they have no family in common. */
export function commonFamily(from: End, to: End): IpFamily {
  const has = (end: End, family: IpFamily): boolean =>
    end.addresses.some((one) => parseIp(one).family === family);
  for (const family of [4, 6] as const) if (has(from, family) && has(to, family)) return family;
  throw inputError(
    "no-address",
    `${from.name} (${from.addresses.join(", ")}) and ${to.name} (${to.addresses.join(", ")}) have no IP version in common`,
  );
}

function endOfAddress(address: string, resources: readonly Resource[]): End {
  const ip = parseIp(address);
  const workloads = workloadsOf(resources);
  const behind = workloads.filter(({ spec }) =>
    (spec.ipNetworks ?? []).some((net) => cidrContainsIp(parseCidrOrIp(net), ip)),
  );
  if (behind.length > 0) return { ...only(address, behind, workloads), addresses: [address] };
  const isExternal = ({ externalIP }: { readonly externalIP: string }): boolean =>
    canonicalIp(externalIP) === address;
  const floating = workloads.filter(({ spec }) => (spec.ipNATs ?? []).some(isExternal));
  if (floating.length > 0) {
    const end = only(address, floating, workloads);
    const internal = floating[0]?.spec.ipNATs?.find(isExternal)?.internalIP ?? address;
    const pair = { external: address, internal: canonicalIp(internal) };
    return { ...end, addresses: [address], floating: pair };
  }
  const node = nodesOf(resources).find((one) => addressesOfNode(one).includes(address));
  if (node !== undefined) return { ...hostEnd(node), addresses: [address] };
  return { kind: "outside", name: address, addresses: [address] };
}

function only(
  text: string,
  found: readonly Workload[],
  all: readonly Workload[],
): Extract<End, { readonly kind: "workload" }> {
  const [workload] = found;
  if (workload === undefined) {
    const guess = didYouMean(text, all.flatMap(namesOf));
    throw inputError(
      "no-such-end",
      `no workload is called ${JSON.stringify(text)}${guess === undefined ? "" : `; did you mean ${guess}?`}\n` +
        "margay get workloadendpoints -A lists them; node/NAME is a node, an address is anything",
    );
  }
  if (found.length > 1) {
    const candidates = found.map((one) => `  ${fullName(one)} (node ${nodeOf(one)})`).toSorted();
    throw inputError(
      "ambiguous-end",
      `${JSON.stringify(text)} may be any of ${found.length} endpoints:\n${candidates.join("\n")}`,
    );
  }
  const { namespace = "", name } = workload.metadata;
  const key = workloadEndpointKey(namespace, name);
  if (key === undefined) {
    throw inputError("no-such-end", `${namespace}/${name} is no name of a workload endpoint`);
  }
  const { kind: _, hostname, ...id } = key;
  const addresses = (workload.spec.ipNetworks ?? []).map((net) => canonicalIp(firstOf(net)));
  return { kind: "workload", name: shortName(workload), node: hostname, id, addresses };
}

function hostEnd(node: ResourceOf<"Node">): Extract<End, { readonly kind: "host" }> {
  const { name } = node.metadata;
  return { kind: "host", name: `node/${name}`, node: name, addresses: addressesOfNode(node) };
}

/** Addresses that the node's resource tells, canonical. */
export function nodeAddresses(name: string, resources: readonly Resource[]): string[] {
  const node = nodesOf(resources).find(({ metadata }) => metadata.name === name);
  return node === undefined ? [] : addressesOfNode(node);
}

function addressesOfNode({ spec }: ResourceOf<"Node">): string[] {
  const texts = [
    spec.bgp?.ipv4Address,
    spec.bgp?.ipv6Address,
    ...(spec.addresses ?? []).map(({ address }) => address),
  ].filter((text): text is string => (text ?? "") !== "");
  const ips = texts.map((text) => firstOf(text)).filter((text) => tryParseIp(text) !== undefined);
  return [...new Set(ips.map(canonicalIp))];
}

const firstOf = (net: string): string => net.replace(/\/.*/, "");
const fullName = ({ metadata }: Workload): string => `${metadata.namespace ?? ""}/${metadata.name}`;
const nodeOf = ({ metadata, spec }: Workload): string =>
  workloadEndpointKey(metadata.namespace ?? "", metadata.name)?.hostname ?? spec.node ?? "";

function shortName(workload: Workload): string {
  const name = workload.spec.pod ?? workload.spec.workload ?? "";
  return name === "" ? fullName(workload) : `${workload.metadata.namespace ?? ""}/${name}`;
}

function namesOf(workload: Workload): string[] {
  const { spec, metadata } = workload;
  const names = [spec.pod, spec.workload, metadata.name];
  return [...new Set(names.filter((name) => name !== undefined && name !== ""))].map(
    (name) => `${metadata.namespace ?? ""}/${name}`,
  );
}

function workloadsOf(resources: readonly Resource[]): Workload[] {
  return resources.filter((one): one is Workload => one.kind === "WorkloadEndpoint");
}

function nodesOf(resources: readonly Resource[]): ResourceOf<"Node">[] {
  return resources.filter((one): one is ResourceOf<"Node"> => one.kind === "Node");
}
