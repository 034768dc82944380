/** `margay explain KIND[.field…]`: the schema that validation uses, as help. */
import {
  API_VERSION,
  documentSpec,
  kindInfo,
  type FieldSpec,
  type KindInfo,
  type ObjectSpec,
  type TypeSpec,
} from "#resource";
import { didYouMean, inputError, unreachable } from "#std";
import { kindNamed, type CommandContext } from "../command-context.ts";

export async function explainCommand({ args, io }: CommandContext): Promise<number> {
  const [kindName = "", ...path] = (args[0] ?? "").split(".");
  const info = kindNamed(kindName, "explain");
  const spec = documentSpec(info.kind);
  if (spec === undefined) throw inputError("unknown-kind", `${info.kind} has no schema`);
  const { field, inside } = find(info, spec, path);
  const lines = [`KIND:    ${info.kind}`, `VERSION: ${API_VERSION}`];
  if (field === undefined) {
    const names = [info.plural, ...info.shortNames].join(", ");
    lines.push(`NAMES:   ${names}`, "", capital(kindInfo(info.kind)?.summary ?? ""));
  } else {
    lines.push(`FIELD:   ${path.join(".")} <${typeText(field.type)}>`, "", capital(field.doc));
    const facts = factsOf(field);
    if (facts.length > 0) lines.push("", ...facts);
  }
  if (inside !== undefined && inside.fields.length > 0) {
    lines.push("", "FIELDS:", ...inside.fields.map(row));
  }
  io.stdout.write(`${lines.join("\n")}\n`);
  return 0;
}

function find(
  info: KindInfo,
  root: ObjectSpec,
  path: readonly string[],
): { readonly field: FieldSpec | undefined; readonly inside: ObjectSpec | undefined } {
  let inside: ObjectSpec | undefined = root;
  let field: FieldSpec | undefined;
  for (const [index, part] of path.entries()) {
    const name = part.replace(/\[[^\]]*\]$/, "");
    const fields: readonly FieldSpec[] = inside?.fields ?? [];
    field = fields.find((one) => one.name === name);
    if (field === undefined) {
      const names = fields.map((one) => one.name);
      const guess = didYouMean(name, names);
      const where = [info.kind, ...path.slice(0, index)].join(".");
      throw inputError(
        "unknown-field",
        `${where} has no field ${JSON.stringify(name)}` +
          (guess === undefined ? "" : `; did you mean ${guess}?`) +
          (names.length === 0 ? "" : `\nfields: ${names.join(", ")}`),
      );
    }
    inside = objectIn(field.type);
  }
  return { field, inside };
}

/** The object that a field is, or is a list of. */
function objectIn(type: TypeSpec): ObjectSpec | undefined {
  if (type.kind === "object") return type;
  return type.kind === "list" ? objectIn(type.of) : undefined;
}

function row(field: FieldSpec): string {
  const facts = factsOf(field).map((fact) => fact.charAt(0).toLowerCase() + fact.slice(1));
  const head = `  ${field.name} <${typeText(field.type)}>`;
  return [head, `      ${field.doc}`, ...facts.map((fact) => `      ${fact}`)].join("\n");
}

function factsOf({ type, required, default: fallback, computeDefault }: FieldSpec): string[] {
  const facts: string[] = [];
  if (required === true) facts.push("Required");
  const values = type.kind === "list" ? type.of : type;
  if (type.kind === "list" && type.maxItems !== undefined) {
    facts.push(`At most: ${type.maxItems} entries`);
  }
  if (values.kind === "string" && values.oneOf !== undefined) {
    const anyCase = values.anyCase === true ? ", in any case of letters" : "";
    facts.push(`One of: ${values.oneOf.join(", ")}${anyCase}`);
  }
  if (values.kind === "string" && values.maxLength !== undefined) {
    facts.push(`At most: ${values.maxLength} characters`);
  }
  if (values.kind === "int" || values.kind === "float") {
    const { min, max } = values;
    if (min !== undefined) facts.push(`At least: ${min}`);
    if (max !== undefined) facts.push(`At most: ${max}`);
  }
  if (fallback !== undefined) facts.push(`Default: ${JSON.stringify(fallback)}`);
  else if (computeDefault !== undefined) facts.push("Default: depends on other fields");
  return facts;
}

function typeText(type: TypeSpec): string {
  switch (type.kind) {
    case "string":
      return type.format ?? type.manifestFormat ?? "string";
    case "int":
      return type.asNumber === true ? "AS number" : "integer";
    case "float":
      return "number";
    case "bool":
      return "boolean";
    case "list":
      return `list of ${typeText(type.of)}`;
    case "map":
      return "map of string to string";
    case "duration":
    case "port":
    case "protocol":
    case "object":
    case "any":
      return type.kind;
    default:
      return unreachable(type);
  }
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
