/**
 * Which policies and profiles deny because they cannot be enforced as written: asked of the code by
 * which agents find it out, on the datastore's objects.
 */
import { decidesByService, unsupportedFields, type ModelRuleLists } from "#calc";
import type { Datastore } from "#datastore";
import { ENDPOINT_SLICES_PREFIX, ModelConverter, resourceUpdates } from "#model";
import type { Kind, Resource } from "#resource";
import { messageOf } from "#std";

/** By object; those that are enforced are not in it. Staged policies enforce nothing. */
export async function problemsOf(
  store: Datastore,
  resources: readonly Resource[],
): Promise<ReadonlyMap<Resource, string>> {
  const problems = new Map<Resource, string>();
  const rules: (readonly [Resource, ModelRuleLists])[] = [];
  for (const resource of resources) {
    try {
      for (const lists of ruleListsOf(resource)) rules.push([resource, lists]);
    } catch (error) {
      problems.set(resource, `denies: ${messageOf(error)}`);
    }
  }
  const knowsServices =
    rules.some(([, lists]) => decidesByService(lists)) && (await hasEndpointSlices(store));
  for (const [resource, lists] of rules) {
    const fields = unsupportedFields(lists, knowsServices);
    if (fields.length > 0)
      problems.set(resource, `denies: cannot be enforced: ${fields.join(", ")}`);
  }
  return problems;
}

/** What agents do about an object of the kind that is not valid, for the end of its message. */
export function effectOfInvalid(kind: Kind): string {
  switch (kind) {
    case "NetworkPolicy":
    case "GlobalNetworkPolicy":
      return "; until it is mended it denies where it applies";
    case "NetworkSet":
    case "GlobalNetworkSet":
      return "; until it is mended its valid members count";
    case "Profile":
      return "; until it is mended it denies";
    default:
      return "; until it is mended it counts as absent";
  }
}

function ruleListsOf(resource: Resource): readonly ModelRuleLists[] {
  const { kind, metadata } = resource;
  if (!["NetworkPolicy", "GlobalNetworkPolicy", "Profile"].includes(kind)) return [];
  const { name, namespace } = metadata;
  const id = namespace === undefined ? { kind, name } : { kind, name, namespace };
  return resourceUpdates(id, resource).flatMap(({ key, value }) =>
    value !== null && (key.kind === "Policy" || key.kind === "ProfileRules")
      ? [value as ModelRuleLists]
      : [],
  );
}

async function hasEndpointSlices(store: Datastore): Promise<boolean> {
  const { kvs } = await store.list(ENDPOINT_SLICES_PREFIX);
  const converter = new ModelConverter();
  return kvs.some(({ key, value }) => {
    try {
      return converter.convert(key, value).some((update) => update.value !== null);
    } catch {
      return false; // As agents pass over it.
    }
  });
}
