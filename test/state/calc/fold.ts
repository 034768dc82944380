/**
 * Messages to a dataplane folded into the state they describe, with the sequencer's rules asserted on
 * every message: what is named is there before and goes after, one message per object and flush, in
 * one order, and nothing is told that was told before.
 */
import assert from "node:assert/strict";
import type { ToDataplane } from "#calc";
import type { Rule, TierInfo } from "#policy";

export interface Folded {
  readonly ipSets: Map<string, { type: string; members: Set<string> }>;
  /** Every other object: `<kind>/<id>` → its message in normal form. */
  readonly objects: Map<string, unknown>;
  inSync: number;
}

export function emptyState(): Folded {
  return { ipSets: new Map(), objects: new Map(), inSync: 0 };
}

/** The order within one flush. */
const ORDER: readonly ToDataplane["case"][] = [
  "ipsetUpdate",
  "ipsetDeltaUpdate",
  "activePolicyUpdate",
  "activeProfileUpdate",
  "workloadEndpointUpdate",
  "hostEndpointUpdate",
  "workloadEndpointRemove",
  "hostEndpointRemove",
  "activeProfileRemove",
  "activePolicyRemove",
  "ipsetRemove",
  "serviceAccountRemove",
  "serviceAccountUpdate",
  "namespaceRemove",
  "namespaceUpdate",
  "routeRemove",
  "vtepRemove",
  "vtepUpdate",
  "routeUpdate",
  "wireguardEndpointRemove",
  "wireguardEndpointV6Remove",
  "wireguardEndpointUpdate",
  "wireguardEndpointV6Update",
  "hostMetadataRemove",
  "hostMetadataUpdate",
  "ipamPoolRemove",
  "ipamPoolUpdate",
  "encapsulation",
  "globalBgpConfigUpdate",
  "serviceRemove",
  "serviceUpdate",
  "inSync",
];

/** All that one flush told; empty flushes are fine. */
export function foldFlush(state: Folded, messages: readonly ToDataplane[]): void {
  let rank = 0;
  const objects = new Set<string>();
  for (const message of messages) {
    const next = ORDER.indexOf(message.case);
    assert.ok(next >= 0, `${message.case} has no place in the order`);
    assert.ok(next >= rank, `${message.case} after ${ORDER[rank] ?? ""}`);
    rank = next;
    const object = objectOf(message);
    assert.ok(!objects.has(object), `two messages about ${object} in one flush`);
    objects.add(object);
    const before = message.case === "ipsetUpdate" ? undefined : state.objects.get(object);
    if (before !== undefined && !message.case.endsWith("Remove")) {
      assert.notDeepEqual(message.value, before, `${object} is told again, unchanged`);
    }
    fold(state, message);
  }
  assert.ok(state.inSync <= 1, "in-sync is said once");
  assert.ok(state.inSync === 1 || messages.length === 0, "something is told before in-sync");
}

/** The key of `objects`; for IP sets something of its own. */
function objectOf(message: ToDataplane): string {
  const kind = message.case
    .replace(/(Delta)?(Update|Remove)$/, "")
    .replace(/^active(Policy|Profile)$/, (_, one: string) => one.toLowerCase());
  if (message.case === "encapsulation" || message.case === "globalBgpConfigUpdate") {
    return message.case;
  }
  return `${kind}/${nameOf(message.value)}`;
}

/** Messages name what they are about in different fields. */
function nameOf(value: object): string {
  const fields = value as Record<string, unknown>;
  const id = fields["id"] ?? fields["dst"] ?? fields["node"] ?? fields["hostname"];
  if (id === undefined) return `${String(fields["namespace"])}/${String(fields["name"])}`;
  return typeof id === "object" && id !== null ? idText(id) : (id as string);
}

const idText = (id: object): string =>
  JSON.stringify(Object.entries(id).toSorted(([a], [b]) => (a < b ? -1 : 1)));

/** Applies one message; throws when it comes too early or names something unknown. */
export function fold(state: Folded, message: ToDataplane): void {
  const { ipSets, objects } = state;
  // oxlint-disable-next-line typescript/switch-exhaustiveness-check -- the rest is alike
  switch (message.case) {
    case "ipsetUpdate": {
      const { id, type, members } = message.value;
      assert.equal(new Set(members).size, members.length, "members are told once");
      ipSets.set(id, { type, members: new Set(members) });
      return;
    }
    case "ipsetDeltaUpdate": {
      const set = ipSets.get(message.value.id);
      assert.ok(set, "delta of an unknown set");
      for (const member of message.value.removedMembers) {
        assert.ok(set.members.delete(member), `${member} removed but not there`);
      }
      for (const member of message.value.addedMembers) {
        assert.ok(!set.members.has(member), `${member} added twice`);
        set.members.add(member);
      }
      return;
    }
    case "ipsetRemove":
      assert.ok(ipSets.delete(message.value.id), "removal of an unknown set");
      for (const [key, value] of objects) {
        assert.ok(!setIdsOf(value).includes(message.value.id), `${key} still uses the removed set`);
      }
      return;
    case "activePolicyUpdate":
      checkSets(message.value.policy, ipSets);
      objects.set(objectOf(message), message.value);
      return;
    case "activeProfileUpdate":
      checkSets(message.value.profile, ipSets);
      objects.set(objectOf(message), message.value);
      return;
    case "activePolicyRemove":
      return removeUnused(objects, "policy", message.value.id);
    case "activeProfileRemove":
      return removeUnused(objects, "profile", message.value.id);
    case "workloadEndpointUpdate":
    case "hostEndpointUpdate":
      checkEndpoint(message.value.endpoint, objects);
      objects.set(objectOf(message), message.value);
      return;
    case "inSync":
      state.inSync += 1;
      return;
    case "encapsulation":
    case "globalBgpConfigUpdate":
      objects.set(message.case, message.value);
      return;
    default:
      foldOther(objects, message);
  }
}

function foldOther(objects: Map<string, unknown>, message: ToDataplane): void {
  const object = objectOf(message);
  if (message.case.endsWith("Update")) objects.set(object, message.value);
  else assert.ok(objects.delete(object), `${object} removed but never told`);
}

function removeUnused(objects: Map<string, unknown>, kind: string, id: object): void {
  assert.ok(objects.delete(`${kind}/${idText(id)}`), `${kind} ${idText(id)} was never told`);
  for (const [key, value] of objects) {
    if (!/^(workload|host)Endpoint\//.test(key)) continue;
    const { endpoint } = value as { endpoint: Record<string, unknown> };
    for (const used of usedBy(endpoint)) assert.notEqual(used, `${kind}/${idText(id)}`, key);
  }
}

/** Policies and profiles come before the endpoints that refer to them. */
function checkEndpoint(endpoint: object, objects: ReadonlyMap<string, unknown>): void {
  for (const used of usedBy(endpoint as Record<string, unknown>)) {
    assert.ok(objects.has(used), `${used} comes after its endpoint`);
  }
}

function* usedBy(endpoint: Record<string, unknown>): Generator<string> {
  for (const name of (endpoint["profileIds"] ?? []) as string[]) {
    yield `profile/${idText({ name })}`;
  }
  for (const field of ["tiers", "untrackedTiers", "preDnatTiers", "forwardTiers"]) {
    for (const tier of (endpoint[field] ?? []) as TierInfo[]) {
      for (const id of [...tier.ingressPolicies, ...tier.egressPolicies]) {
        yield `policy/${idText(id)}`;
      }
    }
  }
}

function checkSets(
  lists: { inboundRules: readonly Rule[]; outboundRules: readonly Rule[] },
  ipSets: ReadonlyMap<string, unknown>,
): void {
  for (const id of setIdsOf(lists)) assert.ok(ipSets.has(id), `${id} comes after its rule`);
}

function setIdsOf(value: unknown): readonly string[] {
  const holder = value as { policy?: unknown; profile?: unknown };
  const lists = (holder.policy ?? holder.profile ?? value) as {
    inboundRules?: readonly Rule[];
    outboundRules?: readonly Rule[];
  };
  return [...(lists.inboundRules ?? []), ...(lists.outboundRules ?? [])].flatMap((rule) =>
    Object.entries(rule).flatMap(([field, ids]) =>
      /IpSetIds$|IpPortSetIds$/.test(field) ? (ids as string[]) : [],
    ),
  );
}

/** Plain data for comparison: what protobuf leaves out is left out, rule ids too, sets sorted. */
export function plain(state: Folded): unknown {
  return {
    ipSets: Object.fromEntries(
      [...state.ipSets]
        .map(([id, { type, members }]) => [id, { type, members: [...members].toSorted() }] as const)
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ),
    objects: Object.fromEntries(
      [...state.objects]
        .map(([key, value]) => [key, normal(value)] as const)
        // A configuration that went leaves an empty message.
        .filter(([key, value]) => key !== "globalBgpConfigUpdate" || !isDefault(key, value))
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ),
    inSync: state.inSync,
  };
}

function normal(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, one]) => [key, normal(one)] as const)
      .filter(([key, one]) => key !== "ruleId" && !isDefault(key, one))
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
}

/** An ICMP match of type 0 is a match. */
function isDefault(key: string, value: unknown): boolean {
  if (key === "type" || key === "code" || key === "icmp" || key === "notIcmp") return false;
  if (value === "" || value === 0 || value === false || value === undefined) return true;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
