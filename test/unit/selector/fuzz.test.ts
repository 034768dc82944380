/**
 * Any text is either refused with an input error, or a selector whose canonical text is a fixed
 * point and selects the same.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSelector, type Selector } from "#selector";
import { MargayError } from "#std";
import { FUZZ_INPUTS, mutateText } from "../../support/fuzz.ts";
import { randomLabels, randomSelector } from "../../support/random-rules.ts";
import { RandomSource } from "../../support/random-source.ts";

const PIECES = [
  " ",
  "\t",
  "\n",
  "(",
  ")",
  "{",
  "}",
  "!",
  "!!",
  "=",
  "==",
  "!=",
  "&&",
  "||",
  "&",
  "'",
  '"',
  ",",
  "has(",
  "all()",
  "global()",
  "in",
  "not in",
  "notin",
  "contains",
  "starts with",
  "endswith",
  "app",
  "env",
  "'a'",
  '"b"',
  "-",
  "/",
  "\u0000",
  "é",
  "𝄞",
  "\ud800",
  "a.b/c",
];

function tryParse(text: string): Selector | undefined {
  try {
    return parseSelector(text);
  } catch (error) {
    assert.ok(
      error instanceof MargayError && error.kind === "input",
      `${JSON.stringify(text)}: ${String(error)}`,
    );
    return undefined;
  }
}

test("random and damaged selectors", () => {
  const random = new RandomSource(404);
  let parsed = 0;
  for (let i = 0; i < FUZZ_INPUTS; i++) {
    const text = random.chance(0.25)
      ? random.some(PIECES, 0, 12).join(random.chance(0.5) ? " " : "")
      : mutateText(randomSelector(random), PIECES, random);
    const selector = tryParse(text);
    if (selector === undefined) continue;
    parsed++;
    const again = tryParse(selector.canonical);
    assert.ok(again !== undefined, `${JSON.stringify(text)}: its canonical text is refused`);
    const once = again.canonical;
    if (!selector.canonical.includes("!!")) assert.equal(once, selector.canonical, text);
    assert.equal(tryParse(once)?.canonical, once, text);
    for (let j = 0; j < 3; j++) {
      const labels = randomLabels(random);
      assert.equal(
        again.matches(labels),
        selector.matches(labels),
        `${text} on ${JSON.stringify(labels)}`,
      );
    }
  }
  assert.ok(parsed > FUZZ_INPUTS / 50, `only ${parsed} of ${FUZZ_INPUTS} parsed`);
});
