/** Paths of the datastore that are not v3 resources: IPAM blocks, and where Felix writes status. */
import { formatCidr, tryParseCidr } from "#ip";
import { escapeName, unescapeName } from "#std";

const IPAM_ASSIGNMENT = "/calico/ipam/v2/assignment/";
const RESOURCES = "/calico/resources/v3/projectcalico.org/";

/** What the graph is computed from. */
export const SYNC_PREFIXES = [RESOURCES, IPAM_ASSIGNMENT] as const;

const FOREIGN_KINDS = {
  kubernetesendpointslices: "EndpointSlice",
  kubernetesservice: "KubernetesService",
  livemigrations: "LiveMigration",
} as const;

export const ENDPOINT_SLICES_PREFIX = `${RESOURCES}kubernetesendpointslices/`;

export interface ForeignPath {
  readonly kind: (typeof FOREIGN_KINDS)[keyof typeof FOREIGN_KINDS];
  readonly namespace: string;
  readonly name: string;
}

/** Of an object that orchestrators put beside the v3 resources, in their own shape. */
export function foreignPath(path: string): ForeignPath | undefined {
  if (!path.startsWith(RESOURCES)) return undefined;
  const [plural = "", namespace = "", name = "", ...rest] = path.slice(RESOURCES.length).split("/");
  if (!Object.hasOwn(FOREIGN_KINDS, plural) || name === "" || rest.length > 0) return undefined;
  return {
    kind: FOREIGN_KINDS[plural as keyof typeof FOREIGN_KINDS],
    namespace: unescapeName(namespace),
    name: unescapeName(name),
  };
}

/** CIDR of an IPAM block's path; undefined for other paths. */
export function ipamBlockCidr(path: string): string | undefined {
  const match = /^ipv[46]\/block\/([^/]+)-(\d+)$/.exec(
    path.startsWith(IPAM_ASSIGNMENT) ? path.slice(IPAM_ASSIGNMENT.length) : "",
  );
  const cidr = match === null ? undefined : tryParseCidr(`${match[1] ?? ""}/${match[2] ?? ""}`);
  return cidr && formatCidr(cidr);
}

/** `region` "" is none. Ends in `/`. */
export function felixStatusPrefix(region: string, host: string): string {
  const segment = region === "" ? "no-region" : `region-${region}`;
  return `/calico/felix/v2/${segment}/host/${escapeName(host)}/`;
}

/** The agent's own status; kept with a time to live. */
export function processStatusPath(region: string, host: string): string {
  return `${felixStatusPrefix(region, host)}status`;
}

/** The last status, which stays when the agent is gone. */
export function lastProcessStatusPath(region: string, host: string): string {
  return `${felixStatusPrefix(region, host)}last_reported_status`;
}

/** `hostStatusPrefix` is what `felixStatusPrefix` gives. */
export function workloadStatusPath(
  hostStatusPrefix: string,
  orchestratorId: string,
  workloadId: string,
  endpointId: string,
): string {
  const [orchestrator, workload, endpoint] = [orchestratorId, workloadId, endpointId].map(
    escapeName,
  );
  return `${hostStatusPrefix}workload/${orchestrator}/${workload}/endpoint/${endpoint}`;
}

export function hostEndpointStatusPath(host: string, name: string): string {
  return `/calico/felix/v1/host/${escapeName(host)}/endpoint/${escapeName(name)}`;
}
