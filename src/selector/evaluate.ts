/**
 * Two ways to evaluate a selector's tree: by walking it, and by closures made of it once. Closures are
 * twice as fast and cost as much as some ten walks to make, and memory; most selectors of a large
 * cluster are tried on an item or two.
 */
import { unreachable } from "#std";
import type { LabelTestNode, SelectorNode } from "./ast.ts";

/** Reads one label; undefined = the item does not have it. */
export type ReadLabel<S> = (source: S, label: string) => string | undefined;

type Predicate<S> = (source: S) => boolean;

/** A label that is absent makes `!=` and `not in` true, every other comparison false. */
export function compile<S>(node: SelectorNode, read: ReadLabel<S>): Predicate<S> {
  if ("label" in node) return compileTest(node, read);
  switch (node.kind) {
    case "all":
    case "global":
      return () => true;
    case "not": {
      const operand = compile(node.operand, read);
      return (source) => !operand(source);
    }
    case "and":
      return conjunction(node.operands.map((operand) => compile(operand, read)));
    case "or":
      return disjunction(node.operands.map((operand) => compile(operand, read)));
    default:
      return unreachable(node);
  }
}

/** The same answer as the compiled one's. */
export function evaluate<S>(node: SelectorNode, source: S, read: ReadLabel<S>): boolean {
  switch (node.kind) {
    case "all":
    case "global":
      return true;
    case "not":
      return !evaluate(node.operand, source, read);
    case "and":
      for (const operand of node.operands) if (!evaluate(operand, source, read)) return false;
      return true;
    case "or":
      for (const operand of node.operands) if (evaluate(operand, source, read)) return true;
      return false;
    default:
      return evaluateTest(node, read(source, node.label));
  }
}

function evaluateTest(node: LabelTestNode, found: string | undefined): boolean {
  switch (node.kind) {
    case "has":
      return found !== undefined;
    case "eq":
      return found === node.value;
    case "ne":
      return found !== node.value;
    case "contains":
      return found?.includes(node.value) ?? false;
    case "startsWith":
      return found?.startsWith(node.value) ?? false;
    case "endsWith":
      return found?.endsWith(node.value) ?? false;
    case "in":
      return found !== undefined && node.values.includes(found);
    case "notIn":
      return found === undefined || !node.values.includes(found);
    default:
      return unreachable(node);
  }
}

function compileTest<S>(node: LabelTestNode, read: ReadLabel<S>): Predicate<S> {
  const { label } = node;
  switch (node.kind) {
    case "has":
      return (source) => read(source, label) !== undefined;
    case "eq": {
      const { value } = node;
      return (source) => read(source, label) === value;
    }
    case "ne": {
      const { value } = node;
      return (source) => read(source, label) !== value;
    }
    case "contains": {
      const { value } = node;
      return (source) => read(source, label)?.includes(value) ?? false;
    }
    case "startsWith": {
      const { value } = node;
      return (source) => read(source, label)?.startsWith(value) ?? false;
    }
    case "endsWith": {
      const { value } = node;
      return (source) => read(source, label)?.endsWith(value) ?? false;
    }
    case "in":
    case "notIn": {
      const values: ReadonlySet<string | undefined> = new Set(node.values);
      const wanted = node.kind === "in";
      return (source) => values.has(read(source, label)) === wanted;
    }
    default:
      return unreachable(node);
  }
}

function conjunction<S>(operands: readonly Predicate<S>[]): Predicate<S> {
  const [first, second] = operands;
  if (first && second && operands.length === 2) return (source) => first(source) && second(source);
  return (source) => {
    for (const operand of operands) if (!operand(source)) return false;
    return true;
  };
}

function disjunction<S>(operands: readonly Predicate<S>[]): Predicate<S> {
  const [first, second] = operands;
  if (first && second && operands.length === 2) return (source) => first(source) || second(source);
  return (source) => {
    for (const operand of operands) if (operand(source)) return true;
    return false;
  };
}
