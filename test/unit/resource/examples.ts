/** Short ways to write resources, and examples that break and keep a constraint. */
import type { ConstraintId } from "#resource";

export type Spec = Record<string, unknown>;
export interface Case {
  readonly id: ConstraintId;
  readonly path: string;
  readonly bad: unknown;
  readonly good: unknown;
}

const apiVersion = "projectcalico.org/v3";
export const make = (kind: string, spec: Spec, metadata: Spec = { name: "x" }): Spec => ({
  apiVersion,
  kind,
  metadata,
  spec,
});
export const gnp = (spec: Spec, metadata?: Spec): Spec =>
  make("GlobalNetworkPolicy", spec, metadata);
export const ingress = (rule: Spec): Spec => gnp({ ingress: [{ action: "Allow", ...rule }] });
export const egress = (rule: Spec): Spec => gnp({ egress: [{ action: "Allow", ...rule }] });
export const pool = (spec: Spec): Spec => make("IPPool", { cidr: "10.0.0.0/16", ...spec });
export const felix = (spec: Spec, name = "default"): Spec =>
  make("FelixConfiguration", spec, { name });
export const peer = (spec: Spec): Spec => make("BGPPeer", spec);
export const many = <T>(count: number, one: T): T[] => Array.from({ length: count }, () => one);
export const sknp = (spec: Spec): Spec =>
  make("StagedKubernetesNetworkPolicy", spec, { name: "x", namespace: "n" });
export const bgpConfig = (spec: Spec): Spec => make("BGPConfiguration", spec, { name: "default" });
export const hep = (spec: Spec): Spec => make("HostEndpoint", { node: "a", ...spec });
export const wep = (spec: Spec, metadata: Spec = {}): Spec =>
  make(
    "WorkloadEndpoint",
    {
      node: "a",
      orchestrator: "k8s",
      pod: "p",
      endpoint: "eth0",
      interfaceName: "cali1",
      ...spec,
    },
    { name: "a-k8s-p-eth0", namespace: "n", ...metadata },
  );
export const service = { services: { name: "s", namespace: "n" } };
export const nested = (depth: number): unknown => {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = { a: value };
  return value;
};
export const annotated = (size: number): Spec => ({
  name: "x",
  annotations: { note: "n".repeat(size) },
});
