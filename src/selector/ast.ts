/**
 * Syntax tree of a label selector, and its canonical text. The canonical text is the identity of
 * a selector (its unique id is a hash of it), so it must equal Calico's byte for byte: `"` quotes
 * unless the value holds one, sets sorted and without repetition, `&&` and `||` always in
 * parentheses, and no flattening of nested operators.
 */
import { unreachable } from "#std";

export type SelectorNode =
  | LeafNode
  | { readonly kind: "not"; readonly operand: SelectorNode }
  /** At least two operands. */
  | { readonly kind: "and" | "or"; readonly operands: readonly SelectorNode[] };

export type LeafNode = { readonly kind: "all" } | { readonly kind: "global" } | LabelTestNode;

/** A test of one label. */
export type LabelTestNode =
  | { readonly kind: "has"; readonly label: string }
  | { readonly kind: ValueOperator; readonly label: string; readonly value: string }
  /** `values` in byte order, without repetition. */
  | { readonly kind: SetOperator; readonly label: string; readonly values: readonly string[] };

export type ValueOperator = "eq" | "ne" | "contains" | "startsWith" | "endsWith";
export type SetOperator = "in" | "notIn";

const OPERATOR_TEXT: Readonly<Record<ValueOperator | SetOperator, string>> = {
  eq: "==",
  ne: "!=",
  contains: "contains",
  startsWith: "starts with",
  endsWith: "ends with",
  in: "in",
  notIn: "not in",
};

export function canonicalText(node: SelectorNode): string {
  switch (node.kind) {
    case "all":
      return "all()";
    case "global":
      return "global()";
    case "has":
      return `has(${node.label})`;
    case "eq":
    case "ne":
    case "contains":
    case "startsWith":
    case "endsWith":
      return `${node.label} ${OPERATOR_TEXT[node.kind]} ${quote(node.value)}`;
    case "in":
    case "notIn":
      return `${node.label} ${OPERATOR_TEXT[node.kind]} {${node.values.map(quote).join(", ")}}`;
    case "not":
      return `!${canonicalText(node.operand)}`;
    case "and":
      return `(${node.operands.map(canonicalText).join(" && ")})`;
    case "or":
      return `(${node.operands.map(canonicalText).join(" || ")})`;
    default:
      return unreachable(node);
  }
}

/** Calls `visit` with every label that the selector reads, repetitions included. */
export function visitLabels(node: SelectorNode, visit: (label: string) => void): void {
  if ("label" in node) visit(node.label);
  else if ("operand" in node) visitLabels(node.operand, visit);
  else if ("operands" in node) for (const operand of node.operands) visitLabels(operand, visit);
}

/** A copy in which every leaf (`all`, `global` or a test of one label) is replaced. */
export function mapLeaves(
  node: SelectorNode,
  replace: (leaf: LeafNode) => SelectorNode,
): SelectorNode {
  if ("operand" in node) return { kind: "not", operand: mapLeaves(node.operand, replace) };
  if ("operands" in node) {
    return { kind: node.kind, operands: node.operands.map((child) => mapLeaves(child, replace)) };
  }
  return replace(node);
}

/** There is no escape: a value that holds `"` is quoted with `'`. Both cannot have been parsed. */
function quote(value: string): string {
  return value.includes('"') ? `'${value}'` : `"${value}"`;
}
