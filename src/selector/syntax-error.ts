/** The one form of a selector's syntax error: where, what stands there, what could, likely fix. */
import { inputError, type MargayError } from "#std";

const SHOWN_LENGTH = 120;

/**
 * Code `bad-selector`. Fields: `selector`, `column` (from 1, in UTF-16 units), `found`, `expected`
 * and `fix` where one is likely.
 */
export function syntaxError(
  selector: string,
  offset: number,
  found: string,
  expected: readonly string[],
  fix?: string,
): MargayError {
  const column = offset + 1;
  const shown = selector.length > SHOWN_LENGTH ? `${selector.slice(0, SHOWN_LENGTH)}…` : selector;
  const hint = fix === undefined ? "" : `; did you mean ${fix}?`;
  return inputError(
    "bad-selector",
    `selector ${JSON.stringify(shown)}, column ${column}: found ${found}, expected ${alternatives(expected)}${hint}`,
    { fields: { selector, column, found, expected, ...(fix === undefined ? {} : { fix }) } },
  );
}

function alternatives(expected: readonly string[]): string {
  if (expected.length < 2) return expected.join("");
  return `${expected.slice(0, -1).join(", ")} or ${expected.at(-1)}`;
}
