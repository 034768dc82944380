/** The pools that addresses are taken from, and which of them a request may use. */
import { cidrContains, parseCidr, type Cidr, type IpFamily } from "#ip";
import type { IPPool, IPReservation } from "#resource";
import { parseSelector, type Labels, type Selector } from "#selector";
import { inputError } from "#std";

export type AddressUse = "Workload" | "Tunnel" | "LoadBalancer";

export interface Pool {
  readonly name: string;
  readonly cidr: Cidr;
  /** Prefix length of its blocks. */
  readonly blockSize: number;
  readonly disabled: boolean;
  /** Only for those who name it. */
  readonly manual: boolean;
  readonly nodeSelector: Selector;
  readonly namespaceSelector: Selector | undefined;
  readonly uses: ReadonlySet<string>;
}

/** Throws for a selector that does not parse. */
export function poolOf({ metadata, spec }: IPPool): Pool {
  const namespaces = spec.namespaceSelector ?? "";
  return {
    name: metadata.name,
    cidr: parseCidr(spec.cidr),
    blockSize: spec.blockSize,
    disabled: spec.disabled === true,
    manual: spec.assignmentMode === "Manual",
    nodeSelector: parseSelector(spec.nodeSelector),
    namespaceSelector: namespaces === "" ? undefined : parseSelector(namespaces),
    uses: new Set(spec.allowedUses),
  };
}

export interface PoolQuestion {
  readonly family: IpFamily;
  readonly use: AddressUse;
  /** CIDRs, canonical, in the order of preference. Named pools are used whatever they select. */
  readonly only?: readonly string[] | undefined;
  /** Undefined for an owner that is no node: every selector of nodes then holds. */
  readonly nodeLabels: Labels | undefined;
  readonly namespaceLabels?: Labels | undefined;
}

/** Throws `unknown-pool` for a named pool that is not there or disabled. The order is that of use. */
export function selectPools(
  pools: readonly Pool[],
  question: PoolQuestion,
): { readonly chosen: readonly Pool[]; readonly refused: ReadonlyMap<Pool, string> } {
  const { family, only } = question;
  const enabled = pools.filter((pool) => !pool.disabled && pool.cidr.family === family);
  const candidates =
    only === undefined || only.length === 0
      ? enabled.toSorted((a, b) => (a.name < b.name ? -1 : 1))
      : only.map((text) => namedPool(enabled, text));
  const chosen: Pool[] = [];
  const refused = new Map<Pool, string>();
  for (const pool of candidates) {
    const why = refusal(pool, question);
    if (why === undefined) chosen.push(pool);
    else refused.set(pool, why);
  }
  return { chosen, refused };
}

/** Undefined when the pool may be used. */
export function refusal(pool: Pool, question: PoolQuestion): string | undefined {
  const { use, only, nodeLabels, namespaceLabels = {} } = question;
  if (pool.disabled) return "it is disabled";
  if (pool.blockSize < pool.cidr.prefixLen) return "it is smaller than one block";
  if (!pool.uses.has(use)) return `its allowedUses lack ${use}`;
  if (only !== undefined && only.length > 0) return undefined;
  if (pool.manual) return "its assignmentMode is Manual";
  if (!selectsNode(pool, nodeLabels)) return "its nodeSelector does not match the node";
  if (pool.namespaceSelector?.matches(namespaceLabels) === false) {
    return "its namespaceSelector does not match the namespace";
  }
  return undefined;
}

export function selectsNode(pool: Pool, nodeLabels: Labels | undefined): boolean {
  return nodeLabels === undefined || pool.nodeSelector.matches(nodeLabels);
}

/** The pool that the block, or the address as its host block, is in. */
export function poolAround(pools: readonly Pool[], cidr: Cidr): Pool | undefined {
  return pools.find((pool) => cidrContains(pool.cidr, cidr));
}

/** Addresses that nobody gets; parsed once per request. */
export function reservedCidrs(reservations: readonly IPReservation[]): readonly Cidr[] {
  return reservations.flatMap(({ spec }) =>
    (spec.reservedCIDRs ?? []).map((text) =>
      parseCidr(text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`),
    ),
  );
}

function namedPool(enabled: readonly Pool[], text: string): Pool {
  const cidr = parseCidr(text);
  const found = enabled.find(
    (pool) => cidrContains(pool.cidr, cidr) && pool.cidr.prefixLen === cidr.prefixLen,
  );
  if (found !== undefined) return found;
  throw inputError(
    "unknown-pool",
    `the IP pool ${text} does not exist, is disabled or is of the other family`,
  );
}
