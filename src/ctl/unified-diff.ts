/**
 * Lines that differ, as a unified diff (POSIX `diff -U3`). Shortest edit by Myers' greedy algorithm
 * (Algorithmica 1, 1986); texts further apart than its limit are shown as wholly replaced.
 */
const CONTEXT = 3;
const MAX_EDITS = 1000;

type Mark = " " | "-" | "+";
interface Line {
  readonly mark: Mark;
  readonly text: string;
}

/** Hunks only, without the lines that name the files; "" when the texts are equal. */
export function unifiedDiff(before: string, after: string): string {
  const lines = editScript(linesOf(before), linesOf(after));
  const changed = lines.flatMap(({ mark }, index) => (mark === " " ? [] : [index]));
  const hunks: [number, number][] = [];
  for (const index of changed) {
    const last = hunks.at(-1);
    const end = Math.min(lines.length, index + 1 + CONTEXT);
    if (last !== undefined && index - CONTEXT <= last[1]) last[1] = end;
    else hunks.push([Math.max(0, index - CONTEXT), end]);
  }
  return hunks.map(([start, end]) => hunkText(lines, start, end)).join("");
}

function hunkText(lines: readonly Line[], start: number, end: number): string {
  const shown = lines.slice(start, end);
  const range = (other: Mark): string => {
    const count = shown.filter(({ mark }) => mark !== other).length;
    const first = lines.slice(0, start).filter(({ mark }) => mark !== other).length;
    return `${count === 0 ? first : first + 1},${count}`;
  };
  const body = shown.map(({ mark, text }) => `${mark}${text}\n`).join("");
  return `@@ -${range("+")} +${range("-")} @@\n${body}`;
}

function editScript(before: readonly string[], after: readonly string[]): Line[] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head++;
  let tail = 0;
  const room = Math.min(before.length, after.length) - head;
  while (tail < room && before.at(-1 - tail) === after.at(-1 - tail)) tail++;
  const same = (texts: readonly string[]): Line[] => texts.map((text) => ({ mark: " ", text }));
  return [
    ...same(before.slice(0, head)),
    ...middle(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
    ...same(before.slice(before.length - tail)),
  ];
}

function middle(a: readonly string[], b: readonly string[]): Line[] {
  const trace = furthestPaths(a, b);
  if (trace === undefined) {
    return [
      ...a.map((text) => ({ mark: "-", text }) as const),
      ...b.map((text) => ({ mark: "+", text }) as const),
    ];
  }
  const lines: Line[] = [];
  let [x, y] = [a.length, b.length];
  for (let d = trace.length - 1; d >= 0; d--) {
    const ends = trace[d] ?? new Map<number, number>();
    const k = x - y;
    const down = k === -d || (k !== d && at(ends, k - 1) < at(ends, k + 1));
    const fromX = d === 0 ? 0 : at(ends, down ? k + 1 : k - 1);
    const fromY = d === 0 ? 0 : fromX - (down ? k + 1 : k - 1);
    while (x > fromX && y > fromY) {
      lines.push({ mark: " ", text: a[--x] ?? "" });
      y--;
    }
    if (d === 0) break;
    if (down) lines.push({ mark: "+", text: b[--y] ?? "" });
    else lines.push({ mark: "-", text: a[--x] ?? "" });
  }
  return lines.toReversed();
}

/** Per number of edits: how far each diagonal reached before it; undefined past the limit. */
function furthestPaths(
  a: readonly string[],
  b: readonly string[],
): readonly ReadonlyMap<number, number>[] | undefined {
  const ends = new Map<number, number>([[1, 0]]);
  const trace: Map<number, number>[] = [];
  for (let d = 0; d <= MAX_EDITS; d++) {
    trace.push(new Map(ends));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && at(ends, k - 1) < at(ends, k + 1));
      let x = down ? at(ends, k + 1) : at(ends, k - 1) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
      ends.set(k, x);
      if (x >= a.length && x - k >= b.length) return trace;
    }
  }
  return undefined;
}

function at(ends: ReadonlyMap<number, number>, k: number): number {
  return ends.get(k) ?? 0;
}

function linesOf(text: string): string[] {
  return text === "" ? [] : text.replace(/\n$/, "").split("\n");
}
