/**
 * A parsed label selector: immutable, with everything derived from it made at most once.
 * Selectors with equal canonical text are interchangeable and share one unique id.
 */
import { makeUniqueId } from "#std";
import { canonicalText, mapLeaves, visitLabels, type LeafNode, type SelectorNode } from "./ast.ts";
import { compile, evaluate } from "./evaluate.ts";
import { MAX_COMPOSED_DEPTH, MAX_SELECTOR_DEPTH, parseSelectorNode } from "./parser.ts";
import { restrictionsOf, type LabelRestrictions } from "./restrictions.ts";

export type Labels = Readonly<Record<string, string>>;

/** Labels behind a look-up, e.g. a Map, or an item that inherits from its profiles. */
export interface LabelGetter {
  get(label: string): string | undefined;
}

const WALKS_BEFORE_COMPILING = 8;

export class Selector {
  readonly node: SelectorNode;
  /**
   * The text that identifies this selector. It parses to an equivalent selector, with the same
   * canonical text unless it holds `!!` (from `!(!x)`), which a second parse collapses. So ids equal
   * Felix's only if combined selectors are parsed once, from the users' texts.
   */
  readonly canonical: string;
  #uniqueId: string | undefined;
  #usedLabels: ReadonlySet<string> | undefined;
  #matchesRecord: ((labels: Labels) => boolean) | undefined;
  #matchesGetter: ((labels: LabelGetter) => boolean) | undefined;
  #walks = 0;

  constructor(node: SelectorNode) {
    this.node = node;
    this.canonical = canonicalText(node);
  }

  /** `s:` and a hash of the canonical text: also the id of the IP set of the items it selects. */
  get uniqueId(): string {
    return (this.#uniqueId ??= makeUniqueId("s", this.canonical));
  }

  /**
   * Conditions that labels must keep for a match to be possible. Derived anew each time: who asks,
   * asks once, and a hundred thousand selectors would hold a map each.
   */
  get restrictions(): LabelRestrictions {
    return restrictionsOf(this.node);
  }

  /** Every label that the result may depend on. */
  get usedLabels(): ReadonlySet<string> {
    return (this.#usedLabels ??= labelsOf(this.node));
  }

  matches(labels: Labels): boolean {
    return (this.#matchesRecord ??= compile(this.node, ownLabel))(labels);
  }

  matchesWith(labels: LabelGetter): boolean {
    if (this.#matchesGetter !== undefined) return this.#matchesGetter(labels);
    if (++this.#walks <= WALKS_BEFORE_COMPILING) return evaluate(this.node, labels, getLabel);
    this.#matchesGetter = compile(this.node, getLabel);
    return this.#matchesGetter(labels);
  }

  toString(): string {
    return this.canonical;
  }
}

/**
 * Thousands of rules share few selectors, and a changed policy has mostly those it had before. The
 * last so many are found again, and so are those of the generation before.
 */
let recent = new Map<string, Selector>();
let older: ReadonlyMap<string, Selector> = new Map();
const MOST_RECENT = 1024;
/** So short a text keeps to either limit of depth. */
const LONGEST_RECENT = 256;

/**
 * Blank text selects all. Throws `bad-selector` (an input error) with column and likely fix. Equal
 * texts may give the same object.
 */
export function parseSelector(text: string): Selector {
  return parsed(text, MAX_SELECTOR_DEPTH);
}

/** The same for what this program has put together from such texts. */
export function parseComposedSelector(text: string): Selector {
  return parsed(text, MAX_COMPOSED_DEPTH);
}

function parsed(text: string, maxDepth: number): Selector {
  const known = recent.get(text);
  if (known !== undefined) return known;
  const selector = older.get(text) ?? new Selector(parseSelectorNode(text, maxDepth));
  if (text.length > LONGEST_RECENT) return selector;
  if (recent.size >= MOST_RECENT) {
    older = recent;
    recent = new Map();
  }
  recent.set(text, selector);
  return selector;
}

/** `(first) && (second) …`; one selector stays as it is. */
export function andSelectors(first: Selector, ...others: readonly Selector[]): Selector {
  if (others.length === 0) return first;
  return new Selector({ kind: "and", operands: [first, ...others].map((part) => part.node) });
}

/** `!(selector)`, without collapsing a double negation, as Calico writes it. */
export function notSelector(selector: Selector): Selector {
  return new Selector({ kind: "not", operand: selector.node });
}

export interface LabelPrefixOptions {
  /** Replaces `all()`, e.g. by `has(projectcalico.org/namespace)`. */
  readonly all?: Selector;
  /** Replaces `global()`. */
  readonly global?: Selector;
}

/**
 * The same selector over labels whose names carry a prefix (`pcns.`, `pcsa.`): how a selector of
 * namespaces or service accounts becomes one of endpoints, which inherit those labels.
 */
export function prefixLabels(
  selector: Selector,
  prefix: string,
  options: LabelPrefixOptions = {},
): Selector {
  const replace = (leaf: LeafNode): SelectorNode => {
    if ("label" in leaf) return { ...leaf, label: prefix + leaf.label };
    return options[leaf.kind]?.node ?? leaf;
  };
  return new Selector(mapLeaves(selector.node, replace));
}

function labelsOf(node: SelectorNode): ReadonlySet<string> {
  const labels = new Set<string>();
  visitLabels(node, (label) => labels.add(label));
  return labels;
}

/** The type check keeps `constructor` and the like, inherited by every object, from counting. */
function ownLabel(labels: Labels, label: string): string | undefined {
  const value: unknown = labels[label];
  return typeof value === "string" ? value : undefined;
}

function getLabel(labels: LabelGetter, label: string): string | undefined {
  return labels.get(label);
}
