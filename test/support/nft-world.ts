/** Messages for tests of the policy table: short ways to write endpoints, policies and profiles. */
import type { HostEndpoint, ToDataplane, WorkloadEndpoint, WorkloadEndpointId } from "#calc";
import type { Policy, PolicyId, Rule, TierInfo } from "#policy";
import { PolicyCompiler, type CompilerOptions } from "../../src/dataplane/linux/nft/compiler.ts";
import {
  defaultNftPolicyConfig,
  type NftPolicyConfig,
} from "../../src/dataplane/linux/nft/config.ts";
import { MemoryNftTable } from "./nft-memory-table.ts";

export type TestRule = Omit<Rule, "ruleId">;

export class NftWorld {
  readonly table = new MemoryNftTable();
  readonly compiler: PolicyCompiler;

  constructor(config: Partial<NftPolicyConfig> = {}, options?: CompilerOptions) {
    this.compiler = new PolicyCompiler(
      { ...defaultNftPolicyConfig, ...config },
      this.table,
      options,
    );
  }

  send(...messages: readonly ToDataplane[]): this {
    for (const message of messages) this.compiler.onMessage(message);
    return this;
  }

  /** Flushes, and checks the table as the kernel would. */
  flush(): readonly WorkloadEndpointId[] {
    const { problemsChanged } = this.compiler.flush();
    this.table.applyNow();
    return problemsChanged;
  }
}

export function gnp(name: string): PolicyId {
  return { kind: "GlobalNetworkPolicy", namespace: "", name };
}

export function wepId(name: string): WorkloadEndpointId {
  return { orchestratorId: "k8s", workloadId: `default/${name}`, endpointId: "eth0" };
}

export function policyUpdate(
  id: PolicyId,
  inbound: readonly TestRule[],
  outbound: readonly TestRule[] = [],
  more: Partial<Policy> = {},
): ToDataplane {
  const policy: Policy = {
    inboundRules: withIds(inbound),
    outboundRules: withIds(outbound),
    untracked: false,
    preDnat: false,
    namespace: id.namespace,
    originalSelector: "all()",
    perfHints: [],
    tier: "default",
    ...more,
  };
  return { case: "activePolicyUpdate", value: { id, policy } };
}

export function policyRemove(id: PolicyId): ToDataplane {
  return { case: "activePolicyRemove", value: { id } };
}

export function profileUpdate(
  name: string,
  inbound: readonly TestRule[] = [{ action: "allow" }],
  outbound: readonly TestRule[] = inbound,
): ToDataplane {
  const profile = { inboundRules: withIds(inbound), outboundRules: withIds(outbound) };
  return { case: "activeProfileUpdate", value: { id: { name }, profile } };
}

export function ipSetUpdate(
  id: string,
  members: readonly string[],
  type: "NET" | "IP" | "IP_AND_PORT" = "NET",
): ToDataplane {
  return { case: "ipsetUpdate", value: { id, members, type } };
}

export function ipSetDelta(
  id: string,
  addedMembers: readonly string[],
  removedMembers: readonly string[] = [],
): ToDataplane {
  return { case: "ipsetDeltaUpdate", value: { id, addedMembers, removedMembers } };
}

export function tier(
  name: string,
  ingress: readonly PolicyId[],
  egress: readonly PolicyId[] = [],
  defaultAction: "Deny" | "Pass" = "Deny",
): TierInfo {
  return { name, ingressPolicies: ingress, egressPolicies: egress, defaultAction };
}

export function wepUpdate(name: string, endpoint: Partial<WorkloadEndpoint>): ToDataplane {
  return {
    case: "workloadEndpointUpdate",
    value: {
      id: wepId(name),
      endpoint: {
        state: "active",
        name: `cali${name}`,
        mac: "",
        profileIds: [],
        ipv4Nets: [],
        ipv6Nets: [],
        tiers: [],
        ipv4Nat: [],
        ipv6Nat: [],
        allowSpoofedSourcePrefixes: [],
        annotations: {},
        ...endpoint,
      },
    },
  };
}

export function wepRemove(name: string): ToDataplane {
  return { case: "workloadEndpointRemove", value: { id: wepId(name) } };
}

function withIds(rules: readonly TestRule[]): Rule[] {
  return rules.map((rule, index) => ({ ...rule, ruleId: String(index) }));
}

/** It has no policy and no profile: unless failsafes or established, nothing passes. */
export function hostEndpointUpdate(
  endpointId: string,
  overrides: Partial<HostEndpoint>,
): ToDataplane {
  const endpoint: HostEndpoint = {
    name: "",
    profileIds: [],
    tiers: [],
    untrackedTiers: [],
    preDnatTiers: [],
    forwardTiers: [],
    expectedIpv4Addrs: [],
    expectedIpv6Addrs: [],
    ...overrides,
  };
  return { case: "hostEndpointUpdate", value: { id: { endpointId }, endpoint } };
}
