/** 1,000 pods of one host, and policies of which only the last rule of the last one matches. */

export const PORT = 7777;
const PODS = 1_000;
const RULES = 10;
/** Selectors that differ; each of them matches all pods. */
const SELECTORS = 100;

const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

export interface PluggedPod {
  readonly interfaceName: string;
  readonly ipv4: string;
}

export function resourcesOf(policies: number, plugged: readonly PluggedPod[]): unknown[] {
  return [
    ...range(PODS).map((n) => {
      const { interfaceName, ipv4 } = plugged[n] ?? {
        interfaceName: `calibench${n}`,
        ipv4: `10.66.${n >> 8}.${n & 255}`,
      };
      return {
        apiVersion: "projectcalico.org/v3",
        kind: "WorkloadEndpoint",
        metadata: {
          namespace: "default",
          name: `host--a-k8s-pod${n}-eth0`,
          labels: { role: "pod" },
        },
        spec: {
          orchestrator: "k8s",
          node: "host-a",
          containerID: `c${n}`,
          pod: `pod${n}`,
          endpoint: "eth0",
          ipNetworks: [`${ipv4}/32`],
          interfaceName,
        },
      };
    }),
    ...range(policies).map((n) => policy(n, n === policies - 1)),
  ];
}

function policy(index: number, last: boolean): unknown {
  const rules = (peer: "source" | "destination"): unknown[] => {
    const rule = (n: number, protocol: string, port: number): unknown => {
      const selector = `role == 'pod' || other == '${(index * RULES + n) % SELECTORS}'`;
      const ports = { destination: { ports: [port] } };
      const sides =
        peer === "source"
          ? { source: { selector }, ...ports }
          : { destination: { selector, ports: [port] } };
      return { action: "Allow", protocol, ...sides };
    };
    const all = range(RULES).map((n) => rule(n, "TCP", 1_000 + n));
    if (last) all.splice(RULES - 2, 2, rule(8, "UDP", PORT), rule(9, "TCP", PORT));
    return all;
  };
  return {
    apiVersion: "projectcalico.org/v3",
    kind: "GlobalNetworkPolicy",
    metadata: { name: `policy-${String(index).padStart(3, "0")}` },
    spec: {
      order: index,
      selector: "role == 'pod'",
      types: ["Ingress", "Egress"],
      ingress: rules("source"),
      egress: rules("destination"),
    },
  };
}
