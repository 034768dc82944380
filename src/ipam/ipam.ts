/**
 * Address management over a datastore: any number of processes on any number of hosts may use it at
 * once, together with Calico's own. All truth is in the datastore; nothing is cached.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Datastore, Revision } from "#datastore";
import {
  cidrContains,
  cidrOf,
  cidrsOverlap,
  formatCidr,
  formatIp,
  hostCidr,
  parseCidr,
  type Cidr,
  type Ip,
  type IpFamily,
} from "#ip";
import type { Labels } from "#selector";
import { inputError } from "#std";
import { Assignment, takeFrom, type Assigned, type FamilyResult, type World } from "./assign.ts";
import {
  attributeAt,
  collectCold,
  ipAt,
  ordinalOf,
  type Attribute,
  type Block,
  type Holder,
} from "./block.ts";
import { claimBlock, releaseAffinity, type AffinityReleased } from "./claim.ts";
import { isLostRace, retrying, type IpamContext } from "./context.ts";
import {
  handlePath,
  hostOwner,
  hostPath,
  LOAD_BALANCER,
  ownerText,
  parseOwner,
  type Owner,
} from "./keys.ts";
import { poolAround, refusal, selectPools, type AddressUse, type Pool } from "./pools.ts";
import { checkConfig, type IpamConfig } from "./records.ts";
import { Records } from "./records-store.ts";
import {
  blockFinder,
  ordinalsOf,
  releaseHandle,
  releaseIps,
  type ReleaseOutcome,
  type ReleaseRequest,
} from "./release.ts";

/** Default: those of the system. */
export interface IpamOptions {
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly sleep: (ms: number) => Promise<void>;
}

export interface HolderRequest {
  readonly host: string;
  /** Under which all addresses of one holder can be released. */
  readonly handle?: string | undefined;
  /** `pod`, `namespace`, `node`, `timestamp`, …; `node` is filled in. */
  readonly attributes?: Readonly<Record<string, string>>;
  /** What the address is for; default Workload. LoadBalancer takes from blocks of no host. */
  readonly use?: AddressUse;
}

export interface AutoAssignRequest extends HolderRequest {
  readonly ipv4?: number;
  readonly ipv6?: number;
  /** CIDRs of pools; those are used whatever they select. */
  readonly pools4?: readonly string[] | undefined;
  readonly pools6?: readonly string[] | undefined;
  readonly namespaceLabels?: Labels | undefined;
  /** The most blocks of a family that the host may have. */
  readonly maxBlocksPerHost?: number;
}

export interface AutoAssigned {
  readonly ipv4: FamilyResult;
  readonly ipv6: FamilyResult;
}

/** What is known of an address that is in use or cooling down. */
export interface IpAssignment {
  readonly block: Block;
  readonly attribute: Attribute;
  readonly sequenceNumber: bigint | undefined;
}

const SYSTEM: IpamOptions = {
  nowMs: () => Date.now(),
  random: Math.random,
  sleep: async (ms) => {
    await sleep(ms);
  },
};

const NOTHING: FamilyResult = { assigned: [], reasons: [] };

export class Ipam {
  /** Writes that lost a race and were tried again, since the start. */
  conflicts = 0;
  readonly #context: IpamContext;
  readonly #records: Records;

  constructor(store: Datastore, options: IpamOptions = SYSTEM) {
    this.#records = new Records(store);
    this.#context = { ...options, records: this.#records, onConflict: () => void this.conflicts++ };
  }

  /**
   * Fewer than asked for are no error; the result says why. Throws `no-pool` when no pool may be
   * used, `unknown-pool`, `no-node`, and what the datastore throws; then nothing stays assigned, or
   * what does can be released by the handle.
   */
  async autoAssign(request: AutoAssignRequest): Promise<AutoAssigned> {
    const { ipv4 = 0, ipv6 = 0 } = request;
    const first = ipv4 === 0 ? NOTHING : await this.#assignFamily(request, 4, ipv4);
    if (ipv6 === 0) return { ipv4: first, ipv6: NOTHING };
    try {
      return { ipv4: first, ipv6: await this.#assignFamily(request, 6, ipv6) };
    } catch (error) {
      await this.#undo(first.assigned, request.handle);
      throw error;
    }
  }

  async #assignFamily(
    request: AutoAssignRequest,
    family: IpFamily,
    wanted: number,
  ): Promise<FamilyResult> {
    const world = await this.#world(request, family);
    const assignment = new Assignment(this.#context, world, wanted);
    try {
      return await assignment.run();
    } catch (error) {
      await this.#undo(assignment.assigned, request.handle);
      throw error;
    }
  }

  /** As well as it goes: what made the request fail may forbid this too. */
  async #undo(assigned: readonly Assigned[], handle: string | undefined): Promise<void> {
    if (assigned.length === 0) return;
    await this.release(assigned.map(({ ip }) => ({ ip, handle }))).catch(() => undefined);
  }

  async #world(request: AutoAssignRequest, family: IpFamily): Promise<World> {
    const { use = "Workload", host } = request;
    const named = family === 4 ? request.pools4 : request.pools6;
    const only = named !== undefined && named.length > 0 ? named : undefined;
    const virtual = use === "LoadBalancer";
    const owner = virtual ? LOAD_BALANCER : hostOwner(host);
    const [{ pools: allPools, reservations, config }, affinities, nodeLabels] = await Promise.all([
      this.#records.settings(),
      this.#records.affinities(owner, family),
      virtual || only !== undefined ? undefined : this.#records.nodeLabels(host),
    ]);
    const { namespaceLabels } = request;
    const question = { family, use, only, nodeLabels, namespaceLabels };
    const { chosen, refused } = selectPools(allPools, question);
    if (chosen.length === 0) throw noPool(host, family, refused);
    return {
      owner,
      affinities,
      family,
      config,
      reservations,
      allPools,
      pools: chosen,
      nodeLabels,
      maxBlocks: request.maxBlocksPerHost ?? 0,
      holder: holderOf(request),
    };
  }

  /**
   * This address and no other. Throws `no-pool`, `already-assigned` (also while it cools down),
   * `overlap` and `not-owner` (strict affinity).
   */
  async assignIp(ip: Ip, request: HolderRequest): Promise<void> {
    const { use = "Workload", host } = request;
    const owner = use === "LoadBalancer" ? LOAD_BALANCER : hostOwner(host);
    const [pools, { value: config }, found] = await Promise.all([
      this.#records.pools(),
      this.#records.config(),
      blockFinder(this.#context)(ip),
    ]);
    const pool = poolAround(pools, hostCidr(ip));
    const only = [pool === undefined ? "" : formatCidr(pool.cidr)];
    const why = pool && refusal(pool, { family: ip.family, use, only, nodeLabels: undefined });
    if (pool === undefined || why !== undefined) {
      const reason = pool === undefined ? "no pool holds it" : `the pool ${pool.name}: ${why}`;
      throw inputError("no-pool", `${formatIp(ip)} cannot be assigned: ${reason}`);
    }
    const cidr = found ?? cidrOf(ip, pool.blockSize);
    if (found === undefined) await this.#refuseOverlap(cidr);
    await this.#assignIn(cidr, owner, ip, config, holderOf(request));
  }

  async #assignIn(
    cidr: Cidr,
    owner: Owner,
    ip: Ip,
    config: IpamConfig,
    holder: Holder,
  ): Promise<void> {
    const ordinal = ordinalOf(cidr, ip) ?? -1;
    const own = ownerText(owner);
    await retrying(this.#context, `assigning ${formatIp(ip)}`, async () => {
      const block =
        (await this.#records.block(cidr)) ?? (await claimBlock(this.#context, owner, cidr));
      if (block === undefined) throw vanished(cidr);
      const world = { config, reservations: [], holder };
      const taken = await takeFrom(this.#context, world, block, (now) => {
        if (config.strictAffinity && now.affinity !== own) throw notOwner(ip, now);
        const held = attributeAt(now, ordinal);
        if (held !== undefined) throw alreadyAssigned(ip, held);
        return [ordinal];
      });
      if (taken.length === 0) throw vanished(cidr);
    });
  }

  /** Outcome by canonical address. */
  async release(requests: readonly ReleaseRequest[]): Promise<ReadonlyMap<string, ReleaseOutcome>> {
    return await releaseIps(this.#context, requests);
  }

  /** Resolves with what the handle held; nothing for one that is not there. */
  async releaseByHandle(id: string): Promise<readonly Ip[]> {
    return await releaseHandle(this.#context, id);
  }

  /** A handle that holds nothing; false when it changed since that revision, or is gone. */
  async deleteHandle(id: string, revision: Revision): Promise<boolean> {
    try {
      return await this.#records.store.delete(handlePath(id), { ifModRevision: revision });
    } catch (error) {
      if (isLostRace(error)) return false;
      throw error;
    }
  }

  async ipsByHandle(id: string): Promise<readonly Ip[]> {
    const handle = await this.#records.handle(id);
    const cidrs = [...(handle?.value.keys() ?? [])].map((text) => parseCidr(text));
    const blocks = await Promise.all(cidrs.map((cidr) => this.#records.block(cidr)));
    return blocks.flatMap((block) =>
      block === undefined
        ? []
        : ordinalsOf(block.value, id).map((ordinal) => ipAt(block.value.cidr, ordinal)),
    );
  }

  /** Undefined for an address that nobody holds. */
  async assignmentOf(ip: Ip): Promise<IpAssignment | undefined> {
    const cidr = await blockFinder(this.#context)(ip);
    const block = cidr && (await this.#records.block(cidr));
    const ordinal = block && ordinalOf(block.value.cidr, ip);
    if (block === undefined || ordinal === undefined) return undefined;
    const attribute = attributeAt(block.value, ordinal);
    if (attribute === undefined || attribute.releasedAt !== undefined) return undefined;
    const sequenceNumber = block.value.allocatedAt.get(ordinal);
    return { block: block.value, attribute, sequenceNumber };
  }

  /** False when another has it. Throws `no-pool` and `overlap`. */
  async claimAffinity(cidr: Cidr, owner: Owner): Promise<boolean> {
    const pools = await this.#records.pools();
    const pool = poolAround(pools, cidr);
    if (pool === undefined || pool.blockSize !== cidr.prefixLen) {
      throw inputError("no-pool", `${formatCidr(cidr)} is no block of a pool`);
    }
    await this.#refuseOverlap(cidr);
    return (await claimBlock(this.#context, owner, cidr)) !== undefined;
  }

  /** Blocks of another size, of a pool that was: two blocks would give one address twice. */
  async #refuseOverlap(cidr: Cidr): Promise<void> {
    const blocks = await this.#records.blocks(cidr.family);
    const other = blocks.find(
      ({ value }) => cidrsOverlap(value.cidr, cidr) && value.cidr.prefixLen !== cidr.prefixLen,
    );
    if (other === undefined) return;
    const text = formatCidr(other.value.cidr);
    throw inputError("overlap", `${formatCidr(cidr)} overlaps the block ${text}`);
  }

  async releaseAffinity(
    cidr: Cidr,
    owner: Owner,
    { mustBeEmpty = false }: { readonly mustBeEmpty?: boolean } = {},
  ): Promise<AffinityReleased> {
    const { cooldownSeconds } = (await this.#records.config()).value;
    return await releaseAffinity(this.#context, owner, cidr, { mustBeEmpty, cooldownSeconds });
  }

  /** Resolves with the blocks that stay since they are in use (with `mustBeEmpty`). */
  async releaseHostAffinities(
    host: string,
    options: { readonly mustBeEmpty?: boolean } = {},
  ): Promise<readonly Cidr[]> {
    const owner = hostOwner(host);
    const kept: Cidr[] = [];
    for (const family of [4, 6] as const) {
      for (const { cidr } of await this.#records.affinities(owner, family)) {
        if ((await this.releaseAffinity(cidr, owner, options)) === "in-use") kept.push(cidr);
      }
    }
    return kept;
  }

  /** Every host gives up its blocks in the pool; addresses in use stay with their holders. */
  async releasePoolAffinities(pool: Cidr): Promise<void> {
    const blocks = await this.#records.blocks(pool.family);
    for (const { value } of blocks) {
      const owner = parseOwner(value.affinity ?? "");
      if (owner === undefined || !cidrContains(pool, value.cidr)) continue;
      await this.releaseAffinity(value.cidr, owner);
    }
  }

  /** A block with a free address for the host, claimed if need be; undefined when none can be had. */
  async ensureBlock(request: AutoAssignRequest, family: IpFamily): Promise<Cidr | undefined> {
    const world = await this.#world(request, family);
    return await new Assignment(this.#context, world, 1).ensureBlock();
  }

  /** All that a host holds that is gone for good: its blocks, and addresses it borrowed or lent itself. */
  async removeHost(host: string): Promise<{ readonly released: readonly Ip[] }> {
    const released: Ip[] = [];
    for (const family of [4, 6] as const) {
      for (const { value } of await this.#records.blocks(family)) {
        const ips = value.allocations.flatMap((_, ordinal) => {
          const held = attributeAt(value, ordinal);
          const theirs = held?.releasedAt === undefined && held?.secondary["node"] === host;
          return theirs
            ? [{ ip: ipAt(value.cidr, ordinal), sequenceNumber: value.allocatedAt.get(ordinal) }]
            : [];
        });
        const outcomes =
          ips.length === 0 ? new Map<string, ReleaseOutcome>() : await this.release(ips);
        released.push(
          ...ips.map(({ ip }) => ip).filter((ip) => outcomes.get(formatIp(ip)) === "released"),
        );
      }
    }
    await this.releaseHostAffinities(host);
    await this.#records.store.delete(hostPath(host));
    return { released };
  }

  /** Frees what has cooled down, in all blocks. Resolves with the number of blocks written. */
  async collectCold(): Promise<number> {
    const { cooldownSeconds } = (await this.#records.config()).value;
    let written = 0;
    for (const family of [4, 6] as const) {
      for (const { value, revision } of await this.#records.blocks(family)) {
        const after = collectCold(value, { nowMs: this.#context.nowMs(), cooldownSeconds });
        if (after === value) continue;
        try {
          const sequenceNumber = after.sequenceNumber + 1n;
          await this.#records.updateBlock({ ...after, sequenceNumber }, revision);
          written++;
        } catch (error) {
          // Whoever wrote it has freed them too.
          if (!isLostRace(error)) throw error;
        }
      }
    }
    return written;
  }

  async config(): Promise<IpamConfig> {
    return (await this.#records.config()).value;
  }

  /** Throws `bad-config`. */
  async configure(changes: Partial<IpamConfig>): Promise<IpamConfig> {
    return await retrying(this.#context, "changing IPAM's settings", async () => {
      const before = await this.#records.config();
      const config = { ...before.value, ...changes };
      checkConfig(config);
      await this.#records.putConfig(config, before.revision);
      return config;
    });
  }
}

/** Addresses are told from others' by the node that they are on. */
function holderOf({ host, handle, attributes = {}, use }: HolderRequest): Holder {
  const secondary = use === "LoadBalancer" ? attributes : { node: host, ...attributes };
  return { handle: handle ?? null, secondary };
}

function noPool(host: string, family: IpFamily, refused: ReadonlyMap<Pool, string>): Error {
  const why = [...refused].map(([pool, reason]) => `${pool.name}: ${reason}`).join("; ");
  return inputError(
    "no-pool",
    `no IPv${family} pool for ${host}${why === "" ? ": there is none that is enabled" : ` (${why})`}`,
  );
}

/** To be tried again: the block went, or came, between two steps. */
function vanished(cidr: Cidr): Error {
  return inputError("conflict", `the block ${formatCidr(cidr)} changed hands`);
}

function notOwner(ip: Ip, block: Block): Error {
  return inputError(
    "not-owner",
    `${formatIp(ip)} is in the block ${formatCidr(block.cidr)} of ${block.affinity ?? "nobody"}, and affinity is strict`,
  );
}

function alreadyAssigned(ip: Ip, { handle, releasedAt }: Attribute): Error {
  const by = releasedAt === undefined ? `to the handle ${handle ?? "(none)"}` : "and cools down";
  return inputError("already-assigned", `${formatIp(ip)} is assigned already, ${by}`);
}
