/** Model keys as text, for maps. Equal keys give equal text, others differ. */
import { unreachable } from "#std";
import type { ModelKey } from "./types.ts";

/** The separator cannot stand in any name. */
const SEPARATOR = "\u0000";

export function modelKeyText(key: ModelKey): string {
  return [key.kind, ...partsOf(key)].join(SEPARATOR);
}

/** The kind, then what `modelKeyText` was made from. */
export function modelKeyParts(text: string): readonly string[] {
  return text.split(SEPARATOR);
}

function partsOf(key: ModelKey): readonly string[] {
  switch (key.kind) {
    case "WorkloadEndpoint":
      return [key.hostname, key.orchestratorId, key.workloadId, key.endpointId];
    case "HostEndpoint":
      return [key.hostname, key.endpointId];
    case "Policy":
      return [key.policyKind, key.namespace, key.name];
    case "IPPool":
    case "IPAMBlock":
      return [key.cidr];
    case "ClusterInformation":
    case "BGPConfiguration":
      return [];
    case "KubernetesService":
    case "EndpointSlice":
    case "LiveMigration":
      return [key.namespace, key.name];
    case "ProfileRules":
    case "ProfileLabels":
    case "Tier":
    case "NetworkSet":
    case "Node":
    case "FelixConfiguration":
      return [key.name];
    default:
      return unreachable(key);
  }
}
