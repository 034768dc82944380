/** The recorded states of Felix, in this program's shapes. */
import { readdirSync, readFileSync } from "node:fs";
import { ModelConverter, type ModelUpdate } from "#model";
import { RouteTypes, type ToDataplane } from "#calc";

const GOLDEN = new URL("../../golden/", import.meta.url);
const STATES = new URL("felix/states/", GOLDEN);

export interface GoldenState {
  readonly host: string;
  readonly updates: readonly ModelUpdate[];
  readonly messages: readonly ToDataplane[];
}

export function goldenNames(): readonly string[] {
  return readdirSync(STATES).toSorted();
}

export function readGolden(name: string): GoldenState {
  const raw = JSON.parse(readFileSync(new URL(name, STATES), "utf8")) as {
    host: string;
    etcd: Record<string, string>;
    messages: Record<string, unknown>[];
  };
  return { host: raw.host, updates: updatesOf(raw.etcd), messages: raw.messages.map(messageOf) };
}

/** What Felix sent for the state that the recorded session of calicoctl leaves. */
export function readSessionState(): GoldenState {
  const json = (name: string): unknown => JSON.parse(readFileSync(new URL(name, GOLDEN), "utf8"));
  const stream = json("felix/host-a.json") as Record<string, unknown>[];
  const messages = stream.flatMap((fields) => {
    const named = Object.entries(fields).filter(([name]) => name !== "sequenceNumber");
    return "configUpdate" in fields ? [] : [messageOf(Object.fromEntries(named))];
  });
  const etcd = json("calicoctl/etcd.json") as Record<string, string>;
  return { host: "host-a", updates: updatesOf(etcd), messages };
}

function updatesOf(etcd: Readonly<Record<string, string>>): readonly ModelUpdate[] {
  const converter = new ModelConverter();
  return Object.entries(etcd).flatMap(([key, value]) => converter.convert(key, value));
}

type Fields = Record<string, unknown>;

/** Protobuf JSON leaves out what is empty; the checks of order need it back. */
function messageOf(message: Fields): ToDataplane {
  const [[name, value] = ["", {}]] = Object.entries(message) as [string, Fields][];
  return { case: name, value: filled(name, value) } as unknown as ToDataplane;
}

function filled(name: string, value: Fields): Fields {
  switch (name) {
    case "ipsetUpdate":
      return { members: [], type: "IP", ...value };
    case "ipsetDeltaUpdate":
      return { addedMembers: [], removedMembers: [], ...value };
    case "activePolicyUpdate": {
      const policy = withRules(value["policy"] as Fields);
      return { id: policyId(value["id"] as Fields), policy };
    }
    case "activeProfileUpdate":
      return { id: value["id"], profile: withRules(value["profile"] as Fields) };
    case "workloadEndpointUpdate":
    case "hostEndpointUpdate":
      return { ...value, endpoint: withTiers(value["endpoint"] as Fields) };
    case "routeUpdate":
      return { ipPoolType: "NONE", ...value, types: routeTypes((value["types"] ?? "") as string) };
    default:
      return value;
  }
}

function policyId(id: Fields): Fields {
  return { name: "", namespace: "", kind: "", ...id };
}

function withTiers(endpoint: Fields): Fields {
  const result: Fields = { ...endpoint };
  for (const field of ["tiers", "untrackedTiers", "preDnatTiers", "forwardTiers"]) {
    result[field] = ((endpoint[field] ?? []) as Fields[]).map((tier) => ({
      ...tier,
      ingressPolicies: ((tier["ingressPolicies"] ?? []) as Fields[]).map(policyId),
      egressPolicies: ((tier["egressPolicies"] ?? []) as Fields[]).map(policyId),
    }));
  }
  return result;
}

function withRules(lists: Fields): Fields {
  const rules = (field: string): Fields[] => ((lists[field] ?? []) as Fields[]).map(ruleOf);
  return { ...lists, inboundRules: rules("inboundRules"), outboundRules: rules("outboundRules") };
}

/** The wire's two forms of an ICMP match are one here. */
function ruleOf(rule: Fields): Fields {
  const { icmpType, icmpTypeCode, notIcmpType, notIcmpTypeCode, ipVersion, ...rest } = rule;
  const icmp = icmpTypeCode ?? (icmpType === undefined ? undefined : { type: icmpType });
  const notIcmp =
    notIcmpTypeCode ?? (notIcmpType === undefined ? undefined : { type: notIcmpType });
  return {
    ...rest,
    ...(ipVersion === undefined ? {} : { ipVersion: ipVersion === "IPV4" ? 4 : 6 }),
    ...(icmp === undefined ? {} : { icmp }),
    ...(notIcmp === undefined ? {} : { notIcmp }),
  };
}

function routeTypes(text: string | number): number {
  if (typeof text === "number") return text;
  const types: Readonly<Record<string, number>> = RouteTypes;
  return text.split(/[|,\s]+/).reduce((bits, name) => bits | (types[name] ?? 0), 0);
}
