/** `margay ipam assign`, `configure` and `explain`. */
import {
  explainAddress,
  readSnapshot,
  type AddressUse,
  type Explanation,
  type IpamConfig,
} from "#ipam";
import { formatCidr, formatIp, tryParseCidr, type Ip } from "#ip";
import { inputError } from "#std";
import { addressOf, type IpamCommandContext } from "./context.ts";
import { document } from "./show.ts";

export interface AssignOptions {
  readonly node: string;
  readonly ip?: string;
  readonly ipv4?: number;
  readonly ipv6?: number;
  readonly handle?: string;
  readonly pool?: readonly string[];
  readonly namespace?: string;
  readonly pod?: string;
  readonly use: string;
  readonly output: string;
}

/** All that was asked for, or nothing. */
export async function assignCommand(
  context: IpamCommandContext,
  options: AssignOptions,
): Promise<number> {
  const { ipam, out } = context;
  const { handle, node: host, ip, namespace, pod } = options;
  const attributes = {
    ...(pod === undefined ? {} : { pod }),
    ...(namespace === undefined ? {} : { namespace }),
    timestamp: goTime(context.nowMs),
  };
  const request = { host, handle, attributes, use: options.use as AddressUse };
  if (ip !== undefined) {
    await ipam.assignIp(addressOf(ip), request);
    out(shown([addressOf(ip)], options.output));
    return 0;
  }
  const { ipv6 = 0, ipv4 = ipv6 > 0 ? 0 : 1 } = options;
  const [pools4, pools6] = await poolsNamed(context, options.pool ?? []);
  const got = await ipam.autoAssign({ ...request, ipv4, ipv6, pools4, pools6 });
  const ips = [...got.ipv4.assigned, ...got.ipv6.assigned].map((one) => one.ip);
  if (ips.length < ipv4 + ipv6) {
    await ipam.release(ips.map((one) => ({ ip: one, handle })));
    const why = [...new Set([...got.ipv4.reasons, ...got.ipv6.reasons])].join("; ");
    throw inputError(
      "exhausted",
      `only ${ips.length} of ${ipv4 + ipv6} addresses are to be had: ${why}`,
    );
  }
  out(shown(ips, options.output));
  return 0;
}

function shown(ips: readonly Ip[], output: string): string {
  const texts = ips.map(formatIp);
  return output === "json" ? document({ ips: texts }) : `${texts.join("\n")}\n`;
}

/** By CIDR or by name. */
async function poolsNamed(
  { client }: IpamCommandContext,
  names: readonly string[],
): Promise<readonly [readonly string[], readonly string[]]> {
  const cidrs = await Promise.all(
    names.map(
      async (name) =>
        tryParseCidr(name) ?? tryParseCidr((await client.get("IPPool", name)).spec.cidr),
    ),
  );
  const of = (family: 4 | 6) =>
    cidrs.flatMap((cidr) => (cidr?.family === family ? [formatCidr(cidr)] : []));
  return [of(4), of(6)];
}

/** As Go prints a time, which is how Calico notes when an address was given out. */
function goTime(ms: number): string {
  return new Date(ms).toISOString().replace(/^(.*)T(.*)Z$/, "$1 $2 +0000 UTC");
}

export interface ConfigureOptions {
  readonly strictaffinity?: string;
  readonly autoAllocateBlocks?: string;
  readonly maxBlocksPerHost?: string;
  readonly kubevirtIpPersistence?: string;
  readonly cooldown?: string;
}

export async function configureCommand(
  { ipam, out }: IpamCommandContext,
  options: ConfigureOptions,
): Promise<number> {
  const changes: { -readonly [K in keyof IpamConfig]?: IpamConfig[K] } = {};
  const done: string[] = [];
  const set = <K extends keyof IpamConfig>(key: K, name: string, value: IpamConfig[K]): void => {
    changes[key] = value;
    done.push(`Successfully set ${name} to: ${String(value)}\n`);
  };
  const { strictaffinity, autoAllocateBlocks, maxBlocksPerHost, cooldown } = options;
  if (strictaffinity !== undefined) {
    set("strictAffinity", "StrictAffinity", truth(strictaffinity, "strictaffinity"));
  }
  if (autoAllocateBlocks !== undefined) {
    const value = truth(autoAllocateBlocks, "auto-allocate-blocks");
    set("autoAllocateBlocks", "AutoAllocateBlocks", value);
  }
  if (maxBlocksPerHost !== undefined) {
    set("maxBlocksPerHost", "MaxBlocksPerHost", natural(maxBlocksPerHost, "max-blocks-per-host"));
  }
  if (cooldown !== undefined) {
    set("cooldownSeconds", "IPCooldownSeconds", natural(cooldown, "cooldown"));
  }
  const persistence = options.kubevirtIpPersistence;
  if (persistence === "Enabled" || persistence === "Disabled") {
    set("kubeVirtVMAddressPersistence", "KubeVirtVMAddressPersistence", persistence);
  }
  if (done.length === 0) {
    throw inputError("no-option", "at least one configuration option must be specified");
  }
  await ipam.configure(changes);
  out(done.join(""));
  return 0;
}

/** What Go's ParseBool takes. */
function truth(text: string, option: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  throw inputError("bad-value", `--${option}: ${text} is neither true nor false`);
}

function natural(text: string, option: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw inputError("bad-value", `--${option}: ${text} is no number from 0 on`);
}

export async function explainCommand(
  { client, nowMs, out }: IpamCommandContext,
  address: string,
  options: { readonly output: string },
): Promise<number> {
  const ip = addressOf(address);
  const answer = explainAddress(await readSnapshot(client.store), ip, nowMs);
  out(options.output === "json" ? document(answer) : explanationText(answer));
  return 0;
}

function explanationText(answer: Explanation): string {
  const { summary, because, hints, users, namespace, pod } = answer;
  const rows: readonly (readonly [string, string | undefined])[] = [
    ["handle", answer.handle],
    ["since", answer.since],
    ["node", answer.node],
    ["pod", pod === undefined ? undefined : `${namespace ?? ""}/${pod}`],
    ["type", answer.type],
    ["used by", users.length === 0 ? undefined : users.join(", ")],
    ["block", answer.block && `${answer.block} (${answer.affinity ?? "nobody's"})`],
    ["pool", answer.pool],
    ["sequence", answer.sequenceNumber],
  ];
  const facts = rows.flatMap(([name, value]) =>
    value === undefined ? [] : [`  ${name.padEnd(9)} ${value}`],
  );
  const why = because.map((one) => `  because   ${one}`);
  const what = hints.map((one) => `  hint      ${one}`);
  return `${[summary, ...facts, ...why, ...what].join("\n")}\n`;
}
