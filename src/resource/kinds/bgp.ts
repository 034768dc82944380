/** The routing kinds: BGP configuration, peers and filters. */
import { tryParseCidr, tryParseIp } from "#ip";
import type { Context } from "../context.ts";
import {
  bool,
  duration,
  field,
  formatted,
  int,
  list,
  neededInManifest,
  newlyFormatted,
  object,
  oneOf,
  oneOfAnyCase,
  selector,
  text,
  type Fields,
  type ObjectRule,
  type ObjectSpec,
  type TypeSpec,
} from "../schema.ts";
import { FORMATS } from "../formats.ts";
import { asNumber } from "./endpoints.ts";

export const logSeverity: TypeSpec = oneOfAnyCase(
  "Trace",
  "Debug",
  "Info",
  "Warning",
  "Error",
  "Fatal",
);

const serviceBlock = object([
  field("cidr", newlyFormatted("masked-cidr", "cidr-or-ip"), "a block of service addresses"),
]);
const secretKeyRef = object([
  field("name", text, "the Secret", { zero: "keep", default: "" }),
  field("key", text, "the key in it", { required: true }),
  field("optional", bool, "may be missing", { zero: "keep" }),
]);
const secret = object([
  field("secretKeyRef", secretKeyRef, "where the password is", { zero: "keep" }),
]);

export const bgpConfigurationSpec: ObjectSpec = object(
  [
    field("logSeverityScreen", logSeverity, "log level of the BGP service", { default: "Info" }),
    field("nodeToNodeMeshEnabled", bool, "every node peers with every other", { zero: "keep" }),
    field("asNumber", asNumber, "AS number of nodes that have no own", { zero: "keep" }),
    field("serviceLoadBalancerIPs", list(serviceBlock), "load-balancer addresses to announce"),
    field("serviceExternalIPs", list(serviceBlock), "external addresses of services to announce"),
    field("serviceClusterIPs", list(serviceBlock), "cluster addresses of services to announce"),
    field(
      "serviceLoadBalancerAggregation",
      oneOf("Enabled", "Disabled"),
      "announce blocks, not single addresses",
      {
        default: "Enabled",
      },
    ),
    field(
      "communities",
      list(
        object(
          [
            field("name", newlyFormatted("name"), "a name for it"),
            field("value", formatted("community"), "16-bit pair or 32-bit triple"),
          ],
          [neededInManifest("name"), neededInManifest("value")],
        ),
      ),
      "named BGP communities",
    ),
    field(
      "prefixAdvertisements",
      list(
        object(
          [
            field("cidr", newlyFormatted("masked-cidr", "cidr"), "routes inside this block"),
            field("communities", list(text), "get these communities, by name or value"),
          ],
          [neededInManifest("cidr"), neededInManifest("communities")],
        ),
      ),
      "communities of announced routes",
    ),
    field("listenPort", int(1, 65535), "the port that the BGP service listens on"),
    field("nodeMeshPassword", secret, "password of mesh sessions", { zero: "keep" }),
    field("nodeMeshMaxRestartTime", duration, "graceful-restart time of mesh sessions"),
    field("bindMode", oneOf("None", "NodeIP"), "listen on every address or the node's", {
      zero: "keep",
    }),
    field(
      "ignoredInterfaces",
      list(newlyFormatted("ignored-interface")),
      "interfaces whose routes are not read",
    ),
    field(
      "localWorkloadPeeringIPV4",
      formatted("ipv4"),
      "the address that local workloads peer with",
    ),
    field(
      "localWorkloadPeeringIPV6",
      formatted("ipv6"),
      "the address that local workloads peer with",
    ),
    field(
      "programClusterRoutes",
      oneOf("Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly", "Enabled"),
      "which cluster routes the BGP service programs",
    ),
    field("ipv4NormalRoutePriority", int(), "metric of IPv4 routes", { zero: "keep" }),
    field("ipv6NormalRoutePriority", int(), "metric of IPv6 routes", { zero: "keep" }),
  ],
  [
    {
      id: "community-known",
      reads: ["communities", "prefixAdvertisements"],
      manifestsOnly: true,
      check: checkCommunities,
    },
    {
      id: "mesh-settings",
      reads: ["nodeToNodeMeshEnabled", "nodeMeshPassword", "nodeMeshMaxRestartTime"],
      manifestsOnly: true,
      check: (value, context) => {
        if (value["nodeToNodeMeshEnabled"] !== false) return;
        for (const name of ["nodeMeshPassword", "nodeMeshMaxRestartTime"]) {
          if (value[name] === undefined) continue;
          context.report("mesh-settings", {
            message: "is of the mesh between nodes, which is switched off",
            hint: `remove it, or set nodeToNodeMeshEnabled: true`,
            at: [name],
          });
        }
      },
    },
  ],
);

/** An advertisement names communities by value, or by a name that the configuration gives one. */
function checkCommunities(value: Fields, context: Context): void {
  const { communities: named = [], prefixAdvertisements = [] } = value as {
    readonly communities?: readonly { readonly name?: string }[];
    readonly prefixAdvertisements?: readonly { readonly communities?: readonly string[] }[];
  };
  const names = named.map(({ name }) => name ?? "");
  if (named.length > 0 && prefixAdvertisements.length === 0) {
    context.report("community-known", {
      message: "communities have names and nothing uses them",
      hint: "add prefixAdvertisements, or remove communities",
      at: ["communities"],
    });
  }
  for (const [i, { communities: used = [] }] of prefixAdvertisements.entries()) {
    for (const [j, one] of used.entries()) {
      if (names.includes(one) || FORMATS.community.valid(one)) continue;
      context.report("community-known", {
        message: `${JSON.stringify(one)} is no community and the name of none`,
        value: one,
        allowed: names.length === 0 ? "a:b or a:b:c" : `a:b, a:b:c, ${names.join(", ")}`,
        at: ["prefixAdvertisements", i, "communities", j],
      });
    }
  }
}

export const bgpPeerSpec: ObjectSpec = object(
  [
    field(
      "node",
      newlyFormatted("name"),
      "the node that has this peer; all when neither node nor nodeSelector",
    ),
    field("nodeSelector", selector, "the nodes that have this peer"),
    field("peerIP", formatted("peer-ip"), "the peer's address, with port if not 179"),
    field("asNumber", asNumber, "the peer's AS number"),
    field("localASNumber", asNumber, "our AS number towards this peer", { zero: "keep" }),
    field("peerSelector", selector, "the nodes that are the peers"),
    field("keepOriginalNextHop", bool, "deprecated: use nextHopMode: Keep"),
    field("password", secret, "the session's password", { zero: "keep" }),
    field("sourceAddress", oneOf("UseNodeIP", "None"), "the address that the session comes from"),
    field(
      "failureDetectionMode",
      oneOf("None", "BFDIfDirectlyConnected"),
      "how a lost peer is noticed",
    ),
    field(
      "restartMode",
      oneOf("GracefulRestart", "LongLivedGracefulRestart"),
      "what happens to routes over a restart",
    ),
    field("maxRestartTime", duration, "graceful-restart time"),
    field("keepaliveTime", duration, "time between keepalives"),
    field("numAllowedLocalASNumbers", int(0), "how often our AS number may stand in a path", {
      zero: "keep",
    }),
    field("ttlSecurity", int(0, 255), "most hops to the peer", { zero: "keep" }),
    field("reachableBy", formatted("ip"), "the gateway to the peer"),
    field("filters", list(text), "BGPFilters, in order"),
    field("localWorkloadSelector", selector, "local workloads that are the peers"),
    field(
      "reversePeering",
      oneOf("Auto", "Manual"),
      "whether the other side's configuration is derived",
      { zero: "keep" },
    ),
    field("nextHopMode", oneOf("Auto", "Self", "Keep"), "the next hop of announced routes", {
      zero: "keep",
    }),
  ],
  [
    {
      id: "bgp-peer-fields",
      reads: [
        "node",
        "nodeSelector",
        "peerIP",
        "peerSelector",
        "asNumber",
        "localWorkloadSelector",
      ],
      check: checkPeer,
    },
  ],
);

const EXCLUSIVE: readonly (readonly [string, string])[] = [
  ["node", "nodeSelector"],
  ["peerIP", "peerSelector"],
  ["asNumber", "peerSelector"],
  ["peerIP", "localWorkloadSelector"],
  ["peerSelector", "localWorkloadSelector"],
];

/** Of an address, or an address with a port. */
function familyOfAddress(text_: unknown): 4 | 6 | undefined {
  if (typeof text_ !== "string") return undefined;
  const bare = /^\[(.*)\](?::\d+)?$/.exec(text_)?.[1] ?? text_.replace(/^([\d.]+):\d+$/, "$1");
  return tryParseIp(bare)?.family;
}

function checkPeer(value: Fields, context: Context): void {
  const refuse = (at: string, message: string, hint: string): void =>
    context.report("bgp-peer-fields", { message, hint, at: [at] });
  for (const [first, second] of EXCLUSIVE) {
    if (value[first] === undefined || value[second] === undefined) continue;
    refuse(first, `${first} and ${second} are both given`, `remove ${first}`);
  }
  if (value["localWorkloadSelector"] !== undefined && value["asNumber"] === undefined) {
    refuse("asNumber", "localWorkloadSelector needs the workloads' AS number", "add asNumber");
  }
  if (value["reachableBy"] !== undefined && value["peerIP"] === undefined) {
    refuse("reachableBy", "reachableBy needs peerIP", "remove reachableBy");
  }
  const peer = familyOfAddress(value["peerIP"]);
  const gateway = familyOfAddress(value["reachableBy"]);
  if (peer !== undefined && gateway !== undefined && peer !== gateway) {
    refuse(
      "reachableBy",
      `reachableBy is IPv${gateway}, peerIP is IPv${peer}`,
      `give the IPv${peer} address of the gateway`,
    );
  }
  if (value["keepOriginalNextHop"] === true && value["nextHopMode"] !== undefined) {
    refuse(
      "keepOriginalNextHop",
      "keepOriginalNextHop and nextHopMode are both given",
      "remove keepOriginalNextHop",
    );
  }
}

const filterRules: readonly ObjectRule[] = [
  {
    id: "bgp-filter-fields",
    reads: ["cidr", "matchOperator", "prefixLength"],
    check: (value, context) => {
      const has = (name: string): boolean => value[name] !== undefined;
      const missing = (at: string, beside: string): void =>
        context.report("bgp-filter-fields", {
          message: `${beside} needs ${at}`,
          hint: `add ${at}`,
          at: [at],
        });
      if (has("cidr") && !has("matchOperator")) missing("matchOperator", "cidr");
      if (!has("cidr") && has("matchOperator")) missing("cidr", "matchOperator");
      if (!has("cidr") && has("prefixLength")) missing("cidr", "prefixLength");
    },
  },
];

/** As `setPriority` and the route priorities of FelixConfiguration have it. */
const routePriority = int(1, 2_147_483_646);
const communities = list(formatted("community"));
const operation = object(
  [
    field(
      "addCommunity",
      object([field("value", formatted("community"), "the community")]),
      "add a community",
      {
        zero: "keep",
      },
    ),
    field(
      "prependASPath",
      object([field("prefix", list(asNumber), "in this order")]),
      "lengthen the AS path",
      {
        zero: "keep",
      },
    ),
    field("setPriority", object([field("value", routePriority, "the metric")]), "set the metric", {
      zero: "keep",
    }),
  ],
  [
    {
      id: "bgp-filter-operation",
      reads: ["addCommunity", "prependASPath", "setPriority"],
      check: (value, context) => {
        const given = ["addCommunity", "prependASPath", "setPriority"].filter(
          (name) => value[name] !== undefined,
        );
        if (given.length === 1) return;
        // Stored by a newer version, perhaps; whoever reads it decides what an unknown one means.
        if (given.length === 0 && context.unknownFields === "keep") return;
        context.report("bgp-filter-operation", {
          message: given.length === 0 ? "an operation that does nothing" : given.join(" and "),
          allowed: "one of addCommunity, prependASPath, setPriority",
          hint: "write one list entry for each operation",
        });
      },
    },
  ],
);

function filterRule(family: 4 | 6): ObjectSpec {
  const length = int(0, family === 4 ? 32 : 128);
  return object(
    [
      field("cidr", formatted("cidr"), "routes by their block"),
      field(
        "prefixLength",
        object([
          field("min", length, "shortest", { zero: "keep" }),
          field("max", length, "longest", { zero: "keep" }),
        ]),
        "routes by the length of their prefix",
        { zero: "keep" },
      ),
      field("source", oneOf("RemotePeers"), "routes by where they were learned"),
      field(
        "interface",
        newlyFormatted("interface-pattern"),
        "routes by their interface; * stands for any text",
      ),
      field("matchOperator", oneOf("Equal", "NotEqual", "In", "NotIn"), "how cidr is compared"),
      field("peerType", oneOf("eBGP", "iBGP"), "routes by the kind of session"),
      field(
        "communities",
        object([field("values", communities, "one community")]),
        "routes by community",
        { zero: "keep" },
      ),
      field("asPathPrefix", list(asNumber), "routes by the beginning of their AS path"),
      field("priority", routePriority, "routes by metric", { zero: "keep" }),
      field("action", oneOf("Accept", "Reject"), "what happens to routes that match", {
        required: true,
      }),
      field("operations", list(operation, { maxItems: 10 }), "changes to routes that are accepted"),
    ],
    [...filterRules, familyRule(family), acceptRule],
  );
}

function familyRule(family: 4 | 6): ObjectRule {
  return {
    id: "bgp-filter-family",
    reads: ["cidr"],
    check: ({ cidr }, context) => {
      if (typeof cidr !== "string" || tryParseCidr(cidr)?.family === family) return;
      context.report("bgp-filter-family", {
        message: `${cidr} is not IPv${family}`,
        value: cidr,
        allowed: `an IPv${family} block`,
        hint: `move the rule to ${family === 4 ? "exportV6 or importV6" : "exportV4 or importV4"}`,
        at: ["cidr"],
      });
    },
  };
}

const acceptRule: ObjectRule = {
  id: "bgp-filter-accept",
  reads: ["operations", "action"],
  check: ({ operations, action }, context) => {
    if (!Array.isArray(operations) || operations.length === 0 || action !== "Reject") return;
    context.report("bgp-filter-accept", {
      message: "operations beside action Reject",
      hint: "remove operations, or accept the routes",
      at: ["operations"],
    });
  },
};

export const bgpFilterSpec: ObjectSpec = object([
  field(
    "exportV4",
    list(filterRule(4)),
    "IPv4 routes to peers; the first rule that matches decides",
  ),
  field("importV4", list(filterRule(4)), "IPv4 routes from peers"),
  field("exportV6", list(filterRule(6)), "IPv6 routes to peers"),
  field("importV6", list(filterRule(6)), "IPv6 routes from peers"),
]);
