/**
 * Members of the IP sets that stand for Kubernetes services: the addresses of their endpoint slices,
 * alone or with each port. Two slices may have one address, so members are counted.
 */
import type { EndpointSliceKey, ModelEndpointSlice } from "#model";
import type { IpSetId } from "#policy";
import { MultiMap, RefCounts } from "#std";
import type { IpSetEvents, ServiceMatch } from "./ip-sets.ts";

interface ServiceSet {
  readonly match: ServiceMatch;
  readonly members: RefCounts<string>;
}

interface Slice {
  readonly service: string;
  readonly value: ModelEndpointSlice;
}

export class ServiceIndex {
  readonly #events: Pick<IpSetEvents, "onMemberAdded" | "onMemberRemoved">;
  readonly #sets = new Map<IpSetId, ServiceSet>();
  readonly #setsOf = new MultiMap<string, IpSetId>();
  readonly #slices = new Map<string, Slice>();
  readonly #slicesOf = new MultiMap<string, string>();

  constructor(events: Pick<IpSetEvents, "onMemberAdded" | "onMemberRemoved">) {
    this.#events = events;
  }

  /** Whether the datastore knows endpoints of services at all. */
  get hasSlices(): boolean {
    return this.#slices.size > 0;
  }

  setSlice({ namespace, name }: EndpointSliceKey, value: ModelEndpointSlice | null): void {
    const id = serviceText(namespace, name);
    const before = this.#slices.get(id);
    const after =
      value === null ? undefined : { service: serviceText(namespace, value.service), value };
    if (after === undefined) this.#slices.delete(id);
    else {
      this.#slices.set(id, after);
      this.#slicesOf.add(after.service, id);
      for (const set of this.#setsOf.get(after.service)) this.#add(set, after);
    }
    if (before === undefined) return;
    if (before.service !== after?.service) this.#slicesOf.delete(before.service, id);
    for (const set of this.#setsOf.get(before.service)) this.#remove(set, before);
  }

  addSet(id: IpSetId, match: ServiceMatch): void {
    const service = serviceText(match.namespace, match.name);
    this.#sets.set(id, { match, members: new RefCounts() });
    this.#setsOf.add(service, id);
    for (const slice of this.#slicesOf.get(service)) this.#add(id, this.#slices.get(slice));
  }

  membersOf(id: IpSetId): Iterable<string> {
    return this.#sets.get(id)?.members.keys() ?? [];
  }

  /** Tells nothing of the members; ids of other sets are ignored. */
  removeSet(id: IpSetId): void {
    const set = this.#sets.get(id);
    if (set === undefined) return;
    this.#sets.delete(id);
    this.#setsOf.delete(serviceText(set.match.namespace, set.match.name), id);
  }

  #add(id: IpSetId, slice: Slice | undefined): void {
    const set = this.#sets.get(id);
    if (set === undefined || slice === undefined) return;
    for (const member of membersIn(set.match, slice.value)) {
      if (set.members.increment(member)) this.#events.onMemberAdded(id, member);
    }
  }

  #remove(id: IpSetId, slice: Slice): void {
    const set = this.#sets.get(id);
    if (set === undefined) return;
    for (const member of membersIn(set.match, slice.value)) {
      if (set.members.decrement(member)) this.#events.onMemberRemoved(id, member);
    }
  }
}

function* membersIn(match: ServiceMatch, slice: ModelEndpointSlice): Generator<string> {
  for (const address of slice.addresses) {
    if (!match.withPorts) yield `${address}/${address.includes(":") ? 128 : 32}`;
    else for (const { protocol, port } of slice.ports) yield `${address},${protocol}:${port}`;
  }
}

/** No name has a slash. */
function serviceText(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}
