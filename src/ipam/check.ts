/**
 * Is every address where the books say? Compares allocations with endpoints and nodes, handles with
 * blocks, affinities with blocks, and blocks with pools. Names each fault; changes nothing.
 */
import { cidrContainsIp, cidrsOverlap, compareCidrs, formatCidr, formatIp, type Ip } from "#ip";
import { attributeAt, ipAt, type Attribute, type Block } from "./block.ts";
import { ownerText, parseOwner } from "./keys.ts";
import { poolAround } from "./pools.ts";
import type { Snapshot } from "./snapshot.ts";
import { usedAddresses, type UsedAddress } from "./users.ts";

type ProblemKind =
  | "leaked"
  | "not-allocated"
  | "outside-pools"
  | "duplicate"
  | "handle-unused"
  | "handle-miscounts"
  | "handle-missing"
  | "affinity-without-block"
  | "affinity-unfinished"
  | "block-without-affinity"
  | "block-outside-pools"
  | "block-overlap"
  | "node-missing"
  | "damaged";

export interface Problem {
  readonly kind: ProblemKind;
  /** The address, block, handle or key. */
  readonly subject: string;
  readonly message: string;
}

export interface Allocation {
  readonly ip: Ip;
  readonly block: Block;
  readonly attribute: Attribute;
  readonly sequenceNumber: bigint | undefined;
  /** Released, not free yet. */
  readonly cooling: boolean;
  readonly inUse: boolean;
  /** Endpoints and nodes that have it. */
  readonly owners: readonly string[];
  readonly borrowed: boolean;
}

export interface Audit {
  readonly allocations: readonly Allocation[];
  readonly used: ReadonlyMap<string, UsedAddress>;
  readonly problems: readonly Problem[];
}

/** Addresses that Windows nodes keep back in each block. */
const WINDOWS_HANDLE = "windows-reserved-ipam-handle";

/** O(addresses + records · log). */
export function audit(snapshot: Snapshot): Audit {
  const used = usedAddresses(snapshot);
  const allocations = snapshot.blocks.flatMap((block) => allocationsOf(block, used));
  const problems = [
    ...snapshot.damaged.map(({ key, message }): Problem => ({
      kind: "damaged",
      subject: key,
      message: `${key}: ${message}`,
    })),
    ...allocationProblems(allocations),
    ...useProblems(snapshot, used, allocations),
    ...handleProblems(snapshot, allocations),
    ...affinityProblems(snapshot),
    ...blockProblems(snapshot),
  ];
  return { allocations, used, problems };
}

function allocationsOf(
  block: Block,
  used: ReadonlyMap<string, UsedAddress>,
): readonly Allocation[] {
  const owner = parseOwner(block.affinity ?? "");
  return block.allocations.flatMap((_, ordinal) => {
    const attribute = attributeAt(block, ordinal);
    if (attribute === undefined) return [];
    const ip = ipAt(block.cidr, ordinal);
    const users = used.get(formatIp(ip))?.users ?? [];
    const node = attribute.secondary["node"];
    // Addresses of services are their controller's to judge: no object here lists them.
    const held = owner?.type === "virtual" || attribute.handle === WINDOWS_HANDLE;
    return {
      ip,
      block,
      attribute,
      sequenceNumber: block.allocatedAt.get(ordinal),
      cooling: attribute.releasedAt !== undefined,
      inUse: held || users.length > 0,
      owners: users.map(({ name }) => name),
      borrowed: node !== undefined && node !== (owner?.name ?? ""),
    };
  });
}

function allocationProblems(allocations: readonly Allocation[]): readonly Problem[] {
  return allocations
    .filter(({ inUse, cooling }) => !inUse && !cooling)
    .map(({ ip, attribute }) => ({
      kind: "leaked",
      subject: formatIp(ip),
      message: `${formatIp(ip)} is allocated, but no endpoint or node has it; ${describe(attribute)}`,
    }));
}

function useProblems(
  { pools }: Snapshot,
  used: ReadonlyMap<string, UsedAddress>,
  allocations: readonly Allocation[],
): readonly Problem[] {
  const allocated = new Set(
    allocations.filter(({ cooling }) => !cooling).map(({ ip }) => formatIp(ip)),
  );
  const active = pools.filter(({ disabled }) => !disabled);
  return [...used].flatMap(([subject, { ip, users }]): readonly Problem[] => {
    const names = users.map(({ name }) => name).join(" and ");
    const found: Problem[] = [];
    if (users.length > 1) {
      found.push({ kind: "duplicate", subject, message: `${subject} is used by ${names}` });
    }
    if (allocated.has(subject)) return found;
    const inPool = active.some(({ cidr }) => cidrContainsIp(cidr, ip));
    const kind = inPool ? "not-allocated" : "outside-pools";
    const what = inPool ? "in an active pool, but not allocated" : "in no active pool";
    return [...found, { kind, subject, message: `${subject} of ${names} is ${what}` }];
  });
}

function handleProblems(
  { handles }: Snapshot,
  allocations: readonly Allocation[],
): readonly Problem[] {
  const counts = new Map<string, Map<string, number>>();
  for (const { attribute, block } of allocations) {
    if (attribute.handle === null) continue;
    const blocks = counts.get(attribute.handle) ?? new Map<string, number>();
    const cidr = formatCidr(block.cidr);
    blocks.set(cidr, (blocks.get(cidr) ?? 0) + 1);
    counts.set(attribute.handle, blocks);
  }
  const problems: Problem[] = [];
  for (const [subject, { value }] of handles) {
    const real = counts.get(subject);
    if (real === undefined) {
      const message = `the handle ${subject} holds no address`;
      problems.push({ kind: "handle-unused", subject, message });
      continue;
    }
    for (const cidr of new Set([...value.keys(), ...real.keys()])) {
      const [says, has] = [value.get(cidr) ?? 0, real.get(cidr) ?? 0];
      if (says === has) continue;
      const message = `the handle ${subject} counts ${says} addresses in ${cidr}, which has ${has}`;
      problems.push({ kind: "handle-miscounts", subject, message });
    }
  }
  for (const subject of counts.keys()) {
    if (handles.has(subject)) continue;
    const message = `the handle ${subject} holds addresses, but has no record`;
    problems.push({ kind: "handle-missing", subject, message });
  }
  return problems;
}

function affinityProblems({ affinities, blocks }: Snapshot): readonly Problem[] {
  const owners = new Map(blocks.map(({ cidr, affinity }) => [formatCidr(cidr), affinity]));
  return affinities.flatMap(({ owner, cidr, state }): readonly Problem[] => {
    const subject = formatCidr(cidr);
    const text = ownerText(owner);
    const actual = owners.get(subject);
    if (actual === text) {
      if (state === "confirmed") return [];
      const message = `${text} has the block ${subject}, but its affinity is ${state}`;
      return [{ kind: "affinity-unfinished", subject, message }];
    }
    const found = actual === undefined ? "does not exist" : `is of ${actual ?? "nobody"}`;
    const message = `${text} has an affinity (${state}) to ${subject}, a block that ${found}`;
    return [{ kind: "affinity-without-block", subject, message }];
  });
}

function blockProblems({ blocks, affinities, pools, nodes }: Snapshot): readonly Problem[] {
  const claimed = new Set(
    affinities.map((one) => `${ownerText(one.owner)} ${formatCidr(one.cidr)}`),
  );
  const names = new Set(nodes.map(({ metadata }) => metadata.name));
  const problems: Problem[] = [];
  let previous: Block | undefined;
  for (const block of blocks.toSorted((a, b) => compareCidrs(a.cidr, b.cidr))) {
    const { cidr, affinity } = block;
    const subject = formatCidr(cidr);
    const add = (kind: ProblemKind, message: string) => problems.push({ kind, subject, message });
    if (affinity !== null && !claimed.has(`${affinity} ${subject}`)) {
      add(
        "block-without-affinity",
        `the block ${subject} is of ${affinity}, which has no affinity to it`,
      );
    }
    if (poolAround(pools, cidr) === undefined) {
      add("block-outside-pools", `the block ${subject} is in no pool`);
    }
    const owner = parseOwner(affinity ?? "");
    if (owner?.type === "host" && !names.has(owner.name)) {
      add(
        "node-missing",
        `the block ${subject} is of the node ${owner.name}, which does not exist`,
      );
    }
    if (previous !== undefined && cidrsOverlap(previous.cidr, cidr)) {
      add("block-overlap", `the block ${subject} overlaps ${formatCidr(previous.cidr)}`);
    } else {
      previous = block;
    }
  }
  return problems;
}

/** `handle h, node=a, pod=x`. */
export function describe({ handle, secondary }: Attribute): string {
  const texts = Object.keys(secondary)
    .toSorted()
    .map((key) => `${key}=${secondary[key] ?? ""}`);
  return [handle === null ? "no handle" : `handle ${handle}`, ...texts].join(", ");
}
