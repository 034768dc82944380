/** The recorded states of Felix, in this program's shapes. */
import { readdirSync, readFileSync } from "node:fs";
import { ModelConverter, type ModelUpdate } from "#model";
import { RouteTypes, type ToDataplane } from "#calc";

const STATES = new URL("../../golden/felix/states/", import.meta.url);

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
  const converter = new ModelConverter();
  return {
    host: raw.host,
    updates: Object.entries(raw.etcd).flatMap(([key, value]) => converter.convert(key, value)),
    messages: raw.messages.map(messageOf),
  };
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
