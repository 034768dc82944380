/**
 * Lists of source prefixes beyond an endpoint's own addresses. Interfaces with the same list share
 * a chain, which they reach through a map as they reach their policy class: an address range
 * cannot be part of a concatenated key without a costlier kind of set.
 */
import { parseCidr } from "#ip";
import type { NftRule, NftTable } from "#netlink";
import { dropExprs } from "./actions.ts";
import { u32Host } from "./bytes.ts";
import { ClassIds, type ClassHash } from "./class-ids.ts";
import { accept, addressInCidr, familyIs, gotoVerdict, rule as nftRule } from "./exprs.ts";
import { sets, spoofChain } from "./names.ts";

interface SpoofList {
  readonly prefixes: readonly string[];
  readonly members: Set<string>;
  /** As written; 0: not yet. */
  id: number;
}

export class SpoofLists {
  readonly #table: NftTable;
  readonly #ids: ClassIds;
  readonly #lists = new Map<string, SpoofList>();
  readonly #dirty = new Set<string>();

  constructor(table: NftTable, hash?: ClassHash) {
    this.#table = table;
    this.#ids = new ClassIds(hash);
  }

  /** `prefixes`: canonical and sorted. Returns the list's name for `leave` and `idOf`. */
  join(prefixes: readonly string[], member: string): string {
    const content = prefixes.join(" ");
    let list = this.#lists.get(content);
    if (list === undefined) {
      list = { prefixes, members: new Set(), id: 0 };
      this.#lists.set(content, list);
      this.#ids.add(content);
      this.#dirty.add(content);
    }
    list.members.add(member);
    return content;
  }

  leave(content: string, member: string): void {
    const list = this.#lists.get(content);
    list?.members.delete(member);
    if (list?.members.size === 0) this.#dirty.add(content);
  }

  idOf(content: string): number {
    return this.#ids.idOf(content);
  }

  /** True: lists that were there before may have another number now. */
  flush(): boolean {
    for (const content of this.#dirty) {
      if (this.#lists.get(content)?.members.size === 0) this.#ids.remove(content);
    }
    const renumbered = this.#ids.settle();
    if (renumbered) for (const content of this.#lists.keys()) this.#dirty.add(content);
    const gone = new Set<number>();
    const here = new Map<number, SpoofList>();
    for (const content of this.#dirty) {
      const list = this.#lists.get(content);
      if (list === undefined) continue;
      if (list.id !== 0) gone.add(list.id);
      list.id = list.members.size === 0 ? 0 : this.#ids.idOf(content);
      if (list.id === 0) this.#lists.delete(content);
      else here.set(list.id, list);
    }
    this.#dirty.clear();
    this.#write(gone, here);
    return renumbered;
  }

  #write(gone: ReadonlySet<number>, here: ReadonlyMap<number, SpoofList>): void {
    const element = (id: number): { key: Uint8Array; data: ReturnType<typeof gotoVerdict> } => ({
      key: u32Host(id),
      data: gotoVerdict(spoofChain(id)),
    });
    const goneIds = [...gone].filter((id) => !here.has(id));
    if (goneIds.length > 0) this.#table.removeElements(sets.spoofChain, goneIds.map(element));
    for (const id of goneIds) this.#table.removeChain(spoofChain(id));
    for (const [id, list] of here) {
      this.#table.setChain({ name: spoofChain(id), rules: spoofRules(list.prefixes) });
    }
    const newIds = [...here.keys()].filter((id) => !gone.has(id));
    if (newIds.length > 0) this.#table.addElements(sets.spoofChain, newIds.map(element));
  }
}

function spoofRules(prefixes: readonly string[]): NftRule[] {
  const rules: NftRule[] = [];
  for (const prefix of prefixes) {
    const cidr = parseCidr(prefix);
    const exprs = familyIs(cidr.family);
    if (cidr.prefixLen > 0) exprs.push(...addressInCidr("src", cidr));
    rules.push(nftRule([...exprs, accept]));
  }
  rules.push(nftRule(dropExprs(), "Source address is not the workload's"));
  return rules;
}
