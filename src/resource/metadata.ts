/** The metadata of every resource, and what names each kind may have. */
import { DNS_LABEL, nameHint } from "./formats.ts";
import type { Context } from "./context.ts";
import {
  annotationMap,
  any,
  bool,
  field,
  formatted,
  labelMap,
  list,
  object,
  text,
  type Fields,
  type ObjectSpec,
} from "./schema.ts";

const ANNOTATIONS_LIMIT = 256 * 1024;

const ownerReference = object([
  field("apiVersion", text, "the owner's API", { zero: "always", default: "" }),
  field("kind", text, "the owner's kind", { zero: "always", default: "" }),
  field("name", text, "the owner's name", { zero: "always", default: "" }),
  field("uid", text, "the owner's identity", { zero: "always", default: "" }),
  field("controller", bool, "the owner manages the object", { zero: "keep" }),
  field("blockOwnerDeletion", bool, "the owner goes after the object", { zero: "keep" }),
]);

/** Kubernetes' ObjectMeta in its struct order. */
export const METADATA: ObjectSpec = object(
  [
    field("name", formatted("name"), "the name, unique in its kind and namespace", {
      required: true,
    }),
    field("generateName", text, "not used by the datastore"),
    field("namespace", formatted("name"), "the namespace, on namespaced kinds"),
    field("selfLink", text, "not used any more"),
    field("uid", text, "identity, set when the resource is created"),
    field(
      "resourceVersion",
      text,
      "the revision that was read; a write with it fails if the store has a newer one",
    ),
    field("generation", { kind: "int" }, "counts changes of spec where a server does"),
    field("creationTimestamp", text, "set when the resource is created"),
    field("deletionTimestamp", any, "set by servers that delete in two steps"),
    field("deletionGracePeriodSeconds", any, "set by servers that delete in two steps"),
    field("labels", labelMap, "what selectors select by"),
    field("annotations", annotationMap, "notes of tools and people"),
    field("ownerReferences", list(ownerReference), "the objects that own this one"),
    field("finalizers", list(text), "who must agree to the deletion"),
    field("managedFields", any, "bookkeeping of Kubernetes"),
  ],
  [
    {
      id: "annotations-size",
      reads: ["annotations"],
      check: (metadata, context) => {
        let size = 0;
        for (const [key, value] of Object.entries((metadata["annotations"] ?? {}) as Fields)) {
          size += key.length + String(value).length;
        }
        if (size > ANNOTATIONS_LIMIT) {
          context.report("annotations-size", {
            message: `annotations hold ${size} bytes`,
            allowed: `at most ${ANNOTATIONS_LIMIT}`,
            at: ["annotations"],
          });
        }
      },
    },
  ],
);

export type NameRule = "subdomain" | "tier" | "network-policy" | "global-policy";

const NETWORK_POLICY_PREFIX = /^(?:knp|ossg)\.default\./;

/** Beyond the DNS name that every kind has. */
export function checkName(rule: NameRule, name: string, context: Context): void {
  const parts = name.split(".");
  switch (rule) {
    case "subdomain":
      return;
    case "tier":
      // A tier's name is also the value of a label.
      if (parts.length > 1 || name.length > 63)
        reportName(name, "a name without dots, at most 63 characters", context);
      return;
    case "network-policy":
      if (NETWORK_POLICY_PREFIX.test(name)) return;
      if (parts.length > 2 || !parts.every((part) => DNS_LABEL.test(part))) {
        reportName(name, "a name with at most one dot", context);
      }
      return;
    case "global-policy":
      if (parts.length > 2) reportName(name, "a name with at most one dot", context);
      return;
    default:
      rule satisfies never;
  }
}

function reportName(name: string, allowed: string, context: Context): void {
  const dashed = name.replaceAll(".", "-");
  context.report("name", {
    message: `${JSON.stringify(name)} is not a name for this kind`,
    value: name,
    allowed,
    hint: nameHint(name) ?? (dashed === name ? undefined : `did you mean ${dashed}?`),
    at: ["metadata", "name"],
  });
}
