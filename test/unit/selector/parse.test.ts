import assert from "node:assert/strict";
import test from "node:test";
import { MargayError } from "#std";
import { MAX_LABEL_LENGTH, MAX_SELECTOR_DEPTH, parseSelector } from "#selector";

const CANONICAL: readonly (readonly [text: string, canonical: string])[] = [
  ["", "all()"],
  [" \t", "all()"],
  ["all()", "all()"],
  ["all( )", "all()"],
  ["global()", "global()"],
  ["has(a)", "has(a)"],
  ["has( a\t)", "has(a)"],
  ["a == 'b'", 'a == "b"'],
  ["a=='b'", 'a == "b"'],
  ['a == "it\'s"', 'a == "it\'s"'],
  ["a == 'say \"x\"'", "a == 'say \"x\"'"],
  ["a != ''", 'a != ""'],
  ["a contains 'b'", 'a contains "b"'],
  ["a contains'b'", 'a contains "b"'],
  ["a starts with 'b'", 'a starts with "b"'],
  ["a startswith 'b'", 'a starts with "b"'],
  ["a starts \t with 'b'", 'a starts with "b"'],
  ["a endswith 'b'", 'a ends with "b"'],
  ["a in {}", "a in {}"],
  ["a in{'c','a', 'c',}", 'a in {"a", "c"}'],
  ["a not in {'b'}", 'a not in {"b"}'],
  ["a notin {'b'}", 'a not in {"b"}'],
  ["a in {'\uffee', '𝄞'}", 'a in {"\uffee", "𝄞"}'],
  ["!has(a)", "!has(a)"],
  ["! ! has(a)", "has(a)"],
  ["!!!has(a)", "!has(a)"],
  ["!(!has(a))", "!!has(a)"],
  ["!a == 'b'", '!a == "b"'],
  ["(has(a))", "has(a)"],
  ["has(a) && has(b) && has(c)", "(has(a) && has(b) && has(c))"],
  ["has(a) && (has(b) && has(c))", "(has(a) && (has(b) && has(c)))"],
  ["has(a) || has(b) && has(c)", "(has(a) || (has(b) && has(c)))"],
  ["(has(a) || has(b)) && has(c)", "((has(a) || has(b)) && has(c))"],
  ["!(has(a) || has(b))", "!(has(a) || has(b))"],
  ["has == 'x'", 'has == "x"'],
  ["in in {'in'}", 'in in {"in"}'],
  ["contains contains 'x'", 'contains contains "x"'],
  ["not not in {'x'}", 'not not in {"x"}'],
  ["all == 'x' && global != 'y'", '(all == "x" && global != "y")'],
  ["starts starts with 'x'", 'starts starts with "x"'],
  ["a.b/c-d_e == 'x'", 'a.b/c-d_e == "x"'],
  ["has(has)", "has(has)"],
];

test("canonical text", () => {
  for (const [text, canonical] of CANONICAL) {
    assert.equal(parseSelector(text).canonical, canonical, text);
    assert.equal(parseSelector(canonical).canonical, canonical.replace("!!", ""), "fixed point");
  }
});

const FAULTY: readonly (readonly [text: string, column: number, fix: string | undefined])[] = [
  ["a = 'b'", 3, "=="],
  ["a == b", 6, '"b"'],
  ["a == 'b", 6, undefined],
  ["a == 'b' & has(c)", 10, "&&"],
  ["a == 'b' | has(c)", 10, "||"],
  ["a == 'b' and has(c)", 10, '"&&"'],
  ["(a == 'b' or has(c))", 11, '"||"'],
  ["a == 'b' has(c)", 10, undefined],
  ["a", 2, "has(a)"],
  ["a && b == 'c'", 3, "has(a)"],
  ["(a)", 3, "has(a)"],
  ["a in ('b')", 6, '{"…", "…"}'],
  ["a in {b}", 7, '"b"'],
  ["a in {'b' 'c'}", 11, undefined],
  ["a in {,}", 7, undefined],
  ["a in {'b'", 10, undefined],
  ["a inn {'b'}", 3, '"in"'],
  ["a containz 'b'", 3, '"contains"'],
  ["a starts 'b'", 3, undefined],
  ["has (a)", 5, 'has(…), without a blank before "("'],
  ["exists(a)", 7, 'has(…), without a blank before "("'],
  ["has()", 4, 'has(…), without a blank before "("'],
  ["has(a b)", 4, 'has(…), without a blank before "("'],
  ["all(a)", 4, 'all(…), without a blank before "("'],
  ["(has(a)", 8, undefined],
  ["has(a))", 7, undefined],
  ["!", 2, undefined],
  ["has(a) &&", 10, undefined],
  ["&& has(a)", 1, undefined],
  ["a == 'b'\n", 9, "a space instead of the line break"],
  ["ä == 'b'", 1, undefined],
  ["{}", 1, undefined],
];

function faultOf(text: string): MargayError {
  let fault: unknown;
  try {
    parseSelector(text);
  } catch (error) {
    fault = error;
  }
  assert.ok(fault instanceof MargayError, `${text}: ${String(fault)}`);
  return fault;
}

test("faults say where and how to mend them", () => {
  for (const [text, column, fix] of FAULTY) {
    const error = faultOf(text);
    assert.equal(error.kind, "input", text);
    assert.equal(error.code, "bad-selector", text);
    assert.equal(error.fields["column"], column, text);
    assert.equal(error.fields["fix"], fix, text);
    assert.ok(error.message.includes(`column ${column}`), error.message);
  }
});

test("label names are limited", () => {
  const longest = "a".repeat(MAX_LABEL_LENGTH);
  assert.equal(parseSelector(`has(${longest})`).canonical, `has(${longest})`);
  assert.equal(faultOf(`has(${longest}a)`).fields["column"], 1);
  assert.equal(faultOf(`has(b) && ${longest}a == 'x'`).fields["column"], 11);
});

test("hostile nesting is refused, long chains are not", () => {
  const nested = (depth: number): string => "(".repeat(depth) + "has(a)" + ")".repeat(depth);
  assert.equal(parseSelector(nested(MAX_SELECTOR_DEPTH)).canonical, "has(a)");
  assert.equal(faultOf(nested(MAX_SELECTOR_DEPTH + 1)).code, "bad-selector");
  assert.equal(faultOf(nested(100_000)).code, "bad-selector");
  assert.equal(parseSelector(`${"!".repeat(100_001)}has(a)`).canonical, "!has(a)");
  const chain = Array.from({ length: 10_000 }, () => "has(a)").join(" || ");
  assert.ok(parseSelector(chain).matches({ a: "" }));
});
