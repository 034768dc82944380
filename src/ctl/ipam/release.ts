/** `margay ipam release`: one address, or what reports of `ipam check` agree is leaked. */
import { readFileSync } from "node:fs";
import { parseJson } from "#ipam";
import { formatIp } from "#ip";
import { inputError, messageOf } from "#std";
import { REPORT_VERSION } from "./check.ts";
import { addressOf, type IpamCommandContext } from "./context.ts";

export interface ReleaseOptions {
  readonly ip?: string;
  readonly fromReport?: readonly string[];
  readonly force?: boolean;
}

interface Report {
  readonly file: string;
  readonly version?: string;
  readonly clusterGUID?: string;
  readonly clusterInformationRevision?: string;
  readonly allocations?: Readonly<Record<string, readonly ReportedAllocation[]>>;
  readonly leakedHandles?: readonly { readonly ID: string; readonly Revision: string }[];
}

interface ReportedAllocation {
  readonly ip: string;
  readonly handle?: string;
  readonly sequenceNumber?: bigint | number;
  readonly inUse: boolean;
}

export async function releaseCommand(
  context: IpamCommandContext,
  options: ReleaseOptions,
): Promise<number> {
  const files = options.fromReport ?? [];
  if (files.length > 0) return await fromReports(context, files, options.force === true);
  if (options.ip === undefined) {
    throw inputError(
      "nothing-to-release",
      "name an address with --ip, or a report with --from-report",
    );
  }
  const ip = addressOf(options.ip);
  const outcome = (await context.ipam.release([{ ip }])).get(formatIp(ip));
  if (outcome !== "released") {
    throw inputError("not-assigned", `IP address ${formatIp(ip)} is not assigned`);
  }
  context.out(`Successfully released IP address ${formatIp(ip)}\n`);
  return 0;
}

async function fromReports(
  context: IpamCommandContext,
  files: readonly string[],
  force: boolean,
): Promise<number> {
  const { ipam, out } = context;
  const reports = files.map(read);
  await checkCluster(context, reports, force);
  const leaked = intersection(reports.map(leakedOf));
  const requests = [...leaked.values()].map(({ ip, handle, sequenceNumber }) => ({
    ip: addressOf(ip),
    handle,
    sequenceNumber: sequenceNumber === undefined ? undefined : BigInt(sequenceNumber),
  }));
  const outcomes = [...(await ipam.release(requests))];
  const released = outcomes.filter(([, outcome]) => outcome === "released").length;
  out(`Released ${released} of ${requests.length} leaked IPs.\n`);
  for (const [ip, outcome] of outcomes) {
    if (outcome === "not-assigned") out(`  ${ip} had been released already\n`);
    else if (outcome !== "released") out(`  ${ip} is another's by now (${outcome}): kept\n`);
  }
  const handles = intersection(
    reports.map(
      ({ leakedHandles = [] }) =>
        new Map(leakedHandles.map((one) => [`${one.ID} ${one.Revision}`, one])),
    ),
  );
  let deleted = 0;
  for (const { ID, Revision } of handles.values()) {
    if (await ipam.deleteHandle(ID, Number(Revision))) deleted++;
  }
  out(
    `Deleted ${deleted} of ${handles.size} unused handles; the others have changed or are gone.\n`,
  );
  return 0;
}

async function checkCluster(
  { client, out }: IpamCommandContext,
  reports: readonly Report[],
  force: boolean,
): Promise<void> {
  const refuse = (message: string) => inputError("bad-report", `${message}; nothing is released`);
  const cluster = await client.get("ClusterInformation", "default");
  for (const { file, version = "", clusterGUID = "" } of reports) {
    if (clusterGUID !== cluster.spec.clusterGUID) throw refuse(`${file} is of another cluster`);
    if (version === REPORT_VERSION) continue;
    if (!force) throw refuse(`${file} was made by another version (${version}); --force takes it`);
    out(`WARNING: ${file} was made by another version (${version})\n`);
  }
  const revision = cluster.metadata.resourceVersion;
  if (!reports.some((report) => report.clusterInformationRevision === revision)) {
    throw refuse("every report is stale: at least one must be made now, with the datastore locked");
  }
  if (cluster.spec.datastoreReady === false) return;
  if (!force) throw refuse("the datastore is not locked: lock it, or use --force");
  out("WARNING: the datastore is not locked\n");
}

function leakedOf({ allocations = {} }: Report): ReadonlyMap<string, ReportedAllocation> {
  const all = Object.values(allocations).flat();
  return new Map(
    all
      .filter(({ inUse }) => !inUse)
      .map((one) => [`${one.ip} ${one.handle ?? ""} ${String(one.sequenceNumber)}`, one]),
  );
}

/** What the first has and all others have too. */
function intersection<T>(maps: readonly ReadonlyMap<string, T>[]): ReadonlyMap<string, T> {
  const [first = new Map<string, T>(), ...others] = maps;
  return new Map([...first].filter(([key]) => others.every((map) => map.has(key))));
}

function read(file: string): Report {
  try {
    const content = parseJson(readFileSync(file, "utf8"));
    if (typeof content !== "object" || content === null) throw new Error("no report");
    return { ...content, file };
  } catch (error) {
    throw inputError("bad-report", `${file}: ${messageOf(error)}`, { cause: error });
  }
}
