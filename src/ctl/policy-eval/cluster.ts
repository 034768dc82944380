/**
 * A cluster as its datastore or its manifests describe it: the objects for looking up ends, and for
 * each node the state that its agent would have. The way is the agent's own: stored text → model →
 * calculation graph → messages.
 */
import { CalcGraph } from "#calc";
import type { Datastore } from "#datastore";
import { DatastoreSources, graphSettings, resolveConfig, type FelixValues } from "#felix";
import { isModelPath, ModelConverter, SYNC_PREFIXES, type ModelUpdate } from "#model";
import {
  decodeStored,
  DEFAULT_TIERS,
  encodeStored,
  parseResourcePath,
  resourcePath,
  withDerivedMetadata,
  type Resource,
} from "#resource";
import { messageOf } from "#std";
import { HostState } from "./host-state.ts";

export interface StoredText {
  readonly key: string;
  readonly value: string;
}

/** Everything that agents read, at one moment per prefix. */
export async function storedTexts(store: Datastore): Promise<StoredText[]> {
  const lists = await Promise.all(SYNC_PREFIXES.map((prefix) => store.list(prefix)));
  return lists.flatMap(({ kvs }) => kvs.map(({ key, value }) => ({ key, value })));
}

/** As they would be stored, with the tiers that every datastore has. Later ones replace earlier. */
export function textsOfManifests(resources: readonly Resource[]): StoredText[] {
  const texts = new Map<string, string>();
  for (const resource of [...builtInTiers(), ...resources]) {
    const { kind, metadata } = resource;
    const path = resourcePath(kind, metadata.name, metadata.namespace);
    texts.set(path, encodeStored(withDerivedMetadata(resource)));
  }
  return [...texts].map(([key, value]) => ({ key, value }));
}

function builtInTiers(): Resource[] {
  return DEFAULT_TIERS.map(({ name, ...spec }) => ({
    apiVersion: "projectcalico.org/v3",
    kind: "Tier",
    metadata: { name },
    spec,
  }));
}

export class Cluster {
  readonly resources: readonly Resource[];
  /** Objects that agents pass over, and why. */
  readonly unusable: readonly string[];
  readonly #updates: readonly ModelUpdate[];
  readonly #configs = new Map<string, FelixValues>();
  readonly #hosts = new Map<string, HostState>();

  constructor(texts: readonly StoredText[]) {
    const converter = new ModelConverter();
    const updates: ModelUpdate[] = [];
    const resources: Resource[] = [];
    const unusable: string[] = [];
    for (const { key, value } of texts) {
      if (!isModelPath(key)) continue;
      try {
        if (parseResourcePath(key) !== undefined) resources.push(decodeStored(value));
        updates.push(...converter.convert(key, value));
      } catch (error) {
        const message = messageOf(error);
        unusable.push(`${key}: ${message}`);
        updates.push(...converter.convertInvalid(key, value, message));
      }
    }
    this.resources = resources;
    this.unusable = unusable;
    this.#updates = updates;
  }

  /**
   * What the agent of this node makes of the configuration in the datastore. What the node's own
   * file and environment say is not known here. Throws `invalid-config` where it would not start.
   */
  config(node: string): FelixValues {
    const known = this.#configs.get(node);
    if (known !== undefined) return known;
    const datastore = new DatastoreSources(node);
    for (const update of this.#updates) datastore.onUpdate(update);
    const { values } = resolveConfig(datastore.sources(), node);
    this.#configs.set(node, values);
    return values;
  }

  /** What the agent of this node has in force. */
  host(node: string): HostState {
    const known = this.#hosts.get(node);
    if (known !== undefined) return known;
    const graph = new CalcGraph({ hostname: node, ...graphSettings(this.config(node)) });
    graph.onStatus("resync");
    graph.onUpdates(this.#updates);
    graph.onStatus("in-sync");
    const state = new HostState([...graph.flush()]);
    this.#hosts.set(node, state);
    return state;
  }
}
