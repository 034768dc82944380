/**
 * Floating addresses of local workloads, as maps:
 *
 *     prerouting   -100  external → internal, before policy: that sees internal addresses alone
 *     output       -100  the same for what this host sends
 *     postrouting   109  a workload that calls itself sees its external address as the caller
 *
 * Two endpoints with the same external address: the one with the lowest identity has it. An
 * endpoint may map to its own addresses only. The address is in no list of allowed sources, so none
 * may send from it.
 */
import {
  workloadIdentity,
  type ToDataplane,
  type WorkloadEndpoint,
  type WorkloadEndpointId,
} from "#calc";
import {
  cidrContainsIp,
  formatIp,
  ipBytes,
  tryParseCidrOrIp,
  tryParseIp,
  type Ip,
  type IpFamily,
} from "#ip";
import type { ChainHook, NftChain, NftElement, NftRule, NftTable } from "#netlink";
import { compareBytes } from "#std";
import { addressType, concat } from "./bytes.ts";
import { rule as nftRule, translateDestinationBy, translateSourceBy } from "./exprs.ts";
import { familySet, plainBaseChains } from "./names.ts";

/** NF_IP_PRI_NAT_DST, and just ahead of outgoing NAT. */
const PRIORITY = { destination: -100, hairpin: 109 } as const;

interface Pair {
  readonly external: Ip;
  readonly internal: Ip;
}

/** `family` to the sets' elements. */
type Elements = ReadonlyMap<string, readonly NftElement[]>;

export class FloatingIps {
  readonly #table: NftTable;
  readonly #families: readonly IpFamily[];
  readonly #pairsByEndpoint = new Map<string, readonly Pair[]>();
  #dirty = false;
  #programmed: readonly IpFamily[] = [];

  /** No family: they are switched off. */
  constructor(table: NftTable, families: readonly IpFamily[]) {
    this.#table = table;
    this.#families = families;
  }

  onMessage(message: ToDataplane): void {
    if (message.case === "workloadEndpointUpdate") {
      this.#set(message.value.id, pairsOf(message.value.endpoint, this.#families));
    } else if (message.case === "workloadEndpointRemove") this.#set(message.value.id, []);
  }

  #set(id: WorkloadEndpointId, pairs: readonly Pair[]): void {
    const key = workloadIdentity(id);
    if (pairs.length === 0 && !this.#pairsByEndpoint.has(key)) return;
    if (pairs.length > 0) this.#pairsByEndpoint.set(key, pairs);
    else this.#pairsByEndpoint.delete(key);
    this.#dirty = true;
  }

  /** O(floating addresses of this host), when one of them changed. */
  flush(): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    const pairs = this.#effective();
    const inUse = this.#families.filter((family) =>
      pairs.some(({ external }) => external.family === family),
    );
    for (const family of inUse) this.#program(family, pairs);
    for (const chain of chainsFor(inUse)) this.#table.setChain(chain);
    if (inUse.length === 0) {
      for (const { name } of chainsFor(this.#programmed)) this.#table.removeChain(name);
    }
    for (const family of this.#programmed) {
      if (inUse.includes(family)) continue;
      this.#table.removeSet(familySet("floating-ips", family));
      this.#table.removeSet(familySet("floating-hairpin", family));
    }
    this.#programmed = inUse;
  }

  /** One for each external address. */
  #effective(): Pair[] {
    const byExternal = new Map<string, Pair>();
    for (const key of [...this.#pairsByEndpoint.keys()].sort(compareBytes)) {
      for (const pair of this.#pairsByEndpoint.get(key) ?? []) {
        const text = formatIp(pair.external);
        if (!byExternal.has(text)) byExternal.set(text, pair);
      }
    }
    return [...byExternal].sort(([a], [b]) => compareBytes(a, b)).map(([, pair]) => pair);
  }

  #program(family: IpFamily, pairs: readonly Pair[]): void {
    const address = addressType(family);
    for (const [name, elements] of elementsOf(family, pairs)) {
      const key = name === familySet("floating-ips", family) ? [address] : [address, address];
      this.#table.setSet({ name, key, data: address }, elements);
    }
  }
}

function elementsOf(family: IpFamily, pairs: readonly Pair[]): Elements {
  const there: NftElement[] = [];
  // Of several external addresses the first one in text order, as in Felix.
  const back = new Map<string, NftElement>();
  for (const { external, internal } of pairs) {
    if (external.family !== family) continue;
    const [outside, inside] = [ipBytes(external), ipBytes(internal)];
    there.push({ key: outside, data: inside });
    const text = formatIp(internal);
    if (!back.has(text)) back.set(text, { key: concat(inside, inside), data: outside });
  }
  return new Map([
    [familySet("floating-ips", family), there],
    [familySet("floating-hairpin", family), [...back.values()]],
  ]);
}

function chainsFor(families: readonly IpFamily[]): NftChain[] {
  if (families.length === 0) return [];
  const chain = (
    name: string,
    hook: ChainHook,
    priority: number,
    rules: readonly NftRule[],
  ): NftChain => ({ name, hook: { type: "nat", hook, priority, policy: "accept" }, rules });
  const destination = families.map((family) =>
    nftRule(translateDestinationBy(family, familySet("floating-ips", family))),
  );
  const hairpin = families.map((family) =>
    nftRule(translateSourceBy(family, familySet("floating-hairpin", family))),
  );
  return [
    chain(plainBaseChains.floatingIn, "prerouting", PRIORITY.destination, destination),
    chain(plainBaseChains.floatingLocal, "output", PRIORITY.destination, destination),
    chain(plainBaseChains.floatingHairpin, "postrouting", PRIORITY.hairpin, hairpin),
  ];
}

/** What cannot be read, or is not the endpoint's, is left out. */
function pairsOf(endpoint: WorkloadEndpoint, families: readonly IpFamily[]): Pair[] {
  const declared = [...endpoint.ipv4Nat, ...endpoint.ipv6Nat];
  if (declared.length === 0 || families.length === 0 || endpoint.state !== "active") return [];
  const own = [...endpoint.ipv4Nets, ...endpoint.ipv6Nets]
    .map(tryParseCidrOrIp)
    .filter((cidr) => cidr !== undefined);
  return declared.flatMap(({ extIp, intIp }) => {
    const [external, internal] = [tryParseIp(extIp), tryParseIp(intIp)];
    if (external === undefined || internal === undefined) return [];
    if (external.family !== internal.family || !families.includes(external.family)) return [];
    const isOwn = own.some(
      (cidr) => cidr.family === internal.family && cidrContainsIp(cidr, internal),
    );
    return isOwn ? [{ external, internal }] : [];
  });
}
