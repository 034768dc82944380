/**
 * CIDRs that owners name (an IP pool, a host), as one interval set for each family. Owners may name
 * the same or overlapping ones. A set is in the table while it is wanted, members or not; a change
 * costs what changed.
 */
import { formatCidr, OverlapSuppressor, type Cidr, type IpFamily } from "#ip";
import type { NftTable } from "#netlink";
import { addressType } from "./bytes.ts";
import { NetChanges } from "./element-changes.ts";
import { cidrElement } from "./literal-sets.ts";
import { familySet, type NetSetName } from "./names.ts";

class FamilyNets {
  readonly name: string;
  readonly #family: IpFamily;
  readonly #cover = new OverlapSuppressor();
  /** How many owners name it. */
  readonly #users = new Map<string, number>();
  /** Since the last flush. */
  readonly #changes = new NetChanges();
  #programmed = false;

  constructor(name: NetSetName, family: IpFamily) {
    this.name = familySet(name, family);
    this.#family = family;
  }

  get size(): number {
    return this.#cover.size;
  }

  add(cidr: Cidr): void {
    const text = formatCidr(cidr);
    const users = this.#users.get(text) ?? 0;
    this.#users.set(text, users + 1);
    if (users === 0) this.#changes.note(this.#cover.add(cidr));
  }

  remove(cidr: Cidr): void {
    const text = formatCidr(cidr);
    const users = (this.#users.get(text) ?? 0) - 1;
    if (users > 0) {
      this.#users.set(text, users);
      return;
    }
    this.#users.delete(text);
    this.#changes.note(this.#cover.remove(cidr));
  }

  flush(table: NftTable, wanted: boolean): void {
    if (wanted && this.#programmed) this.#changes.push(table, this.name);
    else if (wanted) {
      const elements = this.#cover.published().map(cidrElement);
      const key = [addressType(this.#family)];
      table.setSet({ name: this.name, key, interval: true }, elements);
    } else if (this.#programmed) table.removeSet(this.name);
    this.#programmed = wanted;
    this.#changes.clear();
  }
}

export class NetSet {
  readonly #families: Readonly<Record<IpFamily, FamilyNets>>;
  readonly #cidrsByOwner = new Map<string, readonly Cidr[]>();

  constructor(name: NetSetName) {
    this.#families = { 4: new FamilyNets(name, 4), 6: new FamilyNets(name, 6) };
  }

  /** Instead of what the owner had; none: it has no more. */
  set(owner: string, cidrs: readonly Cidr[]): void {
    const before = this.#cidrsByOwner.get(owner) ?? [];
    for (const cidr of cidrs) this.#families[cidr.family].add(cidr);
    for (const cidr of before) this.#families[cidr.family].remove(cidr);
    if (cidrs.length > 0) this.#cidrsByOwner.set(owner, cidrs);
    else this.#cidrsByOwner.delete(owner);
  }

  hasAny(family: IpFamily): boolean {
    return this.#families[family].size > 0;
  }

  nameOf(family: IpFamily): string {
    return this.#families[family].name;
  }

  /** `wanted`: the families that rules name it for. */
  flush(table: NftTable, wanted: readonly IpFamily[]): void {
    for (const family of [4, 6] as const) {
      this.#families[family].flush(table, wanted.includes(family));
    }
  }
}
