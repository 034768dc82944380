/** One condition of a rule in words, with the selector that an IP set was made of. */
import type { PortRange, Protocol, Rule, RuleField } from "#policy";

type Side = "source" | "destination";

/** `destination port 443`, `source in s:… (selector app == 'api')`. */
export function conditionText(rule: Rule, field: RuleField): string {
  const side: Side = /src/i.test(field) ? "source" : "destination";
  switch (field) {
    case "ipVersion":
      return `IPv${rule.ipVersion ?? "4 or 6"}`;
    case "protocol":
      return `protocol ${protocolText(rule.protocol)}`;
    case "notProtocol":
      return `protocol not ${protocolText(rule.notProtocol)}`;
    case "srcNet":
    case "dstNet":
      return `${side} in ${listText(rule[field])}`;
    case "notSrcNet":
    case "notDstNet":
      return `${side} not in ${listText(rule[field])}`;
    case "srcPorts":
    case "dstPorts":
      return `${side} port ${portsText(rule, field, side)}`;
    case "notSrcPorts":
    case "notDstPorts":
      return `${side} port not ${rangesText(rule[field])}`;
    case "srcIpSetIds":
    case "dstIpSetIds":
      return `${side} in ${listText(rule[field])}${originText(rule, side)}`;
    case "notSrcIpSetIds":
    case "notDstIpSetIds":
      return `${side} not in ${listText(rule[field])}${notOriginText(rule, side)}`;
    case "srcNamedPortIpSetIds":
    case "dstNamedPortIpSetIds":
      return `${side} address and port in ${listText(rule[field])}${originText(rule, side)}`;
    case "notSrcNamedPortIpSetIds":
    case "notDstNamedPortIpSetIds":
      return `${side} address and port not in ${listText(rule[field])}`;
    case "dstIpPortSetIds":
      return `destination address and port in ${listText(rule[field])} (service ${rule.originalDstServiceNamespace ?? ""}/${rule.originalDstService ?? ""})`;
    case "icmp":
    case "notIcmp":
      return `ICMP${field === "icmp" ? "" : " not"} ${icmpText(rule[field])}`;
    default:
      return field;
  }
}

function portsText(rule: Rule, field: "srcPorts" | "dstPorts", side: Side): string {
  const named = side === "source" ? rule.srcNamedPortIpSetIds : rule.dstNamedPortIpSetIds;
  const numeric = rangesText(rule[field]);
  return (named ?? []).length === 0 ? numeric : `${numeric}, or named port in ${listText(named)}`;
}

function originText(rule: Rule, side: Side): string {
  const source = side === "source";
  const account = source ? rule.srcServiceAccountMatch : rule.dstServiceAccountMatch;
  const service = source ? rule.originalSrcService : undefined;
  return inBrackets([
    ["selector", source ? rule.originalSrcSelector : rule.originalDstSelector],
    ["notSelector", source ? rule.originalNotSrcSelector : rule.originalNotDstSelector],
    [
      "namespaceSelector",
      source ? rule.originalSrcNamespaceSelector : rule.originalDstNamespaceSelector,
    ],
    ["service accounts", (account?.names ?? []).join(", ")],
    ["service account selector", account?.selector],
    [
      "service",
      service === undefined ? "" : `${rule.originalSrcServiceNamespace ?? ""}/${service}`,
    ],
  ]);
}

function notOriginText(rule: Rule, side: Side): string {
  const text = side === "source" ? rule.originalNotSrcSelector : rule.originalNotDstSelector;
  return inBrackets([["notSelector", text]]);
}

function inBrackets(parts: readonly (readonly [string, string | undefined])[]): string {
  const said = parts.filter(([, text]) => text !== undefined && text !== "" && text !== "/");
  return said.length === 0 ? "" : ` (${said.map(([name, text]) => `${name} ${text}`).join("; ")})`;
}

function listText(texts: readonly string[] | undefined): string {
  return (texts ?? []).join(", ");
}

function rangesText(ranges: readonly PortRange[] | undefined): string {
  return (ranges ?? [])
    .map(({ first, last }) => (first === last ? `${first}` : `${first}:${last}`))
    .join(", ");
}

function protocolText(protocol: Protocol | undefined): string {
  if (protocol === undefined) return "any";
  return "name" in protocol ? protocol.name : String(protocol.number);
}

function icmpText(match: Rule["icmp"]): string {
  if (match === undefined) return "any";
  return `type ${match.type}${match.code === undefined ? "" : ` code ${match.code}`}`;
}
