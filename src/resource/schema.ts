/**
 * Schema as data: each kind is one table of fields in the order in which Calico's Go structs (so
 * its stored JSON) have them, with type, default, limits and a sentence of help. One table feeds
 * validation, defaults, the stored bytes, and help texts.
 *
 * Why not a schema library: the stored bytes need a field order and Go's rules of what is omitted,
 * errors need the raw value, what is allowed and the likely fix, for all faults at once; and the
 * agent checks every object of the store through here, thousands a second.
 */
import type { ConstraintId } from "./constraints.ts";
import type { FormatName } from "./formats.ts";
import type { Context } from "./context.ts";

export type Fields = Readonly<Record<string, unknown>>;

export type TypeSpec =
  | StringSpec
  | NumberSpec
  | { readonly kind: "bool" }
  /** Go duration text (`1m30s`); stored in Go's spelling. */
  | { readonly kind: "duration" }
  | { readonly kind: "port" }
  | { readonly kind: "protocol" }
  | ListSpec
  | MapSpec
  | ObjectSpec
  /** Kept as written: shapes that belong to others, such as Kubernetes' own rules. */
  | { readonly kind: "any" };

export interface StringSpec {
  readonly kind: "string";
  readonly format?: FormatName;
  /** Beside or instead of `format`, in manifests; what is stored already stays in force. */
  readonly manifestFormat?: FormatName;
  readonly oneOf?: readonly string[];
  /** `oneOf` counts in manifests; what is stored already stays in force. */
  readonly manifestsOnly?: boolean;
  /** `oneOf` in any case of letters, kept as written. */
  readonly anyCase?: boolean;
  /** In manifests; what is stored already stays in force. */
  readonly maxLength?: number;
}
export interface NumberSpec {
  readonly kind: "int" | "float";
  readonly min?: number;
  readonly max?: number;
  /** AS numbers may be written `"64512"` or `"1.10"` (RFC 5396). */
  readonly asNumber?: boolean;
}
export interface ListSpec {
  readonly kind: "list";
  readonly of: TypeSpec;
  readonly unique?: boolean;
  readonly uniqueInManifest?: boolean;
  /** In manifests; what is stored already stays in force. */
  readonly maxItems?: number;
}
export interface MapSpec {
  readonly kind: "map";
  readonly values: "label-value" | "text";
  readonly keys: "label-key" | "annotation-key" | "text";
  /** What is stored already stays in force. */
  readonly manifestsOnly?: boolean;
}
export interface ObjectSpec {
  readonly kind: "object";
  readonly fields: readonly FieldSpec[];
  readonly rules?: readonly ObjectRule[];
}

/** A constraint across fields; skipped while a field that it reads is itself faulty. */
export interface ObjectRule {
  readonly id: ConstraintId;
  readonly reads: readonly string[];
  /** For manifests alone: an object that is stored already counts, whoever wrote it. */
  readonly manifestsOnly?: true;
  /** Reports through `context`; paths are relative to the object. */
  readonly check: (value: Fields, context: Context) => void;
}

export interface FieldSpec {
  readonly name: string;
  readonly type: TypeSpec;
  readonly doc: string;
  readonly required?: boolean;
  /** Filled in when the field is absent; a function sees the fields that are there. */
  readonly default?: unknown;
  readonly computeDefault?: (value: Fields) => unknown;
  /**
   * What Go does with a zero value. `drop` (omitempty): "", 0, false and empty lists vanish.
   * `keep` (a pointer): whatever was given is written. `always`: written even when absent.
   */
  readonly zero?: "drop" | "keep" | "always";
}

type Options = Omit<FieldSpec, "name" | "type" | "doc">;

export function field(name: string, type: TypeSpec, doc: string, options: Options = {}): FieldSpec {
  return { name, type, doc, ...options };
}

export const bool: TypeSpec = { kind: "bool" };
export const duration: TypeSpec = { kind: "duration" };
export const port: TypeSpec = { kind: "port" };
export const protocol: TypeSpec = { kind: "protocol" };
export const any: TypeSpec = { kind: "any" };
export const text: TypeSpec = { kind: "string" };
export const longSelector: TypeSpec = { kind: "string", format: "selector" };
export const selector: TypeSpec = { kind: "string", format: "selector", maxLength: 1024 };
export const labelMap: TypeSpec = { kind: "map", keys: "label-key", values: "label-value" };
/** Labels, checked in manifests. */
export const newLabelMap: TypeSpec = {
  kind: "map",
  keys: "label-key",
  values: "label-value",
  manifestsOnly: true,
};
/** Keys are like those of labels, in any case of letters; checked in manifests. */
export const annotationMap: TypeSpec = {
  kind: "map",
  keys: "annotation-key",
  values: "text",
  manifestsOnly: true,
};
export const textMap: TypeSpec = { kind: "map", keys: "text", values: "text" };

export function formatted(format: FormatName): TypeSpec {
  return { kind: "string", format };
}
/** A text that manifests must write in this format. */
export function newlyFormatted(manifestFormat: FormatName, format?: FormatName): TypeSpec {
  return { kind: "string", manifestFormat, ...(format === undefined ? {} : { format }) };
}
export function oneOf(...values: readonly string[]): TypeSpec {
  return { kind: "string", oneOf: values };
}
export function oneOfAnyCase(...values: readonly string[]): TypeSpec {
  return { kind: "string", oneOf: values, anyCase: true };
}
export function int(min?: number, max?: number): TypeSpec {
  return {
    kind: "int",
    ...(min === undefined ? {} : { min }),
    ...(max === undefined ? {} : { max }),
  };
}
export function list(of: TypeSpec, options: Omit<ListSpec, "kind" | "of"> = {}): TypeSpec {
  return { kind: "list", of, ...options };
}
export function object(
  fields: readonly FieldSpec[],
  rules: readonly ObjectRule[] = [],
): ObjectSpec {
  return { kind: "object", fields, rules };
}
/** A field that a manifest must have; what older versions stored may lack it. */
export function neededInManifest(name: string): ObjectRule {
  return {
    id: "required",
    reads: [name],
    manifestsOnly: true,
    check: (value, context) => {
      if (value[name] === undefined)
        context.report("required", { message: "is missing", at: [name] });
    },
  };
}
