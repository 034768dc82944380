/** Writes docs/configuration.md from the table of parameters: `node scripts/gen-config-doc.ts`. */
import { mkdirSync, writeFileSync } from "node:fs";
import type { Param } from "../src/felix/config/kinds.ts";
import { GROUPS } from "../src/felix/config/params.ts";

const INTRO = `# Configuration of the agent

Each parameter can be given as \`FELIX_<Name>\` in the environment (any capitalisation), as
\`<Name> = value\` in \`/etc/calico/felix.cfg\`, and, unless it is local, as a field of a
FelixConfiguration. In ascending order of precedence: default, FelixConfiguration \`default\`, one
selected by \`nodeSelector\` (the oldest), \`node.<name>\`, the file, the environment.

The value \`none\` switches a parameter off. Durations are in the unit that is named; in a
FelixConfiguration they are written with units (\`90s\`). A change restarts the agent (exit code 129)
unless it is one of CalicoVersion, ClusterGUID, ClusterType and HealthTimeoutOverrides.

Names, types and defaults are those of Calico's Felix. What Margay does not act on yet is marked
"not used"; setting it is named in the log. \`margay felix --print-config\` shows what is in force.

Where Margay differs:

- \`DatastoreType\`: without it, etcd when endpoints are given, else the embedded store.
- \`EndpointReportingEnabled\`: on by default with the embedded store.
`;

const lines = [INTRO];
for (const { title, params } of GROUPS) {
  lines.push(`## ${title}\n`, "| parameter | value | default | |", "| --- | --- | --- | --- |");
  for (const [name, declared] of Object.entries(params)) lines.push(row(name, declared));
  lines.push("");
}
mkdirSync("docs", { recursive: true });
writeFileSync("docs/configuration.md", lines.join("\n"));

function row(name: string, declared: Param<unknown>): string {
  const notes = [
    declared.local ? "local" : "",
    declared.dieOnFail ? "a bad value stops the agent" : "",
    declared.v3 === undefined ? "" : `field \`${declared.v3}\``,
    declared.used ? "" : "not used",
  ].filter((note) => note !== "");
  const text = notes.length === 0 ? declared.doc : `${declared.doc} (${notes.join("; ")})`;
  const fallback = declared.default === "" ? "" : `\`${declared.default.replaceAll("|", "\\|")}\``;
  return `| ${name} | ${declared.kind.schema} | ${fallback} | ${text} |`;
}
