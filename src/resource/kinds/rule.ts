/** The schema of a rule, shared by every policy kind and profiles, with its cross-field constraints. */
import { tryParseCidrOrIp } from "#ip";
import { parseSelector } from "#selector";
import type { Context } from "../context.ts";
import { icmpFamily, protocolHasPorts } from "../scalars.ts";
import {
  annotationMap,
  field,
  int,
  list,
  newlyFormatted,
  object,
  oneOf,
  port,
  protocol,
  longSelector,
  selector,
  text,
  type Fields,
  type ObjectRule,
  type TypeSpec,
} from "../schema.ts";
import type { EntityRule, V3Rule } from "../types.ts";

const SIDES = ["source", "destination"] as const;

const icmp = object(
  [
    field("type", int(0, 254), "ICMP type 0–254", { zero: "keep" }),
    field("code", int(0, 255), "ICMP code 0–255; needs a type", { zero: "keep" }),
  ],
  [
    {
      id: "icmp-code-needs-type",
      reads: ["type", "code"],
      check: (value, context) => {
        if (value["code"] !== undefined && value["type"] === undefined) {
          context.report("icmp-code-needs-type", {
            message: "an ICMP code is given without a type",
            hint: "add type",
            at: ["code"],
          });
        }
      },
    },
  ],
);

const blocks = list(newlyFormatted("masked-cidr", "cidr"), { maxItems: 256 });
const ports = list(port, { maxItems: 50 });
const httpPath: TypeSpec = {
  kind: "string",
  format: "http-path",
  manifestFormat: "http-path-text",
  maxLength: 1024,
};

const entity = object(
  [
    field("nets", blocks, "CIDR blocks; any of them matches"),
    field("selector", selector, "endpoints and network sets by label"),
    field(
      "namespaceSelector",
      selector,
      "limits selector to namespaces by label; global() means none",
    ),
    field(
      "services",
      object([
        field("name", newlyFormatted("name"), "the service"),
        field("namespace", newlyFormatted("name"), "its namespace; needed in global policies"),
      ]),
      "the endpoints of a Kubernetes service",
      { zero: "keep" },
    ),
    field("ports", ports, "ports; any of them matches"),
    field("notNets", blocks, "CIDR blocks that do not match"),
    field("notSelector", selector, "endpoints that do not match"),
    field("notPorts", ports, "ports that do not match"),
    field(
      "serviceAccounts",
      object([
        field("names", list(text), "service accounts by name"),
        field("selector", longSelector, "service accounts by label"),
      ]),
      "workloads by their service account",
      { zero: "keep" },
    ),
  ],
  [
    { id: "global-selector", reads: ["selector", "namespaceSelector"], check: checkGlobal },
    { id: "services-exclusive", reads: ["services"], check: checkServices },
  ],
);

/** global() names what is in no namespace, so beside a label condition it would mean nothing. */
function checkGlobal(value: Fields, context: Context): void {
  const { selector: own, namespaceSelector } = value as EntityRule;
  refuseGlobal(own, "selector", context);
  if (namespaceSelector?.includes("global(") !== true) return;
  if (parseSelector(namespaceSelector).node.kind === "global") return;
  context.report("global-selector", {
    message: "global() stands beside other conditions",
    value: namespaceSelector,
    allowed: "global() alone",
    at: ["namespaceSelector"],
  });
}

/** Reports `global()` in a selector that cannot have it. */
export function refuseGlobal(text_: string | undefined, at: string, context: Context): void {
  if (text_?.includes("global(") !== true) return;
  context.report("global-selector", {
    message: "global() has no meaning here",
    value: text_,
    allowed: "global() only in namespaceSelector of a rule's source or destination",
    at: [at],
  });
}

function checkServices(value: Fields, context: Context): void {
  const side = value as EntityRule;
  if (side.services === undefined) return;
  if ((side.services.name ?? "") === "") {
    context.report("services-name", {
      message: "the service has no name",
      allowed: "services: {name: …}",
      at: ["services", "name"],
    });
  }
  for (const name of [
    "namespaceSelector",
    "selector",
    "notSelector",
    "serviceAccounts",
    "nets",
    "notNets",
  ] as const) {
    if (side[name] !== undefined) {
      context.report("services-exclusive", {
        message: `${name} cannot stand beside services`,
        hint: "use two rules",
        at: [name],
      });
    }
  }
}

const http = object([
  field(
    "methods",
    list(text, { maxItems: 20, uniqueInManifest: true }),
    "HTTP methods; any of them matches",
  ),
  field(
    "paths",
    list(
      object(
        [
          field("exact", httpPath, "the whole path"),
          field("prefix", httpPath, "the beginning of the path"),
        ],
        [
          {
            id: "http-path-one",
            reads: ["exact", "prefix"],
            check: (value, context) => {
              if (value["exact"] !== undefined && value["prefix"] !== undefined) {
                context.report("http-path-one", {
                  message: "a path has both exact and prefix",
                  hint: "use two paths",
                });
              }
            },
          },
          {
            id: "http-path-one",
            reads: ["exact", "prefix"],
            manifestsOnly: true,
            check: (value, context) => {
              if (value["exact"] !== undefined || value["prefix"] !== undefined) return;
              context.report("http-path-one", {
                message: "a path has neither exact nor prefix",
                hint: "add one of them",
              });
            },
          },
        ],
      ),
      { maxItems: 20 },
    ),
    "HTTP paths; any of them matches",
  ),
]);

export const rule = object(
  [
    field("action", oneOf("Allow", "Deny", "Log", "Pass"), "Allow, Deny, Log or Pass", {
      required: true,
    }),
    field("ipVersion", int(), "4 or 6; both when absent", { zero: "keep" }),
    field("protocol", protocol, "TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or 1–255"),
    field("icmp", icmp, "ICMP type and code that match", { zero: "keep" }),
    field("notProtocol", protocol, "the protocol that does not match"),
    field("notICMP", icmp, "ICMP type and code that do not match", { zero: "keep" }),
    field("source", entity, "where the packet comes from"),
    field("destination", entity, "where the packet goes to"),
    field("http", http, "HTTP requests that match; for proxies", { zero: "keep" }),
    field(
      "metadata",
      object([field("annotations", annotationMap, "notes; shown with the rule")]),
      "notes on the rule",
      { zero: "keep" },
    ),
  ],
  ruleRules(),
);

function ruleRules(): ObjectRule[] {
  return [
    { id: "enum", reads: ["ipVersion"], check: checkIpVersion },
    { id: "ports-need-protocol", reads: ["protocol", "source", "destination"], check: checkPorts },
    { id: "icmp-needs-protocol", reads: ["protocol", "icmp", "notICMP"], check: checkIcmp },
    { id: "icmp-family", reads: ["protocol", "notProtocol", "ipVersion"], check: checkIcmpFamily },
    { id: "families-agree", reads: ["ipVersion", "source", "destination"], check: checkFamilies },
    { id: "not-nets-catch-all", reads: ["source", "destination"], check: checkCatchAll },
    { id: "http-needs-tcp", reads: ["protocol", "http", "action"], check: checkHttp },
    { id: "services-exclusive", reads: ["destination"], check: checkServicePorts },
  ];
}

function checkIpVersion(value: Fields, context: Context): void {
  const version = value["ipVersion"] as number | undefined;
  if (version === undefined || version === 4 || version === 6) return;
  context.report("enum", {
    message: `${version} is no IP version`,
    value: version,
    allowed: "4 or 6",
    at: ["ipVersion"],
  });
}

/** Names carry their protocol with them: the port that an endpoint declares under that name. */
function checkPorts(value: Fields, context: Context): void {
  const given = value as unknown as V3Rule;
  if (given.protocol !== undefined && protocolHasPorts(given.protocol)) return;
  for (const side of SIDES) {
    for (const list_ of ["ports", "notPorts"] as const) {
      const ports = given[side]?.[list_] ?? [];
      const named = given.protocol === undefined && !ports.some(isNumericPort);
      if (ports.length === 0 || named) continue;
      context.report("ports-need-protocol", {
        message:
          given.protocol === undefined
            ? "ports are given without a protocol"
            : `protocol ${String(given.protocol)} has no ports`,
        allowed: "protocol TCP, UDP or SCTP beside ports",
        hint: given.protocol === undefined ? "add protocol: TCP" : undefined,
        at: [side, list_],
      });
    }
  }
}

function isNumericPort(value: number | string): boolean {
  return typeof value === "number" || /^\d+:\d+$/.test(value);
}

function checkIcmp(value: Fields, context: Context): void {
  const given = value as unknown as V3Rule;
  if (icmpFamily(given.protocol) !== undefined) return;
  for (const name of ["icmp", "notICMP"] as const) {
    // What Calico has stored with notICMP alone stays valid; a new manifest is told.
    const strict = name === "icmp" || context.unknownFields === "error";
    if (given[name] === undefined || !strict) continue;
    context.report("icmp-needs-protocol", {
      message: "ICMP fields are given without protocol ICMP or ICMPv6",
      hint: "add protocol: ICMP",
      at: [name],
    });
  }
}

function checkIcmpFamily(value: Fields, context: Context): void {
  const { ipVersion } = value as unknown as V3Rule;
  if (ipVersion === undefined) return;
  for (const name of ["protocol", "notProtocol"] as const) {
    const family = icmpFamily(value[name]);
    if (family === undefined || family === ipVersion) continue;
    context.report("icmp-family", {
      message: `${String(value[name])} is IPv${family}, the rule is for IPv${ipVersion}`,
      value: ipVersion,
      allowed: `ipVersion: ${family}`,
      hint: `did you mean ${family === 4 ? "ICMPv6" : "ICMP"}?`,
      at: ["ipVersion"],
    });
  }
}

function checkFamilies(value: Fields, context: Context): void {
  const given = value as unknown as V3Rule;
  let first: { family: 4 | 6; text: string } | undefined;
  for (const side of SIDES) {
    for (const name of ["nets", "notNets"] as const) {
      for (const [index, net] of (given[side]?.[name] ?? []).entries()) {
        const family = tryParseCidrOrIp(net)?.family;
        if (family === undefined) continue;
        first ??= { family, text: net };
        const wanted = given.ipVersion ?? first.family;
        if (family === wanted) continue;
        context.report("families-agree", {
          message:
            given.ipVersion === undefined
              ? `IPv${family} beside the IPv${first.family} of ${first.text} in one rule`
              : `IPv${family} in a rule for IPv${given.ipVersion}`,
          value: net,
          hint: "use one rule for each family",
          at: [side, name, index],
        });
      }
    }
  }
}

function checkCatchAll(value: Fields, context: Context): void {
  const given = value as unknown as V3Rule;
  for (const side of SIDES) {
    for (const [index, net] of (given[side]?.notNets ?? []).entries()) {
      if (tryParseCidrOrIp(net)?.prefixLen !== 0) continue;
      context.report("not-nets-catch-all", {
        message: `${net} is every address: the rule could never match`,
        value: net,
        hint: "remove it, or the rule",
        at: [side, "notNets", index],
      });
    }
  }
}

function checkHttp(value: Fields, context: Context): void {
  const given = value as unknown as V3Rule;
  if (given.http === undefined) return;
  if (given.protocol !== undefined && given.protocol !== "TCP" && given.protocol !== 6) {
    context.report("http-needs-tcp", {
      message: `HTTP does not run over ${String(given.protocol)}`,
      value: given.protocol,
      allowed: "protocol: TCP",
      at: ["protocol"],
    });
  }
  if (given.action !== "Allow") {
    context.report("http-placement", {
      message: `an HTTP match in a rule with action ${given.action}`,
      allowed: "HTTP matches only with action Allow",
      at: ["http"],
    });
  }
}

/** The endpoints of a service bring their ports. */
function checkServicePorts(value: Fields, context: Context): void {
  const { destination } = value as unknown as V3Rule;
  if (destination?.services === undefined) return;
  for (const name of ["ports", "notPorts"] as const) {
    if (destination[name] === undefined) continue;
    context.report("services-exclusive", {
      message: `${name} cannot stand beside services, which bring their ports`,
      hint: `remove ${name}`,
      at: ["destination", name],
    });
  }
}
