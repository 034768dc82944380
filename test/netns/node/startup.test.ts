import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { StartupResult } from "./inside/startup.ts";

describe("margay node -startup, on a host of its own with a real etcd", () => {
  let result: StartupResult;
  before(async () => {
    const script = fileURLToPath(new URL("inside/startup.ts", import.meta.url));
    result = await runInSandbox<StartupResult>(script, {}, 120_000);
  });

  it("finds the node's addresses in every way that Calico has", () => {
    assert.deepEqual(result.found, {
      nothing: ["172.16.5.1/16", ""],
      interface: ["10.0.0.11/24", ""],
      skip: ["10.0.0.11/24", "fd09::9/64"],
      reach: ["10.0.0.11/24", ""],
      cidr: ["10.9.9.9/30", ""],
      explicit: ["10.0.0.11/24", "fd00::11/64"],
      prefix: ["10.0.0.11/20", ""],
      elsewhere: ["198.51.100.9/32", ""],
      kubernetes: ["172.16.5.1/16", "fd00::11/64"],
    });
  });

  it("refuses what it cannot do, and says what to write instead", () => {
    const expected: Readonly<Record<string, RegExp>> = {
      kubernetes:
        /there is no Kubernetes to ask: set KUBECONFIG to a file, or choose another method/,
      stranger: /has no Node nobody: set CALICO_K8S_NODE_REF to its name there/,
      nowhere: /fits interface=wlan\.\* \(lo .*eth0 10\.0\.0\.11\/24.*off0 \(down\).*IP=none/,
      backend: /CALICO_NETWORKING_BACKEND=brid: expected bird, vxlan, none/,
      family: /IP=fd00::11: expected autodetect, none, or an IPv4 address/,
      pools: /NO_DEFAULT_POOLS and CALICO_IPV4POOL_CIDR=10\.1\.0\.0\/16 contradict/,
    };
    assert.deepEqual(Object.keys(result.failed).toSorted(), Object.keys(expected).toSorted());
    for (const [name, pattern] of Object.entries(expected)) {
      assert.equal(result.failed[name]?.status, 1, name);
      assert.match(result.failed[name]?.log ?? "", pattern);
    }
  });

  it("writes objects in Calico's bytes", () => {
    const stored = (name: string): string =>
      (result.objects[name] ?? "")
        .replace(/"uid":"[0-9a-f-]{36}"/, '"uid":"<uid>"')
        .replace(/"creationTimestamp":"[^"]+"/, '"creationTimestamp":"<time>"')
        .replace(/"clusterGUID":"[0-9a-f]{32}"/, '"clusterGUID":"<guid>"')
        .replace(/"fd[0-9a-f]{2}:[0-9a-f:]+::\/48"/, '"<ula>"');
    const object = (kind: string, name: string, spec: string): string =>
      `{"kind":"${kind}","apiVersion":"projectcalico.org/v3","metadata":{"name":"${name}","uid":"<uid>","creationTimestamp":"<time>"},"spec":${spec}}`;
    assert.equal(
      stored("node"),
      `${object(
        "Node",
        "host-a",
        '{"bgp":{"asNumber":65546,"ipv4Address":"10.0.0.11/24","ipv6Address":"fd09::9/64"},"orchRefs":[{"nodeName":"node-a","orchestrator":"k8s"}]}',
      ).slice(0, -1)},"status":{}}`,
    );
    assert.equal(
      stored("cluster"),
      object(
        "ClusterInformation",
        "default",
        '{"clusterGUID":"<guid>","clusterType":"typha,bgp","datastoreReady":true}',
      ),
    );
    const rest =
      '"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}';
    assert.equal(
      stored("pool4"),
      object(
        "IPPool",
        "default-ipv4-ippool",
        // The host has addresses in 192.168.0.0/16, 172.16.0.0/16 and 172.17.0.0/16.
        `{"cidr":"172.18.0.0/16","vxlanMode":"Never","ipipMode":"Never","natOutgoing":true,"blockSize":26,${rest}`,
      ),
    );
    assert.equal(
      stored("pool6"),
      object(
        "IPPool",
        "default-ipv6-ippool",
        `{"cidr":"<ula>","vxlanMode":"Never","ipipMode":"Never","blockSize":122,${rest}`,
      ),
    );
    assert.match(stored("felix"), /"spec":\{"logSeverityScreen":"Info"/);
    assert.doesNotMatch(stored("felix"), /reportingInterval/);
    assert.match(stored("felixNode"), /"defaultEndpointToHostAction":"Return"/);
    assert.match(stored("bgp"), /"name":"default"/);
    assert.equal(result.nodename, "host-a");
  });

  it("changes nothing when it is run again", () => {
    assert.equal(result.again.status, 0, result.again.log);
    assert.equal(result.revisions[0], result.revisions[1]);
  });

  it("does not take the address of another node, and names that node", () => {
    assert.equal(result.conflict.status, 1);
    assert.match(result.conflict.log, /10\.0\.0\.11 \(IP\) is the address of node host-a/);
    assert.match(result.conflict.log, /DISABLE_NODE_IP_CHECK=true/);
    assert.equal(result.conflictNode, "", "nothing is written");
    assert.equal(result.unchecked.status, 0, result.unchecked.log);
  });

  it("waits for the datastore when asked to, and fails at once otherwise", () => {
    assert.equal(result.unreachable.status, 1);
    assert.match(result.unreachable.log, /ECONNREFUSED/);
    assert.equal(result.waited.status, 0, result.waited.log);
    assert.equal(result.stopped.status, 1);
    assert.match(result.stopped.log, /asked to stop before the datastore answered/);
    assert.match(result.waited.log, /the datastore does not answer; waiting/);
  });
});
