/** Nodes that pass the cluster's own data on: identities, host metadata, pools, encapsulation. */
import type {
  KubernetesServiceKey,
  ModelBgpConfig,
  ModelIpPool,
  ModelNode,
  ModelService,
} from "#model";
import type { Labels } from "#selector";
import type { Encapsulation, EventSequencer } from "./sequencer.ts";

const NAMESPACE_PROFILE = "kns.";
const NAMESPACE_LABELS = "pcns.";
const SERVICE_ACCOUNT_PROFILE = "ksa.";
const SERVICE_ACCOUNT_LABELS = "pcsa.";

/** Profiles stand for namespaces and service accounts; their labels, without the prefix, are those'. */
export function passProfileLabels(
  name: string,
  labels: Labels | null,
  out: Pick<EventSequencer, "namespaces" | "serviceAccounts">,
): void {
  if (name.startsWith(NAMESPACE_PROFILE)) {
    const id = { name: name.slice(NAMESPACE_PROFILE.length) };
    if (labels === null) out.namespaces.remove(name);
    else out.namespaces.update(name, { id, labels: withoutPrefix(labels, NAMESPACE_LABELS) });
    return;
  }
  if (!name.startsWith(SERVICE_ACCOUNT_PROFILE)) return;
  // A namespace's name has no dot, an account's may.
  const rest = name.slice(SERVICE_ACCOUNT_PROFILE.length);
  const dot = rest.indexOf(".");
  if (dot < 0) return;
  const id = { namespace: rest.slice(0, dot), name: rest.slice(dot + 1) };
  if (labels === null) out.serviceAccounts.remove(name);
  else {
    out.serviceAccounts.update(name, { id, labels: withoutPrefix(labels, SERVICE_ACCOUNT_LABELS) });
  }
}

function withoutPrefix(labels: Labels, prefix: string): Labels {
  const result: Record<string, string> = {};
  for (const label in labels) {
    const name = label.startsWith(prefix) ? label.slice(prefix.length) : label;
    result[name] = labels[label] ?? "";
  }
  return result;
}

export function passNode(
  hostname: string,
  node: ModelNode | null,
  out: Pick<EventSequencer, "hosts">,
): void {
  if (node === null) {
    out.hosts.remove(hostname);
    return;
  }
  out.hosts.update(hostname, {
    hostname,
    ipv4Addr: node.hostIpv4,
    ipv6Addr: node.hostIpv6,
    asnumber: node.asNumber,
    labels: node.labels,
  });
}

/** An endpoint per family for which the node has a key. */
export function passWireguard(
  hostname: string,
  node: ModelNode | null,
  out: Pick<EventSequencer, "wireguard" | "wireguardV6">,
): void {
  const {
    publicKey = "",
    publicKeyV6 = "",
    interfaceIpv4 = "",
    interfaceIpv6 = "",
  } = node?.wireguard ?? {};
  if (publicKey === "") out.wireguard.remove(hostname);
  else out.wireguard.update(hostname, { hostname, publicKey, interfaceIpv4Addr: interfaceIpv4 });
  if (publicKeyV6 === "") out.wireguardV6.remove(hostname);
  else {
    out.wireguardV6.update(hostname, { hostname, publicKeyV6, interfaceIpv6Addr: interfaceIpv6 });
  }
}

/** Nothing is said before there is a configuration; one that goes leaves an empty one. */
export class BgpConfigPasser {
  readonly #out: Pick<EventSequencer, "bgpConfig">;
  #config: ModelBgpConfig | null = null;
  #told = false;

  constructor(out: Pick<EventSequencer, "bgpConfig">) {
    this.#out = out;
  }

  set(config: ModelBgpConfig | null): void {
    this.#config = config;
  }

  flush(): void {
    const config = this.#config;
    if (config === null && !this.#told) return;
    this.#told = true;
    this.#out.bgpConfig.update("", {
      serviceClusterCidrs: config?.serviceClusterCidrs ?? [],
      serviceExternalCidrs: config?.serviceExternalCidrs ?? [],
      serviceLoadbalancerCidrs: config?.serviceLoadBalancerCidrs ?? [],
      localWorkloadPeeringIpV4: config?.localWorkloadPeeringIpv4 ?? "",
      localWorkloadPeeringIpV6: config?.localWorkloadPeeringIpv6 ?? "",
    });
  }
}

export function passService(
  { namespace, name }: KubernetesServiceKey,
  service: ModelService | null,
  out: Pick<EventSequencer, "services">,
): void {
  const id = `${namespace}/${name}`;
  if (service === null) {
    out.services.remove(id);
    return;
  }
  out.services.update(id, {
    name,
    namespace,
    type: service.type,
    clusterIps: service.clusterIps,
    loadbalancerIp: service.loadBalancerIp,
    externalIps: service.externalIps,
    ports: service.ports,
    loadbalancerIngressIps: service.loadBalancerIngressIps,
  });
}

const MODE_TEXT = { Never: "", Always: "always", CrossSubnet: "cross-subnet" } as const;

export function passPool(
  cidr: string,
  pool: ModelIpPool | null,
  out: Pick<EventSequencer, "pools">,
): void {
  if (pool === null) {
    out.pools.remove(cidr);
    return;
  }
  out.pools.update(cidr, {
    id: cidr.replace("/", "-"),
    pool: {
      cidr,
      masquerade: pool.natOutgoing,
      ipipMode: MODE_TEXT[pool.ipipMode],
      vxlanMode: MODE_TEXT[pool.vxlanMode],
      allowedUses: pool.allowedUses,
    },
  });
}

export interface EncapsulationOptions {
  /** Absent: as the pools say. */
  readonly ipipEnabled?: boolean;
  /** For both families. Absent: as the pools say. */
  readonly vxlanEnabled?: boolean;
  /** Whether the agent programs the routes of pools without encapsulation; default false. */
  readonly programsNoEncapRoutes?: boolean;
}

/** Which kinds of encapsulation the pools need. */
export class EncapsulationResolver {
  readonly #pools = new Map<string, ModelIpPool>();

  setPool(cidr: string, pool: ModelIpPool | null): void {
    if (pool === null) this.#pools.delete(cidr);
    else this.#pools.set(cidr, pool);
  }

  current(options: EncapsulationOptions): Encapsulation {
    const { ipipEnabled, vxlanEnabled, programsNoEncapRoutes = false } = options;
    const any = (wanted: (pool: ModelIpPool) => boolean): boolean =>
      [...this.#pools.values()].some(wanted);
    const isV6 = (pool: ModelIpPool): boolean => pool.cidr.includes(":");
    const isVxlan = (pool: ModelIpPool): boolean => pool.vxlanMode !== "Never";
    const isIpip = (pool: ModelIpPool): boolean => pool.ipipMode !== "Never";
    return {
      ipipEnabled: ipipEnabled ?? any(isIpip),
      vxlanEnabled: vxlanEnabled ?? any((pool) => isVxlan(pool) && !isV6(pool)),
      vxlanEnabledV6: vxlanEnabled ?? any((pool) => isVxlan(pool) && isV6(pool)),
      noEncapEnabled: programsNoEncapRoutes && any((pool) => !isVxlan(pool) && !isIpip(pool)),
    };
  }
}
