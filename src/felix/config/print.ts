/** `--print-config`: every parameter, its value and where it came from. */
import { stringify } from "yaml";
import { unreachable } from "#std";
import type { Param } from "./kinds.ts";
import { GROUPS, PARAMS, type ParamName } from "./params.ts";
import type { FelixConfig } from "./resolve.ts";

export type PrintFormat = "table" | "json" | "yaml";

interface Row {
  readonly name: string;
  readonly value: string;
  readonly source: string;
  readonly used: boolean;
}

export function printConfig(config: FelixConfig, format: PrintFormat): string {
  const rows = rowsOf(config);
  switch (format) {
    case "json":
      return `${JSON.stringify(rows, null, 2)}\n`;
    case "yaml":
      return stringify(rows);
    case "table":
      return table(rows, config);
    default:
      return unreachable(format);
  }
}

function rowsOf(config: FelixConfig): readonly Row[] {
  return GROUPS.flatMap(({ params }) => Object.keys(params)).map((key) => {
    const name = key as ParamName;
    const declared: Param<unknown> = PARAMS[name];
    return {
      name,
      value: declared.kind.show(config.values[name]),
      source: config.origins[name].source,
      used: declared.used,
    };
  });
}

function table(rows: readonly Row[], config: FelixConfig): string {
  const nameWidth = Math.max(...rows.map((row) => row.name.length));
  const valueWidth = Math.min(44, Math.max(...rows.map((row) => row.value.length)));
  const lines = [`${"NAME".padEnd(nameWidth)}  ${"VALUE".padEnd(valueWidth)}  SOURCE`];
  for (const row of rows) {
    const source = row.used ? row.source : `${row.source} (not used)`;
    lines.push(`${row.name.padEnd(nameWidth)}  ${row.value.padEnd(valueWidth)}  ${source}`);
  }
  for (const problem of config.problems) {
    lines.push(`${problem.severity}: ${problem.message} ${JSON.stringify(problem.fields)}`);
  }
  return `${lines.join("\n")}\n`;
}
