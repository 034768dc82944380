/** IPAM's records over the datastore port: typed, each with the revision that its next write compares. */
import type { Datastore, KeyValue, Revision } from "#datastore";
import type { Cidr, IpFamily } from "#ip";
import {
  decodeStored,
  kindPrefix,
  resourcePath,
  type IPReservation,
  type Kind,
  type ResourceOf,
} from "#resource";
import { inputError, MargayError } from "#std";
import type { Block } from "./block.ts";
import { decodeBlock, encodeBlock } from "./block-codec.ts";
import {
  affinityPath,
  affinityPrefix,
  blockPath,
  blockPrefix,
  CONFIG_PATH,
  handlePath,
  parseIpamPath,
  type Owner,
} from "./keys.ts";
import { poolOf, reservedCidrs, type Pool } from "./pools.ts";
import {
  configOfResource,
  decodeAffinity,
  decodeConfig,
  decodeHandle,
  DEFAULT_CONFIG,
  encodeAffinity,
  encodeConfig,
  encodeHandle,
  type AffinityState,
  type Handle,
  type IpamConfig,
} from "./records.ts";

export interface Stored<T> {
  readonly value: T;
  readonly revision: Revision;
}

export interface AffinityRecord extends Stored<AffinityState> {
  readonly cidr: Cidr;
}

export interface Settings {
  readonly pools: readonly Pool[];
  readonly reservations: readonly Cidr[];
  readonly config: IpamConfig;
}

/** Of pools, reservations and IPAMConfiguration, and of nothing else. */
const SETTINGS_PREFIX = "/calico/resources/v3/projectcalico.org/ip";

/** A key that must not exist yet. */
const ABSENT: Revision = 0;

export class Records {
  readonly store: Datastore;

  constructor(store: Datastore) {
    this.store = store;
  }

  /** Throws `bad-block` for a damaged one. */
  async block(cidr: Cidr): Promise<Stored<Block> | undefined> {
    const { kv } = await this.store.get(blockPath(cidr));
    return kv === null ? undefined : stored(kv, decodeBlock(kv.value, cidr));
  }

  /** Readable ones; what is damaged gives no address, and `check` names it. */
  async blocks(family: IpFamily): Promise<readonly Stored<Block>[]> {
    const { kvs } = await this.store.list(blockPrefix(family));
    return readable(kvs, (kv) => {
      const path = parseIpamPath(kv.key);
      return path?.kind === "block" ? stored(kv, decodeBlock(kv.value, path.cidr)) : undefined;
    });
  }

  async createBlock(block: Block): Promise<Revision> {
    return await this.updateBlock(block, ABSENT);
  }

  async updateBlock(block: Block, revision: Revision): Promise<Revision> {
    const key = blockPath(block.cidr);
    return await this.store.put(key, encodeBlock(block), { ifModRevision: revision });
  }

  async deleteBlock(cidr: Cidr, revision: Revision): Promise<void> {
    await this.store.delete(blockPath(cidr), { ifModRevision: revision });
  }

  async affinity(owner: Owner, cidr: Cidr): Promise<Stored<AffinityState> | undefined> {
    const { kv } = await this.store.get(affinityPath(owner, cidr));
    return kv === null ? undefined : stored(kv, decodeAffinity(kv.value));
  }

  async affinities(owner: Owner, family: IpFamily): Promise<readonly AffinityRecord[]> {
    const { kvs } = await this.store.list(affinityPrefix(owner, family));
    return readable(kvs, (kv) => {
      const path = parseIpamPath(kv.key);
      if (path?.kind !== "affinity") return undefined;
      return { ...stored(kv, decodeAffinity(kv.value)), cidr: path.cidr };
    });
  }

  /** `before` is what was read; undefined when there was none. */
  async putAffinity(
    owner: Owner,
    cidr: Cidr,
    state: AffinityState,
    before: Revision | undefined,
  ): Promise<Revision> {
    return await this.store.put(affinityPath(owner, cidr), encodeAffinity(state), {
      ifModRevision: before ?? ABSENT,
    });
  }

  async deleteAffinity(owner: Owner, cidr: Cidr, revision: Revision): Promise<void> {
    await this.store.delete(affinityPath(owner, cidr), { ifModRevision: revision });
  }

  async handle(id: string): Promise<Stored<Handle> | undefined> {
    const { kv } = await this.store.get(handlePath(id));
    return kv === null ? undefined : stored(kv, decodeHandle(kv.value));
  }

  /** A handle without blocks is deleted. */
  async putHandle(id: string, handle: Handle, before: Revision | undefined): Promise<void> {
    const options = { ifModRevision: before ?? ABSENT };
    if (handle.size > 0) await this.store.put(handlePath(id), encodeHandle(handle), options);
    else if (before !== undefined) await this.store.delete(handlePath(id), options);
  }

  /**
   * IPAM's own record, which Calico's tool writes too; else the resource IPAMConfiguration
   * `default`; else the defaults.
   */
  async config(): Promise<Stored<IpamConfig>> {
    const [own, resource] = await Promise.all([
      this.store.get(CONFIG_PATH),
      this.resource("IPAMConfiguration", "default"),
    ]);
    if (own.kv !== null) return stored(own.kv, decodeConfig(own.kv.value));
    const value = resource === undefined ? DEFAULT_CONFIG : configOfResource(resource.spec);
    return { value, revision: ABSENT };
  }

  async putConfig(config: IpamConfig, before: Revision): Promise<void> {
    await this.store.put(CONFIG_PATH, encodeConfig(config), { ifModRevision: before });
  }

  /**
   * What decides about every request. Two reads: the names of the three kinds begin alike. Readable
   * objects only: a pool with a selector that does not parse gives no address.
   */
  async settings(): Promise<Settings> {
    const [{ kvs }, own] = await Promise.all([
      this.store.list(SETTINGS_PREFIX),
      this.store.get(CONFIG_PATH),
    ]);
    const pools: Pool[] = [];
    const reservations: IPReservation[] = [];
    let config = DEFAULT_CONFIG;
    for (const resource of readable(kvs, (kv) => decodeStored(kv.value))) {
      if (resource.kind === "IPPool") pools.push(...readable([resource], poolOf));
      else if (resource.kind === "IPReservation") reservations.push(resource);
      else if (resource.kind === "IPAMConfiguration") config = configOfResource(resource.spec);
    }
    if (own.kv !== null) config = decodeConfig(own.kv.value);
    return { pools, reservations: reservedCidrs(reservations), config };
  }

  async pools(): Promise<readonly Pool[]> {
    return readable(await this.#resources("IPPool"), poolOf);
  }

  async resource<K extends Kind>(kind: K, name: string): Promise<ResourceOf<K> | undefined> {
    const { kv } = await this.store.get(resourcePath(kind, name));
    return kv === null ? undefined : (decodeStored(kv.value) as ResourceOf<K>);
  }

  /** Throws `no-node`. */
  async nodeLabels(name: string): Promise<Readonly<Record<string, string>>> {
    const node = await this.resource("Node", name);
    if (node !== undefined) return node.metadata.labels ?? {};
    throw inputError("no-node", `the node ${name} does not exist, so no pool can select it`);
  }

  async #resources<K extends Kind>(kind: K): Promise<readonly ResourceOf<K>[]> {
    const { kvs } = await this.store.list(kindPrefix(kind));
    return readable(kvs, (kv) => decodeStored(kv.value) as ResourceOf<K>);
  }
}

function stored<T>(kv: KeyValue, value: T): Stored<T> {
  return { value, revision: kv.modRevision };
}

/** Drops what throws an input error, or is undefined. */
function readable<T, R>(items: readonly T[], read: (item: T) => R | undefined): readonly R[] {
  return items.flatMap((item) => {
    try {
      const value = read(item);
      return value === undefined ? [] : [value];
    } catch (error) {
      if (error instanceof MargayError && error.kind === "input") return [];
      throw error;
    }
  });
}
