/**
 * Where packets of the host meet its policy, each a base chain that is there while it is needed:
 *
 *     prerouting  -299  untracked-in   before conntrack, not from workloads
 *     prerouting  -150  pre-dnat       before the destination is translated
 *     forward       -1  forward-in     policy with applyOnForward, of the interface it came by
 *     forward        2  forward-out    …and of the interface it leaves by
 *     input          2  input          to the host itself, not from workloads
 *     output      -299  untracked-out  before conntrack, not to workloads
 *     output         0  output         from the host itself, not to workloads
 *     postrouting -150  output         …where its destination was translated: only now the interface is sure
 *
 * Between forward-in and forward-out the policy of workloads is asked, at priorities 0 and 1. What
 * untracked or pre-DNAT policy allows bears a mark and passes forward-in, input and output.
 */
import { parseCidr } from "#ip";
import type { ChainHook, Expr, NftChain, NftElement, NftRule, NftSet } from "#netlink";
import type { FailsafePort, HostStage } from "#policy";
import { concat, u16, u8 } from "./bytes.ts";
import { acceptMarkBit, type NftPolicyConfig } from "./config.ts";
import {
  accept,
  addressInCidr,
  clearMarkBit,
  ctStateAny,
  destinationTranslated,
  deviceHasPrefix,
  deviceVerdict,
  familyIs,
  goto,
  jump,
  markBitIsSet,
  portInRange,
  protocolIs,
  protocolPortInSet,
  rule as nftRule,
  sourceIsLocal,
  type Device,
  type Side,
} from "./exprs.ts";
import { failsafes, hostBaseChains, hostMap, type Direction } from "./names.ts";
import type { TunnelExceptions } from "./tunnel-rules.ts";

export interface HostStageSpec {
  readonly direction: Direction;
  readonly tiers: "untrackedTiers" | "preDnatTiers" | "forwardTiers" | "tiers";
  readonly tracked: boolean;
  readonly failsafe?: keyof typeof failsafes;
  /** At its end profiles are asked, and what they do not allow is dropped. */
  readonly profiles: boolean;
}

/**
 * The kernel knows no reject in the postrouting hook (nft_reject_validate). With Reject, output policy is
 * therefore there twice: what is asked in postrouting drops.
 */
export type NftHostStage = HostStage | "translated-output";

const OUTPUT: HostStageSpec = {
  direction: "egress",
  tiers: "tiers",
  tracked: true,
  failsafe: "out",
  profiles: true,
};

export const HOST_STAGES: Readonly<Record<NftHostStage, HostStageSpec>> = {
  "untracked-in": {
    direction: "ingress",
    tiers: "untrackedTiers",
    tracked: false,
    failsafe: "in-untracked",
    profiles: false,
  },
  "untracked-out": {
    direction: "egress",
    tiers: "untrackedTiers",
    tracked: false,
    failsafe: "out-untracked",
    profiles: false,
  },
  "pre-dnat": {
    direction: "ingress",
    tiers: "preDnatTiers",
    tracked: true,
    failsafe: "in",
    profiles: false,
  },
  "forward-in": { direction: "ingress", tiers: "forwardTiers", tracked: true, profiles: false },
  "forward-out": { direction: "egress", tiers: "forwardTiers", tracked: true, profiles: false },
  input: { direction: "ingress", tiers: "tiers", tracked: true, failsafe: "in", profiles: true },
  output: OUTPUT,
  "translated-output": OUTPUT,
};

export function hostStagesOf({ denyAction }: NftPolicyConfig): NftHostStage[] {
  const all = Object.keys(HOST_STAGES) as NftHostStage[];
  return denyAction === "Reject" ? all : all.filter((stage) => stage !== "translated-output");
}

/** As the stage's hooks allow it. */
export function stageConfig(stage: NftHostStage, config: NftPolicyConfig): NftPolicyConfig {
  return stage === "translated-output" ? { ...config, denyAction: "Drop" } : config;
}

interface Hook {
  readonly hook: ChainHook;
  readonly priority: number;
  readonly device: Device;
  /** Before the dispatch. */
  readonly first: readonly NftRule[];
  /** What else must hold to be dispatched. */
  readonly only: readonly Expr[];
}

/** What passes without being dispatched. */
export interface HostExceptions {
  /** Some stage sets the mark, and the first ones have taken away what others may have set. */
  readonly marks: boolean;
  readonly tunnels: TunnelExceptions;
}

/** The base chains of a stage; `fallback` is the chain of the host endpoint for all interfaces. */
export function hostBaseChainsOf(
  stage: NftHostStage,
  fallback: string | undefined,
  exceptions: HostExceptions,
  config: NftPolicyConfig,
): NftChain[] {
  return hooksOf(stage, exceptions, config).map(([key, { first, only, ...hook }]) => {
    const name = hostBaseChains[key];
    const rules = [...first, nftRule([...only, ...deviceVerdict(hook.device, hostMap(stage))])];
    if (fallback !== undefined) rules.push(nftRule([...only, goto(fallback)]));
    const { hook: at, priority } = hook;
    return { name, hook: { type: "filter", hook: at, priority, policy: "accept" }, rules };
  });
}

export function hostStageSet(stage: NftHostStage): NftSet {
  return { name: hostMap(stage), key: ["ifname"], data: "verdict" };
}

function hooksOf(
  stage: NftHostStage,
  { marks, tunnels }: HostExceptions,
  config: NftPolicyConfig,
): (readonly [keyof typeof hostBaseChains, Hook])[] {
  const bit = acceptMarkBit(config);
  const unmark = marks ? [nftRule(clearMarkBit(bit))] : [];
  const marked = marks
    ? [nftRule([...markBitIsSet(bit), accept], "Allowed before its route was known")]
    : [];
  const established = nftRule([...ctStateAny("established", "related"), accept]);
  const notWorkloads = (device: Device): NftRule[] =>
    config.interfacePrefixes.map((prefix) => nftRule([...deviceHasPrefix(device, prefix), accept]));
  const at = (
    hook: ChainHook,
    priority: number,
    device: Device,
    first: readonly NftRule[],
    only: readonly Expr[] = [],
  ): Hook => ({ hook, priority, device, first, only });
  // A packet that is not tracked has no status and matches neither way, so it goes on at output.
  const later = nftRule([...destinationTranslated(), accept], "Policed after routing");
  const translated = [...destinationTranslated(), ...sourceIsLocal()];
  const outgoing = [...marked, ...notWorkloads("oifname")];
  const hooks: Readonly<Record<keyof typeof hostBaseChains, Hook>> = {
    "untracked-in": at("prerouting", -299, "iifname", [...unmark, ...notWorkloads("iifname")]),
    "untracked-out": at("output", -299, "oifname", [...unmark, ...notWorkloads("oifname")]),
    "pre-dnat": at("prerouting", -150, "iifname", [established, ...marked]),
    "forward-in": at("forward", -1, "iifname", marked),
    "forward-out": at("forward", 2, "oifname", []),
    input: at("input", 2, "iifname", [...tunnels.input, ...notWorkloads("iifname"), ...marked]),
    output: at("output", 0, "oifname", [...outgoing, ...tunnels.output, later]),
    "output-dnat": at("postrouting", -150, "oifname", outgoing, translated),
  };
  const translatedOutput = ["output-dnat", hooks["output-dnat"]] as const;
  if (stage === "translated-output") return [translatedOutput];
  const own = [stage, hooks[stage]] as const;
  return stage === "output" && config.denyAction !== "Reject" ? [own, translatedOutput] : [own];
}

/** What every chain of a stage begins with. */
export function headRules(
  { tracked, failsafe }: HostStageSpec,
  invalid: readonly Expr[] | undefined,
): NftRule[] {
  const rules: NftRule[] = [];
  if (tracked) {
    rules.push(nftRule([...ctStateAny("established", "related"), accept]));
    if (invalid !== undefined) {
      rules.push(nftRule([...ctStateAny("invalid"), ...invalid], "Invalid connection state"));
    }
  }
  if (failsafe !== undefined) rules.push(nftRule([jump(failsafes[failsafe])]));
  return rules;
}

/**
 * The ports that stay open. Before conntrack there are no replies, so there the other direction's
 * ports stay open as source ports.
 */
export function failsafeParts(config: NftPolicyConfig): {
  readonly chains: readonly NftChain[];
  readonly sets: readonly { readonly set: NftSet; readonly elements: readonly NftElement[] }[];
} {
  const { failsafeInboundPorts: inbound, failsafeOutboundPorts: outbound } = config;
  const both = [
    { name: failsafes.in, ports: inbound, net: "src" as const },
    { name: failsafes.out, ports: outbound, net: "dst" as const },
  ];
  const requests = both.map(({ name, ports, net }) => ({
    name,
    rules: failsafeRules(name, ports, "dst", net),
  }));
  const untracked = [
    { name: failsafes["in-untracked"], own: requests[0], replies: both[1], net: "src" as const },
    { name: failsafes["out-untracked"], own: requests[1], replies: both[0], net: "dst" as const },
  ].map(({ name, own, replies, net }) => ({
    name,
    rules: [
      ...(own?.rules ?? []),
      ...failsafeRules(replies?.name ?? "", replies?.ports ?? [], "src", net),
    ],
  }));
  const sets = both.map(({ name, ports }) => ({
    set: { name: `${name}-ports`, key: ["inet_proto", "inet_service"] } satisfies NftSet,
    elements: ports
      .filter(({ net }) => net === undefined)
      .map(({ protocol, port }) => ({ key: concat(u8(protocol), u16(port)) })),
  }));
  return { chains: [...requests, ...untracked], sets };
}

function failsafeRules(
  name: string,
  ports: readonly FailsafePort[],
  side: Side,
  netSide: Side,
): NftRule[] {
  const comment = "Failsafe";
  const rules = [nftRule([...protocolPortInSet(side, `${name}-ports`), accept], comment)];
  for (const { protocol, port, net } of ports) {
    if (net === undefined) continue;
    const cidr = parseCidr(net);
    const match = [
      ...familyIs(cidr.family),
      ...protocolIs(protocol),
      ...portInRange(side, port, port),
    ];
    if (cidr.prefixLen > 0) match.push(...addressInCidr(netSide, cidr));
    rules.push(nftRule([...match, accept], comment));
  }
  return rules;
}
