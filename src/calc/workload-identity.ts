import type { WorkloadEndpointId } from "./messages.ts";

/**
 * As one text. In byte order these sort by orchestrator, workload and endpoint: where several
 * endpoints want one interface, address or external address, the lowest has it.
 */
export function workloadIdentity(id: WorkloadEndpointId): string {
  return `${id.orchestratorId}\0${id.workloadId}\0${id.endpointId}`;
}
