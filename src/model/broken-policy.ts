/**
 * What stands in for a stored policy that is not valid. If its metadata alone is at fault, the policy as
 * written. If only where it applies can be read, it denies there: to pass over it would allow what it was written to deny. If even that cannot be read, it
 * counts as absent, as every other invalid object does.
 */
import { validateResource, type ResourceId } from "#resource";
import { modelPolicy } from "./policies.ts";
import { recordOf } from "./raw.ts";
import type { ModelPolicy } from "./types.ts";

/** Whom it selects. Without these it would apply to others than it was meant for. */
const WHERE = ["selector", "namespaceSelector", "serviceAccountSelector"] as const;
/** What may be left out, in this order, until the rest is valid. */
const WHEN = [["order", "doNotTrack", "preDNAT", "applyOnForward"], ["types"], ["tier"]] as const;
const LONGEST_REASON = 300;

export function substitutePolicy(
  id: ResourceId,
  text: string,
  reason: string,
): ModelPolicy | undefined {
  if (id.kind !== "NetworkPolicy" && id.kind !== "GlobalNetworkPolicy") return undefined;
  const spec = specOf(id.kind, text);
  if (spec === undefined) return undefined;
  // Its name or its labels may be at fault alone.
  const whole = framed(id, spec, Object.keys(spec));
  if (whole !== undefined) return whole;
  let kept: readonly string[] = [...WHERE, ...WHEN.flat()];
  for (const left of [[], ...WHEN]) {
    kept = kept.filter((name) => !(left as readonly string[]).includes(name));
    const policy = framed(id, spec, kept);
    if (policy === undefined) continue;
    const broken = `the policy is not valid: ${reason.slice(0, LONGEST_REASON)}`;
    return { ...policy, inboundRules: [], outboundRules: [], broken };
  }
  return undefined;
}

/** Nothing of a value of another kind, nor of one without a spec: who knows whom it would select. */
function specOf(kind: string, text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const { kind: given, spec } = recordOf(JSON.parse(text));
    const isObject = typeof spec === "object" && spec !== null && !Array.isArray(spec);
    return given === kind && isObject ? recordOf(spec) : undefined;
  } catch {
    return undefined;
  }
}

function framed(
  { kind, name, namespace }: ResourceId,
  spec: Readonly<Record<string, unknown>>,
  kept: readonly string[],
): ModelPolicy | undefined {
  const given = Object.entries(spec).filter(([key]) => kept.includes(key));
  const checked = validateResource({
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
    spec: { types: typesOf(spec), ...Object.fromEntries(given) },
  });
  if (!checked.ok) return undefined;
  const { value } = checked;
  if (value.kind !== "NetworkPolicy" && value.kind !== "GlobalNetworkPolicy") return undefined;
  try {
    return modelPolicy(value) ?? undefined;
  } catch {
    return undefined;
  }
}

/** As from its rules, whatever they are. */
function typesOf({ ingress, egress }: Readonly<Record<string, unknown>>): readonly string[] {
  const given = (rules: unknown): boolean =>
    (rules ?? null) !== null && !(Array.isArray(rules) && rules.length === 0);
  if (!given(egress)) return ["Ingress"];
  return given(ingress) ? ["Ingress", "Egress"] : ["Egress"];
}
