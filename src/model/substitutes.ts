/**
 * What stands in for a stored object that is not valid, where to count it as absent would allow what it
 * was written to deny:
 *
 *     policy        as written, if its metadata alone is at fault; otherwise it denies where it applies,
 *                   if that can be read
 *     network set   the members that are valid, if its labels are
 *
 * All else counts as absent.
 */
import { tryParseCidrOrIp } from "#ip";
import { validateResource, type Resource, type ResourceId } from "#resource";
import { listOf, recordOf, type Raw } from "./raw.ts";

export interface Substitute {
  readonly resource: Resource;
  /** Its rules are not those that were written, but none. */
  readonly rulesUnknown: boolean;
}

/** Whom a policy selects. Without these it would apply to others than it was meant for. */
const WHERE = ["selector", "namespaceSelector", "serviceAccountSelector"] as const;
/** What may be left out, in this order, until the rest is valid. */
const WHEN = [["order", "doNotTrack", "preDNAT", "applyOnForward"], ["types"], ["tier"]] as const;

export function substituteFor(id: ResourceId, text: string): Substitute | undefined {
  const value = objectOf(id.kind, text);
  if (value === undefined) return undefined;
  switch (id.kind) {
    case "NetworkPolicy":
    case "GlobalNetworkPolicy":
      return policyFor(id, value.spec);
    case "NetworkSet":
    case "GlobalNetworkSet":
      return networkSetFor(id, value);
    default:
      return undefined;
  }
}

/** Nothing of a value of another kind, nor of one without a spec: who knows whom it would select. */
function objectOf(kind: string, text: string): { labels: unknown; spec: Raw } | undefined {
  try {
    const { kind: given, metadata, spec } = recordOf(JSON.parse(text));
    const isObject = typeof spec === "object" && spec !== null && !Array.isArray(spec);
    if (given !== kind || !isObject) return undefined;
    return { labels: recordOf(metadata)["labels"], spec: recordOf(spec) };
  } catch {
    return undefined;
  }
}

function policyFor(id: ResourceId, spec: Raw): Substitute | undefined {
  const whole = valid(id, spec);
  if (whole !== undefined) return { resource: whole, rulesUnknown: false };
  let kept: readonly string[] = [...WHERE, ...WHEN.flat()];
  for (const left of [[], ...WHEN]) {
    kept = kept.filter((name) => !(left as readonly string[]).includes(name));
    const given = Object.entries(spec).filter(([key]) => kept.includes(key));
    const resource = valid(id, { types: typesOf(spec), ...Object.fromEntries(given) });
    if (resource !== undefined) return { resource, rulesUnknown: true };
  }
  return undefined;
}

function networkSetFor(
  id: ResourceId,
  { labels, spec }: { readonly labels: unknown; readonly spec: Raw },
): Substitute | undefined {
  const nets = listOf(spec["nets"]).filter(
    (net) => typeof net === "string" && tryParseCidrOrIp(net) !== undefined,
  );
  const resource = valid(id, { nets }, { labels: labels ?? {} });
  return resource && { resource, rulesUnknown: false };
}

function valid(
  { kind, name, namespace }: ResourceId,
  spec: Raw,
  metadata: Raw = {},
): Resource | undefined {
  const scope = namespace === undefined ? {} : { namespace };
  const checked = validateResource({
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata: { ...metadata, name, ...scope },
    spec,
  });
  return checked.ok ? checked.value : undefined;
}

/** As from its rules, whatever they are. */
function typesOf({ ingress, egress }: Raw): readonly string[] {
  const given = (rules: unknown): boolean =>
    (rules ?? null) !== null && !(Array.isArray(rules) && rules.length === 0);
  if (!given(egress)) return ["Ingress"];
  return given(ingress) ? ["Ingress", "Egress"] : ["Egress"];
}
