/** The v3 objects of a lab: what an orchestrator would write for its host and workloads, then the file's own. */
import { bareAddress, interfaceOf, isIpv6, macOf, single } from "./topology.ts";
import type { LabSpec, LabWorkload } from "./spec.ts";

interface V3 {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: unknown;
}

const apiVersion = "projectcalico.org/v3";

export function labResources(spec: LabSpec): readonly unknown[] {
  const given = new Set(spec.resources.map((resource) => identity(resource as V3)));
  const made = [
    node(spec),
    ...profiles(spec),
    ...spec.workloads.map((workload) => endpoint(spec, workload)),
  ];
  return [...made.filter((resource) => !given.has(identity(resource))), ...spec.resources];
}

function identity(resource: V3): string {
  return `${resource.kind}/${resource.metadata?.namespace ?? ""}/${resource.metadata?.name ?? ""}`;
}

function node(spec: LabSpec): V3 {
  const ipv4 = spec.host.addresses.find((address) => !isIpv6(address));
  const ipv6 = spec.host.addresses.find(isIpv6);
  return {
    apiVersion,
    kind: "Node",
    metadata: { name: spec.host.name },
    spec: {
      bgp: {
        ...(ipv4 === undefined ? {} : { ipv4Address: ipv4 }),
        ...(ipv6 === undefined ? {} : { ipv6Address: ipv6 }),
      },
      addresses: spec.host.addresses.map((address) => ({
        address: bareAddress(address),
        type: "InternalIP",
      })),
    },
  };
}

/** As Kubernetes namespaces come with Calico: everything is allowed until a policy selects the workload. */
function profiles(spec: LabSpec): V3[] {
  return [...new Set(spec.workloads.map((workload) => workload.namespace))].map((namespace) => ({
    apiVersion,
    kind: "Profile",
    metadata: { name: `kns.${namespace}` },
    spec: {
      labelsToApply: { "pcns.projectcalico.org/name": namespace },
      ingress: [{ action: "Allow" }],
      egress: [{ action: "Allow" }],
    },
  }));
}

function endpoint(spec: LabSpec, workload: LabWorkload): V3 {
  const escape = (segment: string): string => segment.replaceAll("-", "--");
  return {
    apiVersion,
    kind: "WorkloadEndpoint",
    metadata: {
      name: `${escape(spec.host.name)}-k8s-${escape(workload.name)}-eth0`,
      namespace: workload.namespace,
      labels: workload.labels,
    },
    spec: {
      node: spec.host.name,
      orchestrator: "k8s",
      pod: workload.name,
      endpoint: "eth0",
      containerID: workload.name,
      interfaceName: interfaceOf(workload),
      mac: macOf(workload),
      ipNetworks: workload.addresses.map(single),
      profiles: [...workload.profiles],
    },
  };
}
