/**
 * YAML as Calico's tool prints it: keys sorted, lists not indented, texts quoted where YAML 1.1
 * would read something else (`"10"`, `"2:3"`, times).
 */
import { stringify } from "yaml";
import { compareBytes } from "#std";

export function toYaml(value: unknown): string {
  return stringify(value, {
    version: "1.1",
    indentSeq: false,
    lineWidth: 0,
    aliasDuplicateObjects: false,
    sortMapEntries: (a, b) => compareBytes(keyOf(a), keyOf(b)),
  });
}

function keyOf(pair: { readonly key: unknown }): string {
  const key =
    typeof pair.key === "object" && pair.key !== null && "value" in pair.key
      ? pair.key.value
      : pair.key;
  return typeof key === "string" ? key : JSON.stringify(key);
}
