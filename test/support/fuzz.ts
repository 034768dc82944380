/** Damage for fuzzing: seeded, so that a failure says the seed that repeats it. */
import type { RandomSource } from "./random-source.ts";

/** Inputs of one fuzz test: few in the daily run, a million in the long one. */
export const FUZZ_INPUTS = process.env["MARGAY_TEST_LONG"] === undefined ? 10_000 : 1_000_000;

/** One to four small changes: a piece removed, doubled, moved, or replaced by one of `pieces`. */
export function mutateText(text: string, pieces: readonly string[], random: RandomSource): string {
  let result = text;
  for (let left = random.int(1, 4); left > 0; left--) {
    const at = random.int(0, result.length);
    const end = Math.min(result.length, at + random.int(0, 6));
    const piece = result.slice(at, end);
    const put = random.pick([
      "",
      piece + piece,
      random.pick(pieces),
      random.pick(pieces),
      piece + random.pick(pieces),
    ]);
    result = result.slice(0, at) + put + result.slice(end);
  }
  return result;
}

/** What a field may hold that nobody expects there. */
const ODD: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  4,
  6,
  255,
  65_536,
  1e300,
  1.5,
  "",
  "all()",
  "global()",
  "10.0.0.0/8",
  "::/0",
  "0.0.0.0/0",
  "1:70000",
  "Allow",
  "ICMPv6",
  "\u2028<&>",
  "\ud800",
  [],
  {},
  [null],
  [[]],
  { a: null },
];

/** A copy of JSON data with one value replaced, removed, doubled or renamed, somewhere in it. */
export function mutateJson(value: unknown, random: RandomSource): unknown {
  if (typeof value !== "object" || value === null || random.chance(0.08)) return random.pick(ODD);
  if (Array.isArray(value)) return mutateList(value, random);
  const copy: Record<string, unknown> = { ...value };
  const key = random.pick([...Object.keys(copy), "__proto__", "newField"]);
  const kind = random.int(0, 9);
  if (kind === 0) delete copy[key];
  else if (kind === 1) copy[`${key}x`] = copy[key];
  else if (kind === 2) copy[random.pick(Object.keys(copy).concat("spec"))] = copy[key];
  else {
    const changed = mutateJson(copy[key], random);
    Object.defineProperty(copy, key, {
      value: changed,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return copy;
}

function mutateList(list: readonly unknown[], random: RandomSource): unknown[] {
  if (list.length === 0) return [random.pick(ODD)];
  const at = random.int(0, list.length - 1);
  switch (random.int(0, 4)) {
    case 0:
      return list.toSpliced(at, 1);
    case 1:
      return [...list, list[at]];
    default:
      return list.with(at, mutateJson(list[at], random));
  }
}
