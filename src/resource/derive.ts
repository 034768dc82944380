/** Labels and annotations that Calico keeps on what it stores, added on writing, hidden on reading. */
import { kindInfo } from "./registry.ts";
import type { Metadata, Resource } from "./types.ts";

export const TIER_LABEL = "projectcalico.org/tier";
const NAMESPACE_LABEL = "projectcalico.org/namespace";
const ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator";
const SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount";
/** Holds the name as the user gave it; other datastores store the policy under another one. */
const METADATA_ANNOTATION = "projectcalico.org/metadata";

/** What a writer adds before storing; idempotent. */
export function withDerivedMetadata(resource: Resource): Resource {
  const { metadata } = resource;
  if (kindInfo(resource.kind)?.tiered === true) {
    const { tier } = resource.spec as { readonly tier: string };
    return with_(resource, {
      ...metadata,
      labels: { ...metadata.labels, [TIER_LABEL]: tier },
      annotations: {
        ...metadata.annotations,
        [METADATA_ANNOTATION]: JSON.stringify({ name: metadata.name }),
      },
    });
  }
  if (resource.kind === "WorkloadEndpoint") {
    const { orchestrator = "", serviceAccountName = "" } = resource.spec;
    return with_(resource, {
      ...metadata,
      labels: {
        ...metadata.labels,
        [NAMESPACE_LABEL]: metadata.namespace ?? "",
        [ORCHESTRATOR_LABEL]: orchestrator,
        ...(serviceAccountName === "" ? {} : { [SERVICE_ACCOUNT_LABEL]: serviceAccountName }),
      },
    });
  }
  return resource;
}

/** What a reader is shown: without the stored name. */
export function withoutBookkeeping(resource: Resource): Resource {
  const { annotations } = resource.metadata;
  if (annotations?.[METADATA_ANNOTATION] === undefined) return resource;
  const { [METADATA_ANNOTATION]: _hidden, ...rest } = annotations;
  const { annotations: _all, ...metadata } = resource.metadata;
  return with_(
    resource,
    Object.keys(rest).length === 0 ? metadata : { ...metadata, annotations: rest },
  );
}

function with_(resource: Resource, metadata: Metadata): Resource {
  return { ...resource, metadata };
}
