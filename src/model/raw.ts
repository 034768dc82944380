/** Reading of JSON that no schema has seen: what has another shape than expected is not there. */

export type Raw = Readonly<Record<string, unknown>>;

export function recordOf(value: unknown): Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Raw) : {};
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

export function textsOf(value: unknown): readonly string[] {
  return listOf(value).filter((one) => typeof one === "string");
}

export function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}
