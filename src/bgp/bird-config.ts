/**
 * Model → the configuration of a BIRD 2 process, one family each (BIRD user's guide 2.0). Every name
 * and text in it is made of parsed values or checked against a plain alphabet, so that no object can
 * say anything to BIRD but what its fields mean.
 */
import {
  addCommunity,
  filterFunction,
  filterText,
  PRIORITY_BASE,
  PRIORITY_FLOOR,
} from "./bird-filters.ts";
import type { BgpModel, FamilyModel, Peer } from "./types.ts";

/** Routing protocol of what our agent programs, in the kernel's route messages. */
export const FELIX_PROTOCOL = 80;
/** BIRD's patterns for the devices of tunnels. */
export const TUNNEL_INTERFACES = ["*.cali", "*.calico", "tunl0"];
/** Of the copies that `service/keep-routes` makes. */
const KEPT_PROTOCOL = 81;
/** Of a route's metric: behind whatever else has the same prefix. */
const BLACKHOLE_METRIC = 65_535;

/**
 * A BIRD that starts with -R leaves the kernel as it is until every peer has told its routes, or
 * this has passed: BIRD's own 240 s would keep a host without routes because one of its peers is off.
 * Peers connect again after one second.
 */
const RESTART_WAIT_SECONDS = 8;

/** BIRD's default (RFC 4271 §10 says 90 s). */
const HOLD_SECONDS = 240;

export interface BirdText {
  /** Without passwords: for people. */
  readonly redacted?: boolean;
}

export function birdConfig(model: BgpModel, family: 4 | 6, options: BirdText = {}): string {
  const part = model.families[family];
  const lines = [
    "# Written by margay confd: changes here are lost.",
    `router id ${model.routerId};`,
    "log stderr all;",
    `graceful restart wait ${RESTART_WAIT_SECONDS};`,
    `debug protocols ${debugOf(model.logSeverity)};`,
    "",
    "protocol device {",
    "  scan time 2;",
    "}",
    "",
  ];
  if (part.address === undefined) {
    lines.push(`# The node has no IPv${family} address.`);
    return `${lines.join("\n")}\n`;
  }
  lines.push(
    ...directText(model, part),
    ...staticText(part),
    ...kernelText(model, part),
    ...part.filters.flatMap((filter) => filterText(filter, family, part.normalPriority)),
    ...prepareText(part),
    ...exportText(model, part),
    ...templateText(part),
    ...part.peers.flatMap((peer) => peerText(model, part, peer, options.redacted === true)),
  );
  return `${lines.join("\n").trimEnd()}\n`;
}

function debugOf(severity: string): string {
  const level = severity.toLowerCase();
  if (level === "trace" || level === "debug") return "all";
  return level === "info" ? "{ states }" : "off";
}

function directText(model: BgpModel, part: FamilyModel): string[] {
  const out = [...model.ignoredInterfaces, ...model.workloadPrefixes.map((one) => `${one}*`)];
  const patterns = [...new Set([...out, "kube-ipvs*"])].map((one) => `-"${one}"`);
  return [
    "protocol direct {",
    `  ipv${part.family};`,
    `  interface ${[...patterns, '"*"'].join(", ")};`,
    "}",
    "",
  ];
}

function staticText(part: FamilyModel): string[] {
  const block = (name: string, routes: readonly string[]): string[] => [
    `protocol static ${name} {`,
    `  ipv${part.family};`,
    ...routes.map((route) => `  route ${route};`),
    "}",
    "",
  ];
  const bits = part.family === 4 ? 32 : 128;
  const gateways = new Map(
    part.peers.flatMap(({ address, reachableBy }) =>
      reachableBy === undefined ? [] : [[address, reachableBy]],
    ),
  );
  return [
    ...block(
      "blocks",
      part.blocks.map((cidr) => `${cidr} blackhole`),
    ),
    ...block(
      "services",
      part.serviceRoutes.map(({ cidr }) => `${cidr} blackhole`),
    ),
    ...block(
      "gateways",
      [...gateways].map(([peer, via]) => `${peer}/${bits} via ${via}`),
    ),
  ];
}

/** `learn`: the agent's routes to workloads. `persist`: they outlive the daemon. */
function kernelText(model: BgpModel, part: FamilyModel): string[] {
  const host = part.family === 4 ? 32 : 128;
  const workload = model.workloadPrefixes.map((one) => `ifname ~ "${one}*"`);
  const elevated = [
    `net.len = ${host}`,
    `krt_metric < ${part.normalPriority}`,
    `(${workload.length === 0 ? "false" : workload.join(" || ")})`,
  ].join(" && ");
  const felix = part.pools.filter((pool) => pool.programmedBy === "felix");
  return [
    "filter margay_from_kernel",
    "{",
    `  if krt_source = ${KEPT_PROTOCOL} then reject; # copies that bridge a restart of BIRD`,
    "  # A workload that is moving here goes before where it was.",
    `  if ${elevated} then preference = 200;`,
    "  accept;",
    "}",
    "",
    "filter margay_to_kernel",
    "{",
    '  if (source = RTS_DEVICE) || (proto = "services") then reject;',
    "  if source = RTS_STATIC then {",
    `    if dest = RTD_BLACKHOLE then krt_metric = ${BLACKHOLE_METRIC};`,
    "    accept;",
    "  }",
    ...part.wireguardPeers.map(
      (peer) => `  if defined(bgp_next_hop) && (bgp_next_hop = ${peer}) then reject; # WireGuard`,
    ),
    ...felix.map(
      ({ cidr, encapsulation }) =>
        `  if net ~ ${cidr} then reject; # ${encapsulation}: Felix programs these`,
    ),
    "  if source = RTS_BGP then {",
    `    if defined(bgp_local_pref) && (bgp_local_pref > ${PRIORITY_FLOOR}) then`,
    `      krt_metric = ${PRIORITY_BASE} - bgp_local_pref;`,
    `    else krt_metric = ${part.normalPriority};`,
    "  }",
    "  accept;",
    "}",
    "",
    "protocol kernel {",
    "  learn;",
    "  persist;",
    "  scan time 2;",
    "  merge paths on;",
    "  graceful restart;",
    "  metric 0;",
    `  ipv${part.family} {`,
    "    import filter margay_from_kernel;",
    "    export filter margay_to_kernel;",
    "  };",
    "}",
    "",
  ];
}

/** Attributes that routes get before any filter sees them. */
function prepareText(part: FamilyModel): string[] {
  return [
    "function margay_prepare()",
    "{",
    `  if defined(krt_metric) && (source != RTS_BGP) && (krt_metric < ${part.normalPriority}) then`,
    `    bgp_local_pref = ${PRIORITY_BASE} - krt_metric;`,
    ...part.prefixCommunities.map(
      ({ cidr, communities }) =>
        `  if net ~ ${cidr} then { ${communities.map(addCommunity).join(" ")} }`,
    ),
    "}",
    "",
  ];
}

/** What is announced when no filter of the user has decided. */
function exportText(model: BgpModel, part: FamilyModel): string[] {
  const hidden = part.pools.filter((pool) => !pool.exported);
  const shown = part.pools.filter((pool) => pool.exported);
  const isWorkload = model.workloadPrefixes.map((one) => `(ifname ~ "${one}*")`).join(" || ");
  const reflected =
    model.reflectorClusterId === undefined
      ? "reject;"
      : "if source != RTS_BGP then reject; accept;";
  const tunnels = TUNNEL_INTERFACES.map((one) => `(ifname ~ "${one}")`);
  return [
    "function margay_export(bool is_internal)",
    "{",
    ...hidden.map(({ cidr }) => `  if net ~ ${cidr} then reject; # disableBGPExport`),
    `  if is_internal && (${tunnels.join(" || ")}) then reject;`,
    "  # Routes to other nodes, which the agent programs: those nodes announce them.",
    `  if defined(krt_source) && (krt_source = ${FELIX_PROTOCOL}) && (source = RTS_INHERIT)`,
    `    && !(${isWorkload === "" ? "false" : isWorkload} || ${tunnels.join(" || ")}) then reject;`,
    ...part.blocks.flatMap((cidr) => [
      `  if net = ${cidr} then accept;`,
      `  if (source != RTS_BGP) && (net ~ ${cidr})`,
      `    && !(defined(krt_metric) && krt_metric < ${part.normalPriority}) then reject;`,
    ]),
    '  if proto = "services" then accept;',
    ...part.serviceBlocks.map((cidr) => `  if net ~ ${cidr} then { ${reflected} }`),
    ...shown.map(({ cidr }) => `  if net ~ ${cidr} then accept;`),
    "  reject;",
    "}",
    "",
  ];
}

function templateText(part: FamilyModel): string[] {
  return [
    "template bgp margay_peer {",
    "  connect delay time 1;",
    "  connect retry time 5;",
    "  error wait time 1, 30;",
    "  graceful restart;",
    `  ipv${part.family} {`,
    "    gateway recursive;",
    "    add paths on;",
    "    import all;",
    "  };",
    "}",
    "",
  ];
}

function peerText(model: BgpModel, part: FamilyModel, peer: Peer, redacted: boolean): string[] {
  const {
    ttlSecurityHops: hops,
    reflectorClusterId,
    password,
    keepaliveSeconds: keepalive = 0,
  } = peer;
  const source = peer.sourceAddress ?? (model.bindToNodeIp ? part.address : undefined);
  const port = model.listenPort === 179 ? "" : ` port ${model.listenPort}`;
  const remotePort = peer.port === undefined ? "" : ` port ${peer.port}`;
  const options: readonly (readonly [boolean, string])[] = [
    [true, `local${source === undefined ? "" : ` ${source}`}${port} as ${peer.localAs}`],
    [true, `neighbor ${peer.address}${remotePort} as ${peer.remoteAs}`],
    [true, hops === undefined ? "multihop" : `multihop ${hops}`],
    [hops !== undefined, "ttl security on"],
    [model.bindToNodeIp, "strict bind on"],
    [peer.passive, "passive on"],
    [
      peer.gracefulRestartSeconds !== undefined,
      `graceful restart time ${peer.gracefulRestartSeconds}`,
    ],
    [peer.longLivedRestart, "long lived graceful restart on"],
    // BIRD refuses keepalives that are rarer than its hold time.
    [keepalive > HOLD_SECONDS, `hold time ${3 * keepalive}`],
    [keepalive > 0, `keepalive time ${keepalive}`],
    [peer.allowedLocalAs !== undefined, `allow local as ${peer.allowedLocalAs}`],
    [reflectorClusterId !== undefined, "rr client"],
    [reflectorClusterId !== undefined, `rr cluster id ${reflectorClusterId}`],
    [password !== undefined, `password "${redacted ? "***" : (password?.value ?? "")}"`],
  ];
  return [
    `protocol bgp ${peer.name} from margay_peer {`,
    ...options.flatMap(([wanted, text]) => (wanted ? [`  ${text};`] : [])),
    `  ipv${part.family} {`,
    ...(peer.nextHop === "auto" ? [] : [`    next hop ${peer.nextHop};`]),
    ...channelFilters(part, peer),
    "  };",
    "}",
    "",
  ];
}

function channelFilters({ family }: FamilyModel, { filters, internal }: Peer): string[] {
  const calls = (direction: "import" | "export"): string =>
    filters.map((name) => `${filterFunction(name, direction, family)}(${internal}); `).join("");
  const own = `margay_prepare(); ${calls("export")}margay_export(${internal});`;
  return [
    ...(filters.length === 0 ? [] : [`    import filter { ${calls("import")}accept; };`]),
    `    export filter { ${own} };`,
  ];
}
