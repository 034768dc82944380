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
  deviceAndSourceInSet,
  deviceAndSourceMacInSet,
  deviceDispatch,
  deviceHasPrefix,
  deviceInSet,
  drop,
  familyIs,
  goto,
  icmpTypeInRange,
  IPPROTO,
  portInRange,
  protocolIs,
  rule as nftRule,
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
  const { raw, filter } = PRIORITY;
  const base = (name: string, hook: ChainHook, priority: number, device: Device, to: string) =>
    baseChain(config, name, hook, priority, device, to);
  const all = [
    ...rejectChains(config),
    base(baseChains.antiSpoofing, "prerouting", raw, "iifname", chains.source),
    { name: chains.source, rules: macRules() },
    { name: chains.sourceAddress, rules: sourceAddressRules(config) },
    base(baseChains.forwardFrom, "forward", filter, "iifname", chains.fromWorkload),
    base(baseChains.forwardTo, "forward", filter + 1, "oifname", chains.toWorkload),
    base(baseChains.inputPolicy, "input", filter, "iifname", chains.toHost),
    {
      name: chains.toHost,
      rules: [...toHostExceptions(config), nftRule([goto(chains.fromWorkload)])],
    },
  ];
  // `Return` and `Accept` both leave it to the host's other tables; then the stage has no use.
  if (config.defaultEndpointToHostAction === "Drop") {
    all.push(base(baseChains.inputAction, "input", filter + 1, "iifname", chains.toHostAction), {
      name: chains.toHostAction,
      rules: toHostActionRules(config),
    });
  }
  return all;
}

/** Dispatch to the classes. Without `ipv6`, no rule of theirs knows IPv6, and none gets there. */
export function dispatchChains(config: NftPolicyConfig, ipv6: boolean): NftChain[] {
  return [
    { name: chains.fromWorkload, rules: fromWorkloadRules(config, ipv6) },
    { name: chains.toWorkload, rules: toWorkloadRules(config, ipv6) },
  ];
}

/** The comment says what nft cannot (see `deviceDispatch`). */
function dispatch(device: Device, map: string, verdicts: string): NftRule {
  return nftRule(deviceDispatch(device, map, verdicts), `Key: ${device} map @${map}`);
}

function baseChain(
  config: NftPolicyConfig,
  name: string,
  hook: ChainHook,
  priority: number,
  device: Device,
  to: string,
): NftChain {
  return {
    name,
    hook: { type: "filter", hook, priority, policy: "accept" },
    rules: config.interfacePrefixes.map((prefix) =>
      nftRule([...deviceHasPrefix(device, prefix), goto(to)]),
    ),
  };
}

/** Only an allowed MAC gets on if one is declared; a device without link header has none to show. */
function macRules(): NftRule[] {
  return [
    nftRule([...deviceAndSourceMacInSet(sets.mac), goto(chains.sourceAddress)]),
    nftRule(
      [...deviceInSet("iifname", sets.macDeclared), ...dropExprs()],
      "Source MAC is not the workload's",
    ),
    nftRule([goto(chains.sourceAddress)]),
  ];
}

function sourceAddressRules(config: NftPolicyConfig): NftRule[] {
  const rules = [
    nftRule([...familyIs(4), ...deviceAndSourceInSet(4, sets.source4), accept]),
    nftRule([...familyIs(6), ...deviceAndSourceInSet(6, sets.source6), accept]),
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
 * Established flows pass before the dispatch by class: the interface must be known, its policy is
 * not asked again. The verdict maps come after what holds for every class.
 */
function fromWorkloadRules(config: NftPolicyConfig, ipv6: boolean): NftRule[] {
  const rules = conntrackRules(config, ipv6, "iifname");
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

function toWorkloadRules(config: NftPolicyConfig, ipv6: boolean): NftRule[] {
  return [
    ...conntrackRules(config, ipv6, "oifname"),
    dispatch("oifname", sets.to, sets.toChain),
    nftRule(dropExprs(), "Unknown interface"),
  ];
}

function conntrackRules(config: NftPolicyConfig, ipv6: boolean, device: Device): NftRule[] {
  const rules: NftRule[] = [];
  if (!ipv6) {
    const reason = config.ipv6Support ? "No workload has an IPv6 address" : "Ipv6Support is off";
    rules.push(nftRule([...familyIs(6), ...dropExprs()], reason));
  }
  rules.push(
    nftRule([...ctStateAny("established", "related"), ...deviceInSet(device, sets.known), accept]),
  );
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
    nftRule([...ctStateAny("established", "related"), accept]),
    nftRule([counter, drop], "DefaultEndpointToHostAction Drop"),
  ];
}
