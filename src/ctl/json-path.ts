/**
 * `-o jsonpath=…`: a subset of what kubectl takes, written down in docs/differences.md.
 *
 *     text{.metadata.name}{"\n"}              values between texts
 *     {.spec.nets[0]} {.items[*].kind}        one member, or all of them
 *     {.metadata.labels['a.b/c']}             keys with dots
 *     {range .items[*]}{.metadata.name}{"\n"}{end}
 *
 * Inside a range, paths start at its member; `$` is the whole document. What is not there prints
 * nothing; several values are parted by a space; texts print bare, all else as JSON. No filters
 * (`?()`), slices, or `..`: they are refused.
 */
import { inputError } from "#std";

type Step = { readonly key: string } | { readonly index: number } | { readonly all: true };
interface Path {
  readonly fromRoot: boolean;
  readonly steps: readonly Step[];
}
export type Template = readonly Part[];
type Part =
  | { readonly part: "text"; readonly text: string }
  | { readonly part: "path"; readonly path: Path }
  | { readonly part: "range"; readonly path: Path; readonly body: Template };

/** Throws `bad-option`. */
export function parseJsonPath(text: string): Template {
  const open: { parts: Part[]; path?: Path }[] = [{ parts: [] }];
  for (const token of tokensOf(text)) {
    const top = open.at(-1);
    if (top === undefined) break;
    if (!token.braced) {
      top.parts.push({ part: "text", text: token.text });
      continue;
    }
    const inside = token.text.trim();
    const range = /^range\s+(.*)$/s.exec(inside);
    if (range !== null) {
      open.push({ parts: [], path: parsePath(range[1] ?? "") });
    } else if (inside === "end") {
      open.pop();
      const outer = open.at(-1);
      if (outer === undefined || top.path === undefined) throw bad("{end} without {range}");
      outer.parts.push({ part: "range", path: top.path, body: top.parts });
    } else if (/^["']/.test(inside)) {
      top.parts.push({ part: "text", text: unquoted(inside) });
    } else {
      top.parts.push({ part: "path", path: parsePath(inside) });
    }
  }
  if (open.length > 1) throw bad("{range} without {end}");
  return open[0]?.parts ?? [];
}

export function printJsonPath(template: Template, root: unknown, here: unknown = root): string {
  const said = template.map((part) => {
    if (part.part === "text") return part.text;
    const values = follow(part.path, root, here);
    if (part.part === "path") return values.map(valueText).join(" ");
    return values.map((value) => printJsonPath(part.body, root, value)).join("");
  });
  return said.join("");
}

interface Token {
  readonly braced: boolean;
  readonly text: string;
}

/** A brace inside quotes ends nothing. */
function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  let rest = text;
  while (rest !== "") {
    const plain = /^[^{]+/.exec(rest)?.[0];
    if (plain !== undefined) {
      tokens.push({ braced: false, text: plain });
      rest = rest.slice(plain.length);
      continue;
    }
    const braced = /^\{((?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^"'}])*)\}/s.exec(rest);
    if (braced === null) throw bad(`no } for ${JSON.stringify(rest.slice(0, 20))}`);
    tokens.push({ braced: true, text: braced[1] ?? "" });
    rest = rest.slice(braced[0].length);
  }
  return tokens;
}

const STEP =
  /^(?:\.?\[\*\]|\.\*|\.?\[(?<index>-?\d+)\]|\.?\[(?<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\]|\.(?<key>(?:[\w/-]|\\.)+))/;

function parsePath(text: string): Path {
  const trimmed = text.trim();
  const fromRoot = trimmed.startsWith("$");
  let rest = trimmed.replace(/^[$@]/, "");
  const steps: Step[] = [];
  if (rest === ".") return { fromRoot, steps };
  while (rest !== "") {
    const match = STEP.exec(rest);
    if (match === null) {
      throw bad(
        `${JSON.stringify(trimmed)} is not understood from ${JSON.stringify(rest)} on; ` +
          "a path is like .spec.nets[0], .items[*].metadata.name or .labels['a.b']",
      );
    }
    const { index, quoted, key } = match.groups ?? {};
    if (index !== undefined) steps.push({ index: Number(index) });
    else if (quoted !== undefined) steps.push({ key: unquoted(quoted) });
    else if (key !== undefined) steps.push({ key: key.replaceAll(/\\(.)/g, "$1") });
    else steps.push({ all: true });
    rest = rest.slice(match[0].length);
  }
  if (trimmed === "") throw bad("an empty path");
  return { fromRoot, steps };
}

function follow({ fromRoot, steps }: Path, root: unknown, here: unknown): unknown[] {
  let values: unknown[] = [fromRoot ? root : here];
  for (const step of steps) values = values.flatMap((value) => take(value, step));
  return values;
}

function take(value: unknown, step: Step): unknown[] {
  if (typeof value !== "object" || value === null) return [];
  if ("all" in step) return Object.values(value);
  if ("index" in step) {
    const found: unknown = Array.isArray(value) ? value.at(step.index) : undefined;
    return found === undefined ? [] : [found];
  }
  if (Array.isArray(value) || !Object.hasOwn(value, step.key)) return [];
  return [(value as Readonly<Record<string, unknown>>)[step.key]];
}

function valueText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };

function unquoted(text: string): string {
  const quote = text.charAt(0);
  if (text.length < 2 || text.at(-1) !== quote) throw bad(`${text} does not end in ${quote}`);
  return text.slice(1, -1).replaceAll(/\\(.)/g, (_, one: string) => ESCAPES[one] ?? one);
}

function bad(message: string): Error {
  return inputError("bad-option", `jsonpath: ${message}`);
}
