/** All that IPAM is judged by, at one revision: no change in between can look like a fault. */
import type { Datastore, KeyValue, Revision } from "#datastore";
import type { Cidr } from "#ip";
import {
  decodeStored,
  parseResourcePath,
  type ClusterInformation,
  type IPReservation,
  type Node,
  type Resource,
  type WorkloadEndpoint,
} from "#resource";
import { MargayError, messageOf } from "#std";
import type { Block } from "./block.ts";
import { decodeBlock } from "./block-codec.ts";
import { parseIpamPath, type Owner } from "./keys.ts";
import { poolOf, reservedCidrs, type Pool } from "./pools.ts";
import {
  configOfResource,
  decodeAffinity,
  decodeConfig,
  decodeHandle,
  DEFAULT_CONFIG,
  type AffinityState,
  type Handle,
  type IpamConfig,
} from "./records.ts";

export interface Snapshot {
  readonly revision: Revision;
  readonly blocks: readonly Block[];
  readonly affinities: readonly {
    readonly owner: Owner;
    readonly cidr: Cidr;
    readonly state: AffinityState;
  }[];
  readonly handles: ReadonlyMap<string, { readonly value: Handle; readonly revision: Revision }>;
  /** In order of name. */
  readonly pools: readonly Pool[];
  readonly reservations: readonly Cidr[];
  readonly nodes: readonly Node[];
  readonly endpoints: readonly WorkloadEndpoint[];
  readonly cluster: ClusterInformation | undefined;
  readonly config: IpamConfig;
  /** Records that cannot be read. */
  readonly damaged: readonly { readonly key: string; readonly message: string }[];
}

const ROOT = "/calico/";
const KINDS: ReadonlySet<string> = new Set([
  "IPPool",
  "IPReservation",
  "IPAMConfiguration",
  "Node",
  "WorkloadEndpoint",
  "ClusterInformation",
]);

/** O(everything stored): for commands, not for assigning. */
export async function readSnapshot(store: Datastore): Promise<Snapshot> {
  const { kvs, revision } = await store.list(ROOT);
  const builder = new Builder();
  for (const kv of kvs) builder.add(kv);
  return builder.finish(revision);
}

class Builder {
  readonly #blocks: Block[] = [];
  readonly #affinities: Snapshot["affinities"][number][] = [];
  readonly #handles = new Map<string, { value: Handle; revision: Revision }>();
  readonly #pools: Pool[] = [];
  readonly #reservations: IPReservation[] = [];
  readonly #nodes: Node[] = [];
  readonly #endpoints: WorkloadEndpoint[] = [];
  readonly #damaged: { key: string; message: string }[] = [];
  #cluster: ClusterInformation | undefined;
  #config: IpamConfig | undefined;
  #configResource: IpamConfig | undefined;

  add(kv: KeyValue): void {
    try {
      const kind = parseResourcePath(kv.key)?.kind;
      if (kind === undefined) this.#addRecord(kv);
      else if (KINDS.has(kind)) this.#addResource(decodeStored(kv.value), kv.modRevision);
    } catch (error) {
      if (!(error instanceof MargayError) || error.kind !== "input") throw error;
      this.#damaged.push({ key: kv.key, message: messageOf(error) });
    }
  }

  finish(revision: Revision): Snapshot {
    return {
      revision,
      blocks: this.#blocks,
      affinities: this.#affinities,
      handles: this.#handles,
      pools: this.#pools.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      reservations: reservedCidrs(this.#reservations),
      nodes: this.#nodes,
      endpoints: this.#endpoints,
      cluster: this.#cluster,
      config: this.#config ?? this.#configResource ?? DEFAULT_CONFIG,
      damaged: this.#damaged,
    };
  }

  #addRecord({ key, value, modRevision: revision }: KeyValue): void {
    const path = parseIpamPath(key);
    switch (path?.kind) {
      case "block":
        this.#blocks.push(decodeBlock(value, path.cidr));
        break;
      case "affinity":
        this.#affinities.push({ ...path, state: decodeAffinity(value) });
        break;
      case "handle":
        this.#handles.set(path.id, { value: decodeHandle(value), revision });
        break;
      case "config":
        this.#config = decodeConfig(value);
        break;
      case undefined:
        break;
    }
  }

  #addResource(resource: Resource, revision: Revision): void {
    switch (resource.kind) {
      case "IPPool":
        this.#pools.push(poolOf(resource));
        break;
      case "IPReservation":
        this.#reservations.push(resource);
        break;
      case "Node":
        this.#nodes.push(resource);
        break;
      case "WorkloadEndpoint":
        this.#endpoints.push(resource);
        break;
      case "ClusterInformation": {
        const metadata = { ...resource.metadata, resourceVersion: String(revision) };
        this.#cluster = { ...resource, metadata };
        break;
      }
      case "IPAMConfiguration":
        this.#configResource = configOfResource(resource.spec);
        break;
      default:
        break;
    }
  }
}
