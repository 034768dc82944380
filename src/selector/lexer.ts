/**
 * Tokens of the selector language. Keywords count only where an operator may stand, directly
 * after a label, so `in`, `has` or `contains` may be label names. Blanks are space and tab.
 */
import { syntaxError } from "./syntax-error.ts";

export type TokenKind =
  | "label"
  | "string"
  | "has"
  | "all"
  | "global"
  | "=="
  | "!="
  | "contains"
  | "starts with"
  | "ends with"
  | "in"
  | "not in"
  | "!"
  | "&&"
  | "||"
  | "("
  | ")"
  | "{"
  | "}"
  | ","
  | "end";

export interface Token {
  readonly kind: TokenKind;
  /** Label name (also of `has`) or content of the string; else the text itself. */
  readonly value: string;
  /** Offset of the first character, from 0. */
  readonly start: number;
  readonly end: number;
}

/** Longest label name that Calico's parser takes. */
export const MAX_LABEL_LENGTH = 512;

const LABEL = /[a-zA-Z0-9_./-]+/y;
const CALL_HAS = /has\([ \t]*([a-zA-Z0-9_./-]+)[ \t]*\)/y;
const CALL_ALL = /all\([ \t]*\)/y;
const CALL_GLOBAL = /global\([ \t]*\)/y;
/** A multi-word operator may lack the blank between its words, but must end a word. */
const OPERATORS: readonly (readonly [TokenKind, RegExp])[] = [
  ["contains", /contains\b/y],
  ["starts with", /starts[ \t]*with\b/y],
  ["ends with", /ends[ \t]*with\b/y],
  ["not in", /not[ \t]*in\b/y],
  ["in", /in\b/y],
];
const PUNCTUATION: readonly TokenKind[] = ["==", "!=", "&&", "||", "!", "(", ")", "{", "}", ","];

/** Ends with an `end` token. Throws a selector syntax error. */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let at = skipBlanks(text, 0);
  let previous: TokenKind = "end";
  while (at < text.length) {
    const token = nextToken(text, at, previous);
    tokens.push(token);
    previous = token.kind;
    at = skipBlanks(text, token.end);
  }
  tokens.push({ kind: "end", value: "", start: text.length, end: text.length });
  return tokens;
}

function nextToken(text: string, start: number, previous: TokenKind): Token {
  const first = text.charAt(start);
  if (first === '"' || first === "'") return stringToken(text, start, first);
  for (const kind of PUNCTUATION) {
    if (text.startsWith(kind, start)) {
      return { kind, value: kind, start, end: start + kind.length };
    }
  }
  const word = previous === "label" ? operatorToken(text, start) : callToken(text, start);
  return word ?? labelToken(text, start);
}

function stringToken(text: string, start: number, quote: string): Token {
  const close = text.indexOf(quote, start + 1);
  if (close < 0) {
    throw syntaxError(text, start, "a string that is never closed", [`a closing ${quote}`]);
  }
  return { kind: "string", value: text.slice(start + 1, close), start, end: close + 1 };
}

function operatorToken(text: string, start: number): Token | undefined {
  for (const [kind, pattern] of OPERATORS) {
    const end = endOfMatch(pattern, text, start);
    if (end !== undefined) return { kind, value: kind, start, end };
  }
  return undefined;
}

function callToken(text: string, start: number): Token | undefined {
  CALL_HAS.lastIndex = start;
  const has = CALL_HAS.exec(text);
  if (has !== null) {
    const label = has[1] ?? "";
    checkLabelLength(text, start, label);
    return { kind: "has", value: label, start, end: start + has[0].length };
  }
  for (const [kind, pattern] of [
    ["all", CALL_ALL],
    ["global", CALL_GLOBAL],
  ] as const) {
    const end = endOfMatch(pattern, text, start);
    if (end !== undefined) return { kind, value: kind, start, end };
  }
  return undefined;
}

function labelToken(text: string, start: number): Token {
  const end = endOfMatch(LABEL, text, start);
  if (end === undefined) {
    const character = String.fromCodePoint(text.codePointAt(start) ?? 0);
    const fix = { "=": "==", "&": "&&", "|": "||", "\n": "a space instead of the line break" }[
      character
    ];
    throw syntaxError(text, start, JSON.stringify(character), ["a part of a selector"], fix);
  }
  const value = text.slice(start, end);
  checkLabelLength(text, start, value);
  return { kind: "label", value, start, end };
}

function checkLabelLength(text: string, start: number, label: string): void {
  if (label.length <= MAX_LABEL_LENGTH) return;
  throw syntaxError(text, start, `a label name of ${label.length} characters`, [
    `at most ${MAX_LABEL_LENGTH}`,
  ]);
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (text[at] === " " || text[at] === "\t") at++;
  return at;
}

/** Of a sticky pattern; without the list that `exec` makes, as there are selectors by the 100,000. */
function endOfMatch(pattern: RegExp, text: string, at: number): number | undefined {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}
