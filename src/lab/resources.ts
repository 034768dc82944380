/** The v3 objects of a lab: what an orchestrator would write for its hosts and workloads, then the file's own. */
import { spawn } from "node:child_process";
import { systemError } from "#std";
import { nodeResource } from "./host.ts";
import { interfaceOf, macOf, single } from "./names.ts";
import { margayCommand } from "./sandbox.ts";
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

/** All but the workloads' endpoints, which need addresses first. */
export function labResources(spec: LabSpec): readonly unknown[] {
  const given = new Set(spec.resources.map((resource) => identity(resource as V3)));
  const made = [...spec.hosts.map((host) => nodeResource(host) as V3), ...profiles(spec.workloads)];
  return [...made.filter((resource) => !given.has(identity(resource))), ...spec.resources];
}

function identity(resource: V3): string {
  return `${resource.kind}/${resource.metadata?.namespace ?? ""}/${resource.metadata?.name ?? ""}`;
}

/** As Kubernetes namespaces come with Calico: everything is allowed until a policy selects the workload. */
export function profiles(workloads: readonly LabWorkload[]): V3[] {
  return [...new Set(workloads.map((workload) => workload.namespace))].map((namespace) => ({
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

function endpointName({ host, name }: LabWorkload): string {
  const escape = (segment: string): string => segment.replaceAll("-", "--");
  return `${escape(host)}-k8s-${escape(name)}-eth0`;
}

export function endpoint(workload: LabWorkload): V3 {
  return {
    apiVersion,
    kind: "WorkloadEndpoint",
    metadata: {
      name: endpointName(workload),
      namespace: workload.namespace,
      labels: workload.labels,
    },
    spec: {
      node: workload.host,
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

/** Through the same command that a user types, so that the lab proves it. */
export function applyResources(
  resources: readonly unknown[],
  storeEnv: Readonly<Record<string, string>>,
): Promise<void> {
  const { program, args } = margayCommand("apply", "-f", "-");
  const child = spawn(program, args, {
    stdio: ["pipe", "ignore", "pipe"],
    env: { ...process.env, ...storeEnv },
  });
  let complaint = "";
  child.stderr.on("data", (chunk: Buffer) => {
    complaint += chunk.toString();
  });
  child.stdin.end(resources.map((resource) => JSON.stringify(resource)).join("\n---\n"));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => {
      if (code === 0) return resolve();
      const message = `the lab's resources were refused:\n${complaint.trim()}`;
      reject(systemError("lab-resources", message));
    });
  });
}
