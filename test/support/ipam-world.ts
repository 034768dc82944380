/** A store with nodes and pools, and IPAM over it with time and chance in the test's hand. */
import { MemoryDatastore, type Datastore } from "#datastore";
import { Ipam } from "#ipam";
import { encodeStored, resourcePath, validateResource, type Kind } from "#resource";
import { RandomSource } from "./random-source.ts";

const API = "projectcalico.org/v3";

const START_MS = Date.UTC(2026, 7, 22);

export class IpamWorld {
  readonly store: Datastore;
  nowMs = START_MS;
  readonly random: RandomSource;

  constructor(store: Datastore = new MemoryDatastore(), seed = 1) {
    this.store = store;
    this.random = new RandomSource(seed);
  }

  ipam(store: Datastore = this.store): Ipam {
    return new Ipam(store, {
      nowMs: () => this.nowMs,
      random: () => this.random.next(),
      sleep: async () => {
        await new Promise((resolve) => setImmediate(resolve));
      },
    });
  }

  async put(kind: Kind, name: string, spec: object, labels: object = {}): Promise<void> {
    const checked = validateResource({ apiVersion: API, kind, metadata: { name, labels }, spec });
    if (!checked.ok) throw new Error(JSON.stringify(checked.errors));
    await this.store.put(resourcePath(kind, name), encodeStored(checked.value));
  }

  async pool(name: string, cidr: string, spec: object = {}): Promise<void> {
    await this.put("IPPool", name, { cidr, ...spec });
  }

  async node(name: string, labels: object = {}): Promise<void> {
    await this.put("Node", name, {}, labels);
  }

  /** Of IPAM alone, by key. */
  async dump(): Promise<Record<string, string>> {
    const { kvs } = await this.store.list("/calico/ipam/v2/");
    return Object.fromEntries(kvs.map(({ key, value }) => [key, value]));
  }
}
