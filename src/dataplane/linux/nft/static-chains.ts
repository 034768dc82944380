/**
 * The fixed part of the table: base chains, dispatch, anti-spoofing, and the sets they look into.
 *
 *     prerouting  -300  prerouting-from-workload   source address and MAC belong to the interface
 *     forward        0  forward-from-workload      egress policy of the sender
 *     forward        1  forward-to-workload        ingress policy of the receiver
 *     input          0  input-from-workload        egress policy towards the host
 *     input          1  input-to-host              DefaultEndpointToHostAction
 *
 * Each stage is a base chain of its own, so that `accept` in a policy ends that stage only and needs
 * no mark. Traffic from the host to its workloads is not policed, as in Calico.
 */
import { parseCidr, parseIp, hostCidr } from "#ip";
import type { ChainHook, Expr, NftChain, NftElement, NftRule, NftSet } from "#netlink";
import { denyExprs, dropExprs, rejectChains } from "./actions.ts";
import { u8 } from "./bytes.ts";
import type { NftPolicyConfig } from "./config.ts";
import {
  accept,
  addressInCidr,
  ctStateAny,
  counter,
  deviceAndSourceMacInSet,
  deviceDispatch,
  deviceHasPrefix,
  deviceInSet,
  deviceOfPrefixInSet,
  drop,
  familyIs,
  goto,
  icmpTypeInRange,
  IPPROTO,
  portInRange,
  protocolIs,
  rule as nftRule,
  sourceInSet,
  type Device,
} from "./exprs.ts";
import { identitySet } from "./identities.ts";
import { PORT_PROTOCOLS } from "./match.ts";
import { baseChains, chains, sets } from "./names.ts";

/** NF_IP_PRI_RAW and NF_IP_PRI_FILTER, uapi/linux/netfilter_ipv4.h. */
const PRIORITY = { raw: -300, filter: 0 } as const;

export function staticSets(): { readonly set: NftSet; readonly elements: readonly NftElement[] }[] {
  const empty = (set: NftSet): { set: NftSet; elements: NftElement[] } => ({ set, elements: [] });
  return [
    empty({ name: sets.known, key: ["ifname"] }),
    empty({ name: sets.from, key: ["ifname"], data: "mark" }),
    empty({ name: sets.to, key: ["ifname"], data: "mark" }),
    empty({ name: sets.fromChain, key: ["mark"], data: "verdict" }),
    empty({ name: sets.toChain, key: ["mark"], data: "verdict" }),
    empty({ name: sets.source4, key: ["ifname", "ipv4_addr"] }),
    empty({ name: sets.source6, key: ["ifname", "ipv6_addr"] }),
    empty({ name: sets.sourceMac4, key: ["ifname", "ipv4_addr", "ether_addr"] }),
    empty({ name: sets.sourceMac6, key: ["ifname", "ipv6_addr", "ether_addr"] }),
    empty({ name: sets.mac, key: ["ifname", "ether_addr"] }),
    empty({ name: sets.macDeclared, key: ["ifname"] }),
    empty({ name: sets.spoof, key: ["ifname"], data: "mark" }),
    empty({
      name: sets.spoofChain,
      key: ["mark"],
      data: "verdict",
    }),
    empty(identitySet(4)),
    empty(identitySet(6)),
    empty({ name: sets.peerPort, key: ["mark", "mark", "mark", "inet_proto", "inet_service"] }),
    empty({ name: sets.peerProtocol, key: ["mark", "mark", "mark", "inet_proto"] }),
    empty({ name: sets.peer, key: ["mark", "mark", "mark"] }),
    {
      set: { name: sets.portProtocols, key: ["inet_proto"] },
      elements: PORT_PROTOCOLS.map((number) => ({ key: u8(number) })),
    },
  ];
}

export function staticChains(config: NftPolicyConfig): NftChain[] {
  const { filter } = PRIORITY;
  const base = (parts: BaseChain): NftChain => baseChain(config, parts);
  const all = [
    ...rejectChains(config),
    { name: chains.source, rules: macRules() },
    { name: chains.otherSource, rules: otherSourceRules(config) },
    base({
      name: baseChains.forwardFrom,
      hook: "forward",
      priority: filter,
      rules: [establishedRule()],
      device: "iifname",
      to: chains.fromWorkload,
    }),
    base({
      name: baseChains.forwardTo,
      hook: "forward",
      priority: filter + 1,
      rules: config.interfacePrefixes.map((prefix) =>
        establishedRule(deviceOfPrefixInSet("oifname", prefix, sets.known)),
      ),
      device: "oifname",
      to: chains.toWorkload,
    }),
    base({
      name: baseChains.inputPolicy,
      hook: "input",
      priority: filter,
      device: "iifname",
      to: chains.toHost,
    }),
    {
      name: chains.toHost,
      rules: [
        ...toHostExceptions(config),
        establishedRule(deviceInSet("iifname", sets.known)),
        nftRule([goto(chains.fromWorkload)]),
      ],
    },
  ];
  // `Return` and `Accept` both leave it to the host's other tables; then the stage has no use.
  if (config.defaultEndpointToHostAction === "Drop") {
    all.push(
      base({
        name: baseChains.inputAction,
        hook: "input",
        priority: filter + 1,
        device: "iifname",
        to: chains.toHostAction,
      }),
      { name: chains.toHostAction, rules: toHostActionRules(config) },
    );
  }
  return all;
}

/** What some workload has, so that packets are asked for it. */
export interface WorkloadTraits {
  readonly ipv6: boolean;
  readonly macs: boolean;
}

/** Chains that depend on what workloads have. */
export function traitChains(config: NftPolicyConfig, traits: WorkloadTraits): NftChain[] {
  const antiSpoofing = baseChain(config, {
    name: baseChains.antiSpoofing,
    hook: "prerouting",
    priority: PRIORITY.raw,
    rules: ownSourceRules(config, traits),
    device: "iifname",
    to: chains.source,
  });
  return [
    antiSpoofing,
    { name: chains.fromWorkload, rules: fromWorkloadRules(config, traits) },
    { name: chains.toWorkload, rules: toWorkloadRules(config, traits) },
  ];
}

/** The comment says what nft cannot (see `deviceDispatch`). */
function dispatch(device: Device, map: string, verdicts: string): NftRule {
  return nftRule(deviceDispatch(device, map, verdicts), `Key: ${device} map @${map}`);
}

interface BaseChain {
  readonly name: string;
  readonly hook: ChainHook;
  readonly priority: number;
  /** Of what most packets are; the rest, if the device may be a workload's, goes on to `to`. */
  readonly rules?: readonly NftRule[];
  readonly device: Device;
  readonly to: string;
}

function baseChain(config: NftPolicyConfig, parts: BaseChain): NftChain {
  const { name, hook, priority, rules = [], device, to } = parts;
  const rest = config.interfacePrefixes.map((prefix) =>
    nftRule([...deviceHasPrefix(device, prefix), goto(to)]),
  );
  return {
    name,
    hook: { type: "filter", hook, priority, policy: "accept" },
    rules: [...rules, ...rest],
  };
}

/**
 * What an endpoint sends from its addresses. Every packet of every workload is asked for it, so it is
 * one lookup, also where a MAC is declared, and there is no rule that none of them needs.
 */
function ownSourceRules(config: NftPolicyConfig, { ipv6, macs }: WorkloadTraits): NftRule[] {
  const keys = [
    { set: sets.sourceMac4, family: 4, withMac: true },
    { set: sets.source4, family: 4, withMac: false },
    { set: sets.sourceMac6, family: 6, withMac: true },
    { set: sets.source6, family: 6, withMac: false },
  ] as const;
  return keys
    .filter(({ family, withMac }) => (family === 4 || ipv6) && (!withMac || macs))
    .flatMap((key) => config.interfacePrefixes.map((prefix) => ({ ...key, prefix })))
    .map((key) => nftRule([...sourceInSet(key), accept]));
}

/** Only an allowed MAC gets on if one is declared; a device without link header has none to show. */
function macRules(): NftRule[] {
  return [
    nftRule([...deviceAndSourceMacInSet(sets.mac), goto(chains.otherSource)]),
    nftRule(
      [...deviceInSet("iifname", sets.macDeclared), ...dropExprs()],
      "Source MAC is not the workload's",
    ),
    nftRule([goto(chains.otherSource)]),
  ];
}

function otherSourceRules(config: NftPolicyConfig): NftRule[] {
  const rules = [
    nftRule(
      [...familyIs(6), ...addressInCidr("src", parseCidr("fe80::/10")), accept],
      "Link-local: never forwarded",
    ),
    nftRule(
      [
        ...familyIs(6),
        ...protocolIs(IPPROTO.icmpv6),
        ...addressInCidr("src", hostCidr(parseIp("::"))),
        accept,
      ],
      "Duplicate address detection, multicast listener reports",
    ),
    ...unspecifiedSource4(),
  ];
  if (config.openStackSpecialCasesEnabled) {
    rules.push(
      nftRule(
        [
          ...familyIs(4),
          ...protocolIs(IPPROTO.udp),
          ...portInRange("src", 68, 68),
          ...portInRange("dst", 67, 67),
          ...addressInCidr("src", hostCidr(parseIp("0.0.0.0"))),
          accept,
        ],
        "OpenStack: DHCP request",
      ),
    );
  }
  rules.push(
    dispatch("iifname", sets.spoof, sets.spoofChain),
    nftRule(dropExprs(), "Source address is not the workload's"),
  );
  return rules;
}

/**
 * DHCP discovery and IGMP come from 0.0.0.0. The kernel's own reverse path filter takes them when
 * they stay on the link (net/ipv4/netfilter/nft_fib_ipv4.c), and Felix relies on it.
 */
function unspecifiedSource4(): NftRule[] {
  return ["255.255.255.255/32", "224.0.0.0/24"].map((destination) =>
    nftRule(
      [
        ...familyIs(4),
        ...addressInCidr("src", hostCidr(parseIp("0.0.0.0"))),
        ...addressInCidr("dst", parseCidr(destination)),
        accept,
      ],
      "No address yet: stays on the link",
    ),
  );
}

/** Allowed to the host whatever policy says. */
function toHostExceptions(config: NftPolicyConfig): NftRule[] {
  const rules: NftRule[] = [];
  if (config.ipv6Support) {
    // Multicast listener 130–132, router solicitation 133, neighbour solicitation 135 and
    // advertisement 136; not the router advertisement (RFC 4443, RFC 2710, RFC 4861).
    for (const [first, last] of [
      [130, 133],
      [135, 136],
    ] as const) {
      const exprs = [
        ...familyIs(6),
        ...protocolIs(IPPROTO.icmpv6),
        ...icmpTypeInRange(first, last),
      ];
      rules.push(nftRule([...exprs, accept], "Neighbour discovery and multicast listeners"));
    }
  }
  if (config.openStackSpecialCasesEnabled) rules.push(...openStackRules(config));
  return rules;
}

function openStackRules(config: NftPolicyConfig): NftRule[] {
  const rules: NftRule[] = [];
  const { openStackMetadataAddr: metadata, openStackMetadataPort: port } = config;
  if (metadata !== undefined) {
    rules.push(
      nftRule(
        [
          ...familyIs(4),
          ...protocolIs(IPPROTO.tcp),
          ...portInRange("dst", port, port),
          ...addressInCidr("dst", hostCidr(parseIp(metadata))),
          accept,
        ],
        "OpenStack: metadata service",
      ),
    );
  }
  const udp = (exprs: readonly Expr[], comment: string): NftRule =>
    nftRule([...exprs, accept], `OpenStack: ${comment}`);
  const ports = (from: number, to: number): Expr[] => [
    ...protocolIs(IPPROTO.udp),
    ...portInRange("src", from, from),
    ...portInRange("dst", to, to),
  ];
  rules.push(udp([...familyIs(4), ...ports(68, 67)], "DHCP"));
  if (config.ipv6Support) rules.push(udp([...familyIs(6), ...ports(546, 547)], "DHCPv6"));
  rules.push(udp([...protocolIs(IPPROTO.udp), ...portInRange("dst", 53, 53)], "DNS"));
  return rules;
}

/**
 * Established flows pass before the dispatch by class: their policy is not asked again. They need not
 * be asked for where they come from in the forward hook, since only known interfaces have addresses
 * that get there; but where they go must be known.
 */
function establishedRule(device: readonly Expr[] = []): NftRule {
  return nftRule([...ctStateAny("established", "related"), ...device, accept]);
}

/** The verdict maps come after what holds for every class. Without `ipv6`, no class knows IPv6. */
function fromWorkloadRules(config: NftPolicyConfig, traits: WorkloadTraits): NftRule[] {
  const rules = newFlowRules(config, traits);
  if (!config.allowVxlanPacketsFromWorkloads) {
    const exprs = [
      ...protocolIs(IPPROTO.udp),
      ...portInRange("dst", config.vxlanPort, config.vxlanPort),
    ];
    rules.push(
      nftRule(
        [...exprs, ...denyExprs(config)],
        "Drop VXLAN encapped packets originating in workloads",
      ),
    );
  }
  if (!config.allowIpipPacketsFromWorkloads) {
    rules.push(
      nftRule(
        [...protocolIs(IPPROTO.ipip), ...denyExprs(config)],
        "Drop IPinIP encapped packets originating in workloads",
      ),
    );
  }
  rules.push(
    dispatch("iifname", sets.from, sets.fromChain),
    nftRule(dropExprs(), "Unknown interface"),
  );
  return rules;
}

function toWorkloadRules(config: NftPolicyConfig, traits: WorkloadTraits): NftRule[] {
  return [
    ...newFlowRules(config, traits),
    dispatch("oifname", sets.to, sets.toChain),
    nftRule(dropExprs(), "Unknown interface"),
  ];
}

function newFlowRules(config: NftPolicyConfig, { ipv6 }: WorkloadTraits): NftRule[] {
  const rules: NftRule[] = [];
  if (!ipv6) {
    const reason = config.ipv6Support ? "No workload has an IPv6 address" : "Ipv6Support is off";
    rules.push(nftRule([...familyIs(6), ...dropExprs()], reason));
  }
  if (!config.disableConntrackInvalidCheck) {
    rules.push(
      nftRule([...ctStateAny("invalid"), ...denyExprs(config)], "Invalid connection state"),
    );
  }
  return rules;
}

/** What egress policy allowed, or exempted, arrives here. */
function toHostActionRules(config: NftPolicyConfig): NftRule[] {
  return [
    ...toHostExceptions(config),
    establishedRule(),
    nftRule([counter, drop], "DefaultEndpointToHostAction Drop"),
  ];
}
