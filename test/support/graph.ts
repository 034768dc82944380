/** Calculation graphs of the host `here`, fed with v3 objects. */
import assert from "node:assert/strict";
import { CalcGraph, type GraphSettings, type ToDataplane } from "#calc";
import { ModelConverter, resourceUpdates, type ModelUpdate } from "#model";
import { validateResource } from "#resource";

export function v3(
  kind: string,
  metadata: { name: string; namespace?: string; labels?: Record<string, string> },
  spec: object,
): readonly ModelUpdate[] {
  const result = validateResource({ apiVersion: "projectcalico.org/v3", kind, metadata, spec });
  assert.ok(result.ok, result.ok ? "" : JSON.stringify(result.errors));
  const { name, namespace } = metadata;
  return resourceUpdates(
    { kind: result.value.kind, name, ...(namespace === undefined ? {} : { namespace }) },
    result.value,
  );
}

export function workload(
  name: string,
  ip: string,
  labels: Record<string, string>,
  node = "here",
): readonly ModelUpdate[] {
  return v3(
    "WorkloadEndpoint",
    { name: `${node}-k8s-${name}-eth0`, namespace: "ns", labels },
    {
      node,
      orchestrator: "k8s",
      pod: name,
      endpoint: "eth0",
      interfaceName: `cali${name}`,
      ipNetworks: [ip],
      ports: [{ name: "web", protocol: "TCP", port: 8080 }],
    },
  );
}

export function policy(name: string, spec: object): readonly ModelUpdate[] {
  return v3("GlobalNetworkPolicy", { name }, spec);
}

export const deleted = (updates: readonly ModelUpdate[]): ModelUpdate[] =>
  updates.map(({ key }) => ({ key, value: null }) as ModelUpdate);

/** In sync, and not flushed yet. */
export function started(...updates: (readonly ModelUpdate[])[]): CalcGraph {
  return configured({}, ...updates);
}

export function configured(
  settings: GraphSettings,
  ...updates: (readonly ModelUpdate[])[]
): CalcGraph {
  const graph = new CalcGraph({ hostname: "here", ...settings });
  graph.onUpdates(updates.flat());
  graph.onStatus("in-sync");
  return graph;
}

export const cases = (messages: readonly ToDataplane[]): string[] =>
  messages.map((one) => one.case);
type ValueOf<C extends ToDataplane["case"]> = Extract<ToDataplane, { case: C }>["value"];
export function pick<C extends ToDataplane["case"]>(
  messages: readonly ToDataplane[],
  name: C,
): ValueOf<C>[] {
  return messages.flatMap((one) => (one.case === name ? [one.value as ValueOf<C>] : []));
}

/** From a path of the store and its JSON value; null: deleted. */
export function stored(plural: string, name: string, value: object | null): readonly ModelUpdate[] {
  const path = `/calico/resources/v3/projectcalico.org/${plural}/${name}`;
  return new ModelConverter().convert(path, value === null ? null : JSON.stringify(value));
}
