/** `margay patch`: read, patch, validate, compare-and-swap. */
import { parse } from "yaml";
import { formatFieldError, validateResource, type Resource } from "#resource";
import { didYouMean, inputError, messageOf } from "#std";
import { kindNamed, namespaceFor, type CommandContext } from "../command-context.ts";
import { jsonPatch, mergePatch } from "../json-patch.ts";

const TYPES = ["strategic", "merge", "json"] as const;

export async function patchCommand(context: CommandContext): Promise<number> {
  const { args, options, io } = context;
  const [kindName = "", name = ""] = args;
  const info = kindNamed(kindName, "patch");
  const type = patchType(options.type ?? "strategic");
  const patch = parsePatch(options.patch ?? "");
  const client = await context.client();
  const resource: Resource = await client.get(info.kind, name, namespaceFor(info, options));
  const patched = type === "json" ? jsonPatch(resource, patch) : mergePatch(resource, patch);
  const errors = newErrors(resource, patched);
  // With fields that a newer Calico stored, which stay as they are.
  const result = validateResource(patched, { unknownFields: "keep" });
  if (!result.ok || errors.length > 0) {
    throw inputError(
      "invalid-resource",
      errors.map((error) => `${kindName} ${name}: ${error}`).join("\n"),
    );
  }
  const { kind, metadata } = result.value;
  if (kind !== info.kind || metadata.name !== name) {
    throw inputError("usage", "a patch cannot change kind or metadata.name");
  }
  await client.update(result.value);
  io.stdout.write(`Successfully patched 1 '${info.kind}' resource\n`);
  return 0;
}

/** What is wrong after the patch, without fields that were unknown before it already. */
function newErrors(resource: Resource, patched: unknown): readonly string[] {
  const before = new Set(strictErrors(resource));
  const kept = validateResource(patched, { unknownFields: "keep" });
  const always = kept.ok ? [] : kept.errors.map(formatFieldError);
  return [...new Set([...always, ...strictErrors(patched).filter((error) => !before.has(error))])];
}

function strictErrors(value: unknown): readonly string[] {
  const result = validateResource(value, { unknownFields: "error" });
  return result.ok ? [] : result.errors.map(formatFieldError);
}

function patchType(text: string): (typeof TYPES)[number] {
  const known = TYPES.find((one) => one === text);
  if (known !== undefined) return known;
  const guess = didYouMean(text, TYPES);
  throw inputError(
    "bad-option",
    `patch type ${JSON.stringify(text)} is not known: ${TYPES.join(", ")}${guess === undefined ? "" : `; did you mean ${guess}?`}`,
  );
}

function parsePatch(text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw inputError("bad-patch", `the patch is neither JSON nor YAML: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
