/**
 * Recursive descent over the tokens:
 *
 *     or   := and ('||' and)*
 *     and  := not ('&&' not)*
 *     not  := '!'* ( has(L) | all() | global() | '(' or ')' | L operator operand )
 *
 * Repeated `!` collapse by parity, `!(!x)` does not; both as in Calico, as canonical texts show.
 */
import { didYouMean, sortedUnique } from "#std";
import type { SelectorNode, SetOperator, ValueOperator } from "./ast.ts";
import { tokenize, type Token, type TokenKind } from "./lexer.ts";
import { syntaxError } from "./syntax-error.ts";

/** Parentheses within parentheses; every walk over the tree recurses, so hostile input must not overflow it. */
export const MAX_SELECTOR_DEPTH = 200;
/** In text that is put together from selectors that keep to the above: their canonical form has at most twice the parentheses. */
export const MAX_COMPOSED_DEPTH = 1000;

const VALUE_OPERATORS: Partial<Record<TokenKind, ValueOperator>> = {
  "==": "eq",
  "!=": "ne",
  contains: "contains",
  "starts with": "startsWith",
  "ends with": "endsWith",
};
const SET_OPERATORS: Partial<Record<TokenKind, SetOperator>> = { in: "in", "not in": "notIn" };
const OPERATOR_NAMES = ["==", "!=", "in", "not in", "contains", "starts with", "ends with"];
const FUNCTION_NAMES = ["has", "all", "global"];
const WORD_FIXES: Readonly<Record<string, string>> = {
  and: "&&",
  or: "||",
  not: "!",
  notin: "not in",
  exists: "has",
  is: "==",
  equals: "==",
  matches: "contains",
};

/** Blank text is `all()`. Throws `bad-selector`. */
export function parseSelectorNode(text: string, maxDepth = MAX_SELECTOR_DEPTH): SelectorNode {
  const parser = new Parser(text, maxDepth);
  if (parser.peek().kind === "end") return { kind: "all" };
  const node = parser.or(0);
  parser.expectEnd();
  return node;
}

/** Names of labels, each text once: a cluster has few, and they stand in every selector. */
let names = new Map<string, string>();
const MOST_NAMES = 4096;

function shared(name: string): string {
  const known = names.get(name);
  if (known !== undefined) return known;
  if (names.size >= MOST_NAMES) names = new Map();
  names.set(name, name);
  return name;
}

class Parser {
  readonly #text: string;
  readonly #maxDepth: number;
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
    this.#tokens = tokenize(text);
  }

  peek(): Token {
    const token = this.#tokens[Math.min(this.#next, this.#tokens.length - 1)];
    if (!token) throw syntaxError(this.#text, 0, "nothing", ["a selector"]);
    return token;
  }

  expectEnd(): void {
    const token = this.peek();
    if (token.kind === "end") return;
    const fix = token.kind === "label" ? WORD_FIXES[token.value.toLowerCase()] : undefined;
    throw this.#unexpected(token, ['"&&"', '"||"', "the end"], fix && JSON.stringify(fix));
  }

  or(depth: number): SelectorNode {
    return this.#chain("or", "||", () => this.#and(depth));
  }

  #and(depth: number): SelectorNode {
    return this.#chain("and", "&&", () => this.#not(depth));
  }

  #chain(kind: "and" | "or", separator: TokenKind, operand: () => SelectorNode): SelectorNode {
    const first = operand();
    if (this.peek().kind !== separator) return first;
    const operands = [first];
    while (this.#accept(separator)) operands.push(operand());
    return { kind, operands };
  }

  #not(depth: number): SelectorNode {
    let negated = false;
    while (this.#accept("!")) negated = !negated;
    const operand = this.#primary(depth);
    return negated ? { kind: "not", operand } : operand;
  }

  #primary(depth: number): SelectorNode {
    const token = this.#take();
    if (token.kind === "has") return { kind: "has", label: shared(token.value) };
    if (token.kind === "all" || token.kind === "global") return { kind: token.kind };
    if (token.kind === "label") return this.#comparison(token);
    if (token.kind !== "(") {
      throw this.#unexpected(token, ["a label", "has(…)", "all()", "global()", '"!"', '"("']);
    }
    if (depth >= this.#maxDepth) {
      throw this.#unexpected(token, [`at most ${this.#maxDepth} nested parentheses`]);
    }
    const inner = this.or(depth + 1);
    this.#expectClosing(token);
    return inner;
  }

  #expectClosing(opening: Token): void {
    const token = this.peek();
    if (this.#accept(")")) return;
    const fix = token.kind === "label" ? WORD_FIXES[token.value.toLowerCase()] : undefined;
    throw this.#unexpected(
      token,
      ['"&&"', '"||"', `")" for the one opened in column ${opening.start + 1}`],
      fix && JSON.stringify(fix),
    );
  }

  #comparison(label: Token): SelectorNode {
    const name = shared(label.value);
    const operator = this.#take();
    const valueKind = VALUE_OPERATORS[operator.kind];
    if (valueKind) {
      const operand = this.#take();
      if (operand.kind !== "string") throw this.#missingQuotes(operand);
      return { kind: valueKind, label: name, value: operand.value };
    }
    const setKind = SET_OPERATORS[operator.kind];
    if (setKind) return { kind: setKind, label: name, values: this.#set() };
    throw this.#unexpected(operator, OPERATOR_NAMES, this.#operatorFix(label, operator));
  }

  #set(): readonly string[] {
    const open = this.#take();
    if (open.kind !== "{") {
      const fix = open.kind === "(" || open.kind === "string" ? `{"…", "…"}` : undefined;
      throw this.#unexpected(open, ['"{"'], fix);
    }
    const values: string[] = [];
    while (this.peek().kind === "string") {
      values.push(this.#take().value);
      if (!this.#accept(",")) break;
    }
    const close = this.#take();
    if (close.kind === "label") throw this.#missingQuotes(close);
    if (close.kind !== "}") throw this.#unexpected(close, ["a quoted string", '"}"']);
    return sortedUnique(values);
  }

  /** The slip was in the operator (`has (x)`, `a is "b"`), in a call, or a label stands alone. */
  #operatorFix(label: Token, found: Token): string | undefined {
    if (found.kind === "(") {
      const call = WORD_FIXES[label.value] ?? didYouMean(label.value, FUNCTION_NAMES);
      return call === undefined ? undefined : `${call}(…), without a blank before "("`;
    }
    if (found.kind === "label") {
      const word = found.value.toLowerCase();
      const operator = WORD_FIXES[word] ?? didYouMean(word, OPERATOR_NAMES);
      return operator === undefined ? undefined : JSON.stringify(operator);
    }
    const standsAlone = found.kind === "end" || found.kind === "&&" || found.kind === "||";
    return standsAlone || found.kind === ")" ? `has(${label.value})` : undefined;
  }

  #missingQuotes(token: Token): Error {
    const fix = token.kind === "label" ? JSON.stringify(token.value) : undefined;
    return this.#unexpected(token, ["a quoted string"], fix);
  }

  #take(): Token {
    const token = this.peek();
    this.#next++;
    return token;
  }

  #accept(kind: TokenKind): boolean {
    if (this.peek().kind !== kind) return false;
    this.#next++;
    return true;
  }

  #unexpected(token: Token, expected: readonly string[], fix?: string): Error {
    const found =
      token.kind === "end" ? "the end" : JSON.stringify(this.#text.slice(token.start, token.end));
    return syntaxError(this.#text, token.start, found, expected, fix);
  }
}
