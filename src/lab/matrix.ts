/**
 * The connectivity matrix: who reaches whom on which port, measured with real connections, compared
 * with what the lab file expects, and drawn. Cost of one round: one new flow per source,
 * destination port and common address family, all at once; a round lasts as long as the timeout
 * when anything is denied.
 */
import type { ProbeTarget } from "./prober.ts";
import { bareAddress, isIpv6 } from "./names.ts";
import type { Expectation, LabPeer, LabSpec } from "./spec.ts";

export interface Cell {
  readonly from: string;
  readonly to: string;
  /** `tcp:80`. */
  readonly port: string;
  readonly family: 4 | 6;
  readonly allowed: boolean;
  /** Absent when the file expects nothing. */
  readonly expected?: boolean;
}

export type Probe = (from: string, targets: readonly ProbeTarget[]) => Promise<readonly boolean[]>;

/** All cells of one round, in a fixed order: source, destination, port, family. */
export async function measure(
  peers: readonly LabPeer[],
  expect: LabSpec["expect"],
  probe: Probe,
): Promise<Cell[]> {
  const rows = await Promise.all(
    peers.map(async (from) => {
      const cells = peers.filter((to) => to !== from).flatMap((to) => cellsBetween(from, to));
      const answers = await probe(
        from.name,
        cells.map((cell) => cell.target),
      );
      return cells.map((cell, index) =>
        withExpectation(expect, {
          from: from.name,
          to: cell.to,
          port: cell.port,
          family: cell.target.family,
          allowed: answers[index] ?? false,
        }),
      );
    }),
  );
  return rows.flat();
}

function cellsBetween(
  from: LabPeer,
  to: LabPeer,
): { to: string; port: string; target: ProbeTarget }[] {
  return to.listen.flatMap(({ protocol, port }) =>
    ([4, 6] as const).flatMap((family) => {
      const has = (peer: LabPeer): string | undefined =>
        peer.addresses.find((a) => isIpv6(a) === (family === 6));
      const address = has(to);
      if (address === undefined || has(from) === undefined) return [];
      return [
        {
          to: to.name,
          port: `${protocol}:${port}`,
          target: { protocol, family, address: bareAddress(address), port },
        },
      ];
    }),
  );
}

function withExpectation(expect: LabSpec["expect"], cell: Omit<Cell, "expected">): Cell {
  if (expect === undefined) return cell;
  const line = expect.lines.findLast((candidate) => matches(candidate, cell));
  return { ...cell, expected: line?.allow ?? expect.default };
}

function matches(line: Expectation, cell: Omit<Cell, "expected">): boolean {
  return (
    (line.from === "*" || line.from === cell.from) &&
    (line.to === "*" || line.to === cell.to) &&
    (line.port === "*" || line.port === cell.port) &&
    (line.family === undefined || line.family === cell.family)
  );
}

export function surprises(cells: readonly Cell[]): readonly Cell[] {
  return cells.filter((cell) => cell.expected !== undefined && cell.expected !== cell.allowed);
}

export function describeSurprise(cell: Cell): string {
  const verb = cell.allowed ? "reached" : "did not reach";
  return `${cell.from} -> ${cell.to} ${cell.port} v${cell.family}: ${verb} it; the file expects ${cell.expected === true ? "allow" : "deny"}`;
}

export interface DrawOptions {
  readonly colour: boolean;
}

/**
 * One row a source, one column a destination port. A cell says `yes` or `no` for all the families
 * that both ends have, or names the only one that passes; `!` marks what the file does not expect.
 */
export function drawMatrix(cells: readonly Cell[], options: DrawOptions): string {
  const columns = [...new Set(cells.map((cell) => `${cell.to} ${cell.port}`))];
  const rows = [...new Set(cells.map((cell) => cell.from))];
  const table = rows.map((from) =>
    columns.map((column) =>
      drawCell(cells.filter((c) => c.from === from && `${c.to} ${c.port}` === column)),
    ),
  );
  const heads = columns.map((column) => column.split(" "));
  const first = Math.max("FROM \\ TO".length, ...rows.map((row) => row.length));
  const widths = columns.map((_, i) =>
    Math.max(
      heads[i]?.[0]?.length ?? 0,
      heads[i]?.[1]?.length ?? 0,
      ...table.map((row) => row[i]?.length ?? 0),
    ),
  );
  const line = (
    label: string,
    texts: readonly string[],
    paint: (text: string, padded: string) => string,
  ): string =>
    `${label.padEnd(first)}  ${texts.map((text, i) => paint(text, text.padEnd(widths[i] ?? 0))).join("  ")}`.trimEnd();
  const plain = (_: string, padded: string): string => padded;
  const paint = (text: string, padded: string): string =>
    options.colour ? `${colourOf(text)}${padded}\u001b[0m` : padded;
  return [
    line(
      "FROM \\ TO",
      heads.map((head) => head[0] ?? ""),
      plain,
    ),
    line(
      "",
      heads.map((head) => head[1] ?? ""),
      plain,
    ),
    ...rows.map((row, i) => line(row, table[i] ?? [], paint)),
    ...(table.flat().some((text) => text.endsWith("!"))
      ? ["!: not what the lab's file expects"]
      : []),
  ].join("\n");
}

function drawCell(cells: readonly Cell[]): string {
  if (cells.length === 0) return "-";
  const passing = cells.filter((cell) => cell.allowed);
  const text =
    passing.length === 0
      ? "no"
      : passing.length === cells.length
        ? "yes"
        : `v${passing[0]?.family ?? ""}`;
  return surprises(cells).length > 0 ? `${text}!` : text;
}

function colourOf(text: string): string {
  if (text.endsWith("!")) return "\u001b[1;33m";
  if (text === "no") return "\u001b[31m";
  return text === "-" ? "\u001b[2m" : "\u001b[32m";
}
