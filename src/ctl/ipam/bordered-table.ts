/** Tables of `ipam show` as Calico's tool draws them; scripts cut these columns. */

/** Cells of the columns in `right` stand right, their headings left. */
export function borderedTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const rule = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+`;
  const line = (cells: readonly string[], isHeader: boolean): string =>
    `| ${widths
      .map((width, column) => {
        const cell = cells[column] ?? "";
        return !isHeader && right.includes(column) ? cell.padStart(width) : cell.padEnd(width);
      })
      .join(" | ")} |`;
  const body = rows.map((row) => line(row, false));
  const parts = body.length === 0 ? [] : [...body, rule];
  return `${[rule, line(header, true), rule, ...parts].join("\n")}\n`;
}
