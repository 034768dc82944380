/** `margay ipam split`: one pool becomes 2, 4, 8, … equal ones; what is assigned stays assigned. */
import { randomUUID } from "node:crypto";
import { cidrHalves, formatCidr, parseCidr, type Cidr } from "#ip";
import { encodeStored, resourcePath, type IPPool } from "#resource";
import { inputError } from "#std";
import type { IpamCommandContext } from "./context.ts";

export interface SplitOptions {
  readonly cidr?: string;
  readonly name?: string;
}

const MAX_NAME = 253;

/**
 * The old pool is disabled first and deleted last. Its parts overlap it meanwhile, which the client
 * would refuse, so that they are written directly: all hold the same blocks, of the same size.
 */
export async function splitCommand(
  context: IpamCommandContext,
  number: string,
  options: SplitOptions,
): Promise<number> {
  const { client, out } = context;
  const cluster = await client.find("ClusterInformation", "default");
  if (cluster?.spec.datastoreReady !== false) {
    throw inputError(
      "not-locked",
      `the datastore is not locked: first stop its writers with margay patch clusterinfo default -p '{"spec":{"datastoreReady":false}}'`,
    );
  }
  const old = await poolNamed(context, options);
  const parts = partsOf(old, number);
  const { resource: disabled } = await client.update({
    ...old,
    spec: { ...old.spec, disabled: true },
  });
  const made = parts.map((cidr, index) => partOf(old, formatCidr(cidr), index));
  for (const pool of made) {
    await client.store.put(resourcePath("IPPool", pool.metadata.name), encodeStored(pool), {
      ifModRevision: 0,
    });
  }
  await client.store.delete(resourcePath("IPPool", old.metadata.name), {
    ifModRevision: Number(disabled.metadata.resourceVersion),
  });
  out(`IP pool ${old.metadata.name} was split into ${made.length} pools:\n`);
  for (const { metadata, spec } of made) out(`  ${metadata.name} ${spec.cidr}\n`);
  out("Unlock the datastore when all is as you want it.\n");
  return 0;
}

async function poolNamed({ client }: IpamCommandContext, options: SplitOptions): Promise<IPPool> {
  const { cidr, name } = options;
  if (name !== undefined) return await client.get("IPPool", name);
  if (cidr === undefined) throw inputError("no-pool", "name the pool with --cidr or --name");
  const wanted = formatCidr(parseCidr(cidr));
  const { resources } = await client.list("IPPool");
  const found = resources.find(({ spec }) => formatCidr(parseCidr(spec.cidr)) === wanted);
  if (found !== undefined) return found;
  const there = resources.map(({ spec }) => spec.cidr).join(", ");
  throw inputError("no-pool", `no IP pool has the CIDR ${cidr}; there are: ${there || "none"}`);
}

function partsOf({ spec }: IPPool, number: string): readonly Cidr[] {
  const count = Number(number);
  if (!/^\d+$/.test(number) || count < 2 || !Number.isInteger(Math.log2(count))) {
    throw inputError("bad-number", `${number} is no power of 2 from 2 on`);
  }
  const cidr = parseCidr(spec.cidr);
  if (cidr.prefixLen + Math.log2(count) > spec.blockSize) {
    throw inputError(
      "too-small",
      `${spec.cidr} cannot be split into ${count}: the parts would be smaller than a block of /${spec.blockSize}`,
    );
  }
  let parts: readonly Cidr[] = [cidr];
  while (parts.length < count) parts = parts.flatMap((part) => cidrHalves(part) ?? []);
  return parts;
}

function partOf(old: IPPool, cidr: string, index: number): IPPool {
  const suffix = `-${index}`;
  const name = `split-${old.metadata.name}`.slice(0, MAX_NAME - suffix.length) + suffix;
  const { labels, annotations } = old.metadata;
  const metadata = {
    name,
    uid: randomUUID(),
    creationTimestamp: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
  };
  const { disabled, ...spec } = old.spec;
  return { ...old, metadata, spec: { ...spec, cidr, ...(disabled === true ? { disabled } : {}) } };
}
