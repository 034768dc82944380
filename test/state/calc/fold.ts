/** Messages to a dataplane folded into the state they describe, with the order rules asserted. */
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
      objects.set(`policy/${idText(message.value.id)}`, message.value);
      return;
    case "activeProfileUpdate":
      checkSets(message.value.profile, ipSets);
      objects.set(`profile/${idText(message.value.id)}`, message.value);
      return;
    case "activePolicyRemove":
      return removeUnused(objects, "policy", message.value.id);
    case "activeProfileRemove":
      return removeUnused(objects, "profile", message.value.id);
    case "workloadEndpointUpdate":
    case "hostEndpointUpdate":
      checkEndpoint(message.value.endpoint, objects);
      objects.set(
        `${message.case.replace("Update", "")}/${idText(message.value.id)}`,
        message.value,
      );
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
  const value = message.value as Record<string, unknown>;
  const id = value["id"] ?? value["dst"] ?? value["node"] ?? value["hostname"];
  const name = typeof id === "object" && id !== null ? idText(id) : String(id);
  if (message.case.endsWith("Update")) {
    objects.set(`${message.case.slice(0, -"Update".length)}/${name}`, value);
  } else {
    const key = `${message.case.slice(0, -"Remove".length)}/${name}`;
    assert.ok(objects.delete(key), `${key} removed but never told`);
  }
}

function removeUnused(objects: Map<string, unknown>, kind: string, id: object): void {
  assert.ok(objects.delete(`${kind}/${idText(id)}`), `${kind} ${idText(id)} was never told`);
  for (const [key, value] of objects) {
    if (!key.includes("Endpoint/")) continue;
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
