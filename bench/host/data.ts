/** The scenario's objects, as the datastore holds them. */

export interface HostSize {
  readonly policies: number;
  /** Local workload endpoints. */
  readonly local: number;
  readonly remote: number;
  /** Repetitions of each latency. */
  readonly rounds: number;
}

export const HOST = "host-a";
/** The workload that packets go to, and the remote endpoint that they claim to come from. */
export const TARGET = {
  name: "target",
  address: "10.65.255.1",
  interface: "calitarget",
  group: "g0",
};
export const SOURCE = { name: "source", address: "10.66.255.1" };
export const PORT = 7777;
const ROLES = 100;
const RULES = 10;
/** Endpoints that share one list of policies. */
const GROUP_SIZE = 10;

const V3 = "/calico/resources/v3/projectcalico.org";

function clusterObjects(): [string, unknown][] {
  return [
    [
      `${V3}/clusterinformations/default`,
      object("ClusterInformation", "default", {
        clusterGUID: "0".repeat(32),
        datastoreReady: true,
      }),
    ],
    [`${V3}/tiers/default`, object("Tier", "default", { order: 1_000_000, defaultAction: "Deny" })],
    [
      `${V3}/profiles/kns.default`,
      object("Profile", "kns.default", {
        egress: [{ action: "Allow" }],
        ingress: [{ action: "Allow" }],
      }),
    ],
    [`${V3}/nodes/${HOST}`, object("Node", HOST, { bgp: { ipv4Address: "10.0.0.11/24" } })],
  ];
}

export function allObjects(size: HostSize): [string, unknown][] {
  const groups = Math.max(1, Math.floor(size.local / GROUP_SIZE));
  return [
    ...clusterObjects(),
    ...range(size.policies).map((i): [string, unknown] => [policyKey(i), policy(i, groups)]),
    ...range(size.local).map((i) =>
      workload(
        HOST,
        `local${i}`,
        `10.65.${i >> 8}.${i & 255}`,
        `cali${String(i).padStart(8, "0")}`,
        {
          group: `g${i % groups}`,
          role: `r${i % ROLES}`,
        },
      ),
    ),
    ...range(size.remote).map((i) =>
      workload(
        `host-${i % 50}`,
        `remote${i}`,
        `10.66.${i >> 8}.${i & 255}`,
        `cali${String(i).padStart(8, "0")}`,
        {
          role: `r${i % ROLES}`,
          app: `app${i % 37}`,
        },
      ),
    ),
    source("none"),
  ];
}

export function policyKey(index: number): string {
  return `${V3}/globalnetworkpolicies/policy-${index}`;
}

/** Policy 0 is the one whose last rule lets the probe in; `open: false` closes it. */
export function policy(index: number, groups: number, open = true): unknown {
  const ingress = range(RULES).map((rule) => ({
    action: "Allow",
    protocol: "TCP",
    source: { selector: `role == 'r${(index * RULES + rule) % ROLES}'` },
    destination: { ports: [1000 + rule] },
  }));
  if (index === 0) {
    ingress[RULES - 1] = {
      action: "Allow",
      protocol: "UDP",
      source: { selector: "role == 'probe'" },
      destination: { ports: [open ? PORT : PORT + 1] },
    };
  }
  return object("GlobalNetworkPolicy", `policy-${index}`, {
    tier: "default",
    order: index,
    selector: `group == 'g${index % groups}'`,
    types: ["Ingress"],
    ingress,
  });
}

export function target(): [string, unknown] {
  return workload(HOST, TARGET.name, TARGET.address, TARGET.interface, { group: TARGET.group });
}

export function source(role: string): [string, unknown] {
  return workload("host-b", SOURCE.name, SOURCE.address, "cali0", { role });
}

function workload(
  node: string,
  pod: string,
  address: string,
  interfaceName: string,
  labels: Record<string, string>,
): [string, unknown] {
  const name = `${node.replaceAll("-", "--")}-k8s-${pod}-eth0`;
  const value = object(
    "WorkloadEndpoint",
    name,
    {
      orchestrator: "k8s",
      node,
      containerID: pod,
      pod,
      endpoint: "eth0",
      ipNetworks: [`${address}/32`],
      profiles: ["kns.default"],
      interfaceName,
    },
    {
      namespace: "default",
      labels: {
        ...labels,
        "projectcalico.org/namespace": "default",
        "projectcalico.org/orchestrator": "k8s",
      },
    },
  );
  return [`${V3}/workloadendpoints/default/${name}`, value];
}

function object(
  kind: string,
  name: string,
  spec: unknown,
  metadata: Record<string, unknown> = {},
): unknown {
  return {
    kind,
    apiVersion: "projectcalico.org/v3",
    metadata: {
      name,
      uid: "00000000-0000-0000-0000-000000000000",
      creationTimestamp: "2026-01-01T00:00:00Z",
      ...metadata,
    },
    spec,
  };
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
