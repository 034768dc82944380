/**
 * The validation filter: the text under a datastore path → model updates, or why it counts as
 * absent. What is not valid is never half understood.
 */
import {
  IPAM_BLOCKS_PREFIX,
  ipamBlockUpdate,
  modelUpdates,
  parsePath,
  RESOURCES_PREFIX,
  type ModelUpdate,
} from "#model";
import { formatFieldError, validateResource, type Resource } from "#resource";
import { messageOf } from "#std";

/** What the graph is fed from; one list and watch each. */
export const WATCHED_PREFIXES: readonly string[] = [RESOURCES_PREFIX, IPAM_BLOCKS_PREFIX];

export type Decoded =
  | { readonly ok: true; readonly updates: readonly ModelUpdate[] }
  | { readonly ok: false; readonly problem: string };

const NOTHING: Decoded = { ok: true, updates: [] };

export function decode(path: string, text: string): Decoded {
  const place = parsePath(path);
  if (place === undefined) return NOTHING;
  try {
    const value: unknown = JSON.parse(text);
    switch (place.kind) {
      case "resource":
        return decodeResource(place, value);
      case "ipam-block":
        return { ok: true, updates: [ipamBlockUpdate(place.cidr, value)] };
      default:
        return NOTHING;
    }
  } catch (error) {
    return { ok: false, problem: messageOf(error) };
  }
}

function decodeResource(
  place: { readonly namespace: string; readonly name: string },
  value: unknown,
): Decoded {
  const checked = validateResource(value);
  if (!checked.ok) {
    return { ok: false, problem: checked.errors.map(formatFieldError).join("; ") };
  }
  const { name, namespace = "" } = checked.value.metadata;
  if (name !== place.name || namespace !== place.namespace) {
    return { ok: false, problem: `metadata names ${namespace}/${name}, which is not its path` };
  }
  const reason = unusable(checked.value);
  if (reason !== undefined) return { ok: false, problem: reason };
  return { ok: true, updates: modelUpdates(checked.value) };
}

/** Felix's extra check: an endpoint without an interface cannot be policed. */
function unusable(resource: Resource): string | undefined {
  if (resource.kind !== "WorkloadEndpoint" || (resource.spec.interfaceName ?? "") !== "") {
    return undefined;
  }
  return "spec.interfaceName: is missing; a workload endpoint needs its host-side interface";
}
