/**
 * Tables as Calico's tool prints them: columns padded to their widest cell plus three blanks, the
 * last one too, and an empty line at the end. Scripts cut these columns, so the bytes stay.
 */
const PADDING = 3;
const MIN_WIDTH = 5;

export function textTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      widths[index] = Math.max(widths[index] ?? MIN_WIDTH, length(cell) + PADDING);
    }
  }
  const lines = rows.map((row) =>
    row.map((cell, index) => cell + " ".repeat((widths[index] ?? 0) - length(cell))).join(""),
  );
  return `${lines.join("\n")}\n\n`;
}

/** In code points, as Go counts. */
function length(cell: string): number {
  return Array.from(cell).length;
}
