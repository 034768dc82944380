/**
 * Identities: all addresses that are in the same IP sets share one number. The kernel knows an
 * address by it (`ipv4_addr : identity`), and policy asks for the identity of the peer instead of
 * looking into one set per rule. An address that moves between sets changes one element, however
 * many rules name those sets.
 *
 *     sets       web {a b}   db {b c}            identities   {web} a   {web db} b   {db} c
 *
 * A number is the hash of the names of the sets, so it depends on what is there and not on how it
 * came about. Moving an address costs O(1): an identity remembers its neighbours by one set.
 */
import type { IpFamily } from "#ip";
import type { NftElement, NftSet, NftTable, PackedBytes } from "#netlink";
import type { IpSetId } from "#policy";
import { addressType, u32Host } from "./bytes.ts";
import { ClassIds, type ClassHash } from "./class-ids.ts";
import { newDelta, pushDelta } from "./element-changes.ts";
import { sets } from "./names.ts";

const FAMILIES: readonly IpFamily[] = [4, 6];

interface Identity {
  /** Sorted. */
  readonly ids: readonly IpSetId[];
  readonly content: string;
  addresses: number;
  /** As last settled; 0: it had no addresses. */
  number: number;
  /** Links between two identities that differ in one set; always on both sides. */
  readonly plus: Map<IpSetId, Identity>;
  readonly minus: Map<IpSetId, Identity>;
}

/** An identity under a number that it got or gave up. */
export interface NumberedIdentity {
  readonly ids: readonly IpSetId[];
  readonly number: number;
}

export interface IdentityChanges {
  readonly gone: readonly NumberedIdentity[];
  readonly born: readonly NumberedIdentity[];
  /** Sets that have other identities than before. */
  readonly sets: ReadonlySet<IpSetId>;
}

export class Identities {
  readonly #nobody: Identity = newIdentity([]);
  readonly #byContent = new Map<string, Identity>([["", this.#nobody]]);
  readonly #bySet = new Map<IpSetId, Set<Identity>>();
  readonly #numbers: ClassIds;
  readonly #addresses: Readonly<Record<IpFamily, Map<PackedBytes, Identity>>> = {
    4: new Map(),
    6: new Map(),
  };
  /** Addresses whose identity changed since the last flush, with the number that the table has. */
  readonly #moved: Readonly<Record<IpFamily, Map<PackedBytes, number>>> = {
    4: new Map(),
    6: new Map(),
  };
  readonly #touched = new Set<Identity>();
  #families: readonly IpFamily[] = [];

  constructor(hash?: ClassHash) {
    this.#numbers = new ClassIds(hash);
  }

  add(id: IpSetId, family: IpFamily, address: PackedBytes): void {
    const before = this.#addresses[family].get(address) ?? this.#nobody;
    const after = before.ids.includes(id) ? before : this.#plus(before, id);
    this.#move(family, address, before, after);
  }

  remove(id: IpSetId, family: IpFamily, address: PackedBytes): void {
    const before = this.#addresses[family].get(address) ?? this.#nobody;
    const after = before.ids.includes(id) ? this.#minus(before, id) : before;
    this.#move(family, address, before, after);
  }

  /** Those that have addresses, as of the last `settle`. */
  *of(id: IpSetId): Generator<NumberedIdentity> {
    for (const identity of this.#bySet.get(id) ?? []) yield identity;
  }

  count(id: IpSetId): number {
    return this.#bySet.get(id)?.size ?? 0;
  }

  /** Gives numbers to identities that have got addresses, and takes them from those without. */
  settle(): IdentityChanges {
    const gone: NumberedIdentity[] = [];
    const born: NumberedIdentity[] = [];
    const changed = new Set<IpSetId>();
    for (const identity of this.#touched) {
      if (identity.addresses > 0) this.#numbers.add(identity.content);
      else this.#numbers.remove(identity.content);
    }
    const affected = this.#numbers.settle() ? this.#renumbered() : this.#touched;
    for (const identity of affected) {
      const { ids, number, content } = identity;
      const now = identity.addresses > 0 ? this.#numbers.idOf(content) : 0;
      if (now !== number) {
        if (number !== 0) gone.push({ ids, number });
        if (now !== 0) born.push({ ids, number: now });
        identity.number = now;
        for (const id of ids) {
          this.#list(id, identity, now !== 0);
          changed.add(id);
        }
      }
      if (now === 0) this.#forget(identity);
    }
    this.#touched.clear();
    return { gone, born, sets: changed };
  }

  /** Writes the addresses that changed; to be called when settled. */
  flush(table: NftTable, families: readonly IpFamily[]): void {
    for (const family of FAMILIES) {
      const { name } = identitySet(family);
      const moved = this.#moved[family];
      const written = this.#families.includes(family);
      if (!families.includes(family)) {
        if (written) table.setSet(identitySet(family), []);
      } else if (written) this.#write(table, name, family);
      else table.addElements(name, this.#all(family));
      moved.clear();
    }
    this.#families = families;
  }

  #write(table: NftTable, name: string, family: IpFamily): void {
    const { add, remove } = newDelta();
    const elementOf = elementMaker();
    for (const [address, before] of this.#moved[family]) {
      const now = this.#addresses[family].get(address)?.number ?? 0;
      if (now === before) continue;
      if (before !== 0) remove.push(elementOf(address, before));
      if (now !== 0) add.push(elementOf(address, now));
    }
    pushDelta(table, name, { add, remove });
  }

  *#all(family: IpFamily): Generator<NftElement> {
    const elementOf = elementMaker();
    for (const [address, { number }] of this.#addresses[family]) yield elementOf(address, number);
  }

  /** All identities that have addresses or had; their addresses are written anew. */
  #renumbered(): Set<Identity> {
    for (const family of FAMILIES) {
      for (const [address, { number }] of this.#addresses[family]) {
        if (!this.#moved[family].has(address)) this.#moved[family].set(address, number);
      }
    }
    return new Set([...this.#byContent.values(), ...this.#touched]);
  }

  #move(family: IpFamily, address: PackedBytes, before: Identity, after: Identity): void {
    if (before === after) return;
    const moved = this.#moved[family];
    if (!moved.has(address)) moved.set(address, before.number);
    if (before !== this.#nobody) {
      before.addresses--;
      this.#touched.add(before);
    }
    if (after === this.#nobody) this.#addresses[family].delete(address);
    else {
      this.#addresses[family].set(address, after);
      after.addresses++;
      this.#touched.add(after);
    }
  }

  #plus(from: Identity, id: IpSetId): Identity {
    const known = from.plus.get(id);
    if (known !== undefined) return known;
    const at = from.ids.findIndex((each) => each > id);
    const found = this.#identity(from.ids.toSpliced(at < 0 ? from.ids.length : at, 0, id));
    link(from, id, found);
    return found;
  }

  #minus(from: Identity, id: IpSetId): Identity {
    const known = from.minus.get(id);
    if (known !== undefined) return known;
    const found = this.#identity(from.ids.filter((each) => each !== id));
    link(found, id, from);
    return found;
  }

  #identity(ids: readonly IpSetId[]): Identity {
    const identity = newIdentity(ids);
    const known = this.#byContent.get(identity.content);
    if (known !== undefined) return known;
    this.#byContent.set(identity.content, identity);
    // Nobody may come to live there: then it is forgotten when things settle.
    this.#touched.add(identity);
    return identity;
  }

  #list(id: IpSetId, identity: Identity, present: boolean): void {
    let listed = this.#bySet.get(id);
    if (listed === undefined) this.#bySet.set(id, (listed = new Set()));
    if (present) listed.add(identity);
    else listed.delete(identity);
    if (listed.size === 0) this.#bySet.delete(id);
  }

  #forget(identity: Identity): void {
    if (identity === this.#nobody) return;
    this.#byContent.delete(identity.content);
    for (const [id, larger] of identity.plus) larger.minus.delete(id);
    for (const [id, smaller] of identity.minus) smaller.plus.delete(id);
  }
}

function newIdentity(ids: readonly IpSetId[]): Identity {
  const content = ids.join(" ");
  return { ids, content, addresses: 0, number: 0, plus: new Map(), minus: new Map() };
}

function link(smaller: Identity, id: IpSetId, larger: Identity): void {
  smaller.plus.set(id, larger);
  larger.minus.set(id, smaller);
}

/** Many addresses have the same number. */
function elementMaker(): (address: PackedBytes, number: number) => NftElement {
  const known = new Map<number, Uint8Array>();
  return (key, number) => {
    let data = known.get(number);
    if (data === undefined) known.set(number, (data = u32Host(number)));
    return { key, data };
  };
}

/** The map of all addresses of one family. */
export function identitySet(family: IpFamily): NftSet {
  const name = family === 4 ? sets.identity4 : sets.identity6;
  return { name, key: [addressType(family)], data: "mark" };
}
