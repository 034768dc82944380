/**
 * A rule's selectors, named ports and services become IP sets. Per direction: a positive and a
 * negated selector are one set, `(pos) && (!(neg))`; a negated one alone is a set that must not
 * match; named ports are sets of their own, limited by the positive selector, which then needs no
 * set itself when the rule has no numeric port there.
 */
import type { ModelEntityRule, ModelPort, ModelRule } from "#model";
import type { IpSetId, PortRange, Protocol, Rule, ServiceAccountMatch } from "#policy";
import { parseComposedSelector, type Selector } from "#selector";
import { base64Url, makeUniqueId, sha224 } from "#std";
import type { IpSetDefinition, NamedPortMatch } from "./ip-sets.ts";

const RULE_ID_LENGTH = 16;

/** Rules with their sets; a set may come more than once. */
export interface ResolvedRules {
  readonly rules: readonly Rule[];
  readonly sets: readonly IpSetDefinition[];
}

/** `seed` names the list of rules; ids of rules hang on it and on all rules before. */
export function resolveRules(rules: readonly ModelRule[], seed: string): ResolvedRules {
  const sets: IpSetDefinition[] = [];
  let chain = seed;
  const resolved = rules.map((rule) => {
    const fields = resolveRule(rule, sets);
    chain = base64Url(sha224(`${chain}\n${JSON.stringify(fields)}`));
    return { ...fields, ruleId: chain.slice(0, RULE_ID_LENGTH) };
  });
  return { rules: resolved, sets };
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function resolveRule(rule: ModelRule, sets: IpSetDefinition[]): Omit<Rule, "ruleId"> {
  const { source, destination } = rule;
  const result: Writable<Omit<Rule, "ruleId">> = { action: rule.action };
  if (rule.ipVersion !== undefined) result.ipVersion = rule.ipVersion;
  if (rule.protocol !== undefined) result.protocol = rule.protocol;
  if (rule.notProtocol !== undefined) result.notProtocol = rule.notProtocol;
  if (rule.icmp !== undefined) result.icmp = rule.icmp;
  if (rule.notIcmp !== undefined) result.notIcmp = rule.notIcmp;
  if (source.nets.length > 0) result.srcNet = source.nets;
  if (source.notNets.length > 0) result.notSrcNet = source.notNets;
  if (destination.nets.length > 0) result.dstNet = destination.nets;
  if (destination.notNets.length > 0) result.notDstNet = destination.notNets;
  const src = resolveSide(source, rule.protocol, sets);
  if (src.ports.length > 0) result.srcPorts = src.ports;
  if (src.notPorts.length > 0) result.notSrcPorts = src.notPorts;
  if (src.ids.length > 0) result.srcIpSetIds = src.ids;
  if (src.notIds.length > 0) result.notSrcIpSetIds = src.notIds;
  if (src.portIds.length > 0) result.srcNamedPortIpSetIds = src.portIds;
  if (src.notPortIds.length > 0) result.notSrcNamedPortIpSetIds = src.notPortIds;
  const dst = resolveSide(destination, rule.protocol, sets);
  if (dst.ports.length > 0) result.dstPorts = dst.ports;
  if (dst.notPorts.length > 0) result.notDstPorts = dst.notPorts;
  if (dst.ids.length > 0) result.dstIpSetIds = dst.ids;
  if (dst.notIds.length > 0) result.notDstIpSetIds = dst.notIds;
  if (dst.portIds.length > 0) result.dstNamedPortIpSetIds = dst.portIds;
  if (dst.notPortIds.length > 0) result.notDstNamedPortIpSetIds = dst.notPortIds;
  addServices(rule, result, sets);
  addOriginals(rule, result);
  return result;
}

interface ResolvedSide {
  readonly ports: readonly PortRange[];
  readonly notPorts: readonly PortRange[];
  readonly ids: readonly IpSetId[];
  readonly notIds: readonly IpSetId[];
  readonly portIds: readonly IpSetId[];
  readonly notPortIds: readonly IpSetId[];
}

function resolveSide(
  side: ModelEntityRule,
  protocol: Protocol | undefined,
  sets: IpSetDefinition[],
): ResolvedSide {
  const positive = positiveText(side);
  const negative = positive === "" ? side.notSelector : "";
  const ports = numeric(side.ports);
  const names = named(side.ports);
  const notNames = named(side.notPorts);
  const selector = positive === "" ? undefined : parseComposedSelector(positive);
  const portSets = (all: readonly string[]): readonly IpSetId[] =>
    all.map((name) => {
      const match = { name, protocol: portProtocol(protocol) };
      return use(namedPortSet(selector ?? parseComposedSelector(""), match), sets);
    });
  const portIds = portSets(names);
  const needsOwnSet = selector !== undefined && (names.length === 0 || ports.length > 0);
  return {
    ports,
    notPorts: numeric(side.notPorts),
    ids: needsOwnSet ? [use(selectorSet(selector), sets)] : [],
    notIds: negative === "" ? [] : [use(selectorSet(parseComposedSelector(negative)), sets)],
    portIds,
    notPortIds: portSets(notNames),
  };
}

/** Parsed once, as a whole: the id of the set is a hash of what comes out. */
function positiveText({ selector, notSelector }: ModelEntityRule): string {
  if (selector === "" || notSelector === "") return selector;
  return `(${selector}) && (!(${notSelector}))`;
}

function use(definition: IpSetDefinition, sets: IpSetDefinition[]): IpSetId {
  sets.push(definition);
  return definition.id;
}

function selectorSet(selector: Selector): IpSetDefinition {
  return { id: selector.uniqueId, type: "NET", selector };
}

function namedPortSet(selector: Selector, namedPort: NamedPortMatch): IpSetDefinition {
  const content = `${selector.uniqueId},${namedPort.protocol},${namedPort.name}`;
  return { id: makeUniqueId("n", content), type: "IP_AND_PORT", selector, namedPort };
}

const PROTOCOL_OF_NUMBER: Readonly<Record<number, NamedPortMatch["protocol"]>> = {
  6: "tcp",
  17: "udp",
  132: "sctp",
};

function portProtocol(protocol: Protocol | undefined): NamedPortMatch["protocol"] {
  if (protocol === undefined) return "any";
  if ("number" in protocol) return PROTOCOL_OF_NUMBER[protocol.number] ?? "any";
  const { name } = protocol;
  return name === "tcp" || name === "udp" || name === "sctp" ? name : "any";
}

function numeric(ports: readonly ModelPort[]): readonly PortRange[] {
  return ports.flatMap((port) => ("name" in port ? [] : [{ first: port.first, last: port.last }]));
}

function named(ports: readonly ModelPort[]): readonly string[] {
  return ports.flatMap((port) => ("name" in port ? [port.name] : []));
}

/** Destination: address and port of the service must match; source: its addresses only. */
function addServices(
  rule: ModelRule,
  result: Writable<Omit<Rule, "ruleId">>,
  sets: IpSetDefinition[],
): void {
  const from = rule.source.service;
  if (from !== undefined) {
    const id = makeUniqueId("svcnoport", `${from.namespace}/${from.name}`);
    const set = { id, type: "NET", service: { ...from, withPorts: false } } as const;
    result.srcIpSetIds = [...(result.srcIpSetIds ?? []), use(set, sets)];
    result.originalSrcService = from.name;
    result.originalSrcServiceNamespace = from.namespace;
  }
  const to = rule.destination.service;
  if (to !== undefined) {
    const id = makeUniqueId("svc", `${to.namespace}/${to.name}`);
    const set = { id, type: "IP_AND_PORT", service: { ...to, withPorts: true } } as const;
    result.dstIpPortSetIds = [use(set, sets)];
    result.originalDstService = to.name;
    result.originalDstServiceNamespace = to.namespace;
  }
}

function addOriginals(
  { source, destination, http, metadata }: ModelRule,
  result: Writable<Omit<Rule, "ruleId">>,
): void {
  if (source.originalSelector !== "") result.originalSrcSelector = source.originalSelector;
  if (destination.originalSelector !== "") {
    result.originalDstSelector = destination.originalSelector;
  }
  if (source.originalNotSelector !== "") result.originalNotSrcSelector = source.originalNotSelector;
  if (destination.originalNotSelector !== "") {
    result.originalNotDstSelector = destination.originalNotSelector;
  }
  if (source.originalNamespaceSelector !== "") {
    result.originalSrcNamespaceSelector = source.originalNamespaceSelector;
  }
  if (destination.originalNamespaceSelector !== "") {
    result.originalDstNamespaceSelector = destination.originalNamespaceSelector;
  }
  const srcAccounts = serviceAccountMatch(source);
  if (srcAccounts !== undefined) result.srcServiceAccountMatch = srcAccounts;
  const dstAccounts = serviceAccountMatch(destination);
  if (dstAccounts !== undefined) result.dstServiceAccountMatch = dstAccounts;
  if (http !== undefined) result.httpMatch = http;
  if (metadata !== undefined) result.metadata = metadata;
}

function serviceAccountMatch(side: ModelEntityRule): ServiceAccountMatch | undefined {
  const { originalServiceAccountNames: names, originalServiceAccountSelector: selector } = side;
  return names.length === 0 && selector === "" ? undefined : { selector, names };
}
