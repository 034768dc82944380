/** JSON merge patch (RFC 7386) and JSON patch (RFC 6902), without changing their input. */
import { inputError } from "#std";

type Json = Record<string, unknown>;

/** RFC 7386 §2: null removes, mappings merge, all else replaces. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isMapping(patch)) return patch;
  const result: Json = isMapping(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

interface Operation {
  readonly op?: unknown;
  readonly path?: unknown;
  readonly from?: unknown;
  readonly value?: unknown;
}

/** Throws `bad-patch`, naming the operation that does not fit. */
export function jsonPatch(target: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw badPatch("a JSON patch is a list of operations");
  let result = structuredClone(target);
  for (const [index, one] of patch.entries()) {
    if (!isMapping(one)) throw badPatch(`operation ${index} is no mapping`);
    result = applyOperation(result, one, index);
  }
  return result;
}

function applyOperation(target: unknown, operation: Operation, index: number): unknown {
  const path = pointer(operation.path, index);
  switch (operation.op) {
    case "add":
      return put(target, path, structuredClone(operation.value), "add", index);
    case "replace":
      return put(target, path, structuredClone(operation.value), "replace", index);
    case "remove":
      return remove(target, path, index);
    case "copy":
    case "move": {
      const from = pointer(operation.from, index);
      const value = structuredClone(read(target, from, index));
      const rest = operation.op === "move" ? remove(target, from, index) : target;
      return put(rest, path, value, "add", index);
    }
    case "test": {
      const found = read(target, path, index);
      if (JSON.stringify(found) === JSON.stringify(operation.value)) return target;
      throw badPatch(`operation ${index}: /${path.join("/")} is ${JSON.stringify(found)}`);
    }
    default:
      throw badPatch(
        `operation ${index}: op ${JSON.stringify(operation.op ?? null)} is not one of add, replace, remove, copy, move, test`,
      );
  }
}

/** RFC 6901. */
function pointer(text: unknown, index: number): string[] {
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/"))) {
    throw badPatch(
      `operation ${index}: ${JSON.stringify(text ?? null)} is no JSON pointer like /spec/order`,
    );
  }
  return text
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function read(target: unknown, path: readonly string[], index: number): unknown {
  let value = target;
  for (const part of path) {
    if (Array.isArray(value)) value = value[position(part, value.length - 1, index)];
    else if (isMapping(value) && Object.hasOwn(value, part)) value = value[part];
    else throw missing(path, index);
  }
  return value;
}

function put(
  target: unknown,
  path: readonly string[],
  value: unknown,
  mode: "add" | "replace",
  index: number,
): unknown {
  const last = path.at(-1);
  if (last === undefined) return value;
  const parent = read(target, path.slice(0, -1), index);
  if (Array.isArray(parent)) {
    const end = mode === "add" ? parent.length : parent.length - 1;
    const at = last === "-" && mode === "add" ? end : position(last, end, index);
    parent.splice(at, mode === "add" ? 0 : 1, value);
  } else if (isMapping(parent) && last !== "__proto__") {
    if (mode === "replace" && !Object.hasOwn(parent, last)) throw missing(path, index);
    parent[last] = value;
  } else throw missing(path, index);
  return target;
}

function remove(target: unknown, path: readonly string[], index: number): unknown {
  read(target, path, index);
  const last = path.at(-1) ?? "";
  const parent = read(target, path.slice(0, -1), index);
  if (Array.isArray(parent)) parent.splice(position(last, parent.length - 1, index), 1);
  else if (isMapping(parent)) delete parent[last];
  return target;
}

function position(text: string, last: number, index: number): number {
  const at = /^(?:0|[1-9]\d*)$/.test(text) ? Number(text) : -1;
  if (at < 0 || at > last) throw badPatch(`operation ${index}: no item ${text} in the list`);
  return at;
}

function missing(path: readonly string[], index: number): Error {
  return badPatch(`operation ${index}: /${path.join("/")} does not exist`);
}

function badPatch(message: string): Error {
  return inputError("bad-patch", message);
}

function isMapping(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
