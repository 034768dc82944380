/** Model keys as text, for maps. Equal keys give equal text, others differ. */
import { unreachable } from "#std";
import type { ModelKey } from "./types.ts";

/** The separator cannot stand in any name. */
const SEPARATOR = "\u0000";

export function modelKeyText(key: ModelKey): string {
  switch (key.kind) {
    case "WorkloadEndpoint":
      return joined(key.kind, key.hostname, key.orchestratorId, key.workloadId, key.endpointId);
    case "HostEndpoint":
      return joined(key.kind, key.hostname, key.endpointId);
    case "Policy":
      return joined(key.kind, key.policyKind, key.namespace, key.name);
    case "IPPool":
    case "IPAMBlock":
      return joined(key.kind, key.cidr);
    case "ClusterInformation":
    case "BGPConfiguration":
      return key.kind;
    case "KubernetesService":
    case "EndpointSlice":
    case "LiveMigration":
      return joined(key.kind, key.namespace, key.name);
    case "ProfileRules":
    case "ProfileLabels":
    case "Tier":
    case "NetworkSet":
    case "Node":
    case "FelixConfiguration":
      return joined(key.kind, key.name);
    default:
      return unreachable(key);
  }
}

/** The kind, then what `modelKeyText` was made from. */
export function modelKeyParts(text: string): readonly string[] {
  return text.split(SEPARATOR);
}

/** There is one for each of hundreds of thousands of endpoints, so without a list on the way. */
function joined(kind: string, a: string, b?: string, c?: string, d?: string): string {
  let text = `${kind}${SEPARATOR}${a}`;
  if (b !== undefined) text += SEPARATOR + b;
  if (c !== undefined) text += SEPARATOR + c;
  if (d !== undefined) text += SEPARATOR + d;
  return text;
}
