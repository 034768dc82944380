/** The tables of kinds that the recorded session does not show, with Calico's columns; names of kinds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ctl } from "./harness.ts";

const manifest = (kind: string, spec: object, metadata: object = {}): string =>
  JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata: { name: "default", ...metadata },
    spec,
  });
const long = Array.from({ length: 8 }, (_, index) => `203.0.113.${index * 16}/28`);

const CALICO_NAMES =
  "bgpconfiguration bgpconfigurations bgpconfig bgpconfigs bgppeer bgppeers bgpp bgpps bp bps bgpfilter bgpf bgpfs bf bfs clusterinformation clusterinformations clusterinfo clusterinfos felixconfiguration felixconfigurations felixconfig felixconfigs globalnetworkpolicy globalnetworkpolicies gnp gnps globalnetworkset globalnetworksets hostendpoint hostendpoints hep heps ipamconfiguration ipamconfigurations ipamconfig ipamconfigs ippool ippools ipp ipps pool pools ipreservation ipreservations reservation reservations kubecontrollersconfiguration kubecontrollersconfigurations kubecontrollersconfig kubecontrollersconfigs networkpolicy networkpolicies policy np policies pol pols networkset networksets netsets node nodes no nos caliconodestatus caliconodestatuses nodestatus nodestatuses profile profiles pro pros stagedglobalnetworkpolicy stagedglobalnetworkpolicies sgnp stagedkubernetesnetworkpolicy stagedkubernetesnetworkpolicies stagedkubernetespolicy sknp stagedkubernetespolicies skpol skpols stagednetworkpolicy stagednetworkpolicies stagedpolicy snp stagedpolicies spol spols tier tiers workloadendpoint workloadendpoints wep weps".split(
    " ",
  );

const CASES: readonly {
  readonly kind: string;
  readonly manifest: string;
  readonly narrow: readonly string[];
  readonly wide: readonly string[];
}[] = [
  {
    kind: "ipamconfig",
    manifest: manifest("IPAMConfiguration", { strictAffinity: true, maxBlocksPerHost: 4 }),
    narrow: ["NAME STRICTAFFINITY AUTOALLOCATEBLOCKS", "default true true"],
    wide: ["NAME STRICTAFFINITY AUTOALLOCATEBLOCKS MAXBLOCKSPERHOST", "default true true 4"],
  },
  {
    kind: "nodestatus",
    manifest: manifest("CalicoNodeStatus", {
      node: "a",
      classes: ["Agent", "BGP"],
      updatePeriodSeconds: 10,
    }),
    narrow: ["NAME NODE", "default a"],
    wide: ["NAME NODE CLASSES", "default a Agent,BGP"],
  },
  {
    kind: "bgpconfig",
    manifest: manifest("BGPConfiguration", {}),
    narrow: ["NAME LOGSEVERITY MESHENABLED ASNUMBER", "default Info - -"],
    wide: ["NAME LOGSEVERITY MESHENABLED ASNUMBER", "default Info - -"],
  },
  {
    kind: "felixconfig",
    manifest: manifest("FelixConfiguration", { logSeverityScreen: "Debug" }),
    narrow: ["NAME", "default"],
    wide: ["NAME", "default"],
  },
  {
    kind: "reservation",
    manifest: manifest("IPReservation", { reservedCIDRs: ["10.0.0.0/30", "10.1.0.1"] }),
    narrow: ["NAME", "default"],
    wide: ["NAME CIDRS", "default 10.0.0.0/30,10.1.0.1"],
  },
  {
    kind: "gns",
    manifest: manifest("GlobalNetworkSet", { nets: long }),
    narrow: ["NAME", "default"],
    wide: ["NAME NETS", `default ${long.join(",").slice(0, 77)}...`],
  },
  {
    kind: "kcc",
    manifest: manifest("KubeControllersConfiguration", { controllers: {} }),
    narrow: ["NAME", "default"],
    wide: ["NAME", "default"],
  },
  {
    kind: "pro",
    manifest: manifest("Profile", { labelsToApply: { b: "2", a: "1" } }),
    narrow: ["NAME", "default", "projectcalico-default-allow"],
    wide: ["NAME LABELS", "default a=1,b=2", "projectcalico-default-allow"],
  },
  {
    kind: "no",
    manifest: manifest("Node", {}),
    narrow: ["NAME", "default"],
    wide: ["NAME ASN IPV4 IPV6", "default"],
  },
  {
    kind: "sknp",
    manifest: manifest(
      "StagedKubernetesNetworkPolicy",
      {
        podSelector: {
          matchLabels: { app: "web" },
          matchExpressions: [
            { key: "env", operator: "In", values: ["a", "b"] },
            { key: "old", operator: "DoesNotExist" },
          ],
        },
      },
      { namespace: "default" },
    ),
    narrow: ["NAME", "default"],
    wide: ["NAME PODSELECTOR", "default app=web,env in (a,b),!old"],
  },
  {
    kind: "wep",
    manifest: manifest(
      "WorkloadEndpoint",
      {
        node: "a",
        orchestrator: "cni",
        containerID: "c1",
        endpoint: "eth0",
        interfaceName: "cali1",
        ipNetworks: ["10.0.0.1"],
        ipNATs: [{ internalIP: "10.0.0.1", externalIP: "192.0.2.1" }],
        profiles: ["p", "q"],
      },
      { name: "a-cni-c1-eth0", namespace: "default" },
    ),
    narrow: ["WORKLOAD NODE NETWORKS INTERFACE", "a 10.0.0.1 cali1"],
    wide: [
      "NAME WORKLOAD NODE NETWORKS INTERFACE PROFILES NATS",
      "a-cni-c1-eth0 a 10.0.0.1 cali1 p,q {10.0.0.1 192.0.2.1}",
    ],
  },
];

for (const { kind, manifest: text, narrow, wide } of CASES) {
  test(`get ${kind}`, async () => {
    const ctl = new Ctl();
    const applied = await ctl.run(["apply", "-f", "-"], text);
    assert.equal(applied.err, "");
    const lines = async (...options: string[]): Promise<readonly string[]> =>
      (await ctl.run(["get", kind, ...options])).out
        .trimEnd()
        .split("\n")
        .map((line) => line.replaceAll(/ {2,}/g, " ").trim());
    assert.deepEqual(await lines(), narrow);
    assert.deepEqual(await lines("-o", "wide"), wide);
  });
}

test("every name that Calico's tool knows a kind by is one here", async () => {
  const ctl = new Ctl();
  for (const name of CALICO_NAMES) {
    const { code, err } = await ctl.run(["get", name]);
    assert.equal(code, 0, `${name}: ${err}`);
  }
});

test("what is no object of commands is told where to see", async () => {
  for (const [name, where] of [
    ["blockaffinities", /ipam show --show-blocks/],
    ["IPAMBlock", /ipam show --show-blocks/],
    ["ipamhandle", /ipam explain/],
    ["livemigration", /the orchestrator's/],
  ] as const) {
    const { code, err } = await new Ctl().run(["get", name]);
    assert.equal(code, 1);
    assert.match(err, /^failed to get resources: resource type '\w+' is not supported/);
    assert.match(err, where);
  }
});

test("the cluster's own information is not written, but for single fields", async () => {
  const ctl = new Ctl();
  await ctl.run(["apply", "-f", "-"], manifest("Profile", {}));
  const text = manifest("ClusterInformation", { datastoreReady: false });
  for (const verb of ["create", "apply", "replace", "delete"]) {
    const { code, err } = await ctl.run([verb, "-f", "-"], text);
    assert.equal(code, 1, verb);
    assert.match(err, /operation \w+ is not supported on ClusterInformation: resource is readonly/);
  }
  const args = ["patch", "clusterinfo", "default", "-p", '{"spec":{"datastoreReady":false}}'];
  assert.equal((await ctl.run(args)).code, 0);
  assert.match((await ctl.run(["get", "clusterinfo"])).out, /false/);
});
