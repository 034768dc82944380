/** What a benchmark reports. Absolute times on a shared machine mean little; the ratio is the figure. */

export interface Figure {
  readonly what: string;
  /** Unit of `ours`, `floor` and `target`: `ms`, `us`, `MB`, … */
  readonly unit: string;
  /** Median unless `what` says otherwise. */
  readonly ours: number;
  /** The kernel's cost, or the real tool's, for the same work in the same run. */
  readonly floor?: number;
  readonly floorIs?: string;
  /** At most this is wanted; absolute, for a machine like the one of the reference figures. */
  readonly target?: number;
  /** Of `ours` to `floor`, in place of `target`. At most this, or at least when `atLeast`. */
  readonly targetRatio?: number;
  readonly atLeast?: boolean;
}

export interface Suite {
  readonly title: string;
  run(): Promise<readonly Figure[]>;
}

export function drawTable(figures: readonly Figure[]): string {
  const rows = [
    ["what", "ours", "unit", "beside", "ratio", "target", ""],
    ...figures.map((f) => [
      f.what,
      round(f.ours),
      f.unit,
      f.floor === undefined ? "" : `${round(f.floor)} (${f.floorIs ?? "floor"})`,
      f.floor === undefined || f.floor === 0 ? "" : (f.ours / f.floor).toFixed(2),
      ...verdict(f),
    ]),
  ];
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function verdict(figure: Figure): [target: string, reached: string] {
  const { ours, floor, target, targetRatio, atLeast } = figure;
  const limit = targetRatio ?? target;
  if (limit === undefined) return ["", ""];
  const value = targetRatio === undefined ? ours : ours / (floor ?? Number.NaN);
  const reached = atLeast === true ? value >= limit : value <= limit;
  const text = `${round(limit)}${targetRatio === undefined ? "" : " x"}`;
  return [text, reached ? "reached" : "missed"];
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function quantile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}
