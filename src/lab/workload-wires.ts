/**
 * Workloads joined to their host the way Calico's CNI plugin joins them.
 *
 *   workload eth0 ── caliXXXXXXXXXXX [host]
 *
 * The workload's default route points at 169.254.1.1 and fe80::ecee:eeff:feee:eeee, which the host
 * answers by proxy ARP and by the link-local address that its MAC ee:ee:ee:ee:ee:ee gives.
 * Routes to the workloads are not made here: they are the agent's work.
 */
import { ipBatch } from "./ip-tool.ts";
import { interfaceOf, isIpv6, macOf, netnsOf, single } from "./names.ts";
import type { LabWorkload } from "./spec.ts";
import { addAddress, addNamespace, removeNamespace } from "./wires.ts";

export function addWorkload(workload: LabWorkload): void {
  const netns = netnsOf(workload.name);
  const device = interfaceOf(workload);
  addNamespace(netns);
  ipBatch(netnsOf(workload.host), [
    `link add ${device} address ee:ee:ee:ee:ee:ee type veth peer name eth0 address ${macOf(workload)} netns ${netns}`,
    `link set ${device} up`,
  ]);
  ipBatch(netns, [
    "link set eth0 up",
    ...workload.addresses.map((a) => addAddress(single(a), "eth0")),
    ...(workload.addresses.some((a) => !isIpv6(a))
      ? ["route add 169.254.1.1 dev eth0 scope link", "route add default via 169.254.1.1 dev eth0"]
      : []),
    ...(workload.addresses.some(isIpv6)
      ? ["-6 route add default via fe80::ecee:eeff:feee:eeee dev eth0"]
      : []),
  ]);
}

export function removeWorkload(workload: LabWorkload): void {
  removeNamespace(netnsOf(workload.name));
}
