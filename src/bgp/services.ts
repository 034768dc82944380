/**
 * Kubernetes' services as far as their addresses are announced: which blocks this node announces
 * whole, and which single addresses because a ready endpoint is here.
 */
import {
  canonicalCidr,
  cidrContains,
  formatCidr,
  tryParseCidrOrIp,
  type Cidr,
  type IpFamily,
} from "#ip";
import type { BgpConfiguration } from "#resource";
import type { BgpState } from "./state.ts";
import { sorted } from "./state.ts";
import type { ServiceRoute } from "./types.ts";

type Raw = Readonly<Record<string, unknown>>;
/** Kubernetes' well-known label of nodes that load balancers leave out. */
const EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers";
const SERVICE_OF_SLICE = "kubernetes.io/service-name";

export interface Service {
  readonly id: string;
  readonly local: boolean;
  readonly clusterIps: readonly string[];
  readonly externalIps: readonly string[];
  readonly loadBalancerIps: readonly string[];
}

export interface ServiceEndpoints {
  /** `namespace/name`. */
  readonly service: string;
  /** Nodes with a ready endpoint. */
  readonly readyNodes: readonly string[];
}

export function serviceOf(id: string, object: Raw): Service {
  const spec = record(object["spec"]);
  const clusterIps = texts(spec["clusterIPs"]);
  const ingress = list(record(record(object["status"])["loadBalancer"])["ingress"]);
  return {
    id,
    local: spec["externalTrafficPolicy"] === "Local",
    clusterIps: clusterIps.length > 0 ? clusterIps : texts([spec["clusterIP"]]),
    externalIps: texts(spec["externalIPs"]),
    loadBalancerIps: texts(ingress.map((one) => record(one)["ip"])),
  };
}

export function endpointSliceOf(path: string, object: Raw): ServiceEndpoints | null {
  const labels = record(record(object["metadata"])["labels"]);
  const [name] = texts([labels[SERVICE_OF_SLICE]]);
  const [namespace] = path.split("/");
  if (name === undefined || namespace === undefined) return null;
  const ready = list(object["endpoints"])
    .map(record)
    .filter((endpoint) => record(endpoint["conditions"])["ready"] !== false);
  return {
    service: `${namespace}/${name}`,
    readyNodes: texts(ready.map((endpoint) => endpoint["nodeName"])),
  };
}

export interface ServiceModel {
  readonly routes: readonly ServiceRoute[];
  readonly blocks: readonly string[];
}

/** Of one family. */
export function servicesOf(
  state: BgpState,
  spec: BgpConfiguration["spec"],
  family: IpFamily,
): ServiceModel {
  const blocksOf = (given: readonly { readonly cidr: string }[] | undefined): Cidr[] =>
    (given ?? []).flatMap(({ cidr }) => {
      const parsed = tryParseCidrOrIp(cidr);
      return parsed?.family === family ? [parsed] : [];
    });
  const cluster = blocksOf(spec.serviceClusterIPs);
  const external = blocksOf(spec.serviceExternalIPs);
  const balancer = blocksOf(spec.serviceLoadBalancerIPs);
  const blocks = [...cluster, ...external, ...balancer];
  const routes = new Map<string, string>();
  if (state.nodes.get(state.node)?.metadata.labels?.[EXCLUDED] === undefined) {
    const single = spec.serviceLoadBalancerAggregation === "Disabled";
    announceBlocks(routes, cluster, "serviceClusterIPs");
    announceBlocks(routes, external, "serviceExternalIPs");
    if (!single) announceBlocks(routes, balancer, "serviceLoadBalancerIPs");
    announceServices(state, routes, { cluster, external, balancer, single });
  }
  return {
    blocks: [...new Set(blocks.map(formatCidr))],
    routes: sorted(routes).map(([cidr, origin]) => ({ cidr, origin })),
  };
}

function announceBlocks(routes: Map<string, string>, blocks: readonly Cidr[], what: string): void {
  for (const cidr of blocks) routes.set(formatCidr(cidr), `BGPConfiguration ${what}`);
}

interface ServiceBlocks {
  readonly cluster: readonly Cidr[];
  readonly external: readonly Cidr[];
  readonly balancer: readonly Cidr[];
  readonly single: boolean;
}

function announceServices(
  state: BgpState,
  routes: Map<string, string>,
  { cluster, external, balancer, single }: ServiceBlocks,
): void {
  const here = new Set<string>();
  for (const slice of state.slices.values()) {
    if (slice.readyNodes.includes(state.node)) here.add(slice.service);
  }
  for (const [, service] of sorted(state.services)) {
    const localHere = service.local && here.has(service.id);
    const announce = (addresses: readonly string[], within: readonly Cidr[]): void => {
      for (const address of addresses) {
        const cidr = tryParseCidrOrIp(address);
        if (cidr === undefined || !within.some((block) => cidrContains(block, cidr))) continue;
        routes.set(canonicalCidr(formatCidr(cidr)), `Service ${service.id}`);
      }
    };
    if (localHere) {
      announce(service.clusterIps, cluster);
      announce(service.externalIps, external);
    }
    if (localHere || (single && !service.local)) announce(service.loadBalancerIps, balancer);
  }
}

function record(value: unknown): Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Raw) : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function texts(value: unknown): string[] {
  return list(value).filter((one) => typeof one === "string");
}
