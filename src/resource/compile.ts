/**
 * Compiles a schema into one closure per type that checks a value and returns its normal form:
 * fields in struct order, defaults filled in, zero values dropped where Go drops them, durations,
 * ports and numbers in the stored spelling. Nothing of the input is kept by reference.
 */
import { didYouMean } from "#std";
import type { Context } from "./context.ts";
import { FORMATS, isLabelKey, isLabelValue, type Format, type FormatName } from "./formats.ts";
import {
  checkAsNumber,
  checkDuration,
  checkPort,
  checkProtocol,
  describeType,
} from "./check-scalars.ts";
import type {
  Fields,
  FieldSpec,
  ListSpec,
  MapSpec,
  NumberSpec,
  ObjectSpec,
  StringSpec,
  TypeSpec,
} from "./schema.ts";

/** Returns the normal form, or undefined after a report. */
export type Checker = (value: unknown, context: Context) => unknown;

const compiled = new WeakMap<TypeSpec, Checker>();

export function compile(type: TypeSpec): Checker {
  const known = compiled.get(type);
  if (known !== undefined) return known;
  const made = make(type);
  compiled.set(type, made);
  return made;
}

function make(type: TypeSpec): Checker {
  switch (type.kind) {
    case "string":
      return compileString(type);
    case "int":
    case "float":
      return compileNumber(type);
    case "bool":
      return checkBool;
    case "duration":
      return checkDuration;
    case "port":
      return checkPort;
    case "protocol":
      return checkProtocol;
    case "list":
      return compileList(type);
    case "map":
      return compileMap(type);
    case "object":
      return compileObject(type);
    case "any":
      return copyAny;
    default:
      return type satisfies never;
  }
}

function checkBool(value: unknown, context: Context): unknown {
  if (typeof value === "boolean") return value;
  const hint = value === "true" || value === "false" ? `leave out the quotes: ${value}` : undefined;
  context.report("type", {
    message: `is ${describeType(value)}`,
    value,
    allowed: "true or false",
    hint,
  });
  return undefined;
}

function compileString(spec: StringSpec): Checker {
  const { oneOf, anyCase = false, manifestsOnly = false, maxLength = Infinity } = spec;
  const format = formatOf(spec.format);
  const manifestFormat = formatOf(spec.manifestFormat);
  const exact = oneOf === undefined ? undefined : new Set(oneOf);
  const folded = oneOf === undefined ? undefined : new Set(oneOf.map((one) => one.toLowerCase()));
  return (value, context) => {
    if (typeof value !== "string") {
      reportNotText(value, context);
      return undefined;
    }
    if (value === "") return value;
    const free = manifestsOnly && !context.isManifest;
    if (exact !== undefined && !free && !exact.has(value)) {
      const near = folded?.has(value.toLowerCase()) ?? false;
      if (!(anyCase && near)) {
        reportEnum(value, oneOf ?? [], context);
        return undefined;
      }
    }
    if (value.length > maxLength && context.isManifest) {
      context.report("limit", {
        message: `is ${value.length} characters long`,
        allowed: `at most ${maxLength} characters`,
      });
      return undefined;
    }
    if (format !== undefined && !format.valid(value)) {
      return reportFormat(format, value, context);
    }
    if (manifestFormat !== undefined && context.isManifest && !manifestFormat.valid(value)) {
      return reportFormat(manifestFormat, value, context);
    }
    return value;
  };
}

function formatOf(name: FormatName | undefined): Format | undefined {
  return name === undefined ? undefined : FORMATS[name];
}

function reportFormat(format: Format, value: string, context: Context): undefined {
  context.report(format.constraint, {
    message: format.explain?.(value) ?? `${JSON.stringify(value)} is not valid`,
    value,
    allowed: format.explain === undefined ? format.allowed : undefined,
    hint: format.hint?.(value),
  });
}

function reportNotText(value: unknown, context: Context): void {
  const quoted =
    typeof value === "number" || typeof value === "boolean"
      ? `put it in quotes: "${String(value)}"`
      : undefined;
  context.report("type", {
    message: `is ${describeType(value)}`,
    value,
    allowed: "text",
    hint: quoted,
  });
}

function reportEnum(value: string, allowed: readonly string[], context: Context): void {
  const guess = didYouMean(value, allowed);
  context.report("enum", {
    message: `${JSON.stringify(value)} is not known`,
    value,
    allowed: allowed.join(", "),
    hint: guess === undefined ? undefined : `did you mean ${guess}?`,
  });
}

function compileNumber(spec: NumberSpec): Checker {
  const { min = -Infinity, max = Infinity, kind, asNumber = false } = spec;
  const limits =
    max === Infinity ? (min === -Infinity ? "" : ` of at least ${min}`) : ` from ${min} to ${max}`;
  const allowed = `${kind === "int" ? "a whole number" : "a number"}${limits}`;
  return (value, context) => {
    if (asNumber && typeof value === "string") return checkAsNumber(value, context);
    if (typeof value !== "number" || !Number.isFinite(value)) {
      const numeric = typeof value === "string" && /^-?\d+$/.test(value);
      context.report("type", {
        message: `is ${describeType(value)}`,
        value,
        allowed,
        hint: numeric ? `leave out the quotes: ${value}` : undefined,
      });
      return undefined;
    }
    if (kind === "int" && !Number.isInteger(value)) {
      context.report("type", { message: `${value} is not a whole number`, value, allowed });
      return undefined;
    }
    if (value < min || value > max) {
      context.report("range", { message: `${value} is out of range`, value, allowed });
      return undefined;
    }
    return value;
  };
}

function compileList(spec: ListSpec): Checker {
  const item = compile(spec.of);
  const { unique = false, uniqueInManifest = false, maxItems = Infinity } = spec;
  return (value, context) => {
    if (!Array.isArray(value)) {
      context.report("type", {
        message: `is ${describeType(value)}`,
        value,
        allowed: "a list",
        hint: typeof value === "string" ? `did you mean [${value}]?` : undefined,
      });
      return undefined;
    }
    if (value.length > maxItems && context.isManifest) {
      context.report("limit", {
        message: `has ${value.length} entries`,
        allowed: `at most ${maxItems}`,
        hint: "split it",
      });
      return undefined;
    }
    const faults = context.errors.length;
    const result: unknown[] = [];
    for (let i = 0; i < value.length; i++) {
      context.path.push(i);
      result.push(item(value[i], context));
      context.path.pop();
    }
    if (context.errors.length !== faults) return undefined;
    const mustBeUnique = unique || (uniqueInManifest && context.isManifest);
    if (mustBeUnique && new Set(result).size !== result.length) reportRepeats(result, context);
    return result;
  };
}

function reportRepeats(items: readonly unknown[], context: Context): void {
  const seen = new Set<unknown>();
  items.forEach((one, index) => {
    if (seen.has(one)) {
      context.report("unique", {
        message: `${JSON.stringify(one)} is given more than once`,
        value: one,
        hint: "remove the repetition",
        at: [index],
      });
    }
    seen.add(one);
  });
}

function compileMap(spec: MapSpec): Checker {
  return (value, context) => {
    if (!isObject(value)) {
      context.report("type", { message: `is ${describeType(value)}`, value, allowed: "a mapping" });
      return undefined;
    }
    const result: Record<string, string> = {};
    for (const [key, content] of Object.entries(value)) {
      if (checkEntry(spec, key, content, context)) result[key] = content as string;
    }
    return result;
  };
}

function checkEntry(spec: MapSpec, key: string, content: unknown, context: Context): boolean {
  // A key that JavaScript treats as special can be no label, and would vanish from the copy.
  if (key === "__proto__" || !isKeyOf(spec, key, context)) {
    context.report("label-key", {
      message: `${JSON.stringify(key)} is no ${spec.keys === "label-key" ? "label" : "annotation"} key`,
      value: key,
      allowed:
        "[prefix/]name of letters, digits, - _ . that begins and ends with a letter or digit",
      at: [key],
    });
    return false;
  }
  if (typeof content !== "string") {
    context.path.push(key);
    reportNotText(content, context);
    context.path.pop();
    return false;
  }
  const free = spec.manifestsOnly === true && !context.isManifest;
  if (!free && spec.values === "label-value" && !isLabelValue(content)) {
    context.report("label-value", {
      message: `${JSON.stringify(content)} is no label value`,
      value: content,
      allowed: "at most 63 letters, digits, - _ . that begin and end with a letter or digit",
      at: [key],
    });
    return false;
  }
  return true;
}

function isKeyOf({ keys, manifestsOnly = false }: MapSpec, key: string, context: Context): boolean {
  if (keys === "text" || (manifestsOnly && !context.isManifest)) return true;
  return isLabelKey(keys === "label-key" ? key : key.toLowerCase());
}

interface CompiledField {
  readonly spec: FieldSpec;
  readonly check: Checker;
}

function compileObject(spec: ObjectSpec): Checker {
  const fields: CompiledField[] = spec.fields.map((one) => ({
    spec: one,
    check: compile(one.type),
  }));
  const names = new Set(spec.fields.map((one) => one.name));
  const rules = spec.rules ?? [];
  return (value, context) => {
    if (!isObject(value)) {
      context.report("not-an-object", {
        message: `is ${describeType(value)}`,
        value,
        allowed: "a mapping with fields",
      });
      return undefined;
    }
    const result: Record<string, unknown> = {};
    let faulty: Set<string> | undefined;
    for (const { spec: one, check } of fields) {
      const before = context.errors.length;
      checkField(one, check, value, result, context);
      if (context.errors.length !== before) (faulty ??= new Set()).add(one.name);
    }
    for (const key of Object.keys(value)) {
      if (!names.has(key)) unknownField(key, value[key], names, result, context);
    }
    for (const rule of rules) {
      if (rule.manifestsOnly === true && !context.isManifest) continue;
      if (faulty === undefined || !rule.reads.some((name) => faulty?.has(name))) {
        rule.check(result, context);
      }
    }
    return result;
  };
}

function checkField(
  spec: FieldSpec,
  check: Checker,
  input: Fields,
  result: Record<string, unknown>,
  context: Context,
): void {
  const { name } = spec;
  const given = Object.hasOwn(input, name) ? input[name] : undefined;
  let checked: unknown;
  if (given !== undefined && given !== null) {
    context.path.push(name);
    const before = context.errors.length;
    checked = check(given, context);
    context.path.pop();
    if (context.errors.length !== before) {
      // What is right inside a faulty part still counts for the checks of the whole.
      if (isObject(checked)) result[name] = checked;
      return;
    }
  }
  const zero = spec.zero ?? "drop";
  const absent = checked === undefined || (zero === "drop" && isZero(checked));
  if (!absent) {
    result[name] = checked;
    return;
  }
  const fallback = spec.computeDefault === undefined ? spec.default : spec.computeDefault(input);
  if (fallback !== undefined) result[name] = fallback;
  else if (spec.required === true) {
    context.report("required", {
      message: "is missing",
      allowed: spec.doc,
      at: [name],
    });
  }
}

/** What Go's `omitempty` leaves out. */
function isZero(value: unknown): boolean {
  if (value === "" || value === 0 || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

function unknownField(
  key: string,
  value: unknown,
  names: ReadonlySet<string>,
  result: Record<string, unknown>,
  context: Context,
): void {
  if (key === "__proto__") return;
  if (context.unknownFields === "keep") {
    const copy = copyAny(value, context);
    if (copy !== undefined) result[key] = copy;
    return;
  }
  const guess = didYouMean(key, names);
  context.report("unknown-field", {
    message: "is not a field here",
    hint: guess === undefined ? `fields here: ${[...names].join(", ")}` : `did you mean ${guess}?`,
    at: [key],
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Deeper data would exhaust the stack of whoever walks it next. */
const MAX_DEPTH = 64;

function copyAny(value: unknown, context: Context): unknown {
  if (depthOf(value) <= MAX_DEPTH) return copyJson(value);
  context.report("depth", {
    message: "is nested too deeply",
    allowed: `at most ${MAX_DEPTH} levels`,
  });
  return undefined;
}

/** Stops counting just above the limit. */
function depthOf(value: unknown, depth = 0): number {
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return depth;
  let deepest = depth;
  for (const one of Object.values(value)) deepest = Math.max(deepest, depthOf(one, depth + 1));
  return deepest;
}

/** A deep copy of JSON data; functions and the like, which JSON has not, vanish. */
function copyJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((one) => copyJson(one) ?? null);
  if (isObject(value)) {
    const copy: Record<string, unknown> = {};
    for (const key of Object.keys(value)) {
      if (key !== "__proto__") copy[key] = copyJson(value[key]);
    }
    return copy;
  }
  return typeof value === "function" || typeof value === "symbol" ? undefined : value;
}
