/** `margay ipam check`: faults in IPAM's books, in words, as JSON, or as a report for `ipam release`. */
import { writeFileSync } from "node:fs";
import {
  audit,
  describe,
  readSnapshot,
  writeJson,
  type Audit,
  type Problem,
  type Snapshot,
} from "#ipam";
import { formatCidr, formatIp } from "#ip";
import { inputError, messageOf } from "#std";
import type { IpamCommandContext } from "./context.ts";

export interface CheckOptions {
  readonly showAllIps?: boolean;
  readonly showProblemIps?: boolean;
  readonly output?: string;
  readonly exitCode?: boolean;
}

/** Of the reports; a newer one may say more. */
export const REPORT_VERSION = "margay";

const TITLES: Readonly<Record<Problem["kind"], string>> = {
  leaked: "allocated, but not in use",
  "not-allocated": "in use and in a pool, but not allocated",
  "outside-pools": "in use, but in no active pool",
  duplicate: "used more than once",
  "handle-unused": "handles without addresses",
  "handle-miscounts": "handles that count wrong",
  "handle-missing": "handles without a record",
  "affinity-without-block": "affinities without their block",
  "affinity-unfinished": "claims or releases of blocks that were begun and not finished",
  "block-without-affinity": "blocks whose owner has no affinity to them",
  "block-outside-pools": "blocks outside every pool",
  "block-overlap": "blocks that overlap",
  "node-missing": "blocks of nodes that do not exist",
  damaged: "records that cannot be read",
};

/** So many of a kind are named without being asked for. */
const NAMED_AT_ONCE = 20;

export async function checkCommand(
  { client, out }: IpamCommandContext,
  options: CheckOptions,
): Promise<number> {
  const snapshot = await readSnapshot(client.store);
  const found = audit(snapshot);
  if (options.output === "json") out(report(snapshot, found));
  else {
    out(text(snapshot, found, options));
    if (options.output !== undefined) save(options.output, report(snapshot, found));
  }
  return options.exitCode === true && found.problems.length > 0 ? 1 : 0;
}

function text(
  snapshot: Snapshot,
  { allocations, used, problems }: Audit,
  options: CheckOptions,
): string {
  const lines = [
    `Checking IPAM at revision ${snapshot.revision}...`,
    `Found ${snapshot.blocks.length} blocks with ${allocations.length} allocations, ${snapshot.affinities.length} affinities, ${snapshot.handles.size} handles, ${snapshot.pools.length} pools.`,
    `Workloads and nodes are using ${used.size} IPs.`,
  ];
  if (options.showAllIps === true) {
    for (const one of allocations) {
      const state = one.cooling ? "cooling down" : one.inUse ? one.owners.join(", ") : "not in use";
      lines.push(`  ${formatIp(one.ip)} ${state}; ${describe(one.attribute)}`);
    }
  }
  const all = options.showAllIps === true || options.showProblemIps === true;
  for (const [kind, title] of Object.entries(TITLES)) {
    const group = problems.filter((problem) => problem.kind === kind);
    if (group.length === 0) continue;
    lines.push("", `${group.length} ${title}:`);
    const named = all ? group : group.slice(0, NAMED_AT_ONCE);
    lines.push(...named.map(({ message }) => `  ${message}`));
    const more = group.length - named.length;
    if (more > 0) lines.push(`  and ${more} more; --show-problem-ips names them all`);
  }
  const noun = problems.length === 1 ? "problem" : "problems";
  return `${[...lines, "", `Check complete; found ${problems.length} ${noun}.`].join("\n")}\n`;
}

/** The fields of Calico's report, so that either tool's release takes it, and the problems. */
function report(snapshot: Snapshot, { allocations, problems }: Audit): string {
  const { cluster } = snapshot;
  const byIp: Record<string, unknown[]> = {};
  for (const one of allocations) {
    if (one.cooling) continue;
    const { handle, secondary } = one.attribute;
    (byIp[formatIp(one.ip)] ??= []).push({
      ip: formatIp(one.ip),
      ...(handle === null ? {} : { handle }),
      ...(one.sequenceNumber === undefined ? {} : { sequenceNumber: one.sequenceNumber }),
      ...named(secondary),
      block: formatCidr(one.block.cidr),
      inUse: one.inUse,
      borrowed: one.borrowed,
      owners: one.owners,
    });
  }
  const unused = new Set(
    problems.filter(({ kind }) => kind === "handle-unused").map((one) => one.subject),
  );
  const handles = [...snapshot.handles].filter(([id]) => unused.has(id));
  const document = {
    version: REPORT_VERSION,
    clusterGUID: cluster?.spec.clusterGUID ?? "",
    datastoreLocked: cluster?.spec.datastoreReady === false,
    clusterInformationRevision: cluster?.metadata.resourceVersion ?? "",
    clusterType: cluster?.spec.clusterType ?? "",
    allocations: byIp,
    leakedHandles: handles.map(([ID, { revision }]) => ({ ID, Revision: String(revision) })),
    problems,
  };
  return `${writeJson(document)}\n`;
}

function named(secondary: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const { pod, namespace, node, type, timestamp } = secondary;
  const fields = { pod, namespace, node, type, creationTimestamp: timestamp };
  return Object.fromEntries(
    Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

function save(file: string, content: string): void {
  try {
    writeFileSync(file, content);
  } catch (error) {
    throw inputError("cannot-write", `cannot write the report: ${messageOf(error)}`);
  }
}
