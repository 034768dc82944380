/**
 * What an item's labels must look like for a selector to match: necessary conditions per label,
 * from which an index picks the few items or selectors worth evaluating. Sound, not complete: an
 * item that breaks one never matches; one that keeps all may still not match.
 */
import { sortedUnique, unreachable } from "#std";
import type { SelectorNode } from "./ast.ts";

export interface LabelRestriction {
  readonly mustBePresent: boolean;
  readonly mustBeAbsent: boolean;
  /** In byte order. Implies `mustBePresent`; empty = nothing can match. */
  readonly mustHaveOneOfValues?: readonly string[];
}

export type LabelRestrictions = ReadonlyMap<string, LabelRestriction>;

const PRESENT: LabelRestriction = { mustBePresent: true, mustBeAbsent: false };
const ABSENT: LabelRestriction = { mustBePresent: false, mustBeAbsent: true };
const NONE: LabelRestrictions = new Map();

/** True when no item at all can keep the restriction. */
export function isUnsatisfiable(restriction: LabelRestriction): boolean {
  const { mustBePresent, mustBeAbsent, mustHaveOneOfValues } = restriction;
  return (mustBePresent && mustBeAbsent) || mustHaveOneOfValues?.length === 0;
}

export function restrictionsOf(node: SelectorNode): LabelRestrictions {
  return derive(node, false);
}

/** `negated`: of `!node`; De Morgan carries it down to the leaves. */
function derive(node: SelectorNode, negated: boolean): LabelRestrictions {
  switch (node.kind) {
    case "all":
    case "global":
    case "contains":
    case "startsWith":
    case "endsWith":
      return negated || node.kind === "all" || node.kind === "global"
        ? NONE
        : only(node.label, PRESENT);
    case "has":
      return only(node.label, negated ? ABSENT : PRESENT);
    case "eq":
    case "ne":
      return (node.kind === "eq") === negated ? NONE : oneOf(node.label, [node.value]);
    case "in":
    case "notIn":
      return (node.kind === "in") === negated ? NONE : oneOf(node.label, node.values);
    case "not":
      return derive(node.operand, !negated);
    case "and":
    case "or": {
      const parts = node.operands.map((operand) => derive(operand, negated));
      return (node.kind === "and") === negated ? union(parts) : intersection(parts);
    }
    default:
      return unreachable(node);
  }
}

function oneOf(label: string, values: readonly string[]): LabelRestrictions {
  return only(label, { mustBePresent: true, mustBeAbsent: false, mustHaveOneOfValues: values });
}

/** A map from a list of lists would make, and drop, three times as much. */
function only(label: string, restriction: LabelRestriction): LabelRestrictions {
  const map = new Map<string, LabelRestriction>();
  return map.set(label, restriction);
}

/** All parts hold. */
function intersection(parts: readonly LabelRestrictions[]): LabelRestrictions {
  const result = new Map<string, LabelRestriction>();
  for (const part of parts) {
    for (const [label, restriction] of part) {
      const known = result.get(label);
      result.set(label, known ? both(known, restriction) : restriction);
    }
  }
  return result;
}

/** Some part holds, so only what every part demands of a label is demanded. */
function union(parts: readonly LabelRestrictions[]): LabelRestrictions {
  const [first, ...others] = parts;
  const result = new Map<string, LabelRestriction>();
  for (const [label, restriction] of first ?? NONE) {
    let merged: LabelRestriction | undefined = restriction;
    for (const other of others) {
      const theirs = other.get(label);
      merged = merged && theirs && either(merged, theirs);
    }
    if (merged) result.set(label, merged);
  }
  return result;
}

function both(a: LabelRestriction, b: LabelRestriction): LabelRestriction {
  const flags = {
    mustBePresent: a.mustBePresent || b.mustBePresent,
    mustBeAbsent: a.mustBeAbsent || b.mustBeAbsent,
  };
  const [ours, theirs] = [a.mustHaveOneOfValues, b.mustHaveOneOfValues];
  if (!ours && !theirs) return flags;
  if (!ours || !theirs) return { ...flags, mustHaveOneOfValues: ours ?? theirs ?? [] };
  const allowed = new Set(theirs);
  return { ...flags, mustHaveOneOfValues: ours.filter((value) => allowed.has(value)) };
}

function either(a: LabelRestriction, b: LabelRestriction): LabelRestriction | undefined {
  const mustBePresent = a.mustBePresent && b.mustBePresent;
  const mustBeAbsent = a.mustBeAbsent && b.mustBeAbsent;
  if (!mustBePresent && !mustBeAbsent) return undefined;
  const [ours, theirs] = [a.mustHaveOneOfValues, b.mustHaveOneOfValues];
  if (!ours || !theirs) return { mustBePresent, mustBeAbsent };
  return {
    mustBePresent,
    mustBeAbsent,
    mustHaveOneOfValues: sortedUnique([...ours, ...theirs]),
  };
}
