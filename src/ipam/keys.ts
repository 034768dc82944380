/** Where IPAM's records are in the datastore, and whose they are. Calico's layout, for both families. */
import { formatCidr, tryParseCidr, type Cidr, type IpFamily } from "#ip";
import { inputError } from "#std";

export const IPAM_PREFIX = "/calico/ipam/v2/";
export const CONFIG_PATH = `${IPAM_PREFIX}config`;
const HANDLES = `${IPAM_PREFIX}handle/`;
const BLOCKS = `${IPAM_PREFIX}assignment/`;

/** Who may take addresses from a block first: a host, or a pseudo-host such as the load balancer. */
export interface Owner {
  readonly type: "host" | "virtual";
  readonly name: string;
}

/** Addresses of services come from blocks of this pseudo-host. */
export const LOAD_BALANCER: Owner = { type: "virtual", name: "load-balancer" };

export function hostOwner(name: string): Owner {
  return { type: "host", name };
}

/** As a block's `affinity` has it: `host:node-1`. */
export function ownerText({ type, name }: Owner): string {
  return `${type}:${name}`;
}

export function parseOwner(text: string): Owner | undefined {
  const colon = text.indexOf(":");
  const type = text.slice(0, colon);
  const name = text.slice(colon + 1);
  return (type === "host" || type === "virtual") && name !== "" ? { type, name } : undefined;
}

export function blockPrefix(family: IpFamily): string {
  return `${BLOCKS}ipv${family}/block/`;
}

export function blockPath(cidr: Cidr): string {
  return blockPrefix(cidr.family) + cidrSegment(cidr);
}

/** Of one owner and family. */
export function affinityPrefix({ type, name }: Owner, family: IpFamily): string {
  if (name === "" || name.includes("/")) {
    throw inputError("bad-name", `${JSON.stringify(name)} cannot be the name of a host`);
  }
  return `${IPAM_PREFIX}${type}/${name}/ipv${family}/block/`;
}

export function affinityPath(owner: Owner, cidr: Cidr): string {
  return affinityPrefix(owner, cidr.family) + cidrSegment(cidr);
}

/** Throws `bad-handle-id`: Calico lists no handle with a slash in its name. */
export function handlePath(id: string): string {
  if (id === "" || id.includes("/")) {
    throw inputError("bad-handle-id", `${JSON.stringify(id)} cannot be a handle: empty or with /`);
  }
  return HANDLES + id;
}

export function hostPath(name: string): string {
  return `${IPAM_PREFIX}host/${name}`;
}

export type IpamPath =
  | { readonly kind: "block"; readonly cidr: Cidr }
  | { readonly kind: "affinity"; readonly owner: Owner; readonly cidr: Cidr }
  | { readonly kind: "handle"; readonly id: string }
  | { readonly kind: "config" };

/** Undefined for what is none of IPAM's. */
export function parseIpamPath(path: string): IpamPath | undefined {
  if (path === CONFIG_PATH) return { kind: "config" };
  if (path.startsWith(HANDLES)) {
    const id = path.slice(HANDLES.length);
    return id === "" || id.includes("/") ? undefined : { kind: "handle", id };
  }
  const match =
    /^\/calico\/ipam\/v2\/(?:assignment|(host|virtual)\/([^/]+))\/ipv[46]\/block\/([^/]+)$/.exec(
      path,
    );
  const cidr = tryParseCidr((match?.[3] ?? "").replace("-", "/"));
  if (match === null || cidr === undefined) return undefined;
  const [, type, name] = match;
  if (type === undefined || name === undefined) return { kind: "block", cidr };
  return { kind: "affinity", owner: { type: type === "host" ? "host" : "virtual", name }, cidr };
}

function cidrSegment(cidr: Cidr): string {
  return formatCidr(cidr).replace("/", "-");
}
