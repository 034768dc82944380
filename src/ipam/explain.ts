/** Who has an address, since when and why; or why nobody has it. */
import { cidrContainsIp, formatCidr, formatIp, hostCidr, type Ip } from "#ip";
import { attributeAt, collectCold, ordinalOf, type Attribute, type Block } from "./block.ts";
import { parseOwner } from "./keys.ts";
import { poolAround, selectsNode, type Pool } from "./pools.ts";
import type { Snapshot } from "./snapshot.ts";
import { usedAddresses } from "./users.ts";

export interface Explanation {
  readonly address: string;
  readonly state:
    | "assigned"
    | "leaked"
    | "in-use-unallocated"
    | "cooling"
    | "reserved"
    | "free"
    | "unmanaged";
  /** One sentence. */
  readonly summary: string;
  readonly handle?: string | undefined;
  readonly node?: string | undefined;
  readonly pod?: string | undefined;
  readonly namespace?: string | undefined;
  readonly type?: string | undefined;
  /** As it was written when the address was given out. */
  readonly since?: string | undefined;
  readonly sequenceNumber?: string | undefined;
  /** Endpoints and nodes that have the address. */
  readonly users: readonly string[];
  readonly block?: string | undefined;
  readonly affinity?: string | undefined;
  readonly pool?: string | undefined;
  /** Why this pool and block, and what is wrong. */
  readonly because: readonly string[];
  /** What may be done about it. */
  readonly hints: readonly string[];
}

export function explainAddress(snapshot: Snapshot, ip: Ip, nowMs: number): Explanation {
  const address = formatIp(ip);
  const pool = poolAround(snapshot.pools, hostCidr(ip));
  const block = snapshot.blocks.find(({ cidr }) => cidrContainsIp(cidr, ip));
  const users = (usedAddresses(snapshot).get(address)?.users ?? []).map(({ name }) => name);
  const common = {
    address,
    users,
    hints: [],
    block: block && formatCidr(block.cidr),
    affinity: block?.affinity ?? undefined,
    pool: pool && `${pool.name} ${formatCidr(pool.cidr)}`,
  };
  const ordinal = block && ordinalOf(block.cidr, ip);
  const held = block && attributeAt(block, ordinal ?? -1);
  if (block !== undefined && held !== undefined) {
    const found = heldBy({ snapshot, ip, pool, users }, block, held, nowMs);
    const number = block.allocatedAt.get(ordinal ?? -1);
    return { ...common, ...found, ...holder(held), sequenceNumber: number?.toString() };
  }
  return { ...common, ...unheld({ snapshot, ip, pool, users }, block) };
}

type Finding = Pick<Explanation, "state" | "summary" | "because"> & {
  readonly hints?: readonly string[];
};

interface Subject {
  readonly snapshot: Snapshot;
  readonly ip: Ip;
  readonly pool: Pool | undefined;
  readonly users: readonly string[];
}

function heldBy(
  { snapshot, ip, pool, users }: Subject,
  block: Block,
  held: Attribute,
  nowMs: number,
): Finding {
  const address = formatIp(ip);
  const { cooldownSeconds } = snapshot.config;
  if (held.releasedAt !== undefined) {
    const warm = collectCold(block, { nowMs, cooldownSeconds }) === block;
    const until = new Date(Date.parse(held.releasedAt) + cooldownSeconds * 1000).toISOString();
    const summary = warm
      ? `${address} was released at ${held.releasedAt} and cools down until ${until}`
      : `${address} was released at ${held.releasedAt} and is free with the block's next use`;
    return { state: "cooling", summary, because: [] };
  }
  const because = whyHere(snapshot, block, held, pool);
  const reserved = reservationOf(snapshot, ip);
  if (reserved !== undefined) {
    because.push(`it was assigned before ${reserved} was reserved, and keeps its holder`);
  }
  const virtual = parseOwner(block.affinity ?? "")?.type === "virtual";
  if (users.length > 0 || virtual) {
    const who = users.length > 0 ? users.join(" and ") : `the handle ${held.handle ?? "(none)"}`;
    if (users.length > 1) because.push("two have the same address: packets reach one of them");
    return { state: "assigned", summary: `${address} is assigned to ${who}`, because };
  }
  const claimed = holderText(held);
  const node = held.secondary["node"];
  const dead = node !== undefined && !snapshot.nodes.some(({ metadata }) => metadata.name === node);
  if (dead) because.push(`the node ${node} does not exist any more`);
  const hints = [
    ...(dead ? [] : ["if it was assigned within the last seconds, its endpoint may yet come"]),
    `margay ipam release --ip=${address} takes it back`,
  ];
  const summary = `${address} is leaked: assigned to ${claimed}, but no endpoint or node has it`;
  return { state: "leaked", summary, because, hints };
}

function whyHere(
  snapshot: Snapshot,
  block: Block,
  held: Attribute,
  pool: Pool | undefined,
): string[] {
  const because: string[] = [];
  const cidr = formatCidr(block.cidr);
  const node = held.secondary["node"];
  const owner = parseOwner(block.affinity ?? "");
  const labels = snapshot.nodes.find(({ metadata }) => metadata.name === node)?.metadata.labels;
  if (pool === undefined) {
    because.push(`the block ${cidr} is in no pool: its pool was deleted`);
  } else if (node !== undefined) {
    const matches = selectsNode(pool, labels ?? {});
    because.push(
      matches
        ? `the pool ${pool.name} selects ${node}: ${pool.nodeSelector.canonical}`
        : `the pool ${pool.name} does not select ${node} (${pool.nodeSelector.canonical}): it was named, or labels have changed`,
    );
  }
  if (owner === undefined) {
    because.push(`the block ${cidr} is nobody's: its host gave it up while addresses were in use`);
  } else if (node === undefined || owner.name === node) {
    because.push(`the block ${cidr} is of ${owner.name}${claimedAt(block)}`);
  } else {
    because.push(
      `${node} borrowed it from the block ${cidr} of ${owner.name}: it had no free address in its own, and affinity was not strict`,
    );
  }
  return because;
}

function unheld({ snapshot, ip, pool, users }: Subject, block: Block | undefined): Finding {
  const address = formatIp(ip);
  const because: string[] = [];
  if (users.length > 1) because.push("two have the same address: packets reach one of them");
  if (pool === undefined) {
    const what = users.length > 0 ? `, though ${users.join(" and ")} has it` : "";
    return { state: "unmanaged", summary: `${address} is in no pool${what}`, because };
  }
  if (users.length > 0) {
    because.push("it was not taken from IPAM, which may give it to another");
    const summary = `${address} is not allocated, though ${users.join(" and ")} has it`;
    return { state: "in-use-unallocated", summary, because };
  }
  const reserved = reservationOf(snapshot, ip);
  if (reserved !== undefined) {
    const summary = `${address} is reserved by an IPReservation: ${reserved}`;
    return { state: "reserved", summary, because };
  }
  if (pool.disabled) because.push(`the pool ${pool.name} is disabled: nobody gets it`);
  if (block === undefined) because.push("no host has claimed its block yet");
  else {
    const cidr = formatCidr(block.cidr);
    const place = block.unallocated.indexOf(ordinalOf(block.cidr, ip) ?? -1) + 1;
    because.push(
      `the block ${cidr} is of ${block.affinity ?? "nobody"}${claimedAt(block)}`,
      `it is number ${place} of ${block.unallocated.length} in the block's queue of free addresses`,
    );
  }
  return { state: "free", summary: `${address} is free`, because };
}

function reservationOf({ reservations }: Snapshot, ip: Ip): string | undefined {
  const found = reservations.find((cidr) => cidrContainsIp(cidr, ip));
  return found && formatCidr(found);
}

function holder({ handle, secondary }: Attribute): Partial<Explanation> {
  const { node, pod, namespace, type, timestamp } = secondary;
  return { handle: handle ?? undefined, node, pod, namespace, type, since: timestamp };
}

function holderText({ handle, secondary }: Attribute): string {
  const { pod, namespace, node } = secondary;
  const parts = [
    ...(pod === undefined ? [] : [`pod ${namespace ?? ""}/${pod}`]),
    ...(handle === null ? [] : [`handle ${handle}`]),
    ...(node === undefined ? [] : [`node ${node}`]),
  ];
  return parts.length === 0 ? "nobody that is named" : parts.join(", ");
}

function claimedAt({ claimTime }: Block): string {
  return claimTime === undefined ? "" : `, which claimed it at ${claimTime}`;
}
