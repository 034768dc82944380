/**
 * The objects that BGP is computed from, kept by path. An object that is not valid counts as absent;
 * `put` says so.
 */
import { formatCidr, tryParseCidr } from "#ip";
import {
  decodeStored,
  kindPrefix,
  parseResourcePath,
  type BgpConfiguration,
  type BgpFilter,
  type BgpPeer,
  type IPPool,
  type Kind,
  type Node,
  type Resource,
  type WorkloadEndpoint,
} from "#resource";
import { compareBytes, escapeName, inputError, messageOf } from "#std";
import { endpointSliceOf, serviceOf, type Service, type ServiceEndpoints } from "./services.ts";

const KUBERNETES = "/calico/resources/v3/projectcalico.org/";
const SERVICES = `${KUBERNETES}kubernetesservice/`;
const SLICES = `${KUBERNETES}kubernetesendpointslices/`;
const KINDS = [
  "Node",
  "BGPConfiguration",
  "BGPPeer",
  "BGPFilter",
  "IPPool",
  "WorkloadEndpoint",
] as const satisfies readonly Kind[];

const affinityPrefix = (node: string): string => `/calico/ipam/v2/host/${escapeName(node)}/`;

/** Prefixes of the datastore that a node's BGP depends on. */
export function bgpPrefixes(node: string): readonly string[] {
  return [...KINDS.map((kind) => kindPrefix(kind)), SERVICES, SLICES, affinityPrefix(node)];
}

export class BgpState {
  readonly node: string;
  readonly nodes = new Map<string, Node>();
  readonly configurations = new Map<string, BgpConfiguration>();
  readonly peers = new Map<string, BgpPeer>();
  readonly filters = new Map<string, BgpFilter>();
  readonly pools = new Map<string, IPPool>();
  /** Local ones only, by path. */
  readonly workloads = new Map<string, WorkloadEndpoint>();
  /** By `namespace/name`. */
  readonly services = new Map<string, Service>();
  /** By path. */
  readonly slices = new Map<string, ServiceEndpoints>();
  /** Confirmed blocks of this node, by path. */
  readonly blocks = new Map<string, string>();

  constructor(node: string) {
    this.node = node;
  }

  /**
   * Takes a stored value, or null when it was deleted. Throws an input error for a value that is not
   * valid; the object is then absent.
   */
  put(path: string, value: string | null): void {
    if (path.startsWith(affinityPrefix(this.node))) this.#putBlock(path, value);
    else if (path.startsWith(SERVICES)) {
      const id = path.slice(SERVICES.length);
      putParsed(this.services, id, value, (object) => serviceOf(id, object));
    } else if (path.startsWith(SLICES)) {
      putParsed(this.slices, path, value, (object) =>
        endpointSliceOf(path.slice(SLICES.length), object),
      );
    } else this.#putResource(path, value);
  }

  /** A resource as it would be after a write. */
  putResource(path: string, resource: Resource | null): void {
    const id = parseResourcePath(path);
    if (id === undefined) return;
    if (id.kind === "WorkloadEndpoint") {
      const isLocal = resource?.kind === "WorkloadEndpoint" && resource.spec.node === this.node;
      replace(this.workloads, path, isLocal ? resource : null);
      return;
    }
    const map = this.#mapOf(id.kind);
    if (map !== undefined) replace(map, id.name, resource);
  }

  #putResource(path: string, value: string | null): void {
    if (parseResourcePath(path) === undefined) return;
    try {
      this.putResource(path, value === null ? null : decodeStored(value));
    } catch (error) {
      this.putResource(path, null);
      throw error;
    }
  }

  #mapOf(kind: Kind): Map<string, Resource> | undefined {
    const maps: Partial<Record<Kind, Map<string, never>>> = {
      Node: this.nodes as Map<string, never>,
      BGPConfiguration: this.configurations as Map<string, never>,
      BGPPeer: this.peers as Map<string, never>,
      BGPFilter: this.filters as Map<string, never>,
      IPPool: this.pools as Map<string, never>,
    };
    return maps[kind];
  }

  /** `…/ipv4/block/10.65.0.0-26` → `{"state": "confirmed"}`; a block that is not yet ours is not told. */
  #putBlock(path: string, value: string | null): void {
    const match = /\/ipv[46]\/block\/([^/]+)-(\d+)$/.exec(path);
    const cidr = match === null ? undefined : tryParseCidr(`${match[1]}/${match[2]}`);
    if (cidr === undefined) return;
    putParsed(this.blocks, path, value, ({ state, deleted }) =>
      (state === undefined || state === "" || state === "confirmed") && deleted !== true
        ? formatCidr(cidr)
        : null,
    );
  }
}

/** By name, in byte order: what is computed from it never depends on the order of events. */
export function sorted<V>(map: ReadonlyMap<string, V>): [string, V][] {
  return [...map].toSorted(([a], [b]) => compareBytes(a, b));
}

function replace<V>(map: Map<string, V>, key: string, value: V | null): void {
  if (value === null) map.delete(key);
  else map.set(key, value);
}

function putParsed<V>(
  map: Map<string, V>,
  key: string,
  value: string | null,
  convert: (object: Readonly<Record<string, unknown>>) => V | null,
): void {
  map.delete(key);
  if (value === null) return;
  let object: unknown;
  try {
    object = JSON.parse(value);
  } catch (error) {
    throw inputError("invalid-resource", `the stored value is no JSON: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const isRecord = typeof object === "object" && object !== null && !Array.isArray(object);
  replace(map, key, isRecord ? convert(object as Readonly<Record<string, unknown>>) : null);
}
