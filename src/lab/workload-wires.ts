/**
 * Workloads joined to their host the way Calico's CNI plugin joins them.
 *
 *   workload eth0 ── cali… [host]
 *
 * The workload's default route points at 169.254.1.1 and fe80::ecee:eeff:feee:eeee, which the host
 * answers by proxy ARP and by the link-local address that its MAC ee:ee:ee:ee:ee:ee gives.
 * Routes to the workloads are not made here: they are the agent's work.
 */
import { ipBatch } from "./ip-tool.ts";
import { interfaceOf, isIpv6, macOf, netnsOf, single } from "./names.ts";
import type { LabWorkload } from "./spec.ts";
import { addAddress, removeNamespace, setUp } from "./wires.ts";

/** All of them with as few processes as it goes: a hundred may come at once. */
export function addWorkloadWires(workloads: readonly LabWorkload[]): void {
  ipBatch(
    undefined,
    workloads.map((one) => `netns add ${netnsOf(one.name)}`),
  );
  for (const host of new Set(workloads.map((one) => one.host)))
    ipBatch(netnsOf(host), workloads.filter((one) => one.host === host).flatMap(hostLines));
  for (const one of workloads) setUp(netnsOf(one.name), insideLines(one));
}

function hostLines(workload: LabWorkload): string[] {
  const device = interfaceOf(workload);
  const peer = `eth0 address ${macOf(workload)} netns ${netnsOf(workload.name)}`;
  return [
    `link add ${device} address ee:ee:ee:ee:ee:ee type veth peer name ${peer}`,
    `link set ${device} up`,
  ];
}

function insideLines({ addresses }: LabWorkload): string[] {
  return [
    "link set eth0 up",
    ...addresses.map((address) => addAddress(single(address), "eth0")),
    ...(addresses.some((address) => !isIpv6(address))
      ? ["route add 169.254.1.1 dev eth0 scope link", "route add default via 169.254.1.1 dev eth0"]
      : []),
    ...(addresses.some(isIpv6) ? ["route add default via fe80::ecee:eeff:feee:eeee dev eth0"] : []),
  ];
}

export function removeWorkloadWires(workload: LabWorkload): void {
  removeNamespace(netnsOf(workload.name));
}
