/** v3 rules → rules whose selectors and named ports the graph resolves to IP sets. */
import type { IcmpMatch, Protocol } from "#policy";
import { canonicalCidr } from "#ip";
import { parsePort, type EntityRule, type V3Port, type V3Protocol, type V3Rule } from "#resource";
import { parseComposedSelector } from "#selector";
import { inputError } from "#std";
import type { ModelEntityRule, ModelPort, ModelRule } from "./types.ts";
import { namespaceClause, ruleNamespaceSelector, serviceAccountSelector } from "./selectors.ts";

const ACTIONS = { Allow: "allow", Deny: "deny", Log: "log", Pass: "next-tier" } as const;

/** Shared: there are tens of thousands of rules, and most of their lists are empty. */
const NONE: readonly never[] = Object.freeze([]);
/** An entity that restricts nothing. */
export const ANY_ENTITY: ModelEntityRule = Object.freeze(modelEntity({}, ""));

/** `namespace` is that of the policy, "" when it has none. */
export function modelRules(
  rules: readonly V3Rule[] | undefined,
  namespace: string,
): readonly ModelRule[] {
  return (rules ?? []).map((rule) => modelRule(rule, namespace));
}

function modelRule(rule: V3Rule, namespace: string): ModelRule {
  const protocol = modelProtocol(rule.protocol);
  const notProtocol = modelProtocol(rule.notProtocol);
  const icmp = modelIcmp(rule.icmp);
  const notIcmp = modelIcmp(rule.notICMP);
  const ipVersion = rule.ipVersion ?? familyOf(protocol);
  return {
    action: ACTIONS[rule.action],
    ...(ipVersion === undefined ? {} : { ipVersion }),
    ...(protocol === undefined ? {} : { protocol }),
    ...(notProtocol === undefined ? {} : { notProtocol }),
    ...(icmp === undefined ? {} : { icmp }),
    ...(notIcmp === undefined ? {} : { notIcmp }),
    source: rule.source === undefined ? ANY_ENTITY : modelEntity(rule.source, namespace),
    destination:
      rule.destination === undefined ? ANY_ENTITY : modelEntity(rule.destination, namespace),
    ...httpOf(rule),
    ...unknownFieldsOf(rule),
    ...(rule.metadata?.annotations === undefined
      ? {}
      : { metadata: { annotations: rule.metadata.annotations } }),
  };
}

const RULE_FIELDS: ReadonlySet<string> = new Set([
  "action",
  "ipVersion",
  "protocol",
  "notProtocol",
  "icmp",
  "notICMP",
  "source",
  "destination",
  "http",
  "metadata",
]);
const ENTITY_FIELDS: ReadonlySet<string> = new Set([
  "nets",
  "notNets",
  "selector",
  "notSelector",
  "namespaceSelector",
  "ports",
  "notPorts",
  "serviceAccounts",
  "services",
]);

/** Of a newer version, perhaps: what they ask for narrows the rule, so ignoring them would widen it. */
function unknownFieldsOf(rule: V3Rule): Pick<ModelRule, "unknownFields"> {
  const unknown = [
    ...unknownKeys(rule, RULE_FIELDS, ""),
    ...unknownKeys(rule.source ?? {}, ENTITY_FIELDS, "source."),
    ...unknownKeys(rule.destination ?? {}, ENTITY_FIELDS, "destination."),
  ];
  return unknown.length === 0 ? {} : { unknownFields: unknown };
}

function unknownKeys(value: object, known: ReadonlySet<string>, prefix: string): readonly string[] {
  const keys = Object.entries(value).filter(
    ([key, one]) => !known.has(key) && one !== null && one !== undefined,
  );
  return keys.map(([key]) => prefix + key);
}

/** ICMP by name belongs to one family; by number it does not say. */
function familyOf(protocol: Protocol | undefined): 4 | 6 | undefined {
  if (protocol === undefined || !("name" in protocol)) return undefined;
  if (protocol.name === "icmp") return 4;
  return protocol.name === "icmpv6" ? 6 : undefined;
}

/** Numbers may also come as text. */
export function modelProtocol(protocol: V3Protocol | undefined): Protocol | undefined {
  if (protocol === undefined) return undefined;
  if (typeof protocol === "number") return { number: protocol };
  return /^\d+$/.test(protocol) ? { number: Number(protocol) } : { name: protocol.toLowerCase() };
}

function modelIcmp(icmp: V3Rule["icmp"]): IcmpMatch | undefined {
  if (icmp?.type === undefined) return undefined;
  return { type: icmp.type, ...(icmp.code === undefined ? {} : { code: icmp.code }) };
}

function httpOf(rule: V3Rule): Pick<ModelRule, "http"> {
  if (rule.http === undefined) return {};
  const paths: ({ exact: string } | { prefix: string })[] = [];
  for (const { exact, prefix } of rule.http.paths ?? []) {
    if (exact !== undefined) paths.push({ exact });
    else if (prefix !== undefined) paths.push({ prefix });
  }
  return { http: { methods: rule.http.methods ?? [], paths } };
}

function modelEntity(entity: EntityRule, namespace: string): ModelEntityRule {
  const { services, serviceAccounts } = entity;
  const service = services?.name === undefined || services.name === "" ? undefined : services;
  const selector = entitySelector(entity, namespace);
  checkJoined(selector, entity);
  return {
    nets: mapped(entity.nets, canonicalCidr),
    notNets: mapped(entity.notNets, canonicalCidr),
    selector,
    notSelector: entity.notSelector ?? "",
    ports: mapped(entity.ports, modelPort),
    notPorts: mapped(entity.notPorts, modelPort),
    ...(service === undefined
      ? {}
      : { service: { namespace: service.namespace ?? namespace, name: service.name } }),
    originalSelector: entity.selector ?? "",
    originalNotSelector: entity.notSelector ?? "",
    originalNamespaceSelector: entity.namespaceSelector ?? "",
    originalServiceAccountNames: serviceAccounts?.names ?? NONE,
    originalServiceAccountSelector: serviceAccounts?.selector ?? "",
  };
}

function mapped<T, U>(items: readonly T[] | undefined, map: (item: T) => U): readonly U[] {
  return items === undefined || items.length === 0 ? NONE : items.map((item) => map(item));
}

/** Text to be parsed once, together with the negated selector; "" = no restriction. */
function entitySelector(entity: EntityRule, namespace: string): string {
  const accounts = serviceAccountSelector(
    entity.serviceAccounts?.names ?? [],
    entity.serviceAccounts?.selector ?? "",
  );
  const own = joined(accounts ?? "", entity.selector ?? "");
  const namespaces = entity.namespaceSelector ?? "";
  if (namespaces !== "") return joined(ruleNamespaceSelector(namespaces), own);
  // A rule of blocks and ports alone is not limited to the policy's namespace.
  const scoped = namespace !== "" && (own !== "" || (entity.notSelector ?? "") !== "");
  return scoped ? joined(namespaceClause(namespace), own) : own;
}

/** The graph parses what was joined and has no way to refuse it: parts that fit may be too deep together. */
function checkJoined(selector: string, { selector: own, notSelector }: EntityRule): void {
  const negated = notSelector ?? "";
  if (selector !== "" && negated !== "") parseComposedSelector(`(${selector}) && (!(${negated}))`);
  else if (selector !== (own ?? "")) parseComposedSelector(selector);
}

function joined(first: string, second: string): string {
  if (first === "" || second === "") return first + second;
  return `(${first}) && (${second})`;
}

function modelPort(port: V3Port): ModelPort {
  if (typeof port === "number") return { first: port, last: port };
  const parsed = parsePort(port);
  if (typeof parsed === "string") throw inputError("bad-port", parsed, { fields: { port } });
  return "name" in parsed ? { name: parsed.name } : { first: parsed.first, last: parsed.last };
}
