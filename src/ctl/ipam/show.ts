/** `margay ipam show`: how full pools and blocks are, one address, what is borrowed, the settings. */
import {
  audit,
  readSnapshot,
  utilization,
  type IpamConfig,
  type PoolUsage,
  type Usage,
} from "#ipam";
import { formatCidr, formatIp } from "#ip";
import { borderedTable } from "./bordered-table.ts";
import { addressOf, type IpamCommandContext } from "./context.ts";

export interface ShowOptions {
  readonly ip?: string;
  readonly showBlocks?: boolean;
  readonly showBorrowed?: boolean;
  readonly showConfiguration?: boolean;
  readonly output: string;
}

export async function showCommand(
  context: IpamCommandContext,
  options: ShowOptions,
): Promise<number> {
  const json = options.output === "json";
  if (options.ip !== undefined) await showIp(context, options.ip, json);
  else if (options.showBorrowed === true) await showBorrowed(context, json);
  else if (options.showConfiguration === true) {
    const config = await context.ipam.config();
    context.out(json ? document(config) : configurationTable(config));
  } else {
    const usage = utilization(await readSnapshot(context.client.store));
    const blocks = options.showBlocks === true;
    context.out(json ? document(usageData(usage)) : usageTable(usage, blocks));
  }
  return 0;
}

async function showIp(
  { ipam, out }: IpamCommandContext,
  text: string,
  json: boolean,
): Promise<void> {
  const ip = formatIp(addressOf(text));
  const found = await ipam.assignmentOf(addressOf(text));
  if (json) {
    const { handle, secondary, alternate } = found?.attribute ?? {};
    const attributes = secondary ?? {};
    const data = found && { block: formatCidr(found.block.cidr), handle, attributes, alternate };
    out(document({ ip, assigned: found !== undefined, ...data }));
    return;
  }
  if (found === undefined) {
    out(`${ip} is not assigned\n`);
    return;
  }
  const { handle, secondary, alternate = {} } = found.attribute;
  const active = attributeLines("Active Owner Attributes", secondary);
  out(
    [
      `IP ${ip} is in use`,
      `Handle ID: ${handle ?? "<none>"}`,
      ...(active.length > 0 ? active : ["No Active Owner attributes defined"]),
      ...attributeLines("Alternate Owner Attributes", alternate),
      "",
    ].join("\n"),
  );
}

function attributeLines(title: string, texts: Readonly<Record<string, string>>): readonly string[] {
  const keys = Object.keys(texts).toSorted();
  if (keys.length === 0) return [];
  return [`${title}:`, ...keys.map((key) => `  ${key}: ${texts[key] ?? ""}`)];
}

async function showBorrowed({ client, out }: IpamCommandContext, json: boolean): Promise<void> {
  const { allocations } = audit(await readSnapshot(client.store));
  const rows = allocations
    .filter(({ borrowed, cooling }) => borrowed && !cooling)
    .map(({ ip, block, attribute: { secondary } }) => {
      const { namespace = "", pod, node = "", type } = secondary;
      const vm = secondary["vmi-name"];
      return {
        ip: formatIp(ip),
        borrowingNode: node,
        block: formatCidr(block.cidr),
        blockOwner: (block.affinity ?? "").replace(/^[^:]*:/, ""),
        type: vm === undefined ? (pod === undefined ? (type ?? "") : "pod") : "vmi",
        allocatedTo: vm === undefined && pod === undefined ? "" : `${namespace}/${vm ?? pod}`,
      };
    });
  const header = ["IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO"];
  out(json ? document(rows) : borderedTable(header, rows.map(Object.values)));
  const nameless = allocations.filter((one) => one.attribute.secondary["node"] === undefined);
  if (json || nameless.length === 0) return;
  out(
    `\nNote: ${nameless.length} addresses name no node, so nobody knows whether they are borrowed.\n`,
  );
}

/** Names as Calico's tool has them. */
function configurationTable(config: IpamConfig): string {
  const persistence = config.kubeVirtVMAddressPersistence;
  return borderedTable(
    ["PROPERTY", "VALUE"],
    [
      ["StrictAffinity", String(config.strictAffinity)],
      ["AutoAllocateBlocks", String(config.autoAllocateBlocks)],
      ["MaxBlocksPerHost", String(config.maxBlocksPerHost)],
      ["KubeVirtVMAddressPersistence", persistence === undefined ? "<nil>" : `"${persistence}"`],
      ["IPCooldownSeconds", String(config.cooldownSeconds)],
    ],
  );
}

function usageTable(pools: readonly PoolUsage[], showBlocks: boolean): string {
  const rows = pools.flatMap((pool) => [
    ...(pool.pool === undefined ? [] : [usageRow("IP Pool", pool)]),
    ...(showBlocks ? pool.blocks.map((block) => usageRow("Block", block)) : []),
  ]);
  const header = ["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE"];
  return borderedTable(header, rows, [2, 3, 4, 5]);
}

function usageRow(kind: string, { cidr, total, inUse, reserved, free }: Usage): readonly string[] {
  const share = (count: number) => `${count5g(count)} (${roundEven((100 * count) / total)}%)`;
  return [kind, formatCidr(cidr), count5g(total), share(inUse), share(reserved), share(free)];
}

function usageData(pools: readonly PoolUsage[]): unknown {
  const data = ({ cidr, total, inUse, reserved, free, cooling }: Usage) => ({
    cidr: formatCidr(cidr),
    total,
    inUse,
    reserved,
    free,
    cooling,
  });
  return pools.map((one) => ({
    pool: one.pool?.name ?? null,
    ...(one.pool === undefined ? {} : data(one)),
    blocks: one.blocks.map(data),
  }));
}

/** C's `%.5g`: five digits, exponent of at least two. */
function count5g(count: number): string {
  if (count < 100_000) return String(count);
  const [mantissa = "", exponent = ""] = count.toExponential(4).split("e+");
  return `${mantissa.replace(/\.?0+$/, "")}e+${exponent.padStart(2, "0")}`;
}

/** As C rounds: a half goes to the even neighbour. */
function roundEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

export function document(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
