/** A local endpoint with its resolved tiers → the message about it. */
import type { ModelHostEndpoint, ModelWorkloadEndpoint } from "#model";
import type { MigrationRole } from "./live-migrations.ts";
import type { HostEndpoint, WorkloadEndpoint } from "./messages.ts";
import type { EndpointTiers } from "./policy-order.ts";
import type { LocalEndpoint } from "./policy-resolver.ts";
import type { EventSequencer } from "./sequencer.ts";

export function emitEndpoint(
  id: string,
  { key, value }: LocalEndpoint,
  tiers: EndpointTiers,
  role: MigrationRole | undefined,
  out: Pick<EventSequencer, "workloads" | "hostEndpoints">,
): void {
  if (key.kind === "WorkloadEndpoint") {
    const { orchestratorId, workloadId, endpointId } = key;
    out.workloads.update(id, {
      id: { orchestratorId, workloadId, endpointId },
      endpoint: { ...workloadMessage(value as ModelWorkloadEndpoint, tiers), ...role },
    });
  } else {
    out.hostEndpoints.update(id, {
      id: { endpointId: key.endpointId },
      endpoint: hostMessage(value as ModelHostEndpoint, tiers),
    });
  }
}

/** Untracked and pre-DNAT policies are for hosts; workloads have none. */
function workloadMessage(value: ModelWorkloadEndpoint, tiers: EndpointTiers): WorkloadEndpoint {
  return {
    state: value.state,
    name: value.name,
    mac: value.mac,
    profileIds: value.profileIds,
    ipv4Nets: value.ipv4Nets,
    ipv6Nets: value.ipv6Nets,
    tiers: tiers.normal,
    ipv4Nat: value.ipv4Nat,
    ipv6Nat: value.ipv6Nat,
    allowSpoofedSourcePrefixes: value.allowSpoofedSourcePrefixes,
    annotations: value.annotations,
  };
}

function hostMessage(value: ModelHostEndpoint, tiers: EndpointTiers): HostEndpoint {
  return {
    name: value.name,
    profileIds: value.profileIds,
    tiers: tiers.normal,
    untrackedTiers: tiers.untracked,
    preDnatTiers: tiers.preDnat,
    forwardTiers: tiers.forward,
    expectedIpv4Addrs: value.expectedIpv4Addrs,
    expectedIpv6Addrs: value.expectedIpv6Addrs,
  };
}
