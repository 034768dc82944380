/**
 * Objects of the datastore → model updates. An object's key in the model may depend on its content
 * (a host endpoint's node, a pool's block), so the converter remembers what each path gave: what a
 * path no longer gives is deleted. When two paths claim one key, the path first in byte order has it.
 */
import {
  decodeStored,
  parseResourcePath,
  type Kind,
  type Resource,
  type ResourceId,
  type ResourceOf,
} from "#resource";
import { compareBytes, inputError } from "#std";
import {
  modelBgpConfig,
  modelClusterInformation,
  modelFelixConfig,
  modelIpamBlock,
  modelIpPool,
  modelNode,
} from "./cluster.ts";
import {
  modelHostEndpoint,
  modelNetworkSet,
  modelWorkloadEndpoint,
  workloadEndpointKey,
} from "./endpoints.ts";
import { foreignUpdate } from "./foreign.ts";
import { modelKeyText } from "./keys.ts";
import { modelStagedKubernetesPolicy } from "./kubernetes-policy.ts";
import { foreignPath, ipamBlockCidr } from "./paths.ts";
import { modelPolicy, profileUpdates, tierUpdate } from "./policies.ts";
import { substituteFor } from "./substitutes.ts";
import type { ModelUpdate } from "./types.ts";

export class ModelConverter {
  /** Path → what it gives, by key text; paths that give nothing are absent. */
  readonly #given = new Map<string, Map<string, ModelUpdate>>();
  /** Key text → the paths that claim it, in byte order. */
  readonly #claims = new Map<string, string[]>();

  /** Paths that give something. */
  paths(): MapIterator<string> {
    return this.#given.keys();
  }

  /**
   * What follows from a path's value; `null` is a deletion. Throws an input error for a value that
   * cannot be used; call `convertInvalid` then.
   */
  convert(path: string, value: string | null): readonly ModelUpdate[] {
    return this.#tell(path, value === null ? [] : presentUpdates(path, value));
  }

  /** What follows from a value that `convert` refused: from its substitute, or its absence. */
  convertInvalid(path: string, value: string | null, reason: string): readonly ModelUpdate[] {
    return this.#tell(path, value === null ? [] : substitutedUpdates(path, value, reason));
  }

  #tell(path: string, updates: readonly ModelUpdate[]): readonly ModelUpdate[] {
    const next = new Map<string, ModelUpdate>();
    for (const update of updates) {
      if (update.value !== null) next.set(modelKeyText(update.key), update);
    }
    const before = this.#given.get(path);
    if (next.size > 0) this.#given.set(path, next);
    else this.#given.delete(path);
    const result: ModelUpdate[] = [];
    for (const [text, update] of before ?? []) {
      if (!next.has(text)) result.push(...this.#release(path, text, update));
    }
    for (const [text, update] of next) result.push(...this.#claim(path, text, update));
    return result;
  }

  #claim(path: string, text: string, update: ModelUpdate): readonly ModelUpdate[] {
    const claims = this.#claims.get(text);
    if (claims === undefined) {
      this.#claims.set(text, [path]);
      return [update];
    }
    if (!claims.includes(path)) claims.push(path);
    claims.sort(compareBytes);
    return claims[0] === path ? [update] : [];
  }

  #release(path: string, text: string, update: ModelUpdate): readonly ModelUpdate[] {
    const claims = this.#claims.get(text) ?? [];
    const wasFirst = claims[0] === path;
    const left = claims.filter((one) => one !== path);
    if (left.length > 0) this.#claims.set(text, left);
    else this.#claims.delete(text);
    if (!wasFirst) return [];
    const heir = left[0] === undefined ? undefined : this.#given.get(left[0])?.get(text);
    return [heir ?? ({ key: update.key, value: null } as ModelUpdate)];
  }
}

/** Whether a path can give anything at all; the value of another need not be read. */
export function isModelPath(path: string): boolean {
  const id = parseResourcePath(path);
  if (id !== undefined) return id.kind in CONVERTERS;
  return ipamBlockCidr(path) !== undefined || foreignPath(path) !== undefined;
}

function presentUpdates(path: string, value: string): readonly ModelUpdate[] {
  const cidr = ipamBlockCidr(path);
  if (cidr !== undefined) {
    return [{ key: { kind: "IPAMBlock", cidr }, value: modelIpamBlock(value, cidr) }];
  }
  const foreign = foreignPath(path);
  if (foreign !== undefined) return [foreignUpdate(foreign, value)];
  const id = parseResourcePath(path);
  if (id === undefined) return [];
  const resource = decodeStored(value);
  const { name, namespace } = resource.metadata;
  if (resource.kind !== id.kind || name !== id.name || namespace !== id.namespace) {
    throw inputError("misplaced-resource", "kind, namespace and name are not those of the key", {
      fields: { path, kind: resource.kind, name, namespace },
    });
  }
  return resourceUpdates(id, resource);
}

const LONGEST_REASON = 300;

function substitutedUpdates(path: string, value: string, reason: string): readonly ModelUpdate[] {
  const id = parseResourcePath(path);
  const substitute = id && substituteFor(id, value);
  if (id === undefined || substitute === undefined) return [];
  try {
    const updates = resourceUpdates(id, substitute.resource);
    if (!substitute.rulesUnknown) return updates;
    const broken = `the policy is not valid: ${reason.slice(0, LONGEST_REASON)}`;
    return updates.map((update) =>
      update.key.kind === "Policy" && update.value !== null
        ? ({
            ...update,
            value: { ...update.value, inboundRules: [], outboundRules: [], broken },
          } as ModelUpdate)
        : update,
    );
  } catch {
    return []; // What is valid in itself may still not be to the graph.
  }
}

type Convert<R> = (name: string, resource: R, namespace: string) => readonly ModelUpdate[];
/** One entry per kind that the graph is computed from. */
type Converters = { readonly [K in Kind]?: Convert<ResourceOf<K>> };

const policy: Convert<Parameters<typeof modelPolicy>[0]> = (name, resource, namespace) => [
  {
    key: { kind: "Policy", policyKind: resource.kind, namespace, name },
    value: modelPolicy(resource),
  },
];
const networkSet: Convert<Parameters<typeof modelNetworkSet>[0]> = (name, resource, namespace) => [
  {
    key: { kind: "NetworkSet", name: namespace === "" ? name : `${namespace}/${name}` },
    value: modelNetworkSet(resource),
  },
];

const CONVERTERS: Converters = {
  NetworkPolicy: policy,
  GlobalNetworkPolicy: policy,
  StagedNetworkPolicy: policy,
  StagedGlobalNetworkPolicy: policy,
  StagedKubernetesNetworkPolicy: (name, resource, namespace) => [
    {
      key: { kind: "Policy", policyKind: resource.kind, namespace, name },
      value: modelStagedKubernetesPolicy(resource),
    },
  ],
  NetworkSet: networkSet,
  GlobalNetworkSet: networkSet,
  Profile: profileUpdates,
  Tier: (name, resource) => [tierUpdate(name, resource)],
  WorkloadEndpoint: (name, resource, namespace) => {
    const key = workloadEndpointKey(namespace, name);
    return key === undefined ? [] : [{ key, value: modelWorkloadEndpoint(resource) }];
  },
  HostEndpoint: (name, resource) => [
    {
      key: { kind: "HostEndpoint", hostname: resource.spec.node ?? "", endpointId: name },
      value: modelHostEndpoint(resource),
    },
  ],
  Node: (name, resource) => [{ key: { kind: "Node", name }, value: modelNode(resource) }],
  IPPool: (_name, resource) => {
    const pool = modelIpPool(resource);
    return [{ key: { kind: "IPPool", cidr: pool.cidr }, value: pool }];
  },
  FelixConfiguration: (name, resource) => [
    { key: { kind: "FelixConfiguration", name }, value: modelFelixConfig(resource) },
  ],
  BGPConfiguration: (name, resource) =>
    name === "default"
      ? [{ key: { kind: "BGPConfiguration" }, value: modelBgpConfig(resource) }]
      : [],
  ClusterInformation: (name, resource) =>
    name === "default"
      ? [{ key: { kind: "ClusterInformation" }, value: modelClusterInformation(resource) }]
      : [],
};

/** Updates of one resource. Values are `null` where the resource has no effect. */
export function resourceUpdates(id: ResourceId, resource: Resource): readonly ModelUpdate[] {
  const convert = CONVERTERS[resource.kind] as Convert<Resource> | undefined;
  return convert?.(id.name, resource, id.namespace ?? "") ?? [];
}
