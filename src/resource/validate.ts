/**
 * Validation of whole resources: shape and defaults from the schema, then what only the kind and
 * the name together tell. `{ok: true}` carries a fresh object in stored order with every default.
 */
import { compile, type Checker } from "./compile.ts";
import { Context, type FieldError } from "./context.ts";
import { workloadEndpointName } from "./kinds/endpoints.ts";
import { checkName, METADATA } from "./metadata.ts";
import { guessKind, KINDS, type KindInfo } from "./registry.ts";
import { any, field, object, text, type ObjectSpec } from "./schema.ts";
import { API_VERSION, type Metadata, type Resource, type WorkloadEndpointSpec } from "./types.ts";
import { DEFAULT_TIERS } from "./built-in.ts";

export interface ValidateOptions {
  /**
   * `keep` (the default) is for objects of the store: fields that this version does not know stay.
   * `error` is for manifests, where an unknown field is a slip of the keys.
   */
  readonly unknownFields?: "error" | "keep";
}

export type Validation =
  | { readonly ok: true; readonly value: Resource }
  | { readonly ok: false; readonly errors: readonly FieldError[] };

const documentSpecs = new Map<string, ObjectSpec>();
const checkers = new Map<string, { readonly info: KindInfo; readonly check: Checker }>();
for (const info of KINDS) {
  const spec = object([
    field("kind", text, "the kind"),
    field("apiVersion", text, API_VERSION),
    field("metadata", METADATA, "name, labels, annotations", { required: true, zero: "keep" }),
    field("spec", info.spec, "what is wanted", { zero: "always" }),
    ...(info.status === undefined
      ? []
      : [field("status", any, "what was found", { zero: "keep" })]),
  ]);
  documentSpecs.set(info.kind, spec);
  checkers.set(info.kind, { info, check: compile(spec) });
}

/** Fields of a whole document of the kind. */
export function documentSpec(kind: string): ObjectSpec | undefined {
  return documentSpecs.get(kind);
}

export function validateResource(value: unknown, options: ValidateOptions = {}): Validation {
  const context = new Context(options.unknownFields ?? "keep");
  const found = checkHead(value, context);
  if (found === undefined) return { ok: false, errors: context.errors };
  // Absent `spec` means an empty one, so that its defaults and required fields count.
  const input = value as Record<string, unknown>;
  const whole = (input["spec"] ?? null) === null ? { ...input, spec: {} } : input;
  const resource = found.check(whole, context) as Resource | undefined;
  if (resource?.metadata !== undefined) checkIdentity(found.info, resource, context);
  if (context.errors.length > 0 || resource === undefined) {
    return { ok: false, errors: context.errors };
  }
  return { ok: true, value: resource };
}

function checkHead(
  value: unknown,
  context: Context,
): { readonly info: KindInfo; readonly check: Checker } | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    context.report("not-an-object", {
      message: "is no resource",
      allowed: "a mapping with apiVersion, kind, metadata and spec",
    });
    return undefined;
  }
  const { apiVersion, kind } = value as { readonly apiVersion?: unknown; readonly kind?: unknown };
  if (apiVersion !== API_VERSION) {
    context.report("api-version", {
      message:
        apiVersion === undefined ? "is missing" : `${JSON.stringify(apiVersion)} is not known`,
      value: apiVersion,
      allowed: API_VERSION,
      at: ["apiVersion"],
    });
  }
  const found = typeof kind === "string" ? checkers.get(kind) : undefined;
  if (found === undefined) {
    const guess = typeof kind === "string" ? guessKind(kind) : undefined;
    context.report("kind", {
      message: kind === undefined ? "is missing" : `${JSON.stringify(kind)} is not known`,
      value: kind,
      hint:
        guess === undefined
          ? `kinds: ${KINDS.map((info) => info.kind).join(", ")}`
          : `did you mean ${guess}?`,
      at: ["kind"],
    });
  }
  return found;
}

function checkIdentity(info: KindInfo, resource: Resource, context: Context): void {
  const { metadata } = resource;
  const { name, namespace } = metadata;
  if (name === undefined) return;
  checkName(info.nameRule, name, context);
  if (info.fixedNames !== undefined && !info.fixedNames.includes(name)) {
    context.report("config-name", {
      message: `${JSON.stringify(name)} is no name for ${info.kind}`,
      value: name,
      allowed: info.fixedNames.join(", "),
      at: ["metadata", "name"],
    });
  }
  checkNamespace(info, namespace, context);
  const { kind } = resource;
  if (kind === "NetworkSet" || kind === "GlobalNetworkSet") checkReserved(metadata, context);
  if (context.errors.some((error) => error.path.startsWith("spec"))) return;
  if (kind === "Tier") checkTier(name, resource.spec, context);
  if (kind === "WorkloadEndpoint") checkWorkloadName(metadata, resource.spec, context);
  if (kind === "FelixConfiguration" || kind === "BGPConfiguration") {
    checkConfigName(info, name, resource.spec, context);
  }
}

function checkNamespace(info: KindInfo, namespace: string | undefined, context: Context): void {
  const at = ["metadata", "namespace"];
  if (info.namespaced && namespace === undefined) {
    const given = context.errors.some((error) => error.path === "metadata.namespace");
    if (!given)
      context.report("namespace", {
        message: `is missing: ${info.kind} belongs to a namespace`,
        hint: "add namespace: default",
        at,
      });
  }
  if (!info.namespaced && namespace !== undefined) {
    context.report("namespace", {
      message: `${info.kind} belongs to no namespace`,
      value: namespace,
      hint: globalTwin(info) ?? "remove it",
      at,
    });
  }
}

function globalTwin(info: KindInfo): string | undefined {
  const twin = info.kind.replace("Global", "");
  return twin !== info.kind && KINDS.some((one) => one.kind === twin)
    ? `remove it, or use kind ${twin}`
    : undefined;
}

function checkTier(
  name: string,
  spec: { readonly order?: number; readonly defaultAction: string },
  context: Context,
): void {
  const fixed = DEFAULT_TIERS.find((tier) => tier.name === name);
  if (fixed === undefined) return;
  if (spec.order !== fixed.order) {
    context.report("tier-order", {
      message: `tier ${name} has a fixed order`,
      value: spec.order,
      allowed: String(fixed.order),
      at: ["spec", "order"],
    });
  }
  if (spec.defaultAction !== fixed.defaultAction) {
    context.report("tier-action", {
      message: `tier ${name} has a fixed default action`,
      value: spec.defaultAction,
      allowed: fixed.defaultAction,
      at: ["spec", "defaultAction"],
    });
  }
}

function checkWorkloadName(metadata: Metadata, spec: WorkloadEndpointSpec, context: Context): void {
  for (const field of [
    "node",
    "orchestrator",
    "workload",
    "pod",
    "containerID",
    "endpoint",
  ] as const) {
    const part = spec[field];
    if (part === undefined || !/^-|-$/.test(part)) continue;
    context.report("wep-name", {
      message: `${JSON.stringify(part)} begins or ends with "-", which parts the names in the endpoint's name`,
      value: part,
      hint: `did you mean ${part.replace(/^-+|-+$/g, "")}?`,
      at: ["spec", field],
    });
    return;
  }
  const derived = workloadEndpointName(spec);
  if ("missing" in derived) {
    context.report("required", {
      message: "is missing; the endpoint's name is made from it",
      at: ["spec", derived.missing],
    });
  } else if (derived.name !== metadata.name) {
    context.report("wep-name", {
      message: `${metadata.name} does not follow from node, orchestrator, workload and endpoint`,
      value: metadata.name,
      allowed: derived.name,
      hint: `did you mean ${derived.name}?`,
      at: ["metadata", "name"],
    });
  }
}

function checkReserved(metadata: Metadata, context: Context): void {
  const label = "projectcalico.org/namespace";
  if (metadata.labels?.[label] === undefined) return;
  context.report("reserved-label", {
    message: `${label} is given by the namespace itself`,
    hint: "remove the label",
    at: ["metadata", "labels", label],
  });
}

function checkConfigName(
  info: KindInfo,
  name: string,
  spec: Readonly<Record<string, unknown>>,
  context: Context,
): void {
  if (info.kind === "BGPConfiguration" && name !== "default") checkMesh(spec, context);
  if (name === "default" || /^node\../.test(name) || spec["nodeSelector"] !== undefined) return;
  // An object that nobody reads is harmless in the store, and a mistake in a manifest.
  if (context.unknownFields === "keep") return;
  context.report(info.kind === "FelixConfiguration" ? "felix-name" : "config-name", {
    message: `${JSON.stringify(name)}: nobody reads a ${info.kind} of this name`,
    value: name,
    allowed: "default, or node.<name of the node>",
    at: ["metadata", "name"],
  });
}

/** The mesh is between all nodes, so one of them cannot choose. */
function checkMesh(spec: Readonly<Record<string, unknown>>, context: Context): void {
  for (const field of ["nodeToNodeMeshEnabled", "nodeMeshPassword"]) {
    if (spec[field] === undefined) continue;
    context.report("mesh-default-only", {
      message: `${field} in the configuration of one node`,
      hint: `set it in BGPConfiguration default`,
      at: ["spec", field],
    });
  }
}
