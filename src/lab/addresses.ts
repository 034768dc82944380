/** Workloads' addresses: those of the file, or from IPAM as a CNI plugin would ask for them. */
import type { Datastore } from "#datastore";
import { formatIp, parseIp } from "#ip";
import { Ipam } from "#ipam";
import { systemError } from "#std";
import { bareAddress } from "./names.ts";
import { inSomePool, poolsOf } from "./spec-checks.ts";
import type { LabSpec, LabWorkload } from "./spec.ts";

/** The handle under which a workload's addresses are. */
function handleOf({ namespace, name }: LabWorkload): string {
  return `k8s-pod-network.${namespace}.${name}`;
}

/** The workload with its addresses. One that the file gives is IPAM's too if a pool holds it. */
export async function withAddresses(
  store: Datastore,
  spec: LabSpec,
  workload: LabWorkload,
): Promise<LabWorkload> {
  const ipam = new Ipam(store);
  const request = {
    host: workload.host,
    handle: handleOf(workload),
    attributes: { pod: workload.name, namespace: workload.namespace },
  };
  if (workload.addresses.length > 0) {
    for (const address of workload.addresses.filter((one) => inSomePool(spec, one)))
      await ipam.assignIp(parseIp(bareAddress(address)), request);
    return workload;
  }
  const pools = poolsOf(spec).filter(
    ({ name }) => workload.pools.length === 0 || workload.pools.includes(name),
  );
  const wanted = (family: 4 | 6): number => (pools.some((one) => one.family === family) ? 1 : 0);
  const named = (family: 4 | 6): string[] =>
    workload.pools.length === 0
      ? []
      : pools.filter((one) => one.family === family).map(({ cidr }) => cidr);
  const got = await ipam.autoAssign({
    ...request,
    ipv4: wanted(4),
    ipv6: wanted(6),
    pools4: named(4),
    pools6: named(6),
  });
  const assigned = [...got.ipv4.assigned, ...got.ipv6.assigned].map(({ ip }) => formatIp(ip));
  if (assigned.length < wanted(4) + wanted(6)) {
    const why = [...got.ipv4.reasons, ...got.ipv6.reasons].join("; ");
    throw systemError("lab-addresses", `${workload.name} gets no address: ${why}`);
  }
  return { ...workload, addresses: assigned };
}
